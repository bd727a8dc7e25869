//! How to connect to the server.

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::time::Duration;

use super::errors::sorted;
use crate::config::settings::PostgresUrl;
use crate::store::StoreError;
use crate::store::error::unavailable;
use crate::store::pool::Server;

/// A server and how it is talked to.
pub(in crate::store) struct PostgresServer(PgConnectOptions);

/// A server that follows another one shows what was, and takes no changes.
#[derive(Debug, thiserror::Error)]
#[error("this server is a standby; name the primary")]
struct Standby;

impl PostgresServer {
    /// Reads the address; connects to nobody yet.
    pub(super) fn new(url: &PostgresUrl, timeout: Duration) -> Result<PostgresServer, StoreError> {
        options(url, timeout).map(PostgresServer)
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.0.clone()
    }
}

impl Server for PostgresServer {
    type Connection = PgConnection;

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let mut connection = self.0.connect().await.map_err(sorted)?;
        let standby = sqlx::query_scalar("SELECT pg_is_in_recovery()");
        let standby: bool = standby.fetch_one(&mut connection).await.map_err(sorted)?;
        if standby { Err(unavailable(Standby)) } else { Ok(connection) }
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
