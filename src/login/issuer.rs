//! Issues tokens and sessions for passwords.
//!
//! Runs in the control half. Workers ask through an [`IssuerHandle`]. The [`Issuer`] checks the rate limits
//! (`attempts`), compares the password and fetches the result. Account page actions take the same path (`account`).

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::attempts::{AttemptedUser, Attempts};
use crate::clock::Clock;
use crate::config::settings;
use crate::store::{
    self, AccountError, Act, Actor, HashingFailed, Issued, LedgerError, Password, Store, TokenKind, TokenRef, User, Via,
};
use crate::token::{SubjectId, TokenId};

/// Maximum number of queued logins.
const QUEUE: usize = 64;
/// Maximum number of concurrent logins. Nearly all of them have failed and wait for `login.failed_after`.
const MAX_CONCURRENT: usize = 512;
/// Longest `Retry-After` when the queue is full: about the time that the queued logins need.
const MAX_RETRY_AFTER: u64 = 4;

/// Why a login or an account action failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// Wrong username or password, or an inactive user. The client does not learn which.
    #[error("no active user of this name has this password")]
    Refused,
    /// Rate-limited, or too many concurrent logins; no password was compared. Holds the time until the next try.
    #[error("too many attempts")]
    Throttled(Duration),
    /// The result is unknown because of an outage. Never means that the password is wrong.
    #[error("passwords cannot be checked at the moment")]
    Unavailable,
    /// The password is right, but the user has to change it before the next sign-in.
    #[error("the password has to be changed before the next sign-in")]
    MustChange,
    /// The action is refused for this reason.
    #[error("{0}")]
    Unfulfilled(String),
    /// A field of the form is not valid.
    #[error("{1}")]
    InvalidField(AccountField, String),
}

/// A field of a form for accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountField {
    /// The present password of the user.
    Password,
    /// The name of a token.
    Name,
    /// When a token expires.
    Expires,
    /// A new password.
    NewPassword,
}

/// A login request.
pub struct Login {
    /// The username, exactly as it is looked up.
    pub name: String,
    /// The password.
    pub password: Password,
    /// The address of the client.
    pub from: IpAddr,
}

/// A request to revoke tokens.
pub struct LogOut {
    /// The user.
    pub user: SubjectId,
    /// The username.
    pub name: String,
    /// The token of the request.
    pub token: TokenId,
    /// The address of the client.
    pub from: IpAddr,
    /// Whether all tokens from logins of the user are meant.
    pub all: bool,
}

/// A job for the issuer; it sends its own reply.
type Job = Box<dyn FnOnce(Arc<LoginService>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The workers' handle to the issuer.
#[derive(Clone)]
pub struct IssuerHandle(mpsc::Sender<Job>);

impl IssuerHandle {
    /// A handle without an issuer: every login fails. For requests that are explained and not served.
    pub fn nowhere() -> IssuerHandle {
        IssuerHandle(mpsc::channel(1).0)
    }

    /// Returns the token of the user for a login. `device` is the name of a token for one device. If the future is
    /// dropped, the attempt still counts.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn log_in(&self, login: Login, device: String) -> Result<Issued, LoginFailure> {
        self.ask(|service| async move { service.log_in(login, &device).await }).await
    }

    /// Revokes the token of a caller if a login has issued it, or all such tokens of the caller.
    ///
    /// # Errors
    /// [`LoginFailure::Unfulfilled`] for a token that no login has issued, and [`LoginFailure::Unavailable`].
    pub async fn log_out(&self, caller: LogOut) -> Result<(), LoginFailure> {
        self.ask(|service| async move { service.log_out(caller).await }).await
    }

    /// Checks the password of a user who is signed in. It is rate-limited and takes its time like every login, but
    /// failed attempts of other clients with the same name do not count.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn confirm(&self, who: SubjectId, login: Login) -> Result<(), LoginFailure> {
        self.ask(move |service| async move { service.is_password_of(who, login).await }).await
    }

    /// Runs a job in the issuer.
    pub(super) async fn ask<T, F>(
        &self,
        job: impl FnOnce(Arc<LoginService>) -> F + Send + 'static,
    ) -> Result<T, LoginFailure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LoginFailure>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(|service| {
            let work = job(service);
            Box::pin(async move {
                // The client may have disconnected.
                let _ = reply.send(work.await);
            })
        });
        self.0.try_send(job).map_err(|_| LoginFailure::Throttled(soon()))?;
        answer.await.unwrap_or(Err(LoginFailure::Unavailable))
    }
}

