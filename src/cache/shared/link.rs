//! The shared Redis connection, with a circuit breaker.
//!
//! Either a working connection exists, or every request fails at once. A single task connects ([`Link::keep_up`]);
//! requests never do, so a dead server costs them nothing. Three timeouts in a row drop the connection. It returns when
//! a probe succeeds: after 250 ms, then with a doubling backoff, up to 5 s.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::scripts::Call;
use super::servers::{Connection, Servers};
use crate::telemetry::Outage;

/// Timeouts in a row that open the circuit breaker.
const FAILURES: u32 = 3;
/// The first backoff.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// The longest backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// The timeout of a complete connect, which may ask several sentinels or cluster nodes in turn.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection.
    #[error("there is no connection")]
    Away,
    /// The request timed out.
    #[error("no response in time")]
    Slow,
    /// The connection broke, or the server refuses all requests.
    #[error("{0}")]
    Lost(RedisError),
    /// The server answered with an error: out of memory, no permission, an invalid answer.
    #[error("{0}")]
    Refused(#[from] RedisError),
}

/// What the connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// The shared cache of tokens.
    Tokens,
    /// The rates that gateways count together.
    Rates,
}

/// A connection, numbered so that a late failure of an old one does not drop the new one.
#[derive(Clone)]
struct Up {
    number: u64,
    connection: Connection,
    /// Timeouts in a row.
    failures: Arc<AtomicU32>,
    /// Whether any request was answered.
    answered: Arc<AtomicBool>,
}

/// The link: see the module.
pub(super) struct Link {
    servers: Servers,
    purpose: Purpose,
    up: watch::Sender<Option<Up>>,
    /// The timeout of a probe.
    patience: Duration,
    /// Why there is no connection, once known.
    trouble: Mutex<Option<String>>,
    outage: Outage,
}

impl Link {
    pub(super) fn new(servers: Servers, purpose: Purpose, patience: Duration) -> Link {
        Link {
            servers,
            purpose,
            up: watch::Sender::new(None),
            patience,
            trouble: Mutex::default(),
            outage: Outage::default(),
        }
    }

    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.borrow().is_some()
    }

    /// Waits for a connection.
    pub(super) async fn until_up(&self) {
        // Fails only if the sender is dropped, and this struct owns it.
        let _ = self.up.subscribe().wait_for(Option::is_some).await;
    }

    /// Why there is no connection.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request, with the timeout `patience`.
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
        // A cluster client continues with the remaining nodes and finds the others by itself.
        let is_broken = matches!(failure, Failure::Lost(_)) && !self.servers.are_cluster();
        if is_broken || in_a_row >= FAILURES {
            self.take_away(number, &failure, answered.load(Ordering::Relaxed));
        }
        Err(failure)
    }

    /// Connects once, for a process that does not run [`Link::keep_up`].
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        if let Some(Up { connection, .. }) = self.up.borrow().clone() {
            return Ok(connection);
        }
        let connection = timeout(CONNECT, self.servers.connect()).await;
        connection.map_err(|_| Failure::Slow)?.map_err(Failure::Lost)
    }

    /// Classifies an error: an error answer, or a dead server or connection.
    pub(super) fn judge(&self, error: RedisError) -> Failure {
        let is_lost = match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown,
            ) => true,
            // A master became a replica: the sentinels know the new master.
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
            // Servers close idle connections, and all of them at shutdown. The link reconnects at once and logs the
            // reason only if that fails.
            if answered && matches!(failure, Failure::Lost(error) if !matches!(error.kind(), ErrorKind::Server(_))) {
                tracing::debug!(why, "the connection to the shared cache has ended");
            } else {
                self.note_trouble(why);
            }
        }
    }

    fn note_trouble(&self, what: String) {
        if self.outage.failed() {
            match self.purpose {
                Purpose::Tokens => tracing::warn!(
                    code = "shared_cache_away",
                    why = what,
                    "the shared cache is unreachable; tokens are looked up in the store"
                ),
                Purpose::Rates => tracing::warn!(
                    code = "shared_rates_away",
                    why = what,
                    "Redis is unreachable; this gateway allows its own share of the rates with `backend = \"redis\"`"
                ),
            }
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Keeps a connection up until dropped.
    pub(super) async fn keep_up(&self) {
        let mut number = 0;
        let mut pause = MIN_BACKOFF;
        loop {
            match self.connect_and_probe().await {
                Ok(connection) => {
                    number += 1;
                    let failures = Arc::<AtomicU32>::default();
                    self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(ended) = self.outage.succeeded() {
                        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                        match self.purpose {
                            Purpose::Tokens => tracing::info!(
                                code = "shared_cache_away",
                                failures,
                                lasted_ms,
                                "the shared cache is reachable again"
                            ),
                            Purpose::Rates => tracing::info!(
                                code = "shared_rates_away",
                                failures,
                                lasted_ms,
                                "Redis is reachable again; gateways count rates together"
                            ),
                        }
                    }
                    let up = tokio::time::Instant::now();
                    let answered = Arc::default();
                    self.up.send_replace(Some(Up { number, connection, failures: Arc::clone(&failures), answered }));
                    let _ = self.up.subscribe().wait_for(Option::is_none).await;
                    // The connection had lasted long: reconnect at once, unless the server is slow.
                    if up.elapsed() > MAX_BACKOFF {
                        pause = MIN_BACKOFF;
                        if failures.load(Ordering::Relaxed) < FAILURES {
                            continue;
                        }
                    }
                }
                Err(what) => self.note_trouble(what),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }

    async fn connect_and_probe(&self) -> Result<Connection, String> {
        let connected = match timeout(CONNECT, self.servers.connect()).await {
            // A cluster was already asked for its nodes. A PING would go to every node, including dead ones.
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
            Err(_) => Err(format!("{}: no response in time", self.servers.place())),
        }
    }
}

/// Calls a script by its hash; sends its source to a server that has not cached it.
pub(super) async fn ask(mut connection: Connection, call: &Call) -> Result<Value, RedisError> {
    match connection.ask(&call.by_hash).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            connection.ask(&call.by_text).await
        }
        answer => answer,
    }
}
