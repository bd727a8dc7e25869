//! A Django project on an SQLite file.
//!
//! The file belongs to Django: the gateway neither creates it nor changes its journal mode. In read-only mode SQLite
//! itself prevents writes.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite};

use super::database::DjangoDatabase;
use super::dialect::Dialect;
use crate::config::settings::{self, DjangoMode};
use crate::store::error::unavailable;
use crate::store::sql::{Row, Statement};
use crate::store::sqlite::{FileId, sorted};
use crate::store::{OpenError, StoreError, TokenFeed};

/// An opened file.
pub(super) struct SqliteFile {
    connections: SqlitePool,
    path: PathBuf,
    file: FileId,
}

impl SqliteFile {
    /// Finds the file; the first query opens it.
    pub(super) fn open(path: &Path, settings: &settings::Store) -> Result<SqliteFile, OpenError> {
        let file = FileId::of(path).map_err(|error| unopened(path, unavailable(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(settings.timeout)
            .disable_statement_logging();
        let options = match settings.django.mode {
            DjangoMode::ReadOnly => options.pragma("query_only", "ON"),
            // In Django's default journal mode, a commit deletes the journal file. The deletion must be flushed too:
            // otherwise a power failure undoes a confirmed change.
            DjangoMode::ReadWrite => options.synchronous(SqliteSynchronous::Extra),
        };
        let pool = SqlitePoolOptions::new().acquire_timeout(settings.timeout).test_before_acquire(false);
        let connections = pool.max_connections(settings.max_connections.max(1)).connect_lazy_with(options);
        Ok(SqliteFile { connections, path: path.to_owned(), file })
    }
}

impl DjangoDatabase for SqliteFile {
    const DIALECT: Dialect = Dialect::Sqlite;

    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.file.check(&self.path)?;
        let query = sqlx::query_as_with(statement.text(), statement.arguments::<Sqlite>().map_err(sorted)?);
        query.fetch_all(&self.connections).await.map_err(sorted)
    }

    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        self.file.check(&self.path)?;
        let query = sqlx::query_with(statement.text(), statement.arguments::<Sqlite>().map_err(sorted)?);
        Ok(query.execute(&self.connections).await.map_err(sorted)?.rows_affected())
    }

    fn unopened(&self, source: StoreError) -> OpenError {
        unopened(&self.path, source)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// SQLite does not notify other processes.
    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        None
    }
}

fn unopened(path: &Path, source: StoreError) -> OpenError {
    let mend = "check that it is the file of the Django project, and that the gateway can read it and its folder";
    OpenError::Database { store: path.display().to_string(), mend, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Store, StoreUrl};

    #[tokio::test]
    async fn a_confirmed_change_survives_a_power_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite3");
        std::fs::write(&path, "").unwrap();
        let mut settings = Store::at(StoreUrl::Sqlite(path.clone()), folder.path().join("key"));
        settings.django.mode = DjangoMode::ReadWrite;
        let file = SqliteFile::open(&path, &settings).unwrap();
        let synchronous = sqlx::query_scalar::<_, i64>("SELECT synchronous FROM pragma_synchronous");
        assert_eq!(synchronous.fetch_one(&file.connections).await.ok(), Some(3), "EXTRA");
    }
}
