//! Gives tokens and sessions for passwords.
//!
//! Control half. Workers ask through an [`IssuerHandle`]; the [`Issuer`] compares the password, if it may be tried once
//! more (`attempts`), and fetches what it gives. What a user does with a session on the account page goes the same way
//! (`account`).

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::attempts::{Attempts, Claimant};
use crate::clock::Clock;
use crate::config::settings;
use crate::store::{self, AccountError, Act, Actor, HashingFailed, LedgerError, Password, Store, User, Via};
use crate::token::{SubjectId, TokenKey};

/// Most logins that wait to be looked at.
const QUEUE: usize = 64;
/// Most logins at once. Nearly all of them have failed and wait for `login.failed_after` to be told.
const IN_FLIGHT: usize = 512;
/// Longest that anybody is put off because too many others are there. About as long as those take who were there first.
const SOON: u64 = 4;

/// Why a login gives no token, or a wish is not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// There is no active user of this name with this password. Which of it is wrong, nobody learns.
    #[error("no active user of this name has this password")]
    Refused,
    /// Too many attempts, or too many people at once; nothing was compared. May be tried again after this time.
    #[error("too many attempts")]
    Throttled(Duration),
    /// Nobody can know at the moment. Never means that the password is wrong.
    #[error("passwords cannot be checked at the moment")]
    Unavailable,
    /// The wish itself cannot be fulfilled, for this reason.
    #[error("{0}")]
    Unfulfilled(String),
}

/// Who wants to log in.
pub struct Login {
    /// The user name, as it is looked up.
    pub name: String,
    /// The password.
    pub password: Password,
    /// The address of the client.
    pub from: IpAddr,
}

/// Something to do at the desk; it answers by itself.
type Errand = Box<dyn FnOnce(Arc<Desk>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Where workers ask.
#[derive(Clone)]
pub struct IssuerHandle(mpsc::Sender<Errand>);

impl IssuerHandle {
    /// The login token of the user. Dropping the future is fine; the attempt counts all the same.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn log_in(&self, login: Login) -> Result<TokenKey, LoginFailure> {
        self.ask(|desk| async move { desk.log_in(login).await }).await
    }

    /// Is this the password of somebody who is signed in? Counts and takes its time as every login does, but not for
    /// those who try the same name without being signed in.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn confirm(&self, who: SubjectId, login: Login) -> Result<(), LoginFailure> {
        self.ask(move |desk| async move { desk.is_password_of(who, login).await }).await
    }

    /// Has it done at the desk.
    pub(super) async fn ask<T, F>(
        &self,
        errand: impl FnOnce(Arc<Desk>) -> F + Send + 'static,
    ) -> Result<T, LoginFailure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LoginFailure>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let errand: Errand = Box::new(|desk| {
            let work = errand(desk);
            Box::pin(async move {
                // The client may have left.
                let _ = reply.send(work.await);
            })
        });
        self.0.try_send(errand).map_err(|_| LoginFailure::Throttled(soon()))?;
        answer.await.unwrap_or(Err(LoginFailure::Unavailable))
    }
}

/// Gives tokens and sessions for passwords.
pub struct Issuer {
    desk: Arc<Desk>,
    errands: mpsc::Receiver<Errand>,
}

/// What every login needs.
pub(super) struct Desk {
    pub(super) store: Store,
    /// By which door people come here.
    via: Via,
    attempts: Attempts,
    pub(super) session_ttl: Duration,
}

impl Issuer {
    /// An issuer for those who come by this door, and the handle to ask it with.
    pub fn new(store: Store, via: Via, settings: &settings::Login, clock: Clock) -> (Issuer, IssuerHandle) {
        let (sender, errands) = mpsc::channel(QUEUE);
        let attempts = Attempts::new(settings, clock);
        let session_ttl = settings.browser.clone().unwrap_or_default().session_ttl;
        let desk = Arc::new(Desk { store, via, attempts, session_ttl });
        (Issuer { desk, errands }, IssuerHandle(sender))
    }

    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = under_way.join_next() => {}
                errand = self.errands.recv(), if under_way.len() < IN_FLIGHT => {
                    let Some(errand) = errand else { break };
                    under_way.spawn(errand(Arc::clone(&self.desk)));
                }
            }
        }
    }
}

