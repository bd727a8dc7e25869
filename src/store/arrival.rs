//! The import of users from another system, and its results.
//!
//! An import overwrites nothing. It reports everything that it could not import and every difference. On request, it
//! also revokes what an earlier import brought and the other system no longer accepts.

use zeroize::Zeroizing;

use super::TokenLimits;
use super::user::{InvalidUser, NewUser, User};
use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenHint};

/// One import.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The other system, without secrets. The store records it with the imported data.
    pub source: String,
    /// Whether to revoke imported data that the other system no longer accepts.
    pub prune: bool,
    /// Whether users whose id belongs to another user here get a new id.
    pub map_ids: bool,
    /// Whether to write nothing, and only report what would be done.
    pub dry_run: bool,
}

/// Data that was imported from another address before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The other address, as [`Import::source`].
    pub source: String,
    /// Number of users with the same id and name.
    pub users: u64,
    /// Number of tokens with the same key and owner.
    pub tokens: u64,
}

/// A user of another system.
pub struct Arrival {
    /// The user.
    pub user: User,
    /// The password hash, unchanged.
    pub password: Zeroizing<String>,
    /// The tokens.
    pub tokens: Vec<ArrivingToken>,
}

/// A token of another system.
pub struct ArrivingToken {
    /// The key.
    pub key: Zeroizing<String>,
    /// When it was issued.
    pub created: Timestamp,
    /// When it expires in the other system; `None`: never.
    pub expires: Option<Timestamp>,
    /// How its use is limited there.
    pub limits: TokenLimits,
    /// Why it must not be imported as valid.
    pub not_importable: Option<NotImportable>,
}

/// Why a token of another system must not be valid in our store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotImportable {
    /// The other system does not accept it.
    #[error("it is revoked or disabled there, or its row is not understood")]
    Disabled,
    /// The other system does not accept it.
    #[error("it has expired there")]
    Expired,
    /// The token is not valid in the source.
    #[error("several tokens have this key there, so none of them is valid")]
    Shared,
}

/// The result of importing an [`Arrival`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The id of the user here.
    pub id: SubjectId,
    /// The result for the user.
    pub user: UserTaken,
    /// The results for the tokens, newest first.
    pub tokens: Vec<(TokenLabel, TokenTaken)>,
    /// The algorithm of an unsupported password hash; the user has no password here.
    pub password_lost: Option<String>,
    /// What is valid here but not in the other system.
    pub stale: Stale,
}

/// The name of a token in a report. The key itself is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLabel {
    /// The beginning of its key; `None` if the key is invalid.
    pub hint: Option<TokenHint>,
    /// When it was issued.
    pub created: Timestamp,
}

/// Data from an earlier import that is still valid here, but no longer in the other system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Whether the user is active here, but deleted or inactive in the other system.
    pub user: bool,
    /// The tokens.
    pub tokens: Vec<TokenLabel>,
}

/// A user from an earlier import whom the other system has deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedUser {
    /// The id.
    pub id: SubjectId,
    /// The name.
    pub name: String,
    /// What is still valid here.
    pub stale: Stale,
}

/// The result of importing a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserTaken {
    /// The user was imported.
    New,
    /// The user was imported with another id, because that of the other system belongs to another user here.
    Mapped(SubjectId),
    /// The user already existed; differences were left unchanged.
    There {
        /// "password", "groups (here: a; there: a, b)".
        differs: Vec<String>,
    },
    /// The user and the tokens cannot be imported, and why.
    Skipped(String),
}

/// The result of importing a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenTaken {
    /// It was imported as the login token.
    Login,
    /// It was imported as a named token, because the user already has a login token.
    Named(String),
    /// It already existed.
    There,
    /// It already existed, and expires later than in the other system.
    Outlives(Timestamp),
    /// Not imported, because the other system does not accept it.
    Dead(NotImportable),
    /// It cannot be imported, and why.
    Skipped(String),
    /// It exists here and permits more than in the other system. The operator must revoke or limit it.
    Refused(String),
}

impl Arrival {
    /// Converts it into a user to create, without the password.
    ///
    /// # Errors
    /// Names that our own store does not accept.
    pub(super) fn to_new_user(&self) -> Result<NewUser, InvalidUser> {
        let (user, account) = (&self.user, &self.user.account);
        let new = NewUser {
            id: Some(account.id),
            name: account.name.clone(),
            email: account.email.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            password: None,
            active: account.active,
            staff: user.staff,
            superuser: user.superuser,
            groups: account.groups.clone(),
        };
        new.check_import().map(|()| new)
    }
}

impl TokenLabel {
    /// The date of a time, as used in the names of tokens.
    pub fn day(at: Timestamp) -> String {
        at.to_string().chars().take(10).collect()
    }
}

impl Stale {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        !self.user && self.tokens.is_empty()
    }
}
