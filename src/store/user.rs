//! Users: the input and output types of an [`AccountStore`](super::AccountStore).
//!
//! Values that upstreams receive are validated here, when they are written, so that no request fails because of them.

use super::password::{Names, Password};
use crate::clock::Timestamp;
use crate::identity::{MAX_VALUE, encode};
use crate::token::{Account, OwnRate, SubjectId};

/// Maximum length of a username, a personal name and a group name, as in Django.
const MAX_NAME: usize = 150;
/// Maximum length of an e-mail address, as in Django.
const MAX_EMAIL: usize = 254;

/// A user to create. [`NewUser::named`] fills in everything but the name.
#[derive(Debug)]
pub struct NewUser {
    /// The id that upstreams receive; `None`: the store assigns the next one.
    pub id: Option<SubjectId>,
    /// Username; compared byte by byte.
    pub name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
    /// `None`: no password.
    pub password: Option<Password>,
    /// `false`: no token and no password works.
    pub active: bool,
    /// Staff: may manage other users.
    pub staff: bool,
    /// Superuser: may manage everything.
    pub superuser: bool,
    /// Names of groups; missing ones are created.
    pub groups: Vec<String>,
}

/// The details of a user that are edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonalDetails {
    /// Username; compared byte by byte.
    pub name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
    /// How often the user may send requests; `None`: only other rates apply.
    pub rate: Option<OwnRate>,
}

/// Changes to the details of a user; `None` keeps the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetailsChange {
    /// Username; compared byte by byte.
    pub name: Option<String>,
    /// E-mail address; may be empty.
    pub email: Option<String>,
    /// First name; may be empty.
    pub first_name: Option<String>,
    /// Last name; may be empty.
    pub last_name: Option<String>,
    /// How often the user may send requests; `Some(None)`: only other rates apply.
    pub rate: Option<Option<OwnRate>>,
}

/// A stored user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The facts that authentication needs: id, name, e-mail, groups, active.
    pub account: Account,
    /// First name; may be empty.
    pub first_name: String,
    /// Last name; may be empty.
    pub last_name: String,
    /// Staff: may manage other users.
    pub staff: bool,
    /// Superuser: may manage everything.
    pub superuser: bool,
    /// Whether the user has a password.
    pub has_password: bool,
    /// Whether the user has to choose another password before the next sign-in.
    pub must_change_password: bool,
    /// When the account was created.
    pub created: Timestamp,
    /// The last browser sign-in, to the account pages or to the admin application. Issuing a token for a password and
    /// confirming a password do not count.
    pub last_login: Option<Timestamp>,
    /// How often the user may send requests; `None`: only other rates apply.
    pub rate: Option<OwnRate>,
}

/// Why the details of a user are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUser {
    /// The id is not positive.
    #[error("the id of a user is a number above zero")]
    Id,
    /// The username is invalid.
    #[error(
        "a username has 1 to 150 characters, no control characters, not only white space, and at most 1024 bytes when \
         percent-encoded"
    )]
    Name,
    /// The username contains invisible characters.
    #[error(
        "a username has no invisible characters (such as U+200B) and none that change the direction (such as U+202E)"
    )]
    Invisible,
    /// The e-mail address is invalid.
    #[error("an e-mail address has at most 254 characters, no control characters, and at most 1024 bytes encoded")]
    Email,
    /// The first name is invalid.
    #[error("a first name has at most 150 characters and no control characters")]
    FirstName,
    /// The last name is invalid.
    #[error("a last name has at most 150 characters and no control characters")]
    LastName,
    /// A group name is invalid.
    #[error("a group name has 1 to 150 characters, no control characters, and not only white space")]
    Group,
    /// The groups together are too long for the header for upstreams.
    #[error("the groups of a user take at most 1024 bytes together, percent-encoded and joined by commas")]
    Groups,
}

