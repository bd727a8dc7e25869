//! Connects to the server.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Postgres};

use super::errors::{is_cut, sorted};
use crate::config::settings::{PostgresUrl, TlsMode};
use crate::store::StoreError;
use crate::store::error::{broken, unavailable};
use crate::store::pool::Server;
use crate::store::sql::{Row, Statement};

/// A server with its connection options.
pub(in crate::store) struct PostgresServer {
    options: PgConnectOptions,
    /// Timeout of a connection attempt, if the URL has one.
    patience: Option<Duration>,
}

/// A standby may return old data and accepts no changes.
#[derive(Debug, thiserror::Error)]
#[error("this server is a standby; use the address of the primary")]
struct Standby;

/// A SQL_ASCII database does not interpret text: two programs may write the same name in different bytes.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database has the encoding SQL_ASCII, which does not define the meaning of text; create one with `createdb -T template0 \
     -E UTF8`, and move the contents with `pg_dump -E UTF8`"
)]
pub(super) struct NoEncoding;

impl PostgresServer {
    /// Does not connect yet.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if the driver rejects the URL; the error does not show it.
    pub(super) fn new(url: &PostgresUrl, timeout: Duration) -> Result<PostgresServer, StoreError> {
        Ok(PostgresServer { options: options(url, timeout)?, patience: url.connect_timeout })
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl Server for PostgresServer {
    type Connection = PgConnection;

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let connecting = self.options.connect();
        let connected = match self.patience {
            Some(patience) => tokio::time::timeout(patience, connecting).await.map_err(unavailable)?,
            None => connecting.await,
        };
        let mut connection = connected.map_err(sorted)?;
        let asked = sqlx::query_as("SELECT pg_is_in_recovery(), current_setting('server_encoding')");
        let (standby, encoding): (bool, String) = asked.fetch_one(&mut connection).await.map_err(sorted)?;
        if standby {
            return Err(unavailable(Standby));
        }
        if encoding == "SQL_ASCII" {
            return Err(broken(NoEncoding));
        }
        Ok(connection)
    }

    async fn rows<T: Row>(connection: &mut PgConnection, statement: &Statement) -> Result<Vec<T>, sqlx::Error> {
        sqlx::query_as_with(statement.text(), statement.arguments::<Postgres>()?).fetch_all(connection).await
    }

    fn is_cut(error: &sqlx::Error) -> bool {
        is_cut(error)
    }

    fn sorted(error: sqlx::Error) -> StoreError {
        sorted(error)
    }
}

/// Replaces the driver's error, which may repeat the URL.
#[derive(Debug, thiserror::Error)]
#[error("the driver rejects this URL")]
struct NotTaken;

fn options(url: &PostgresUrl, timeout: Duration) -> Result<PgConnectOptions, StoreError> {
    let server = &url.server;
    let encoded = |text: &str| -> String {
        text.bytes()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") },
            )
            .collect()
    };
    // Built as a text with these parts, since only then does the driver read the password file of libpq.
    let (user, database) = (server.user.as_deref().map(encoded), encoded(&server.database));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = server.port.map(|port| format!(":{port}")).unwrap_or_default();
    let host = match server.host.as_str() {
        socket if socket.starts_with('/') => encoded(socket),
        address if address.contains(':') => format!("[{address}]"),
        name => name.to_owned(),
    };
    let settings = url.options.as_deref().map(|text| format!("?options={}", encoded(text))).unwrap_or_default();
    let mut options: PgConnectOptions = format!("postgres://{user}{host}{port}/{database}{settings}")
        .parse()
        .map_err(|_: sqlx::Error| broken(NotTaken))?;
    if let Some(password) = server.password() {
        options = options.password(password);
    }
    let mode = match url.tls.mode {
        Some(TlsMode::Disable) => PgSslMode::Disable,
        Some(TlsMode::Allow) => PgSslMode::Allow,
        Some(TlsMode::Prefer) => PgSslMode::Prefer,
        Some(TlsMode::Require) => PgSslMode::Require,
        Some(TlsMode::VerifyCa) => PgSslMode::VerifyCa,
        Some(TlsMode::VerifyFull) => PgSslMode::VerifyFull,
        None => options.get_ssl_mode(),
    };
    options = options.ssl_mode(mode);
    if let Some(name) = &url.application_name {
        options = options.application_name(name);
    } else if options.get_application_name().is_none() {
        options = options.application_name("tokengate");
    }
    if let Some(file) = &url.tls.authorities {
        options = options.ssl_root_cert(file);
    }
    if let Some(file) = &url.tls.certificate {
        options = options.ssl_client_cert(file);
    }
    if let Some(file) = &url.tls.key {
        options = options.ssl_client_key(file);
    }
    // Later options override earlier ones, so ours come last. The server's timeouts equal ours: otherwise a statement
    // or transaction of a gateway that has vanished could hold the global lock until TCP times out. The other options
    // override settings of the role that would change the meaning of our statements.
    let limit = format!("{}ms", timeout.as_millis());
    let ours = [
        ("statement_timeout", limit.as_str()),
        ("idle_in_transaction_session_timeout", limit.as_str()),
        ("standard_conforming_strings", "on"),
        ("transform_null_equals", "off"),
    ];
    Ok(options.options(ours).disable_statement_logging())
}
