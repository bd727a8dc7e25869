//! A user on the way from another store into ours, and what became of that.

use zeroize::Zeroizing;

use super::user::{InvalidUser, NewUser, User};
use crate::clock::Timestamp;

/// A user as another store knows it.
pub struct Arrival {
    /// The user.
    pub user: User,
    /// The hash of the password, as it is.
    pub password: Zeroizing<String>,
    /// The key of the login token, and when it was issued.
    pub token: Option<(Zeroizing<String>, Timestamp)>,
}

/// What became of an [`Arrival`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Of the user.
    pub user: UserTaken,
    /// Of the token.
    pub token: TokenTaken,
}

/// What became of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserTaken {
    /// Is here now.
    New,
    /// Was here; what differs from the arrival was left as it is.
    There {
        /// "password", "groups".
        differs: Vec<&'static str>,
    },
    /// Cannot be here, and why; the token is not either.
    Skipped(String),
}

/// What became of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenTaken {
    /// The user brought none.
    Missing,
    /// Is here now.
    New,
    /// Was here.
    There,
    /// Cannot be here, and why.
    Skipped(String),
}

impl Arrival {
    /// The user as one to create, without the password.
    ///
    /// # Errors
    /// What our own store does not let a user be called.
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