impl NewUser {
    /// Creates an active user with this name and nothing else.
    pub fn named(name: impl Into<String>) -> NewUser {
        NewUser {
            id: None,
            name: name.into(),
            email: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            password: None,
            active: true,
            staff: false,
            superuser: false,
            groups: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidUser> {
        check_name(&self.name)?;
        self.check_import()
    }

    /// Like [`NewUser::check`], for an imported user, whose names are accepted as they are.
    pub(super) fn check_import(&self) -> Result<(), InvalidUser> {
        if self.id.is_some_and(|id| id.0 <= 0) {
            return Err(InvalidUser::Id);
        }
        check_former_name(&self.name)?;
        check_email(&self.email)?;
        check_personal_names(Some(&self.first_name), Some(&self.last_name))?;
        check_groups(&self.groups)
    }
}

impl NewUser {
    /// The names that a password must not be like.
    pub fn names(&self) -> Names<'_> {
        Names { name: &self.name, email: &self.email, first_name: &self.first_name, last_name: &self.last_name }
    }
}

impl User {
    /// The names that a password must not be like.
    pub fn names(&self) -> Names<'_> {
        let (account, first_name, last_name) = (&self.account, &self.first_name, &self.last_name);
        Names { name: &account.name, email: &account.email, first_name, last_name }
    }
}

impl PersonalDetails {
    /// Returns the details of this user.
    pub fn of(user: &User) -> PersonalDetails {
        PersonalDetails {
            name: user.account.name.clone(),
            email: user.account.email.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            rate: user.rate,
        }
    }
}

/// Changes every detail.
impl From<&PersonalDetails> for DetailsChange {
    fn from(details: &PersonalDetails) -> DetailsChange {
        let PersonalDetails { name, email, first_name, last_name, rate } = details.clone();
        DetailsChange {
            name: Some(name),
            email: Some(email),
            first_name: Some(first_name),
            last_name: Some(last_name),
            rate: Some(rate),
        }
    }
}

impl DetailsChange {
    pub(super) fn check(&self) -> Result<(), InvalidUser> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        self.email.as_deref().map_or(Ok(()), check_email)?;
        check_personal_names(self.first_name.as_deref(), self.last_name.as_deref())
    }

    pub(super) fn applied_to(&self, former: &PersonalDetails) -> PersonalDetails {
        let changed = |asked: &Option<String>, former: &String| asked.as_ref().unwrap_or(former).clone();
        PersonalDetails {
            name: changed(&self.name, &former.name),
            email: changed(&self.email, &former.email),
            first_name: changed(&self.first_name, &former.first_name),
            last_name: changed(&self.last_name, &former.last_name),
            rate: self.rate.unwrap_or(former.rate),
        }
    }
}

fn check_email(email: &str) -> Result<(), InvalidUser> {
    let fits = is_plain(email, MAX_EMAIL) && encode(email, b"").len() <= MAX_VALUE;
    if fits { Ok(()) } else { Err(InvalidUser::Email) }
}

fn check_personal_names(first: Option<&str>, last: Option<&str>) -> Result<(), InvalidUser> {
    let fits = |name: Option<&str>| name.is_none_or(|name| is_plain(name, MAX_NAME));
    match (fits(first), fits(last)) {
        (false, _) => Err(InvalidUser::FirstName),
        (_, false) => Err(InvalidUser::LastName),
        _ => Ok(()),
    }
}

/// Validates a username: two different users must not have names that look the same.
fn check_name(name: &str) -> Result<(), InvalidUser> {
    check_former_name(name)?;
    if name.chars().any(is_format) { Err(InvalidUser::Invisible) } else { Ok(()) }
}

fn check_former_name(name: &str) -> Result<(), InvalidUser> {
    let fits = is_label(name, MAX_NAME) && encode(name, b"").len() <= MAX_VALUE;
    if fits { Ok(()) } else { Err(InvalidUser::Name) }
}

pub(super) fn check_groups(groups: &[String]) -> Result<(), InvalidUser> {
    if !groups.iter().all(|group| is_label(group, MAX_NAME)) {
        return Err(InvalidUser::Group);
    }
    // Encoded as in identity.rs: commas within a name are encoded, one comma separates names.
    let encoded: usize = groups.iter().map(|group| encode(group, b",").len() + 1).sum();
    if encoded > MAX_VALUE + 1 { Err(InvalidUser::Groups) } else { Ok(()) }
}

