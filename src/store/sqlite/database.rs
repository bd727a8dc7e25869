//! The SQLite file: connections, transactions, and classification of errors.
//!
//! One connection writes and several read (WAL: neither waits for the other). Writers of this process queue for that
//! connection, and wait for SQLite's lock against other processes. So a transaction that has begun never fails because
//! of another writer.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, Transaction};
use tokio::sync::watch;

use super::feed::SqliteFeed;
use crate::config::settings;
use crate::store::error::{broken, unavailable};
use crate::store::sql::{Change, Database, Row, Statement, apply, described, migrations};
use crate::store::{Migration, OpenError, StoreError, TokenFeed};

static MIGRATIONS: LazyLock<Migrator> = migrations! { "sqlite":
    1 "users and tokens" "0001_users_and_tokens"
    2 "change log by time" "0002_change_log_by_time"
    3 "sessions" "0003_sessions"
    4 "directory" "0004_directory"
    5 "audit by name" "0005_audit_by_name"
    6 "imported" "0006_imported"
    7 "for people" "0007_for_people"
    8 "limits of tokens" "0008_limits_of_tokens"
    9 "quotas" "0009_quotas"
};

/// SQLite's result code for "another connection has the lock".
const BUSY: u32 = 5;

/// Delay before connecting again: about the time that a first start takes.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// An opened database file.
pub(in crate::store) struct SqliteDatabase {
    readers: SqlitePool,
    writer: SqlitePool,
    path: PathBuf,
    file: FileId,
    /// The id of the newest change that this process wrote.
    written: watch::Sender<i64>,
}

/// A transaction that holds the write lock from its beginning.
pub(in crate::store) struct SqliteChange {
    transaction: Transaction<'static, Sqlite>,
    written: watch::Sender<i64>,
}

/// Identifies the file at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct FileId {
    device: u64,
    inode: u64,
}

/// The path now leads to another file than the open one.
#[derive(Debug, thiserror::Error)]
#[error("{0}: replaced while it was in use; restart the gateway to use the new file")]
struct Replaced(PathBuf);

impl SqliteDatabase {
    /// Opens the file; creates it if it is missing.
    pub(in crate::store) async fn open(path: &Path, settings: &settings::Store) -> Result<SqliteDatabase, OpenError> {
        open(path, settings.max_connections, settings.timeout).await.map_err(|error| unopened(path, error))
    }

    /// Detects a deleted or replaced file. An open file outlives its name: the old file would go on answering, and
    /// revocations in the new one would be missed.
    ///
    /// One system call on a local file: short enough to run on the control half without a thread.
    fn check_file(&self) -> Result<(), StoreError> {
        self.file.check(&self.path)
    }
}

impl Database for SqliteDatabase {
    type Change = SqliteChange;

    const MARK_USED: &'static str = "UPDATE tokens SET last_used = used.value \
                                     FROM (SELECT CAST(key AS INTEGER) AS id, value FROM json_each($1)) AS used \
                                     WHERE tokens.id = used.id AND (last_used IS NULL OR last_used < used.value)";

    const MARK_DAYS: &'static str = "INSERT INTO token_days (token_id, day) SELECT tokens.id, used.value / 86400000000 \
                                     FROM (SELECT CAST(key AS INTEGER) AS id, value FROM json_each($1)) AS used \
                                     JOIN tokens ON tokens.id = used.id WHERE TRUE ON CONFLICT DO NOTHING";

    fn ids_at(place: &str) -> String {
        format!("SELECT CAST(value AS INTEGER) AS id FROM json_each({place})")
    }

    fn counts_at(place: &str) -> String {
        format!(
            "SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS since, \
             json_extract(value, '$[2]') AS used FROM json_each({place})"
        )
    }

    async fn rows<T: Row>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        self.check_file()?;
        let mut connection = self.readers.acquire().await.map_err(sorted)?;
        let query = sqlx::query_as_with(statement.text(), statement.arguments::<Sqlite>().map_err(sorted)?);
        query.fetch_all(&mut *connection).await.map_err(sorted)
    }

    async fn begin(&self) -> Result<SqliteChange, StoreError> {
        self.check_file()?;
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(sorted)?;
        Ok(SqliteChange { transaction, written: self.written.clone() })
    }

    async fn migrate(&self) -> Result<Vec<Migration>, OpenError> {
        let mut change = self.begin().await.map_err(|error| self.unopened(error))?;
        let applied = apply(&mut *change.transaction, &MIGRATIONS).await.map_err(|error| match error {
            // A locked or malformed file is not a schema error.
            MigrateError::Execute(error) => self.unopened(sorted(error)),
            other => OpenError::Schema { store: self.place(), source: Box::new(other) },
        })?;
        change.commit().await.map_err(|error| self.unopened(error))?;
        Ok(applied)
    }

    fn migrations() -> Vec<Migration> {
        described(&MIGRATIONS)
    }

    fn unopened(&self, source: StoreError) -> OpenError {
        unopened(&self.path, source)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn feed(&self) -> Box<dyn TokenFeed> {
        Box::new(SqliteFeed::new(self.written.subscribe()))
    }
}

