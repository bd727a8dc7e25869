//! A user on the way from another system into our store, and what became of that.
//!
//! An import overwrites nothing. It says all that it could not take over and all that differs; if it is asked to, it also
//! ends what it brought earlier and what does not count in the other system any more.

use zeroize::Zeroizing;

use super::user::{InvalidUser, NewUser, User};
use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenHint};

/// One import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The other system, without anything secret. The store notes it beside what it takes over.
    pub source: String,
    /// End what came from there and does not count there any more?
    pub prune: bool,
}

/// A user as another system knows it.
pub struct Arrival {
    /// The user.
    pub user: User,
    /// The hash of the password, as it is.
    pub password: Zeroizing<String>,
    /// The tokens.
    pub tokens: Vec<ArrivingToken>,
}

/// A token as another system knows it.
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

/// Why a token of another system must not count in our store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It does not count there.
    #[error("it is revoked or disabled there, or its row is not understood")]
    Disabled,
    /// It does not count there.
    #[error("it has expired there")]
    Expired,
    /// It does not count there.
    #[error("several tokens have its key there, so it does not count")]
    Shared,
    /// Our store has no place for that.
    #[error("it may only be used to read there, which this store cannot keep")]
    ReadOnly,
    /// Our store has no place for that.
    #[error("it is limited to networks there, which this store cannot keep")]
    Networks,
}

impl Withheld {
    /// Does it count there? Then its owner may miss it here.
    pub fn is_live(self) -> bool {
        matches!(self, Withheld::ReadOnly | Withheld::Networks)
    }
}

/// What became of an [`Arrival`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Of the user.
    pub user: UserTaken,
    /// Of each token, newest first.
    pub tokens: Vec<(TokenLabel, TokenTaken)>,
    /// The algorithm of a password hash that no password can be compared with, so that the user has none here.
    pub password_lost: Option<String>,
    /// What counts here but not there.
    pub stale: Stale,
}

/// How a token is named in a report. The key itself is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLabel {
    /// The beginning of its key; `None` if that is no key.
    pub hint: Option<TokenHint>,
    /// When it was issued.
    pub created: Timestamp,
}

/// What came from the other system earlier, counts here, and does not count there any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Is the user active here and gone or inactive there?
    pub user: bool,
    /// The tokens.
    pub tokens: Vec<TokenLabel>,
}

/// A user who came from the other system earlier and is gone there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The id.
    pub id: SubjectId,
    /// The name.
    pub name: String,
    /// What counts here all the same.
    pub stale: Stale,
}

/// What became of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserTaken {
    /// Is here now.
    New,
    /// Was here; what differs from the arrival was left as it is.
    There {
        /// "password", "groups (here: a; there: a, b)".
        differs: Vec<String>,
    },
    /// Cannot be here, and why; the tokens are not either.
    Skipped(String),
}

/// What became of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenTaken {
    /// Is here now, as the login token.
    Login,
    /// Is here now as a named token, since the user has a login token already.
    Named(String),
    /// Was here.
    There,
    /// Was here, and lives longer than there.
    Outlives(Timestamp),
    /// Is not here, since it does not count there either.
    Dead(Withheld),
    /// Cannot be here, and why.
    Skipped(String),
    /// Must not be here, since it would mean more than there; or it is, and the operator has to end it.
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

impl TokenLabel {
    /// The day of a time, as labels name tokens.
    pub fn day(at: Timestamp) -> String {
        at.to_string().chars().take(10).collect()
    }
}

impl Stale {
    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        !self.user && self.tokens.is_empty()
    }
}
