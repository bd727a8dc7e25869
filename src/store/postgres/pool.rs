//! Connections to the server, each lent to one question at a time (docs/decisions/0013).
//!
//! A connection comes back only when its last answer was read to the end. Whoever drops a [`Lease`] half-way, as a time
//! limit does, closes it, and all that lie idle with it: what made one fall silent has most likely taken the others too.
//! Nothing here asks the server anything by itself, so a server that hangs can hold no connection back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::errors::sorted;
use crate::config::settings::PostgresUrl;
use crate::store::StoreError;
use crate::store::error::unavailable;

/// How long an unused connection is kept: less than the usual firewall remembers it.
const IDLE: Duration = Duration::from_secs(240);

/// How long a server that could not be reached is left alone: thousands of questions in a second, from many gateways,
/// are not what helps it up.
const REST: Duration = Duration::from_millis(100);

/// The connections to one server.
pub(super) struct Pool {
    options: PgConnectOptions,
    timeout: Duration,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Idle>>,
    /// When it could not be reached, if that was the last attempt.
    failed: Mutex<Option<Instant>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection on loan.
pub(super) struct Lease {
    /// `None` once it was given back.
    connection: Option<PgConnection>,
    used: bool,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

/// A server that follows another one shows what was, and takes no changes.
#[derive(Debug, thiserror::Error)]
#[error("this server is a standby; name the primary")]
struct Standby;

#[derive(Debug, thiserror::Error)]
#[error("the server could not be reached a moment ago")]
struct JustFailed;

impl Pool {
    /// Reads the address; connects to nobody yet.
    pub(super) fn new(url: &PostgresUrl, most: u32, timeout: Duration) -> Result<Pool, StoreError> {
        let permits = Arc::new(Semaphore::new(usize::try_from(most.max(1)).unwrap_or(1)));
        Ok(Pool { options: options(url, timeout)?, timeout, permits, idle: Mutex::default(), failed: Mutex::default() })
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection: one that is there, or a new one. Waits while all are lent.
    pub(super) async fn lease(self: &Arc<Pool>) -> Result<Lease, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(unavailable)?;
        let (connection, used) = match self.take_idle() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        Ok(Lease { connection: Some(connection), used, pool: Arc::clone(self), _permit: permit })
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let last_failure = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if last_failure().is_some_and(|at| at.elapsed() < REST) {
            return Err(unavailable(JustFailed));
        }
        let connected = self.try_connect().await;
        *last_failure() = connected.is_err().then(Instant::now);
        connected
    }

    async fn try_connect(&self) -> Result<PgConnection, StoreError> {
        let connecting = async {
            let mut connection = self.options.connect().await.map_err(sorted)?;
            let standby = sqlx::query_scalar("SELECT pg_is_in_recovery()");
            let standby: bool = standby.fetch_one(&mut connection).await.map_err(sorted)?;
            if standby { Err(unavailable(Standby)) } else { Ok(connection) }
        };
        tokio::time::timeout(self.timeout, connecting).await.map_err(unavailable)?
    }

    fn take_idle(&self) -> Option<PgConnection> {
        self.with_idle(|idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE);
            idle.pop().map(|idle| idle.connection)
        })
    }

    fn distrust_idle(&self) {
        self.with_idle(Vec::clear);
    }

    fn with_idle<T>(&self, look: impl FnOnce(&mut Vec<Idle>) -> T) -> T {
        // A list is never left half-way, so a panic elsewhere does not spoil it.
        look(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Lease {
    /// The connection.
    #[expect(clippy::expect_used, reason = "only `give_back` takes it, and consumes the lease")]
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("a lease has its connection until it is given back")
    }

    /// Was it used before, so that it may have died meanwhile?
    pub(super) fn was_used(&self) -> bool {
        self.used
    }

    /// A new connection in place of one that has died.
    pub(super) async fn renew(mut self) -> Result<Lease, StoreError> {
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

impl Drop for Lease {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.distrust_idle();
        }
    }
}

fn options(url: &PostgresUrl, timeout: Duration) -> Result<PgConnectOptions, StoreError> {
    let mut options: PgConnectOptions = url.expose().parse().map_err(sorted)?;
    if options.get_application_name().is_none() {
        options = options.application_name("tokengate");
    }
    if let Some(file) = &url.root_certificates {
        options = options.ssl_root_cert(file);
    }
    if let Some(file) = &url.certificate {
        options = options.ssl_client_cert(file);
    }
    if let Some(file) = &url.key {
        options = options.ssl_client_key(file);
    }
    // The server gives up when we have. Otherwise a statement or a transaction of a gateway that is gone could hold the
    // lock of all changes for as long as nobody notices.
    let limit = format!("{}ms", timeout.as_millis());
    let limits = ["statement_timeout", "idle_in_transaction_session_timeout"].map(|name| (name, limit.clone()));
    Ok(options.options(limits).disable_statement_logging())
}