/// Issues tokens and sessions for passwords.
pub struct Issuer {
    service: Arc<LoginService>,
    jobs: mpsc::Receiver<Job>,
}

/// The dependencies of a login job.
pub(super) struct LoginService {
    pub(super) store: Store,
    /// The interface through which users log in; it appears in the audit trail.
    via: Via,
    attempts: Attempts,
    pub(super) clock: Clock,
    pub(super) session_ttl: Duration,
}

impl Issuer {
    /// Creates an issuer for one interface, and its handle.
    pub fn new(store: Store, via: Via, settings: &settings::Login, clock: Clock) -> (Issuer, IssuerHandle) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let attempts = Attempts::new(settings, clock.clone());
        let session_ttl = settings.browser.clone().unwrap_or_default().session_ttl;
        let service = Arc::new(LoginService { store, via, attempts, clock, session_ttl });
        (Issuer { service, jobs }, IssuerHandle(sender))
    }

    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = under_way.join_next() => {}
                job = self.jobs.recv(), if under_way.len() < MAX_CONCURRENT => {
                    let Some(job) = job else { break };
                    under_way.spawn(job(Arc::clone(&self.service)));
                }
            }
        }
    }
}

impl LoginService {
    async fn log_in(&self, login: Login, device: &str) -> Result<Issued, LoginFailure> {
        let Login { name, password, from } = login;
        self.attempt(AttemptedUser { name: &name, signed_in: None }, from, async {
            let account = self.user(&name, password).await?.account;
            let issued = self.on_behalf_of(account.id, account.name, from).ledger.log_in(account.id, device).await;
            issued.map_err(|error| ledger_failure(&error))
        })
        .await
    }

