//! The one connection for questions, and when not to ask.
//!
//! Either there is a connection that answers, or there is none and every question fails at once. One task makes
//! connections ([`Link::keep_up`]); questions never do, so that a dead server costs them nothing. It is also the
//! circuit breaker: three questions in a row that were not answered in time take the connection away, and it comes back
//! when a probe is answered: after 250 ms, then twice as long each time, up to 5 s.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::scripts::Call;
use super::servers::{Connection, Servers};
use crate::telemetry::Outage;

/// So many unanswered questions in a row, and nobody asks for a while.
const FAILURES: u32 = 3;
/// The first such while.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest time for all that a new connection takes: asking sentinels, or the nodes of a cluster, one after another.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection.
    #[error("it is away")]
    Away,
    /// No answer in time.
    #[error("no answer in time")]
    Slow,
    /// The connection broke, or the server answers nobody.
    #[error("{0}")]
    Lost(RedisError),
    /// The server answers, but not what was asked: out of memory, no permission, rubbish.
    #[error("{0}")]
    Refused(#[from] RedisError),
}

/// A connection, numbered so that a late failure on an old one does not take the new one away.
#[derive(Clone)]
struct Up {
    number: u64,
    connection: Connection,
    /// Unanswered questions in a row.
    failures: Arc<AtomicU32>,
    /// Was any question answered?
    answered: Arc<AtomicBool>,
}

/// See the module.
pub(super) struct Link {
    servers: Servers,
    up: watch::Sender<Option<Up>>,
    /// Longest wait for the answer of a probe.
    patience: Duration,
    /// Why there is no connection, once that is known.
    trouble: Mutex<Option<String>>,
    outage: Outage,
}

impl Link {
    pub(super) fn new(servers: Servers, patience: Duration) -> Link {
        Link { servers, up: watch::Sender::new(None), patience, trouble: Mutex::default(), outage: Outage::default() }
    }

    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.borrow().is_some()
    }

    /// Waits for a connection.
    pub(super) async fn until_up(&self) {
        // An error would mean that the sender is gone, and it is ours.
        let _ = self.up.subscribe().wait_for(Option::is_some).await;
    }

    /// Why there is no connection.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, and waits for the answer no longer than `patience`.
    pub(super) async fn ask(&self, call: &Call, patience: Duration) -> Result<Value, Failure> {
        let Some(Up { number, connection, failures, answered }) = self.up.borrow().clone() else {
            return Err(Failure::Away);
        };
        let answer = timeout(patience, ask(connection, call)).await;
        let failure = match answer {
            Ok(Ok(answer)) => {
                failures.store(0, Ordering::Relaxed);
                answered.store(true, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(Err(error)) => match self.judge(error) {
                refused @ Failure::Refused(_) => return Err(refused),
                lost => lost,
            },
            Err(_) => Failure::Slow,
        };
        let in_a_row = failures.fetch_add(1, Ordering::Relaxed) + 1;
        // A cluster goes on with the nodes that are left, and looks for the others by itself.
        let is_broken = matches!(failure, Failure::Lost(_)) && !self.servers.are_cluster();
        if is_broken || in_a_row >= FAILURES {
            self.take_away(number, &failure, answered.load(Ordering::Relaxed));
        }
        Err(failure)
    }

    /// Asks once over a connection of its own, for a process that does not run [`Link::keep_up`].
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        if let Some(Up { connection, .. }) = self.up.borrow().clone() {
            return Ok(connection);
        }
        let connection = timeout(CONNECT, self.servers.connect()).await;
        connection.map_err(|_| Failure::Slow)?.map_err(Failure::Lost)
    }

    /// Does the server answer, or is it, or the connection to it, of no more use?
    pub(super) fn judge(&self, error: RedisError) -> Failure {
        let is_lost = match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown,
            ) => true,
            // A master that was made a replica: the sentinels know the new one.
            ErrorKind::Server(ServerErrorKind::ReadOnly) => self.servers.have_sentinel(),
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => false,
            _ => true,
        };
        if is_lost { Failure::Lost(error) } else { Failure::Refused(error) }
    }

    fn take_away(&self, number: u64, failure: &Failure, answered: bool) {
        let taken = self.up.send_if_modified(|up| {
            let is_it = up.as_ref().is_some_and(|up| up.number == number);
            if is_it {
                *up = None;
            }
            is_it
        });
        if taken {
            let why = match failure {
                Failure::Lost(error) => self.servers.explain(error),
                other => format!("{}: {other}", self.servers.place()),
            };
            // Servers end connections that lie idle, and all when they stop. A new one is made at once; if that fails,
            // its reason is told.
            if answered && matches!(failure, Failure::Lost(error) if !matches!(error.kind(), ErrorKind::Server(_))) {
                tracing::debug!(why, "the connection to the shared cache has ended");
            } else {
                self.note_trouble(why);
            }
        }
    }

    fn note_trouble(&self, what: String) {
        if self.outage.failed() {
            tracing::warn!(
                code = "shared_cache_away",
                why = what,
                "the shared cache is unreachable; tokens are looked up in the store"
            );
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Makes connections, for ever.
    pub(super) async fn keep_up(&self) {
        let mut number = 0;
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.connect_and_probe().await {
                Ok(connection) => {
                    number += 1;
                    let failures = Arc::<AtomicU32>::default();
                    self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(ended) = self.outage.succeeded() {
                        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                        tracing::info!(
                            code = "shared_cache_away",
                            failures,
                            lasted_ms,
                            "the shared cache is reachable again"
                        );
                    }
                    let up = tokio::time::Instant::now();
                    let answered = Arc::default();
                    self.up.send_replace(Some(Up { number, connection, failures: Arc::clone(&failures), answered }));
                    let _ = self.up.subscribe().wait_for(Option::is_none).await;
                    // A connection that was of use for long: back at once, unless the server is slow.
                    if up.elapsed() > LONGEST_PAUSE {
                        pause = SHORTEST_PAUSE;
                        if failures.load(Ordering::Relaxed) < FAILURES {
                            continue;
                        }
                    }
                }
                Err(what) => self.note_trouble(what),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect_and_probe(&self) -> Result<Connection, String> {
        let connected = match timeout(CONNECT, self.servers.connect()).await {
            // A cluster was asked for its nodes already, and a PING would go to all of them, also to one that is dead.
            Ok(Ok(connection)) if self.servers.are_cluster() => return Ok(connection),
            Ok(Ok(mut connection)) => {
                let ping = redis::cmd("PING");
                timeout(self.patience, connection.ask(&ping)).await.map(|pong| pong.map(|_| connection.clone()))
            }
            Ok(Err(error)) => Ok(Err(error)),
            Err(elapsed) => Err(elapsed),
        };
        match connected {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.servers.explain_connecting(&error).await),
            Err(_) => Err(format!("{}: no answer in time", self.servers.place())),
        }
    }
}

/// Asks by the name of the script; sends the script itself to a server that does not remember it.
pub(super) async fn ask(mut connection: Connection, call: &Call) -> Result<Value, RedisError> {
    match connection.ask(&call.by_hash).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            connection.ask(&call.by_text).await
        }
        answer => answer,
    }
}
