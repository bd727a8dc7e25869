//! Errors of the desk.

use std::time::Duration;

use crate::login::LoginFailure;
use crate::store::{self, AccountError, HashingFailed, LedgerError, StoreError};
use crate::token::SubjectId;

/// Reason why an action failed. The text may be shown to the caller.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The caller has no permission.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// There is no such user.
    #[error("user {0} does not exist")]
    UnknownUser(SubjectId),
    /// There is no such token.
    #[error("no such token")]
    UnknownToken,
    /// The input is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The change conflicts with existing data.
    #[error("{0}")]
    Conflict(String),
    /// At least one superuser must remain.
    #[error("this is the last active superuser with a password; at least one must remain")]
    LastSuperuser,
    /// The password is wrong, or the user may not use the admin application.
    #[error("wrong password, or the user has no permission")]
    WrongPassword,
    /// Too many attempts, or the server is busy. Retry after this time.
    #[error("too many attempts")]
    Throttled(Duration),
    /// The store is unavailable.
    #[error("the store does not answer; try again")]
    Unavailable,
}

impl From<StoreError> for DeskError {
    fn from(error: StoreError) -> DeskError {
        store::report("the store does not answer the admin application", &error);
        DeskError::Unavailable
    }
}

impl From<AccountError> for DeskError {
    fn from(error: AccountError) -> DeskError {
        match error {
            AccountError::UnknownUser(user) => DeskError::UnknownUser(user),
            AccountError::NameTaken(_) | AccountError::IdTaken(_) => DeskError::Conflict(error.to_string()),
            AccountError::Invalid(_) => DeskError::Invalid(error.to_string()),
            AccountError::InDjango => DeskError::Conflict(error.to_string()),
            AccountError::LastSuperuser => DeskError::LastSuperuser,
            AccountError::Hashing(HashingFailed::Busy) => DeskError::Throttled(Duration::from_secs(1)),
            AccountError::Hashing(error) => {
                tracing::error!(code = "hashing_failed", %error, "a password could not be hashed");
                DeskError::Unavailable
            }
            AccountError::Store(error) => error.into(),
        }
    }
}

impl From<LedgerError> for DeskError {
    fn from(error: LedgerError) -> DeskError {
        match error {
            LedgerError::UnknownUser(user) => DeskError::UnknownUser(user),
            LedgerError::UnknownToken => DeskError::UnknownToken,
            LedgerError::InvalidName | LedgerError::InvalidEnd | LedgerError::ScopesTooLong => {
                DeskError::Invalid(error.to_string())
            }
            LedgerError::Store(error) => error.into(),
            refused => DeskError::Conflict(refused.to_string()),
        }
    }
}

impl From<LoginFailure> for DeskError {
    fn from(failure: LoginFailure) -> DeskError {
        match failure {
            LoginFailure::Refused => DeskError::WrongPassword,
            LoginFailure::Throttled(wait) => DeskError::Throttled(wait),
            LoginFailure::Unavailable => DeskError::Unavailable,
            LoginFailure::Unfulfilled(why) => DeskError::Conflict(why),
        }
    }
}
