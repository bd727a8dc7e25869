//! Lists for those who look after users and tokens: searched, filtered, sorted, page by page.
//!
//! A page costs the same wherever it lies and however many entries there are: it begins behind an entry or ends before
//! one ([`Place`]), never after so and so many of them, and each combination of filters walks an index.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use base64ct::{Base64UrlUnpadded, Encoding};

use super::{StoreError, TokenDetails, TokenKind, User};
use crate::clock::Timestamp;
use crate::token::SubjectId;

/// Longest text of a [`Place`] that is read.
const LONGEST_PLACE: usize = 2_048;

/// Stands before the text of a [`Place::Before`].
const BEFORE: &str = "-";

/// Searches users and tokens.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Users.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError>;

    /// The user with this id.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn user(&self, id: SubjectId) -> Result<Option<User>, StoreError>;

    /// The user with this id, and a mark that changes with the password: who signed in under another mark has to do it
    /// again.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn standing(&self, id: SubjectId) -> Result<Option<(User, PasswordMark)>, StoreError>;

    /// Tokens.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, StoreError>;

    /// Names of groups in their order, at most so many.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// Tells one password of a user from the next. Says nothing of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordMark(pub(super) [u8; 32]);

#[cfg(test)]
impl PasswordMark {
    /// Any mark.
    pub fn any() -> PasswordMark {
        PasswordMark([0; 32])
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The part before; [`Place::Start`]: there is none.
    pub previous: Place,
    /// The part behind; [`Place::Start`]: there is none.
    pub next: Place,
}

/// Where a part of a list lies. Written as a text that only means something to the list which gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// With the first entry.
    #[default]
    Start,
    /// It begins behind an entry.
    Behind(Mark),
    /// It ends before an entry. Where fewer entries are left than were asked for, it is the first part.
    Before(Mark),
}

/// An entry of a list, by where it stands in it; it need not be there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of which list.
    pub list: ListId,
    /// What the list is sorted by.
    pub key: SortKey,
    /// The id of the entry.
    pub id: i64,
}

/// A list, by what it shows in which order. A place in one is none in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(char);

/// What a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// A folded name.
    Text(String),
    /// A time or an id.
    Number(i64),
}

/// A text that is no [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this page link is no longer valid; start at the first page")]
pub struct NoPlace;

/// In which order users are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserOrder {
    /// By user name, whatever its case.
    #[default]
    Name,
    /// Who was created last comes first.
    Newest,
    /// Who logged in last comes first.
    LastLogin,
}

/// Which users a list shows.
#[derive(Clone, Debug, Default)]
pub struct UserQuery {
    /// How the user name or the e-mail address begins, whatever its case; empty: any. Where more than 2,000 addresses
    /// begin so, they are left out unless an `@` is among it.
    pub search: String,
    /// Only those who are active, or only those who are not.
    pub active: Option<bool>,
    /// Only staff and superusers, or only those who are neither.
    pub staff: Option<bool>,
    /// Only those in the group of exactly this name.
    pub group: Option<String>,
    /// In which order.
    pub order: UserOrder,
    /// Where to begin.
    pub place: Place,
    /// Most entries.
    pub limit: u32,
}

/// A view of the tokens, each in the order that serves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenView {
    /// All, newest first.
    #[default]
    All,
    /// Neither revoked nor expired, newest first.
    Live,
    /// Live, and not used since this time; who was silent for longest comes first.
    UnusedSince(Timestamp),
    /// Live, with an end before this time; the nearest end first.
    EndingBefore(Timestamp),
    /// Expired and not revoked, the latest first.
    Expired,
    /// Revoked, the latest first.
    Revoked,
    /// Sent in clear once, the latest first.
    Exposed,
}

/// Which tokens a list shows.
#[derive(Clone, Debug, Default)]
pub struct TokenQuery {
    /// How the user name of the owner begins, whatever its case; empty: any.
    pub owner_name: String,
    /// How the key begins, at most the part that its hint shows; empty: any.
    pub hint: String,
    /// Only those of this user.
    pub owner: Option<SubjectId>,
    /// Which of them.
    pub view: TokenView,
    /// Only of this kind.
    pub kind: Option<TokenKind>,
    /// Only those of users who are neither staff nor superusers.
    pub ordinary: bool,
    /// Where to begin.
    pub place: Place,
    /// Most entries.
    pub limit: u32,
}

impl ListId {
    /// Every list has one of these.
    const LETTERS: std::ops::RangeInclusive<char> = 'a'..='k';
    /// The only one that is sorted by texts.
    const USERS_BY_NAME: ListId = ListId('a');
    /// The audit trail.
    pub const AUDIT: ListId = ListId('b');
}

impl UserOrder {
    /// Users in this order.
    pub fn list(self) -> ListId {
        match self {
            UserOrder::Name => ListId::USERS_BY_NAME,
            UserOrder::Newest => ListId('c'),
            UserOrder::LastLogin => ListId('d'),
        }
    }
}

