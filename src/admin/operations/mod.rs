//! Operations on users and tokens, with permission checks.
//!
//! The pages and the JSON API run all operations through [`Acting`], which combines a caller with the [`Operations`].
//! It checks permissions, acts on the caller's behalf for the audit trail, and reports failures as one error type.
//!
//! | role | permissions |
//! |---|---|
//! | superuser | everything, except deactivating, demoting or deleting themselves |
//! | staff | see users who are neither staff nor superusers, and manage their tokens, except tokens with [`SCOPE`] |
//!
//! The store prevents two superusers from removing each other at the same moment: the last one stays.

mod error;
mod look_up;
mod tokens;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::login::{IssuerHandle, Login};
use crate::store::{
    Act, Actor, AuditEntry, AuditQuery, AuditTrail, BadPosition, Directory, ListId, Listing, PagePosition, Password,
    PasswordMark, Store, User, Via,
};
use crate::token::SubjectId;

pub use self::error::OperationError;
pub use self::look_up::Found;
pub use self::tokens::TokenState;

/// Scope required by the admin API. Only superusers grant it: the issuer has seen the key, and its owner may become
/// staff or superuser later.
pub const SCOPE: &str = "tokengate:admin";
/// A live token unused for this long is listed as unused.
pub const UNUSED_AFTER: Duration = Duration::from_secs(90 * 86_400);
/// A live token that expires within this time is listed as expiring soon.
pub const ENDING_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// Entry point for operations on users and tokens.
#[derive(Clone)]
pub struct Operations {
    store: Store,
    directory: Arc<dyn Directory>,
    audit: Arc<dyn AuditTrail>,
    issuer: IssuerHandle,
    clock: Clock,
}

/// Role of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Manages tokens of ordinary users.
    Staff,
    /// Has all permissions.
    Superuser,
}

/// An authorised user, and the interface they use.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user.
    pub user: User,
    /// The role.
    pub rights: Rights,
    /// The interface.
    pub via: Via,
    /// The client's address.
    pub from: IpAddr,
}

/// A caller, whose permissions each operation checks.
pub struct Acting<'d> {
    operations: &'d Operations,
    caller: &'d Caller,
    /// The store, acting on behalf of the caller.
    store: Store,
}

impl Operations {
    /// `None`: users of this store are managed elsewhere.
    pub fn new(store: Store, issuer: IssuerHandle, clock: Clock) -> Option<Operations> {
        let (directory, audit) = (Arc::clone(store.directory.as_ref()?), Arc::clone(store.audit.as_ref()?));
        Some(Operations { store, directory, audit, issuer, clock })
    }

    /// Returns the current time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the store without an actor.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the user if the password is right and the user may use the admin application. Rate-limited, and takes
    /// the same time, like every login.
    ///
    /// # Errors
    /// [`OperationError::WrongPassword`], also for users who may not use the application;
    /// [`OperationError::Throttled`], [`OperationError::Unavailable`].
    pub async fn sign_in(&self, login: Login, via: Via) -> Result<(Caller, PasswordMark), OperationError> {
        let from = login.from;
        let (user, mark) = self.issuer.sign_in(login).await?;
        let caller = Caller::of(user, via, from).ok_or(OperationError::WrongPassword)?;
        self.act_for(&caller).store.accounts.note_sign_in(caller.user.account.id).await?;
        Ok((caller, mark))
    }

    /// Re-reads an authenticated user from the store; `None`: the user may no longer use the application.
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn known(
        &self,
        id: SubjectId,
        via: Via,
        from: IpAddr,
    ) -> Result<Option<(Caller, PasswordMark)>, OperationError> {
        let Some((user, mark)) = self.directory.standing(id).await? else { return Ok(None) };
        Ok(Caller::of(user, via, from).map(|caller| (caller, mark)))
    }

    /// Changes the password of a user who knows the former one.
    ///
    /// # Errors
    /// [`OperationError::WrongPassword`], [`OperationError::Conflict`] for a weak password,
    /// [`OperationError::Throttled`], [`OperationError::Unavailable`].
    pub async fn change_password(&self, login: Login, new: Password) -> Result<(), OperationError> {
        Ok(self.issuer.change_password(login, new).await?)
    }

    /// Whether no active superuser with a password exists, so that no sign-in can create users. `false` also if the
    /// store does not answer.
    pub async fn lacks_superuser(&self) -> bool {
        self.directory.has_superuser().await.is_ok_and(|has| !has)
    }

    /// Creates an [`Acting`] for the caller.
    pub fn act_for<'d>(&'d self, caller: &'d Caller) -> Acting<'d> {
        let account = &caller.user.account;
        let actor =
            Actor { id: Some(account.id), name: account.name.clone(), via: caller.via, from: Some(caller.from) };
        Acting { operations: self, caller, store: self.store.acting_as(actor) }
    }
}

impl Caller {
    /// `None`: the user may not use the application.
    fn of(user: User, via: Via, from: IpAddr) -> Option<Caller> {
        let rights = if user.superuser { Rights::Superuser } else { Rights::Staff };
        let may = user.account.active && (user.staff || user.superuser);
        may.then_some(Caller { user, rights, via, from })
    }

    /// Requires a superuser.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`].
    pub fn needs_superuser(&self) -> Result<(), OperationError> {
        match self.rights {
            Rights::Superuser => Ok(()),
            Rights::Staff => Err(OperationError::NotAllowed("only superusers can do this")),
        }
    }
}

impl Acting<'_> {
    /// Checks the caller's password. Rate-limited, and takes the same time, like every login. Failed logins elsewhere
    /// under the caller's name do not block it.
    ///
    /// # Errors
    /// [`OperationError::WrongPassword`], [`OperationError::Throttled`], [`OperationError::Unavailable`].
    pub async fn confirm(&self, password: Password) -> Result<(), OperationError> {
        let account = &self.caller.user.account;
        let login = Login { name: account.name.clone(), password, from: self.caller.from };
        Ok(self.operations.issuer.confirm(account.id, login).await?)
    }

    /// Lists the audit trail. Staff sees only entries about one ordinary user at a time.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`], [`OperationError::UnknownUser`], [`OperationError::Invalid`] for a page token of
    /// another list, [`OperationError::Unavailable`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<Listing<AuditEntry>, OperationError> {
        check_position(&query.position, ListId::AUDIT)?;
        if self.caller.rights == Rights::Superuser {
            return Ok(self.operations.audit.entries(query).await?);
        }
        let user = query.user.ok_or(OperationError::NotAllowed("only superusers can see the whole audit trail"))?;
        self.user(user).await?;
        // The name may have belonged to a different user before, and a part of a name fits several users.
        Ok(self.operations.audit.entries(&AuditQuery { user_name: None, ..query.clone() }).await?)
    }

    /// Records an action of callers on themselves, such as signing out.
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn note(&self, act: Act) -> Result<(), OperationError> {
        match &self.store.audit {
            Some(audit) => Ok(audit.note(act, &self.caller.user.account.name).await?),
            None => Ok(()),
        }
    }
}

/// Rejects a page token of another list; the store would report it as an internal error.
fn check_position(position: &PagePosition, list: ListId) -> Result<(), OperationError> {
    if position.suits(list) { Ok(()) } else { Err(OperationError::Invalid(BadPosition.to_string())) }
}
