//! Errors of operations.

use std::time::Duration;

use crate::login::{AccountField, LoginFailure};
use crate::store::{self, AccountError, HashingFailed, InvalidUser, LedgerError, StoreError};
use crate::token::SubjectId;

/// Reason why an action failed. The text may be shown to the caller.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
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
    /// A field of the input is not valid; its name is that of the API.
    #[error("{1}")]
    InvalidField(&'static str, String),
    /// The change conflicts with existing data.
    #[error("{0}")]
    Conflict(String),
    /// Something else has the value of this field already; the name of the field is that of the API.
    #[error("{1}")]
    Taken(&'static str, String),
    /// At least one superuser must remain.
    #[error("this is the last active superuser with a password; at least one must remain")]
    LastSuperuser,
    /// The password is wrong, or the user may not use the admin application.
    #[error("wrong password, or the user has no permission")]
    WrongPassword,
    /// The action needs the caller's own password, and it was not entered.
    #[error("enter your own password; nothing was changed")]
    Unconfirmed,
    /// The password is right, but has to be changed first.
    #[error("choose a new password; the one that you were given works only once")]
    MustChange,
    /// Too many attempts, or the server is busy. Retry after this time.
    #[error("too many attempts")]
    Throttled(Duration),
    /// The store is unavailable.
    #[error("the store does not answer; try again")]
    Unavailable,
}

impl OperationError {
    /// Whether a form was refused for what it contains, so that it can be corrected and sent again.
    pub fn is_of_form(&self) -> bool {
        self.is_of_password()
            || matches!(
                self,
                OperationError::Invalid(_)
                    | OperationError::InvalidField(..)
                    | OperationError::Conflict(_)
                    | OperationError::Taken(..)
                    | OperationError::LastSuperuser
            )
    }

    /// Whether the caller's own password was not accepted.
    pub fn is_of_password(&self) -> bool {
        matches!(self, OperationError::WrongPassword | OperationError::Unconfirmed | OperationError::Throttled(_))
    }

    /// Returns the field that the error is about; its name is that of the API.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            OperationError::InvalidField(field, _) | OperationError::Taken(field, _) => Some(field),
            OperationError::WrongPassword | OperationError::Unconfirmed => Some("own_password"),
            _ => None,
        }
    }
}

fn field_of(invalid: &InvalidUser) -> &'static str {
    match invalid {
        InvalidUser::Id => "id",
        InvalidUser::Name | InvalidUser::Invisible => "name",
        InvalidUser::Email => "email",
        InvalidUser::FirstName => "first_name",
        InvalidUser::LastName => "last_name",
        InvalidUser::Group | InvalidUser::Groups => "groups",
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> OperationError {
        store::report("the store does not answer the admin application", &error);
        OperationError::Unavailable
    }
}

impl From<AccountError> for OperationError {
    fn from(error: AccountError) -> OperationError {
        match error {
            AccountError::UnknownUser(user) => OperationError::UnknownUser(user),
            AccountError::NameTaken(_) => OperationError::Taken("name", error.to_string()),
            AccountError::IdTaken(_) => OperationError::Taken("id", error.to_string()),
            AccountError::Invalid(invalid) => OperationError::InvalidField(field_of(&invalid), invalid.to_string()),
            AccountError::InDjango => OperationError::Conflict(error.to_string()),
            AccountError::LastSuperuser => OperationError::LastSuperuser,
            AccountError::Hashing(HashingFailed::Busy) => OperationError::Throttled(Duration::from_secs(1)),
            AccountError::Hashing(error) => {
                tracing::error!(code = "hashing_failed", %error, "a password could not be hashed");
                OperationError::Unavailable
            }
            AccountError::Store(error) => error.into(),
        }
    }
}

impl From<LedgerError> for OperationError {
    fn from(error: LedgerError) -> OperationError {
        match error {
            LedgerError::UnknownUser(user) => OperationError::UnknownUser(user),
            LedgerError::UnknownToken => OperationError::UnknownToken,
            LedgerError::InvalidName | LedgerError::Nameless => OperationError::InvalidField("name", error.to_string()),
            LedgerError::InvalidEnd => OperationError::InvalidField("expires", error.to_string()),
            LedgerError::InvalidNote => OperationError::InvalidField("note", error.to_string()),
            LedgerError::InvalidNetworks => OperationError::InvalidField("networks", error.to_string()),
            LedgerError::InvalidDays => OperationError::InvalidField("unused_days", error.to_string()),
            LedgerError::ScopesTooLong => OperationError::InvalidField("scopes", error.to_string()),
            LedgerError::Store(error) => error.into(),
            refused => OperationError::Conflict(refused.to_string()),
        }
    }
}

impl From<LoginFailure> for OperationError {
    fn from(failure: LoginFailure) -> OperationError {
        match failure {
            LoginFailure::Refused => OperationError::WrongPassword,
            LoginFailure::Throttled(wait) => OperationError::Throttled(wait),
            LoginFailure::MustChange => OperationError::MustChange,
            LoginFailure::Unavailable => OperationError::Unavailable,
            LoginFailure::Unfulfilled(why) => OperationError::Conflict(why),
            LoginFailure::InvalidField(field, why) => OperationError::InvalidField(
                match field {
                    AccountField::Password => "password",
                    AccountField::Name => "name",
                    AccountField::Expires => "expires",
                    AccountField::NewPassword => "new_password",
                },
                why,
            ),
        }
    }
}
