//! Errors of the stores.
//!
//! [`StoreError`] says that the answer is unknown. [`LedgerError`] and [`AccountError`] add refused changes. An
//! [`OpenError`] keeps the gateway from starting. None of them contains a key or a password.

use std::path::PathBuf;

use super::keyfile::KeyFileError;
use super::password::HashingFailed;
use super::user::InvalidUser;
use crate::token::{SubjectId, TokenId};

/// An error that may be an outage of the store.
pub(super) trait MayBeStoreError {
    /// Returns the store error, if it is one.
    fn store_error(&self) -> Option<&StoreError>;
}

/// Logs which action failed, and why.
///
/// The store itself logs each outage once (`store/outage.rs`), so errors caused by an outage are logged here at the
/// debug level.
pub fn report(what: &str, error: &(dyn std::error::Error + 'static)) {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let told = error.downcast_ref::<StoreError>();
    let told = told.or_else(|| error.downcast_ref::<LedgerError>().and_then(MayBeStoreError::store_error));
    let told = told.or_else(|| error.downcast_ref::<AccountError>().and_then(MayBeStoreError::store_error));
    if matches!(told, Some(StoreError::Unavailable(_))) {
        tracing::debug!(code = "store_unavailable", %error, cause, "{what}");
    } else {
        tracing::error!(code = "store_unavailable", %error, cause, "{what}");
    }
}

impl MayBeStoreError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl MayBeStoreError for LedgerError {
    fn store_error(&self) -> Option<&StoreError> {
        if let LedgerError::Store(error) = self { Some(error) } else { None }
    }
}

impl MayBeStoreError for AccountError {
    fn store_error(&self) -> Option<&StoreError> {
        if let AccountError::Store(error) = self { Some(error) } else { None }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or timed out. Retry later.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Source),
    /// The store answers, but unexpectedly: a damaged file, another schema. A retry does not help.
    #[error("the store is broken")]
    Broken(#[source] Source),
}

/// Creates an error that may be retried.
pub(super) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(cause))
}

/// Creates an error that a retry does not fix.
pub(super) fn broken(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(Box::new(cause))
}

