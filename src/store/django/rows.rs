//! Rows as the database gives them, one for each group of a user, and what they mean together.

use zeroize::Zeroizing;

use super::meaning::{Facts, Limits, Meanings};
use crate::clock::Timestamp;
use crate::identity::{LONGEST_VALUE, encode};
use crate::store::error::broken;
use crate::store::{StoreError, TokenDetails, TokenKind, User};
use crate::token::{
    Account, AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenHint, TokenId, TokenKey, TokenRecord,
};

/// A token beside its owner and one group of that.
#[derive(sqlx::FromRow)]
pub(super) struct TokenRow {
    token_id: i64,
    token_key: String,
    created: Option<i64>,
    #[sqlx(flatten)]
    facts: Facts,
    #[sqlx(flatten)]
    owner: OwnerRow,
}

/// A user beside one group.
#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    #[sqlx(flatten)]
    owner: OwnerRow,
    password: String,
    first_name: String,
    last_name: String,
    staff: i64,
    superuser: i64,
    joined: Option<i64>,
    last_login: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct OwnerRow {
    user_id: i64,
    user_name: String,
    email: Option<String>,
    active: i64,
    user_flags: String,
    group_name: Option<String>,
}

/// A token as Django keeps it: in clear.
pub(super) struct Token {
    /// Where the table numbers its rows, that number. Otherwise the id of the owner, by which Django's admin names the
    /// one token of each user (docs/decisions/0021).
    pub(super) id: TokenId,
    pub(super) key: Zeroizing<String>,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) restrictions: Restrictions,
    facts: Facts,
    pub(super) owner: Account,
}

/// A user, and the hash of the password.
pub(super) struct Person {
    pub(super) user: User,
    pub(super) password: String,
}

/// What Django lets a user be called, but no field can tell an upstream.
#[derive(Debug, thiserror::Error)]
#[error("the {what} of the user with the id {id} takes more than {LONGEST_VALUE} bytes when percent-encoded")]
struct Unfit {
    id: SubjectId,
    what: &'static str,
}

/// Puts rows together that speak of one token.
pub(super) fn tokens(rows: Vec<TokenRow>, meanings: &Meanings) -> Vec<Token> {
    let mut all: Vec<Token> = Vec::new();
    for TokenRow { token_id, token_key, created, facts, owner } in rows {
        let is_same =
            |last: &Token| *last.key == token_key && last.id.0 == token_id && last.owner.id.0 == owner.user_id;
        match all.last_mut() {
            Some(last) if is_same(last) => {
                // The table may let two rows have one key. If they say different things, the token does not count.
                last.restrictions.disabled |= last.facts != facts;
                last.owner.groups.extend(owner.group_name);
            }
            _ => {
                let Limits { expires, restrictions } = meanings.limits(&facts);
                all.push(Token {
                    id: TokenId(token_id),
                    key: token_key.into(),
                    created: time(created),
                    expires,
                    restrictions,
                    facts,
                    owner: owner.into_account(meanings),
                });
            }
        }
    }
    all.iter_mut().for_each(|token| token.owner.groups.sort());
    all
}

/// Puts rows together that speak of one user.
pub(super) fn people(rows: Vec<UserRow>, meanings: &Meanings) -> Vec<Person> {
    let mut all: Vec<Person> = Vec::new();
    for row in rows {
        match all.last_mut() {
            Some(last) if last.user.account.id.0 == row.owner.user_id => {
                last.user.account.groups.extend(row.owner.group_name);
            }
            _ => all.push(row.into_person(meanings)),
        }
    }
    all.iter_mut().for_each(|person| person.user.account.groups.sort());
    all
}

impl Token {
    pub(super) fn digest(&self) -> TokenDigest {
        TokenDigest::of(self.key.as_bytes())
    }

    /// Does it count, as far as its own row says?
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        !self.restrictions.disabled && self.expires.is_none_or(|end| end > now)
    }

    /// Can a request show its key?
    pub(super) fn can_be_shown(&self) -> bool {
        TokenKey::parse(&self.key).is_ok()
    }

    pub(super) fn into_record(self) -> TokenRecord {
        TokenRecord {
            method: AuthMethod::Token,
            id: self.id,
            digest: self.digest(),
            owner: self.owner,
            scopes: ScopeSet::default(),
            created: self.created,
            expires: self.expires,
            revoked: None,
            restrictions: self.restrictions,
        }
    }

    pub(super) fn into_details(self) -> TokenDetails {
        // A key that no request can show has nothing to show either.
        let hint = TokenKey::parse(&self.key).map_or_else(|_| TokenHint::from_store(""), |key| key.hint());
        TokenDetails {
            hint,
            kind: TokenKind::Login,
            name: String::new(),
            last_used: None,
            exposed: None,
            record: self.into_record(),
        }
    }
}

impl OwnerRow {
    fn into_account(self, meanings: &Meanings) -> Account {
        Account {
            id: SubjectId(self.user_id),
            name: self.user_name,
            email: self.email.unwrap_or_default(),
            groups: self.group_name.into_iter().collect(),
            active: self.active != 0 && meanings.let_user(&self.user_flags),
        }
    }
}

impl UserRow {
    fn into_person(self, meanings: &Meanings) -> Person {
        let user = User {
            account: self.owner.into_account(meanings),
            first_name: self.first_name,
            last_name: self.last_name,
            staff: self.staff != 0,
            superuser: self.superuser != 0,
            has_password: !(self.password.is_empty() || self.password.starts_with('!')),
            created: time(self.joined),
            last_login: self.last_login.map(Timestamp::from_micros),
        };
        Person { user, password: self.password }
    }
}

/// Can upstreams be told all of this? A part left out could make another user of this one.
///
/// # Errors
/// [`StoreError::Broken`] if not.
pub(super) fn check_fits(account: &Account) -> Result<(), StoreError> {
    let unfit = |what| Err(broken(Unfit { id: account.id, what }));
    if account.name.is_empty() || encode(&account.name, b"").len() > LONGEST_VALUE {
        return unfit("name");
    }
    if encode(&account.email, b"").len() > LONGEST_VALUE {
        return unfit("e-mail address");
    }
    let groups: usize = account.groups.iter().map(|group| encode(group, b",").len() + 1).sum();
    if groups > LONGEST_VALUE + 1 { unfit("list of groups") } else { Ok(()) }
}

/// Nothing is decided by these times: one that cannot be read is not worth an outage.
fn time(micros: Option<i64>) -> Timestamp {
    Timestamp::from_micros(micros.unwrap_or(0))
}