impl Desk {
    async fn log_in(&self, login: Login) -> Result<TokenKey, LoginFailure> {
        let Login { name, password, from } = login;
        self.attempt(Claimant { name: &name, signed_in: None }, from, async {
            let account = self.user(&name, password).await?.account;
            let issued = self.on_behalf_of(account.id, account.name, from).ledger.issue_login(account.id).await;
            issued.map(|issued| issued.key).map_err(|error| ledger_failure(&error))
        })
        .await
    }

    /// Whose password this is.
    pub(super) async fn user(&self, name: &str, password: Password) -> Result<User, LoginFailure> {
        match self.store.accounts.verify_password(name, password).await {
            Ok(user) => user.ok_or(LoginFailure::Refused),
            Err(error) => Err(account_failure(&error)),
        }
    }

    /// Is it theirs?
    pub(super) async fn is_password_of(&self, who: SubjectId, login: Login) -> Result<(), LoginFailure> {
        let Login { name, password, from } = login;
        let claimant = Claimant { name: &name, signed_in: Some(who) };
        self.attempt(claimant, from, async {
            // The name may have passed to somebody else a moment ago.
            let found = self.user(&name, password).await?.account.id;
            if found == who { Ok(()) } else { Err(LoginFailure::Refused) }
        })
        .await
    }

    /// The store as it is for a user who looks after what is their own.
    pub(super) fn on_behalf_of(&self, id: SubjectId, name: String, from: IpAddr) -> Store {
        self.store.acting_as(Actor { id: Some(id), name, from: Some(from), via: self.via })
    }

    /// The answer does not hang on it.
    async fn note_failure(&self, name: &str, from: IpAddr) {
        let store = self.store.acting_as(Actor { from: Some(from), via: self.via, ..Actor::gateway() });
        if let Some(audit) = store.audit
            && let Err(error) = audit.note(Act::LoginFailed, name).await
        {
            tracing::warn!(code = "audit_failed", %error, "a failed login could not be written to the audit trail");
        }
    }

    /// Does what compares a password, if it may be tried once more. It counts only if the password is refused.
    pub(super) async fn attempt<T>(
        &self,
        who: Claimant<'_>,
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

/// When to come again if too many others are there: each another second, so that they do not come all at once.
fn soon() -> Duration {
    static TURN: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(1 + TURN.fetch_add(1, Ordering::Relaxed) % SOON)
}

pub(super) fn account_failure(error: &AccountError) -> LoginFailure {
    match error {
        AccountError::Hashing(HashingFailed::Busy) => LoginFailure::Throttled(soon()),
        error => unavailable(error),
    }
}

pub(super) fn ledger_failure(error: &LedgerError) -> LoginFailure {
    match error {
        // Deleted a moment ago.
        LedgerError::UnknownUser(_) => LoginFailure::Refused,
        LedgerError::ReadOnly => {
            tracing::warn!(code = "store_read_only", %error, "a user without a token has logged in");
            LoginFailure::Unfulfilled("You have no token yet, and no token can be created here.".to_owned())
        }
        LedgerError::NotMade(_) => {
            tracing::warn!(code = "store_makes_no_tokens", %error, "a user without a token has logged in");
            LoginFailure::Unfulfilled("You have no token yet, and no token can be created here.".to_owned())
        }
        LedgerError::NoneCounts(_) => {
            tracing::warn!(code = "no_live_token", %error, "a user without a valid token has logged in");
            let told = "Your token has expired or was revoked or disabled, and none can be made here.";
            LoginFailure::Unfulfilled(told.to_owned())
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

    use super::{SOON, soon};

    #[test]
    fn those_who_are_put_off_together_do_not_come_back_together() {
        let told: HashSet<_> = (0..SOON).map(|_| soon().as_secs()).collect();
        assert!(told.iter().all(|seconds| (1..=SOON).contains(seconds)) && told.len() > 1, "{told:?}");
    }
}