impl TokenView {
    /// The tokens of this view.
    pub fn list(self) -> ListId {
        ListId(match self {
            TokenView::All => 'e',
            TokenView::Live => 'f',
            TokenView::UnusedSince(_) => 'g',
            TokenView::EndingBefore(_) => 'h',
            TokenView::Expired => 'i',
            TokenView::Revoked => 'j',
            TokenView::Exposed => 'k',
        })
    }
}

impl<T> Listing<T> {
    /// A part of at most `limit` entries, where `entries` has one more if there are more that way.
    pub(super) fn cut(mut entries: Vec<T>, limit: u32, place: &Place, mark: impl Fn(&T) -> Mark) -> Listing<T> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = entries.len() > limit;
        let (has_previous, has_next) = match place {
            Place::Start => (false, more),
            Place::Behind(_) => (true, more),
            Place::Before(_) => (more, true),
        };
        if matches!(place, Place::Before(_)) {
            entries.drain(..entries.len().saturating_sub(limit));
        } else {
            entries.truncate(limit);
        }
        let first = entries.first().filter(|_| has_previous);
        let previous = first.map_or(Place::Start, |entry| Place::Before(mark(entry)));
        let last = entries.last().filter(|_| has_next);
        let next = last.map_or(Place::Start, |entry| Place::Behind(mark(entry)));
        Listing { entries, previous, next }
    }

    /// Were fewer left before an entry than were asked for? Then the first part is wanted.
    pub(super) fn falls_short(&self, limit: u32, place: &Place) -> bool {
        matches!(place, Place::Before(_)) && u32::try_from(self.entries.len()).is_ok_and(|found| found < limit)
    }

    pub(super) fn map<U, E>(self, each: impl FnMut(T) -> Result<U, E>) -> Result<Listing<U>, E> {
        let Listing { entries, previous, next } = self;
        Ok(Listing { entries: entries.into_iter().map(each).collect::<Result<_, _>>()?, previous, next })
    }
}

impl Place {
    /// Can it come from this list?
    pub fn suits(&self, wanted: ListId) -> bool {
        match self {
            Place::Start => true,
            Place::Behind(mark) | Place::Before(mark) => mark.list == wanted,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, Mark { list, key, id }) = match self {
            Place::Start => return Ok(()),
            Place::Behind(mark) => ("", mark),
            Place::Before(mark) => (BEFORE, mark),
        };
        let text = match key {
            SortKey::Text(text) => format!("{way}{}{id}.{text}", list.0),
            SortKey::Number(number) => format!("{way}{}{id}.{number}", list.0),
        };
        f.write_str(&Base64UrlUnpadded::encode_string(text.as_bytes()))
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Place, NoPlace> {
        if text.is_empty() {
            return Ok(Place::Start);
        }
        if text.len() > LONGEST_PLACE {
            return Err(NoPlace);
        }
        let text =
            Base64UrlUnpadded::decode_vec(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(NoPlace)?;
        let (before, text) = text.strip_prefix(BEFORE).map_or((false, &*text), |rest| (true, rest));
        let mut rest = text.chars();
        let list = rest.next().filter(|letter| ListId::LETTERS.contains(letter)).map(ListId).ok_or(NoPlace)?;
        let rest = rest.as_str();
        let (id, key) = rest.split_once('.').ok_or(NoPlace)?;
        let id = id.parse().map_err(|_| NoPlace)?;
        let key = if list != ListId::USERS_BY_NAME {
            SortKey::Number(key.parse().map_err(|_| NoPlace)?)
        } else if key.contains('\0') {
            return Err(NoPlace);
        } else {
            SortKey::Text(key.to_owned())
        };
        let mark = Mark { list, key, id };
        Ok(if before { Place::Before(mark) } else { Place::Behind(mark) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let (texts, numbers) = (UserOrder::Name.list(), TokenView::Exposed.list());
        for (list, key) in [
            (texts, SortKey::Text("zoë.x\n".to_owned())),
            (texts, SortKey::Text(String::new())),
            (numbers, SortKey::Number(-5)),
        ] {
            let mark = Mark { list, key, id: 7 };
            for place in [Place::Behind(mark.clone()), Place::Before(mark)] {
                assert_eq!(place.to_string().parse(), Ok(place));
            }
        }
        assert_eq!("".parse(), Ok(Place::Start));
    }

    #[test]
    fn a_damaged_place_is_none() {
        let written = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        for bad in [
            "!",
            "AA",
            &written("a1"),
            &written("l1.2"),
            &written("c1.x"),
            &written("ax.a"),
            &written("a1.a\0"),
            &written("é1.2"),
            &written("-"),
            &written("--c1.2"),
        ] {
            assert_eq!(bad.parse::<Place>(), Err(NoPlace), "{bad}");
        }
        assert_eq!("A".repeat(4_096).parse::<Place>(), Err(NoPlace));
    }
}
