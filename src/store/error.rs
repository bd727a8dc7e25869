//! Why a store did not do what it was asked.
//!
//! [`StoreError`] says that the answer is not known; [`LedgerError`] and [`AccountError`] add wishes that were refused;
//! [`OpenError`] keeps a gateway from starting. None of them ever carries a key or a password.

use std::path::PathBuf;

use super::keyfile::KeyFileError;
use super::password::HashingFailed;
use super::user::InvalidUser;
use crate::token::{SubjectId, TokenId};

/// An error that may say that the store gave no answer.
pub(super) trait MayBeStoreError {
    /// What kept the store from answering, if that is what it says.
    fn store_error(&self) -> Option<&StoreError>;
}

/// Notes in the log what was not done, and why.
///
/// The store itself logs an outage, once (`store/outage.rs`). Errors of an outage are logged here at the debug level.
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
    /// It cannot be reached, or not in time. May be tried again.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Source),
    /// It answers, but not what was agreed: a damaged file, another schema. Trying again does not help.
    #[error("the store is broken")]
    Broken(#[source] Source),
}

/// It may work later.
pub(super) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(cause))
}

/// It will not work later either.
pub(super) fn broken(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(Box::new(cause))
}

/// Why a token was not issued, imported, revoked or changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its owner is missing.
    #[error("user {0} does not exist")]
    UnknownUser(SubjectId),
    /// No token has this id or key.
    #[error("no such token")]
    UnknownToken,
    /// The owner has as many live tokens as the settings allow.
    #[error("user {owner} has {most} live tokens, the most that `tokens.max_per_user` allows; revoke one first")]
    TooMany {
        /// Whose tokens.
        owner: SubjectId,
        /// How many are allowed.
        most: u32,
    },
    /// An import met another live login token.
    #[error("user {0} has another login token; revoke it, or ask to replace it")]
    LoginExists(SubjectId),
    /// An import met its own key at another owner, or as a named token.
    #[error("this key is in use as another token")]
    KeyTaken,
    /// An import met its own key, revoked or expired.
    #[error("this key was revoked or has expired, and does not come back; issue a new one")]
    KeySpent,
    /// The column of a Django database is too narrow for a key.
    #[error(
        "this key is too long for the token table of the Django database, whose keys have at most {most} characters"
    )]
    KeyTooLong {
        /// The width of the column.
        most: usize,
    },
    /// The kept key of a login token is damaged.
    #[error("the kept key of token {0} cannot be opened; the token itself still works; reset it to see a key again")]
    Unsealable(TokenId),
    /// The name of a token is none.
    #[error("a token name has 1 to 100 characters, no control characters, and not only white space")]
    InvalidName,
    /// The end of a token is none.
    #[error("the end of a token lies in the future, in the year 9999 at the latest")]
    InvalidEnd,
    /// The scopes do not fit the field that upstreams get.
    #[error("the scopes of a token take at most 1024 characters together")]
    ScopesTooLong,
    /// The store is a Django database in which nothing may be written.
    #[error(
        "the store is a Django database that is only read; make and delete tokens in Django, or write \
         `mode = \"read-write\"` below [store.django]"
    )]
    ReadOnly,
    /// A Django database in which tokens may be changed, but none be made.
    #[error("{0}; make the token in Django")]
    NotMade(String),
    /// All tokens of a user in a Django database have expired or are revoked or disabled, and none may be made.
    #[error("user {0} has no valid token, and none can be made here; make one in Django")]
    NoneCounts(SubjectId),
    /// Several tokens of a Django database have the same id.
    #[error("several tokens have the id {0}, that of their user; name the token by its key")]
    SeveralTokens(TokenId),
    /// A Django database knows nothing but login tokens.
    #[error("a Django database keeps one token for each user, without name, scopes or end")]
    OnlyLogin,
    /// The answer is not known.
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
    #[error("user {0} exists")]
    NameTaken(String),
    /// Another user has this id.
    #[error("a user with the id {0} exists")]
    IdTaken(SubjectId),
    /// Something about the user is not acceptable.
    #[error(transparent)]
    Invalid(#[from] InvalidUser),
    /// Nobody would be left who may do everything in the admin application.
    #[error("this is the last active superuser with a password; at least one must remain")]
    LastSuperuser,
    /// Users of a Django database are looked after there.
    #[error("the users belong to a Django project: manage them there, in its admin or with manage.py")]
    InDjango,
    /// The password could not be hashed or compared.
    #[error(transparent)]
    Hashing(#[from] HashingFailed),
    /// The answer is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store has no place for sessions.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoSessions {
    /// It is a Django database in which nothing may be written.
    #[error(
        "the store is a Django database that is only read, and a session is a row there; write \
         `mode = \"read-write\"` below [store.django], or remove [login.browser]"
    )]
    ReadOnly,
    /// It is a Django database whose table of sessions is missing, odd or closed to us.
    #[error(
        "{wrong}; run the project's migrations with `django.contrib.sessions` among its installed apps, let the \
         gateway's database user read, insert and delete there, name the table with store.django.session_table, or \
         remove [login.browser]"
    )]
    Table {
        /// Everything that is wrong with it.
        wrong: String,
    },
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be made, opened or reached.
    #[error("{store}: the store cannot be opened; {mend}")]
    Database {
        /// The database file, or where the server is.
        store: String,
        /// How to mend it.
        mend: &'static str,
        /// What was wrong.
        source: StoreError,
    },
    /// The schema is of another version, or a step towards this one failed.
    #[error("{store}: the schema cannot be brought to this version; a newer tokengate or another program made it")]
    Schema {
        /// The database file, or where the server is.
        store: String,
        /// What was wrong.
        source: Source,
    },
    /// What should be the database of a Django project lacks something.
    #[error(
        "{store}: {wrong}; see that it is the database of the Django project, that its migrations have run with \
         `rest_framework.authtoken` among the installed apps, and that [store.django] names its tables"
    )]
    NotDjango {
        /// The database file, or where the server is.
        store: String,
        /// Everything that is missing or odd.
        wrong: String,
    },
    /// A Django database with columns that could restrict a token or a user, and of which the settings say nothing.
    #[error("{store}: {wrong}")]
    NotUnderstood {
        /// The database file, or where the server is.
        store: String,
        /// Every such column.
        wrong: String,
    },
    /// A Django database in which we shall write, and may not.
    #[error(
        "{store}: {wrong}, which `mode = \"read-write\"` needs; let the gateway's database user do that (with SQLite the gateway's \
         own user, and in the folder of the file too), or write `mode = \"read-only\"` below [store.django]"
    )]
    NotWritable {
        /// The database file, or where the server is.
        store: String,
        /// What may not be done.
        wrong: String,
    },
    /// The key file is unusable.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The store has seen a key file, and it is gone.
    #[error(
        "{key_file}: missing, but {store} holds login tokens sealed with it; restore the file from a backup, copy it \
         from another gateway of this store, or run `tokengate migrate --new-key` to give up showing those tokens again \
         (they stay valid)"
    )]
    KeyLost {
        /// Where the key file should be.
        key_file: PathBuf,
        /// The database file, or where the server is.
        store: String,
    },
    /// The key file belongs to another store.
    #[error(
        "{key_file}: does not open the sealed tokens of {store}; use the key file that was made with this store, or \
         move this one away and run `tokengate migrate --new-key` to give up showing those tokens again"
    )]
    WrongKey {
        /// The key file.
        key_file: PathBuf,
        /// The database file, or where the server is.
        store: String,
    },
    /// The machine gave no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness(#[source] Source),
}
