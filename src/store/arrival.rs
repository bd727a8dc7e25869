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
    /// The login token.
    pub token: Option<ArrivingToken>,
}

/// A token as another store knows it.
pub struct ArrivingToken {
    /// The key.
    pub key: Zeroizing<String>,
    /// When it was issued.
    pub created: Timestamp,
    /// When it expires there; `None`: never.
    pub expires: Option<Timestamp>,
    /// Why it must not count here.
    pub withheld: Option<Withheld>,
}

/// Why a token of another store must not count in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It does not count there.
    #[error("it is revoked or disabled there, or its row is not understood")]
    Disabled,
    /// It does not count there.
    #[error("it has expired there")]
    Expired,
    /// Our store has no place for that.
    #[error("it may only be used to read there, which this store cannot keep")]
    ReadOnly,
    /// Our store has no place for that.
    #[error("it is limited to networks there, which this store cannot keep")]
    Networks,
}

impl Withheld {
    /// Did it count there? Then somebody may miss it here.
    pub fn is_live(self) -> bool {
        matches!(self, Withheld::ReadOnly | Withheld::Networks)
    }
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
    /// Must not be here as it would be: it would mean more than there. Or it is, and the operator has to end it.
    Refused(String),
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