impl Change for SqliteChange {
    async fn rows<T: Row>(&mut self, statement: Statement) -> Result<Vec<T>, StoreError> {
        let query = sqlx::query_as_with(statement.text(), statement.arguments::<Sqlite>().map_err(sorted)?);
        query.fetch_all(&mut *self.transaction).await.map_err(sorted)
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let query = sqlx::query_with(statement.text(), statement.arguments::<Sqlite>().map_err(sorted)?);
        Ok(query.execute(&mut *self.transaction).await.map_err(sorted)?.rows_affected())
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        let newest = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM change_log");
        let newest: i64 = newest.fetch_one(&mut *self.transaction).await.map_err(sorted)?;
        self.transaction.commit().await.map_err(sorted)?;
        // Only a new entry in the change log needs a notification.
        self.written.send_if_modified(|written| std::mem::replace(written, newest) < newest);
        Ok(())
    }

    async fn roll_back(self) {
        // If the rollback fails, it happens when the connection is used again or closes.
        let _ = self.transaction.rollback().await;
    }
}

async fn open(path: &Path, readers: u32, timeout: Duration) -> Result<SqliteDatabase, StoreError> {
    let file = FileId::make(path).map_err(unavailable)?;
    let common = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(timeout)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new().acquire_timeout(timeout).test_before_acquire(false);
    // A commit is flushed to disk before it is confirmed: a revocation must survive a power failure.
    let writer = common.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let writer = connect_in_turn(pool.clone().max_connections(1), writer, timeout).await?;
    let reader = common.pragma("query_only", "ON");
    let readers = pool.max_connections(readers.max(1)).connect_lazy_with(reader);
    Ok(SqliteDatabase { readers, writer, path: path.to_owned(), file, written: watch::Sender::new(0) })
}

fn unopened(path: &Path, source: StoreError) -> OpenError {
    let mend = "check that the folder exists and that the gateway can write there";
    OpenError::Database { store: path.display().to_string(), mend, source }
}

impl FileId {
    /// Checks that the path still leads to this file.
    pub(in crate::store) fn check(self, path: &Path) -> Result<(), StoreError> {
        let now = FileId::of(path).map_err(unavailable)?;
        if now == self { Ok(()) } else { Err(broken(Replaced(path.to_owned()))) }
    }

    pub(in crate::store) fn of(path: &Path) -> io::Result<FileId> {
        let metadata = std::fs::metadata(path)?;
        Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Creates the file with mode 0600: SQLite would make it readable for all users, and its companion files copy the
    /// mode.
    fn make(path: &Path) -> io::Result<FileId> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => FileId::of(path),
        }
    }
}

/// Connects, and retries while another process does the same.
///
/// If two processes switch a new file to WAL at once, SQLite rejects one immediately, ignoring `busy_timeout`.
async fn connect_in_turn(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
    timeout: Duration,
) -> Result<SqlitePool, StoreError> {
    let connecting = async {
        loop {
            match pool.clone().connect_with(options.clone()).await {
                Err(sqlx::Error::Database(cause)) if cause.code().is_some_and(|code| family(&code) == Some(BUSY)) => {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                result => return result,
            }
        }
    };
    tokio::time::timeout(timeout, connecting).await.map_err(unavailable)?.map_err(sorted)
}

/// Classifies an error of the driver: whether a retry can help.
pub(in crate::store) fn sorted(error: sqlx::Error) -> StoreError {
    let passing = match &error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| is_passing(&code)),
        _ => false,
    };
    if passing { unavailable(error) } else { broken(error) }
}

/// Whether this result code is temporary.
fn is_passing(code: &str) -> bool {
    const LOCKED: u32 = 6;
    const NOMEM: u32 = 7;
    const IOERR: u32 = 10;
    const FULL: u32 = 13;
    const CANTOPEN: u32 = 14;
    matches!(family(code), Some(BUSY | LOCKED | NOMEM | IOERR | FULL | CANTOPEN))
}

/// The low byte of an extended result code.
fn family(code: &str) -> Option<u32> {
    code.parse().ok().map(|code: u32| code & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_errors_count_as_unavailable() {
        for passing in ["5", "6", "261", "517", "10", "266", "522", "13", "14"] {
            assert!(is_passing(passing), "{passing}");
        }
        for lasting in ["1", "8", "11", "19", "26", "267", "2067", "", "x"] {
            assert!(!is_passing(lasting), "{lasting}");
        }
    }

    #[tokio::test]
    async fn a_confirmed_change_survives_a_power_failure() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder.path().join("store.db"), 1, Duration::from_secs(5)).await.unwrap();
        let mut change = database.begin().await.unwrap();
        let asked =
            |pragma| sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(format!("SELECT CAST({pragma} AS TEXT)")));
        let synchronous = asked("(SELECT synchronous FROM pragma_synchronous)");
        let journal = asked("(SELECT journal_mode FROM pragma_journal_mode)");
        assert_eq!(synchronous.fetch_one(&mut *change.transaction).await.unwrap(), "2", "FULL");
        assert_eq!(journal.fetch_one(&mut *change.transaction).await.unwrap(), "wal");
    }

    #[test]
    fn errors_of_the_driver_are_classified_as_temporary_or_not() {
        assert!(matches!(sorted(sqlx::Error::PoolTimedOut), StoreError::Unavailable(_)));
        assert!(matches!(sorted(sqlx::Error::Io(io::Error::other("x"))), StoreError::Unavailable(_)));
        assert!(matches!(sorted(sqlx::Error::RowNotFound), StoreError::Broken(_)));
        assert!(matches!(sorted(sqlx::Error::ColumnNotFound("x".to_owned())), StoreError::Broken(_)));
    }
}
