//! A Django project on MySQL or MariaDB.
//!
//! Error numbers: MySQL reference manual, "Server Error Message Reference"; from 1900 on also MariaDB's own.

use std::sync::Arc;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlSslMode};
use sqlx::{ConnectOptions, MySql};

use super::database::DjangoDatabase;
use super::dialect::Dialect;
use crate::config::settings::{self, MysqlUrl, TlsMode};
use crate::store::error::{broken, unavailable};
use crate::store::pool::{Pool, Server};
use crate::store::sql::{Row, Statement};
use crate::store::{OpenError, StoreError, TokenFeed};

/// A MySQL or MariaDB server.
pub(super) struct MysqlDatabase {
    pool: Arc<Pool<MysqlServer>>,
    place: String,
}

struct MysqlServer(MySqlConnectOptions);

impl MysqlDatabase {
    /// Parses the URL; does not connect yet.
    pub(super) fn new(url: &MysqlUrl, settings: &settings::Store) -> Result<MysqlDatabase, OpenError> {
        let place = url.to_string();
        let pool = Pool::new(MysqlServer(options(url)), settings.max_connections, settings.timeout);
        Ok(MysqlDatabase { pool: Arc::new(pool), place })
    }
}

impl Server for MysqlServer {
    type Connection = MySqlConnection;

    async fn connect(&self) -> Result<MySqlConnection, StoreError> {
        self.0.connect().await.map_err(sorted)
    }

    async fn rows<T: Row>(connection: &mut MySqlConnection, statement: &Statement) -> Result<Vec<T>, sqlx::Error> {
        sqlx::query_as_with(statement.text(), statement.arguments::<MySql>()?).fetch_all(connection).await
    }

    fn is_cut(error: &sqlx::Error) -> bool {
        is_cut(error)
    }

    fn sorted(error: sqlx::Error) -> StoreError {
        sorted(error)
    }
}

impl DjangoDatabase for MysqlDatabase {
    const DIALECT: Dialect = Dialect::Mysql;

    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.pool.rows(&statement).await
    }

    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        let mut lease = self.pool.lease().await?;
        let query = sqlx::query_with(statement.text(), statement.arguments::<MySql>().map_err(sorted)?);
        let touched = query.execute(lease.connection()).await.map_err(sorted)?.rows_affected();
        lease.give_back();
        Ok(touched)
    }

    fn unopened(&self, source: StoreError) -> OpenError {
        unopened(&self.place, source)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    /// MySQL's triggers cannot notify clients.
    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        None
    }
}

fn options(url: &MysqlUrl) -> MySqlConnectOptions {
    let server = &url.server;
    let mode = match url.tls.mode {
        Some(TlsMode::Disable) => MySqlSslMode::Disabled,
        Some(TlsMode::Require) => MySqlSslMode::Required,
        Some(TlsMode::VerifyCa) => MySqlSslMode::VerifyCa,
        Some(TlsMode::VerifyFull) => MySqlSslMode::VerifyIdentity,
        None | Some(TlsMode::Allow | TlsMode::Prefer) => MySqlSslMode::Preferred,
    };
    let mut options = MySqlConnectOptions::new().database(&server.database).ssl_mode(mode);
    if !server.host.is_empty() {
        options = options.host(&server.host);
    }
    if let Some(port) = server.port {
        options = options.port(port);
    }
    if let Some(user) = &server.user {
        options = options.username(user);
    }
    if let Some(password) = server.password() {
        options = options.password(password);
    }
    if let Some(socket) = &url.socket {
        options = options.socket(socket);
    }
    if let Some(file) = &url.tls.authorities {
        options = options.ssl_ca(file);
    }
    if let Some(file) = &url.tls.certificate {
        options = options.ssl_client_cert(file);
    }
    if let Some(file) = &url.tls.key {
        options = options.ssl_client_key(file);
    }
    options.disable_statement_logging()
}

fn unopened(place: &str, source: StoreError) -> OpenError {
    let mend = "check that the server runs and can be reached, that user and password are right, and that the database \
                exists";
    OpenError::Database { store: place.to_owned(), mend, source }
}

/// Classifies an error of the driver: whether a retry can help.
fn sorted(error: sqlx::Error) -> StoreError {
    let passing = is_cut(&error) || number(&error).is_some_and(is_passing);
    if passing { unavailable(error) } else { broken(error) }
}

/// Whether the connection has ended, so that the statement can be retried on another one.
fn is_cut(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        error => number(error).is_some_and(ends_connection),
    }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let sqlx::Error::Database(cause) = error else { return None };
    Some(cause.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// The server shuts down, the connection was closed by it or an administrator, or a message was truncated.
fn ends_connection(number: u16) -> bool {
    matches!(number, 1053 | 1077 | 1079 | 1080 | 1152..=1161 | 1184 | 1927 | 4031)
}

/// Whether this error is temporary.
fn is_passing(number: u16) -> bool {
    match number {
        // Disk, memory and threads; too many connections; read-only, as during a failover.
        1021 | 1037 | 1038 | 1040 | 1041 | 1135 | 1203 | 1226 | 1290 | 1836 => true,
        // Locks and deadlocks; interrupted; timeout (MySQL, MariaDB).
        1205 | 1213 | 1317 | 3024 | 1969 => true,
        number => ends_connection(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_errors_count_as_unavailable() {
        for passing in [1040, 1053, 1205, 1213, 1317, 1836, 1927, 1969] {
            assert!(is_passing(passing), "{passing}");
        }
        for lasting in [1045, 1049, 1054, 1062, 1064, 1142, 1146] {
            assert!(!is_passing(lasting), "{lasting}");
        }
    }
}
