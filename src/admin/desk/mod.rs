//! What can be done with users and tokens, by whom.
//!
//! The pages and the JSON API both act through an [`Acting`], which is somebody at the [`Desk`]: it looks whether they
//! may, does it on their behalf, so that it is theirs in the audit trail, and says in one kind of error why not.
//!
//! | who | may |
//! |---|---|
//! | superuser | everything, except to switch off, demote or delete themselves: somebody has to stay |
//! | staff | see users who are neither staff nor superusers, and look after their tokens, but for [`SCOPE`] |
//!
//! Two superusers who shut one another out in the same moment are kept from it by the store: the last one stays.

mod error;
mod look_up;
mod tokens;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{IssuerHandle, Login};
use crate::clock::Clock;
use crate::store::{
    Act, Actor, AuditEntry, AuditQuery, AuditTrail, Directory, ListId, Listing, NoPlace, Password, PasswordMark, Place,
    Store, User, Via,
};
use crate::token::SubjectId;

pub use self::error::DeskError;
pub use self::look_up::Found;
pub use self::tokens::TokenState;
pub use self::users::SHORTEST_PASSWORD;

/// The scope of tokens that act here. Only superusers give it: whoever issues a token has seen its key, and its owner
/// may be made staff or superuser later.
pub const SCOPE: &str = "tokengate:admin";
/// A live token that was not used for so long is listed as unused.
pub const UNUSED_AFTER: Duration = Duration::from_secs(90 * 86_400);
/// A live token with an end within this time is listed as ending soon.
pub const ENDING_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// Where users and tokens are looked after.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    directory: Arc<dyn Directory>,
    audit: Arc<dyn AuditTrail>,
    issuer: IssuerHandle,
    clock: Clock,
}

/// What somebody may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Looks after the tokens of ordinary users.
    Staff,
    /// Does everything.
    Superuser,
}

/// Somebody who may act here, and how they came.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub user: User,
    /// What they may do.
    pub rights: Rights,
    /// By which door they came.
    pub via: Via,
    /// From which address.
    pub from: IpAddr,
}

/// Somebody at the desk.
pub struct Acting<'d> {
    desk: &'d Desk,
    caller: &'d Caller,
    /// The store on behalf of the caller.
    store: Store,
}

impl Desk {
    /// `None`: the users of this store are looked after elsewhere.
    pub fn new(store: Store, issuer: IssuerHandle, clock: Clock) -> Option<Desk> {
        let (directory, audit) = (Arc::clone(store.directory.as_ref()?), Arc::clone(store.audit.as_ref()?));
        Some(Desk { store, directory, audit, issuer, clock })
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The store, on nobody's behalf.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who this is, if the password is right and the user may act here. Counts and takes its time as every login does.
    ///
    /// # Errors
    /// [`DeskError::WrongPassword`], also for users who may not act here; [`DeskError::Throttled`],
    /// [`DeskError::Unavailable`].
    pub async fn sign_in(&self, login: Login, via: Via) -> Result<(Caller, PasswordMark), DeskError> {
        let from = login.from;
        let (user, mark) = self.issuer.sign_in(login).await?;
        let caller = Caller::of(user, via, from).ok_or(DeskError::WrongPassword)?;
        self.act_for(&caller).store.accounts.note_sign_in(caller.user.account.id).await?;
        Ok((caller, mark))
    }

    /// Somebody who proved before who they are, as they stand now; `None`: may not act here any more.
    ///
    /// # Errors
    /// [`DeskError::Unavailable`].
    pub async fn known(
        &self,
        id: SubjectId,
        via: Via,
        from: IpAddr,
    ) -> Result<Option<(Caller, PasswordMark)>, DeskError> {
        let Some((user, mark)) = self.directory.standing(id).await? else { return Ok(None) };
        Ok(Caller::of(user, via, from).map(|caller| (caller, mark)))
    }

    /// Lets somebody act.
    pub fn act_for<'d>(&'d self, caller: &'d Caller) -> Acting<'d> {
        let account = &caller.user.account;
        let actor =
            Actor { id: Some(account.id), name: account.name.clone(), via: caller.via, from: Some(caller.from) };
        Acting { desk: self, caller, store: self.store.acting_as(actor) }
    }
}

impl Caller {
    /// `None`: may not act here.
    fn of(user: User, via: Via, from: IpAddr) -> Option<Caller> {
        let rights = if user.superuser { Rights::Superuser } else { Rights::Staff };
        let may = user.account.active && (user.staff || user.superuser);
        may.then_some(Caller { user, rights, via, from })
    }

    /// Only for superusers.
    ///
    /// # Errors
    /// [`DeskError::NotAllowed`].
    pub fn needs_superuser(&self) -> Result<(), DeskError> {
        match self.rights {
            Rights::Superuser => Ok(()),
            Rights::Staff => Err(DeskError::NotAllowed("only superusers may do that")),
        }
    }
}

impl Acting<'_> {
    /// Is this the caller's password? Counts and takes its time as every login does; who tries the caller's name
    /// elsewhere keeps nobody from it.
    ///
    /// # Errors
    /// [`DeskError::WrongPassword`], [`DeskError::Throttled`], [`DeskError::Unavailable`].
    pub async fn confirm(&self, password: Password) -> Result<(), DeskError> {
        let account = &self.caller.user.account;
        let login = Login { name: account.name.clone(), password, from: self.caller.from };
        Ok(self.desk.issuer.confirm(account.id, login).await?)
    }

    /// The audit trail. Staff sees only what was done to ordinary users, one at a time.
    ///
    /// # Errors
    /// [`DeskError::NotAllowed`], [`DeskError::UnknownUser`], [`DeskError::Invalid`] for a place in another list,
    /// [`DeskError::Unavailable`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<Listing<AuditEntry>, DeskError> {
        check_place(&query.place, ListId::AUDIT)?;
        if self.caller.rights == Rights::Superuser {
            return Ok(self.desk.audit.entries(query).await?);
        }
        let user = query.user.ok_or(DeskError::NotAllowed("only superusers may see the whole audit trail"))?;
        self.user(user).await?;
        // Whoever was called so before may have been anybody.
        Ok(self.desk.audit.entries(&AuditQuery { user_name: None, ..query.clone() }).await?)
    }

    /// Notes something that the caller did to themselves, such as signing out.
    ///
    /// # Errors
    /// [`DeskError::Unavailable`].
    pub async fn note(&self, act: Act) -> Result<(), DeskError> {
        match &self.store.audit {
            Some(audit) => Ok(audit.note(act, &self.caller.user.account.name).await?),
            None => Ok(()),
        }
    }
}

/// A store would take a place in another list for a mistake of ours.
fn check_place(place: &Place, list: ListId) -> Result<(), DeskError> {
    if place.suits(list) { Ok(()) } else { Err(DeskError::Invalid(NoPlace.to_string())) }
}