    async fn log_out(&self, asked: LogOut) -> Result<(), LoginFailure> {
        let LogOut { user, name, token, from, all } = asked;
        let ledger = self.on_behalf_of(user, name, from).ledger;
        let found = ledger.show(TokenRef::Id(token)).await.map_err(|error| unavailable(&error))?;
        if found.is_some_and(|found| found.kind == TokenKind::Named && !found.device) {
            let told = "This token was not issued by a login, so it cannot log out.";
            return Err(LoginFailure::Unfulfilled(told.to_owned()));
        }
        let ended = match all {
            true => ledger.log_out_all(user).await.map(drop),
            false => ledger.revoke(TokenRef::Id(token)).await.map(drop),
        };
        match ended {
            // Another request has ended it, or its user was deleted.
            Ok(()) | Err(LedgerError::UnknownToken | LedgerError::UnknownUser(_)) => Ok(()),
            Err(LedgerError::ReadOnly) => Err(LoginFailure::Unfulfilled("Tokens cannot be ended here.".to_owned())),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The user whose password it is.
    pub(super) async fn user(&self, name: &str, password: Password) -> Result<User, LoginFailure> {
        match self.store.accounts.verify_password(name, password).await {
            Ok(Some(user)) if user.must_change_password => Err(LoginFailure::MustChange),
            Ok(user) => user.ok_or(LoginFailure::Refused),
            Err(error) => Err(account_failure(&error)),
        }
    }

    /// Compares the password.
    pub(super) async fn is_password_of(&self, who: SubjectId, login: Login) -> Result<(), LoginFailure> {
        let Login { name, password, from } = login;
        let claimant = AttemptedUser { name: &name, signed_in: Some(who) };
        self.attempt(claimant, from, async {
            // The name may have passed to another user a moment ago.
            let found = self.user(&name, password).await?.account.id;
            if found == who { Ok(()) } else { Err(LoginFailure::Refused) }
        })
        .await
    }

    /// The store, acting for a user who manages their own account.
    pub(super) fn on_behalf_of(&self, id: SubjectId, name: String, from: IpAddr) -> Store {
        self.store.acting_as(Actor { id: Some(id), name, from: Some(from), via: self.via })
    }

    /// Best effort: the response does not depend on it.
    async fn note_failure(&self, name: &str, from: IpAddr) {
        let store = self.store.acting_as(Actor { from: Some(from), via: self.via, ..Actor::gateway() });
        if let Some(audit) = store.audit
            && let Err(error) = audit.note(Act::LoginFailed, name).await
        {
            tracing::warn!(code = "audit_failed", %error, "a failed login could not be written to the audit trail");
        }
    }

    /// Runs `work`, which compares a password, if the rate limits allow it. The attempt counts only if the password is
    /// wrong.
    pub(super) async fn attempt<T>(
        &self,
        who: AttemptedUser<'_>,
        from: IpAddr,
        work: impl Future<Output = Result<T, LoginFailure>>,
    ) -> Result<T, LoginFailure> {
        let attempt = self.attempts.begin(who, from).await.map_err(LoginFailure::Throttled)?;
        let answer = work.await;
        if matches!(answer, Err(LoginFailure::Refused)) {
            self.note_failure(who.name, from).await;
        } else {
            attempt.forgive();
        }
        answer
    }
}

/// The `Retry-After` for a full queue, spread over several seconds so that clients do not all return at once.
fn soon() -> Duration {
    static TURN: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(1 + TURN.fetch_add(1, Ordering::Relaxed) % MAX_RETRY_AFTER)
}

pub(super) fn account_failure(error: &AccountError) -> LoginFailure {
    match error {
        AccountError::Hashing(HashingFailed::Busy) => LoginFailure::Throttled(soon()),
        error => unavailable(error),
    }
}

pub(super) fn ledger_failure(error: &LedgerError) -> LoginFailure {
    match error {
        // The user was deleted a moment ago.
        LedgerError::UnknownUser(_) => LoginFailure::Refused,
        LedgerError::ReadOnly => {
            tracing::warn!(code = "store_read_only", %error, "a user without a token has logged in");
            LoginFailure::Unfulfilled("You have no token yet, and no token can be created here.".to_owned())
        }
        LedgerError::NotMade(_) => {
            tracing::warn!(code = "store_makes_no_tokens", %error, "a user without a token has logged in");
            LoginFailure::Unfulfilled("You have no token yet, and no token can be created here.".to_owned())
        }
        LedgerError::NoValidToken(_) => {
            tracing::warn!(code = "no_live_token", %error, "a user without a valid token has logged in");
            let told = "Your token has expired or was revoked or disabled, and none can be made here.";
            LoginFailure::Unfulfilled(told.to_owned())
        }
        LedgerError::TooMany { most, .. } => {
            let word = if *most == 1 { "token" } else { "tokens" };
            LoginFailure::Unfulfilled(format!("You have {most} {word}, the maximum. Revoke one first."))
        }
        LedgerError::OnlyLogin => {
            LoginFailure::Unfulfilled("A user can have only one token here, without a name.".to_owned())
        }
        error => unavailable(error),
    }
}

pub(super) fn unavailable(error: &(dyn std::error::Error + 'static)) -> LoginFailure {
    store::report("a login could not be checked", error);
    LoginFailure::Unavailable
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MAX_RETRY_AFTER, soon};

    #[test]
    fn clients_that_are_refused_together_get_different_delays() {
        let told: HashSet<_> = (0..MAX_RETRY_AFTER).map(|_| soon().as_secs()).collect();
        assert!(told.iter().all(|seconds| (1..=MAX_RETRY_AFTER).contains(seconds)) && told.len() > 1, "{told:?}");
    }
}
