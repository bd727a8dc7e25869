//! Rows as the database returns them, one for each group of a user, and their conversion to tokens and users.

use zeroize::Zeroizing;

use super::meaning::{ExtraColumns, Limits, Meanings};
use crate::clock::Timestamp;
use crate::identity::{MAX_VALUE, encode};
use crate::store::error::broken;
use crate::store::sql::row;
use crate::store::{StoreError, TokenDetails, TokenKind, User};
use crate::token::{
    Account, AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenHint, TokenId, TokenKey, TokenRecord,
};

row! {
    /// A token with its owner and one group of the owner.
    pub(super) struct TokenRow {
        token_id: i64,
        token_key: String,
        created: Option<i64>,
        ..facts: ExtraColumns,
        ..owner: OwnerRow,
    }
}

row! {
    /// A user with one group.
    pub(super) struct UserRow {
        password: String,
        first_name: String,
        last_name: String,
        staff: i64,
        superuser: i64,
        joined: Option<i64>,
        last_login: Option<i64>,
        ..owner: OwnerRow,
    }
}

row! {
    struct OwnerRow {
        user_id: i64,
        user_name: String,
        email: Option<String>,
        active: i64,
        user_flags: String,
        group_name: Option<String>,
    }
}

/// A token as Django stores it: with the plain key.
pub(super) struct Token {
    /// The id of the row, if the table has one. Otherwise the id of the owner, which Django's admin uses for the one
    /// token of each user (docs/decisions/0021).
    pub(super) id: TokenId,
    pub(super) key: Zeroizing<String>,
    pub(super) created: Timestamp,
    pub(super) expires: Option<Timestamp>,
    pub(super) restrictions: Restrictions,
    facts: ExtraColumns,
    pub(super) owner: Account,
}

/// A user, and the password hash.
pub(super) struct Person {
    pub(super) user: User,
    pub(super) password: String,
}

/// A value that Django allows but that does not fit into a header for upstreams.
#[derive(Debug, thiserror::Error)]
#[error("the {what} of the user with the id {id} takes more than {MAX_VALUE} bytes when percent-encoded")]
struct TooLong {
    id: SubjectId,
    what: &'static str,
}

/// Combines the rows of each token.
pub(super) fn tokens(rows: Vec<TokenRow>, meanings: &Meanings) -> Vec<Token> {
    let mut all: Vec<Token> = Vec::new();
    for TokenRow { token_id, token_key, created, facts, owner } in rows {
        let is_same =
            |last: &Token| *last.key == token_key && last.id.0 == token_id && last.owner.id.0 == owner.user_id;
        match all.last_mut() {
            Some(last) if is_same(last) => {
                // The table may allow two rows with the same key. If they differ, the token is disabled.
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

/// Combines the rows of each user.
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

    /// Whether its own row permits its use.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        !self.restrictions.disabled && self.expires.is_none_or(|end| end > now)
    }

    /// Whether a request can send its key.
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
        // A key that no request can send gets no hint.
        let hint = TokenKey::parse(&self.key).map_or_else(|_| TokenHint::from_store(""), |key| key.hint());
        TokenDetails {
            hint,
            kind: TokenKind::Login,
            name: String::new(),
            last_used: None,
            exposed: None,
            note: String::new(),
            disabled: None,
            device: false,
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
            must_change_password: false,
            created: time(self.joined),
            last_login: self.last_login.map(Timestamp::from_micros),
            rate: None,
        };
        Person { user, password: self.password }
    }
}

/// Checks that all values fit into headers for upstreams. Omitting one could make the user look like another user.
///
/// # Errors
/// [`StoreError::Broken`] if a value does not fit.
pub(super) fn check_fits(account: &Account) -> Result<(), StoreError> {
    let unfit = |what| Err(broken(TooLong { id: account.id, what }));
    if account.name.is_empty() || encode(&account.name, b"").len() > MAX_VALUE {
        return unfit("name");
    }
    if encode(&account.email, b"").len() > MAX_VALUE {
        return unfit("e-mail address");
    }
    let groups: usize = account.groups.iter().map(|group| encode(group, b",").len() + 1).sum();
    if groups > MAX_VALUE + 1 { unfit("list of groups") } else { Ok(()) }
}

/// These times affect no decision, so an unreadable one is not an error.
fn time(micros: Option<i64>) -> Timestamp {
    Timestamp::from_micros(micros.unwrap_or(0))
}