/// Whether a name is neither empty nor only white space.
pub(super) fn is_label(text: &str, longest: usize) -> bool {
    is_plain(text, longest) && !text.trim().is_empty()
}

pub(super) fn is_plain(text: &str, longest: usize) -> bool {
    text.chars().count() <= longest && !text.chars().any(char::is_control)
}

/// Whether it is a format character (general category Cf of Unicode 16).
fn is_format(c: char) -> bool {
    const FORMAT: [std::ops::RangeInclusive<char>; 21] = [
        '\u{AD}'..='\u{AD}',
        '\u{600}'..='\u{605}',
        '\u{61C}'..='\u{61C}',
        '\u{6DD}'..='\u{6DD}',
        '\u{70F}'..='\u{70F}',
        '\u{890}'..='\u{891}',
        '\u{8E2}'..='\u{8E2}',
        '\u{180E}'..='\u{180E}',
        '\u{200B}'..='\u{200F}',
        '\u{202A}'..='\u{202E}',
        '\u{2060}'..='\u{2064}',
        '\u{2066}'..='\u{206F}',
        '\u{FEFF}'..='\u{FEFF}',
        '\u{FFF9}'..='\u{FFFB}',
        '\u{110BD}'..='\u{110BD}',
        '\u{110CD}'..='\u{110CD}',
        '\u{13430}'..='\u{1343F}',
        '\u{1BCA0}'..='\u{1BCA3}',
        '\u{1D173}'..='\u{1D17A}',
        '\u{E0001}'..='\u{E0001}',
        '\u{E0020}'..='\u{E007F}',
    ];
    FORMAT.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_has_no_invisible_characters_and_an_existing_one_is_kept() {
        for bad in ["ali\u{200B}ce", "\u{202E}ecila", "alice\u{FEFF}", "al\u{AD}ice", "alice\u{E0041}"] {
            assert_eq!(check_name(bad), Err(InvalidUser::Invisible), "{bad:?}");
            assert_eq!(NewUser::named(bad).check(), Err(InvalidUser::Invisible), "{bad:?}");
            assert_eq!(NewUser::named(bad).check_import(), Ok(()), "{bad:?}");
        }
    }

    #[test]
    fn user_names_are_short_printable_and_fit_their_header() {
        let (longest, widest) = ("a".repeat(150), "ż".repeat(150));
        for good in ["alice", "Alice", "zażółć gęślą", " x ", "a@b.example", &longest, &widest] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let (long, wide) = ("a".repeat(151), "密".repeat(150));
        for bad in ["", " ", "\u{3000}", "a\nb", "a\0", "a\u{85}b", &long, &wide] {
            assert_eq!(check_name(bad), Err(InvalidUser::Name), "{bad:?}");
        }
    }

    #[test]
    fn the_groups_fit_their_header_together() {
        let of = |length: usize, count: usize| vec!["g".repeat(length); count];
        assert_eq!(check_groups(&of(127, 8)), Ok(()));
        assert_eq!(check_groups(&[of(127, 7), of(128, 1), of(1, 1)].concat()), Err(InvalidUser::Groups));
        assert_eq!(check_groups(&["a,b".to_owned()]), Ok(()));
        assert_eq!(check_groups(&[String::new()]), Err(InvalidUser::Group));
    }

    #[test]
    fn all_other_details_of_a_user_are_checked() {
        let alice = || NewUser::named("alice");
        assert_eq!(alice().check(), Ok(()));
        for (user, wrong) in [
            (NewUser { id: Some(SubjectId(0)), ..alice() }, InvalidUser::Id),
            (NewUser { email: "a\r\nb".to_owned(), ..alice() }, InvalidUser::Email),
            (NewUser { email: "a".repeat(255), ..alice() }, InvalidUser::Email),
            (NewUser { first_name: "a".repeat(151), ..alice() }, InvalidUser::FirstName),
            (NewUser { last_name: "\u{7}".to_owned(), ..alice() }, InvalidUser::LastName),
            (NewUser { groups: vec!["\t".to_owned()], ..alice() }, InvalidUser::Group),
        ] {
            assert_eq!(user.check(), Err(wrong), "{user:?}");
        }
    }
}