/// Why a token was not issued, imported, revoked or changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The owner does not exist.
    #[error("user {0} does not exist")]
    UnknownUser(SubjectId),
    /// No token has this id or key.
    #[error("no such token")]
    UnknownToken,
    /// The owner has the maximum number of live tokens.
    #[error("user {owner} has {most} live tokens, the maximum (`tokens.max_per_user`); revoke one first")]
    TooMany {
        /// The owner.
        owner: SubjectId,
        /// The maximum.
        most: u32,
    },
    /// The user already has a different live login token.
    #[error("user {0} already has another login token; revoke it or replace it")]
    LoginExists(SubjectId),
    /// The imported key exists, with another owner or as a named token.
    #[error("this key is in use as another token")]
    KeyTaken,
    /// The imported key exists, revoked or expired.
    #[error("this key was revoked or has expired and cannot be imported again; issue a new one")]
    KeySpent,
    /// The column of a Django database is too narrow for a key.
    #[error(
        "this key is too long for the token table of the Django database, whose keys have at most {most} characters"
    )]
    KeyTooLong {
        /// The width of the column.
        most: usize,
    },
    /// The sealed key of a login token is damaged.
    #[error("the stored key of token {0} cannot be decrypted; the token itself still works; reset it to get a new key")]
    Unsealable(TokenId),
    /// The name of a token is invalid.
    #[error("a token name has 1 to 100 characters, no control characters, and not only white space")]
    InvalidName,
    /// The expiry of a token is invalid.
    #[error("the expiry of a token must be in the future, in the year 9999 at the latest")]
    InvalidEnd,
    /// A login token has no name.
    #[error("a login token has no name; only named tokens can be renamed")]
    Nameless,
    /// The note of a token is invalid.
    #[error("a note has at most 1000 characters and no control characters")]
    InvalidNote,
    /// The networks of a token are invalid.
    #[error("the networks of a token take at most 1024 characters together, and an empty list means any network")]
    InvalidNetworks,
    /// The number of days without a use is invalid.
    #[error("a token ends after 1 to 3650 days without a use")]
    InvalidDays,
    /// The token is revoked, expired or disabled.
    #[error("token {0} is revoked, expired or disabled, so it cannot be rotated; issue a new token")]
    NotLive(TokenId),
    /// The scopes are too long for the header for upstreams.
    #[error("the scopes of a token take at most 1024 characters together")]
    ScopesTooLong,
    /// The store is a read-only Django database.
    #[error(
        "the store is a read-only Django database; create and delete tokens in Django, or set \
         `mode = \"read-write\"` in [store.django]"
    )]
    ReadOnly,
    /// The Django database allows token updates, but no new tokens.
    #[error("{0}; create the token in Django")]
    NotMade(String),
    /// The login token of the user is disabled; or no token of a Django database is valid, and it allows no new ones.
    #[error("user {0} has no valid token and gets no new one; enable the disabled token, or create one in Django")]
    NoValidToken(SubjectId),
    /// Several tokens of the Django database have the same id.
    #[error("several tokens have the id {0}, the id of their user; specify the token by its key")]
    SeveralTokens(TokenId),
    /// The Django database supports login tokens only.
    #[error(
        "a Django database supports only login tokens, without name, note, scopes or expiry, and they cannot be disabled"
    )]
    OnlyLogin,
    /// The Django database keeps one token for each user.
    #[error(
        "a Django database keeps one token for each user, so the old key cannot work on beside a new one; reset the \
         login token instead"
    )]
    OneKey,
    /// The answer is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an account was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is no such user.
    #[error("user {0} does not exist")]
    UnknownUser(SubjectId),
    /// Another user has this name.
    #[error("user {0} already exists")]
    NameTaken(String),
    /// Another user has this id.
    #[error("a user with the id {0} already exists")]
    IdTaken(SubjectId),
    /// A property of the user is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidUser),
    /// No superuser would be left.
    #[error("this is the last active superuser with a password; at least one must remain")]
    LastSuperuser,
    /// The users of a Django database are managed in Django.
    #[error("the users belong to a Django project: manage them there, in its admin or with manage.py")]
    InDjango,
    /// The password could not be hashed or compared.
    #[error(transparent)]
    Hashing(#[from] HashingFailed),
    /// The answer is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store supports no sessions.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoSessions {
    /// The store is a read-only Django database.
    #[error(
        "the store is a read-only Django database, and sessions are rows there; set \
         `mode = \"read-write\"` in [store.django], or remove [login.browser]"
    )]
    ReadOnly,
    /// The session table of the Django database is missing, unexpected or not accessible.
    #[error(
        "{wrong}; run the project's migrations with `django.contrib.sessions` among its installed apps, let the \
         gateway's database user read, insert and delete there, name the table with store.django.session_table, or \
         remove [login.browser]"
    )]
    Table {
        /// All problems with it.
        wrong: String,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be created, opened or reached.
    #[error("{store}: the store cannot be opened; {mend}")]
    Database {
        /// The database file, or the address of the server.
        store: String,
        /// How to fix it.
        mend: &'static str,
        /// What was wrong.
        source: StoreError,
    },
    /// It has to be created or migrated first.
    #[error("{store}: the store was not created or migrated by this version yet; run `tokengate migrate`")]
    NotPrepared {
        /// The database file, or the address of the server.
        store: String,
    },
    /// The schema has another version, or a migration failed.
    #[error("{store}: the schema cannot be migrated to this version; a newer tokengate or another program created it")]
    Schema {
        /// The database file, or the address of the server.
        store: String,
        /// What was wrong.
        source: Source,
    },
    /// The Django database lacks something.
    #[error(
        "{store}: {wrong}; check that it is the database of the Django project, that its migrations have run with \
         `rest_framework.authtoken` among the installed apps, and that [store.django] names its tables"
    )]
    NotDjango {
        /// The database file, or the address of the server.
        store: String,
        /// Every missing or unexpected part.
        wrong: String,
    },
    /// The Django database has columns that could restrict a token or a user and that the settings do not mention.
    #[error("{store}: {wrong}")]
    NotUnderstood {
        /// The database file, or the address of the server.
        store: String,
        /// Every such column.
        wrong: String,
    },
    /// The settings ask for a writable Django database, but the database user lacks permissions.
    #[error(
        "{store}: {wrong}, which `mode = \"read-write\"` needs; allow that to the gateway's database user (with SQLite: to the \
gateway's own user, and in the file's folder too), or set `mode = \"read-only\"` in [store.django]"
    )]
    NotWritable {
        /// The database file, or the address of the server.
        store: String,
        /// The missing permissions.
        wrong: String,
    },
    /// The key file is unusable.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The store was used with a key file before, and that file is missing.
    #[error(
        "{key_file}: missing, but {store} has login tokens that are encrypted with it; restore the file from a backup, copy it \
         from another gateway of this store, or run `tokengate migrate --new-key` after which those tokens cannot be shown again \
         (they stay valid)"
    )]
    KeyLost {
        /// The expected path of the key file.
        key_file: PathBuf,
        /// The database file, or the address of the server.
        store: String,
    },
    /// The key file belongs to another store.
    #[error(
        "{key_file}: cannot decrypt the tokens of {store}; use the key file that was created with this store, or \
         move this one away and run `tokengate migrate --new-key` after which those tokens cannot be shown again"
    )]
    WrongKey {
        /// The key file.
        key_file: PathBuf,
        /// The database file, or the address of the server.
        store: String,
    },
    /// The system provides no random numbers.
    #[error("the system provides no random numbers")]
    NoRandomness(#[source] Source),
}
