//! The connection pool: each connection serves one query at a time (docs/decisions/0013).
//!
//! A connection returns to the pool only after its last answer was read to the end. Dropping a [`Lease`] earlier, as a
//! timeout does, closes it and all idle connections: whatever stalled one has probably broken the others too. The pool
//! itself sends no queries, so a hanging server cannot block it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::StoreError;
use super::error::unavailable;
use super::sql::{Row, Statement};

/// The idle timeout: shorter than the usual connection tracking of firewalls.
const IDLE_TIMEOUT: Duration = Duration::from_secs(240);

/// The pause after a failed connect. Without it, thousands of attempts per second from many gateways would delay the
/// server's recovery.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Creates connections.
pub(super) trait Server: Send + Sync + 'static {
    /// The type of a connection.
    type Connection: Send;

    /// Connects; the pool limits the time.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Runs a statement that only reads.
    fn rows<T: Row>(
        connection: &mut Self::Connection,
        statement: &Statement,
    ) -> impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send;

    /// Whether the connection has ended, so that the statement can be retried on another one.
    fn is_cut(error: &sqlx::Error) -> bool;

    /// Classifies an error of the driver: whether a retry can help.
    fn sorted(error: sqlx::Error) -> StoreError;
}

/// The connection pool of one server.
pub(super) struct Pool<S: Server> {
    server: S,
    timeout: Duration,
    /// One permit per connection in use.
    permits: Arc<Semaphore>,
    /// Idle connections; the last used one is at the end.
    idle: Mutex<Vec<Idle<S::Connection>>>,
    /// The time of the last connect, if it failed.
    failed: Mutex<Option<Instant>>,
}

struct Idle<C> {
    connection: C,
    since: Instant,
}

/// A leased connection.
pub(super) struct Lease<S: Server> {
    /// `None` once it was returned.
    connection: Option<S::Connection>,
    used: bool,
    pool: Arc<Pool<S>>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, thiserror::Error)]
#[error("the server could not be reached a moment ago")]
struct JustFailed;

impl<S: Server> Pool<S> {
    /// Creates a pool without any connection.
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

    /// Leases an idle connection or a new one. Waits while all are in use.
    pub(super) async fn lease(self: &Arc<Pool<S>>) -> Result<Lease<S>, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(unavailable)?;
        let (connection, used) = match self.take_idle() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        Ok(Lease { connection: Some(connection), used, pool: Arc::clone(self), _permit: permit })
    }

    /// Runs a statement that only reads. If the connection has died since it was used last, it is retried once on a new
    /// one: a read is harmless to repeat.
    pub(super) async fn rows<T: Row>(self: &Arc<Pool<S>>, statement: &Statement) -> Result<Vec<T>, StoreError> {
        let mut lease = self.lease().await?;
        let mut rows = S::rows(lease.connection(), statement).await;
        if lease.used && rows.as_ref().is_err_and(S::is_cut) {
            lease = lease.renew().await?;
            rows = S::rows(lease.connection(), statement).await;
        }
        let rows = rows.map_err(S::sorted)?;
        lease.give_back();
        Ok(rows)
    }

    async fn connect(&self) -> Result<S::Connection, StoreError> {
        let last_failure = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if last_failure().is_some_and(|at| at.elapsed() < CONNECT_PAUSE) {
            return Err(unavailable(JustFailed));
        }
        let connected = tokio::time::timeout(self.timeout, self.server.connect()).await;
        let connected = connected.unwrap_or_else(|elapsed| Err(unavailable(elapsed)));
        *last_failure() = connected.is_err().then(Instant::now);
        connected
    }

    fn take_idle(&self) -> Option<S::Connection> {
        self.with_idle(|idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT);
            idle.pop().map(|idle| idle.connection)
        })
    }

    fn distrust_idle(&self) {
        self.with_idle(Vec::clear);
    }

    fn with_idle<T>(&self, look: impl FnOnce(&mut Vec<Idle<S::Connection>>) -> T) -> T {
        // Each change of the list is complete, so a panic elsewhere does not corrupt it.
        look(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Server> Lease<S> {
    /// The connection.
    #[expect(clippy::expect_used, reason = "only `give_back` takes it, and consumes the lease")]
    pub(super) fn connection(&mut self) -> &mut S::Connection {
        self.connection.as_mut().expect("a lease has its connection until it is given back")
    }

    /// Whether the connection was used before, so that it may have died meanwhile.
    pub(super) fn was_used(&self) -> bool {
        self.used
    }

    /// Replaces a dead connection by a new one.
    pub(super) async fn renew(mut self) -> Result<Lease<S>, StoreError> {
        self.connection = None;
        self.pool.distrust_idle();
        self.connection = Some(self.pool.connect().await?);
        self.used = false;
        Ok(self)
    }

    /// Returns the connection to the pool. Its last answer must have been read to the end.
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
