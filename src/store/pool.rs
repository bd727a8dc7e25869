//! Connections to the server, each lent to one question at a time (docs/decisions/0013).
//!
//! A connection comes back only when its last answer was read to the end. Whoever drops a [`Lease`] half-way, as a time
//! limit does, closes it, and all that lie idle with it: what made one fall silent has most likely taken the others
//! too. Nothing here asks the server anything by itself, so a server that hangs can hold no connection back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::StoreError;
use super::error::unavailable;

/// How long an unused connection is kept: less than the usual firewall remembers it.
const IDLE: Duration = Duration::from_secs(240);

/// How long a server that could not be reached is left alone: thousands of questions in a second, from many gateways,
/// are not what helps it up.
const REST: Duration = Duration::from_millis(100);

/// How a connection comes about.
pub(super) trait Server: Send + Sync + 'static {
    /// A connection.
    type Connection: Send;

    /// Makes one; the pool limits how long that takes.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;
}

/// The connections to one server.
pub(super) struct Pool<S: Server> {
    server: S,
    timeout: Duration,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Idle<S::Connection>>>,
    /// When it could not be reached, if that was the last attempt.
    failed: Mutex<Option<Instant>>,
}

struct Idle<C> {
    connection: C,
    since: Instant,
}

/// A connection on loan.
pub(super) struct Lease<S: Server> {
    /// `None` once it was given back.
    connection: Option<S::Connection>,
    used: bool,
    pool: Arc<Pool<S>>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, thiserror::Error)]
#[error("the server could not be reached a moment ago")]
struct JustFailed;

impl<S: Server> Pool<S> {
    /// Connects to nobody yet.
    pub(super) fn new(server: S, most: u32, timeout: Duration) -> Pool<S> {
        let permits = Arc::new(Semaphore::new(usize::try_from(most.max(1)).unwrap_or(1)));
        Pool { server, timeout, permits, idle: Mutex::default(), failed: Mutex::default() }
    }

    pub(super) fn server(&self) -> &S {
        &self.server
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection: one that is there, or a new one. Waits while all are lent.
    pub(super) async fn lease(self: &Arc<Pool<S>>) -> Result<Lease<S>, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(unavailable)?;
        let (connection, used) = match self.take_idle() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        Ok(Lease { connection: Some(connection), used, pool: Arc::clone(self), _permit: permit })
    }

    async fn connect(&self) -> Result<S::Connection, StoreError> {
        let last_failure = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if last_failure().is_some_and(|at| at.elapsed() < REST) {
            return Err(unavailable(JustFailed));
        }
        let connected = tokio::time::timeout(self.timeout, self.server.connect()).await;
        let connected = connected.unwrap_or_else(|elapsed| Err(unavailable(elapsed)));
        *last_failure() = connected.is_err().then(Instant::now);
        connected
    }

    fn take_idle(&self) -> Option<S::Connection> {
        self.with_idle(|idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE);
            idle.pop().map(|idle| idle.connection)
        })
    }

    fn distrust_idle(&self) {
        self.with_idle(Vec::clear);
    }

    fn with_idle<T>(&self, look: impl FnOnce(&mut Vec<Idle<S::Connection>>) -> T) -> T {
        // A list is never left half-way, so a panic elsewhere does not spoil it.
        look(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Server> Lease<S> {
    /// The connection.
    #[expect(clippy::expect_used, reason = "only `give_back` takes it, and consumes the lease")]
    pub(super) fn connection(&mut self) -> &mut S::Connection {
        self.connection.as_mut().expect("a lease has its connection until it is given back")
    }

    /// Was it used before, so that it may have died meanwhile?
    pub(super) fn was_used(&self) -> bool {
        self.used
    }

    /// A new connection in place of one that has died.
    pub(super) async fn renew(mut self) -> Result<Lease<S>, StoreError> {
        self.connection = None;
        self.pool.distrust_idle();
        self.connection = Some(self.pool.connect().await?);
        self.used = false;
        Ok(self)
    }

    /// Keeps the connection for the next question. Its last answer must have been read to the end.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.with_idle(|idle| idle.push(Idle { connection, since: Instant::now() }));
        }
    }
}

impl<S: Server> Drop for Lease<S> {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.distrust_idle();
        }
    }
}
