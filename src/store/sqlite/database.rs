//! The SQLite file: connections, transactions, time limits, and the meaning of its errors.
//!
//! One connection writes and several read (WAL: neither waits for the other). Writers queue for that one connection, and
//! beside other processes for SQLite's own lock, so a transaction that has begun never fails for another writer.

use std::fs::OpenOptions;
use std::future::Future;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, Transaction};

use crate::store::{AccountError, LedgerError, StoreError};

/// SQLite's result code for "another connection has the lock".
const BUSY: u32 = 5;

/// How long to wait before connecting again: about what a first start takes.
const TURN: Duration = Duration::from_millis(20);

/// An opened database file.
pub(super) struct Database {
    readers: SqlitePool,
    writer: SqlitePool,
    path: PathBuf,
    file: FileId,
    timeout: Duration,
}

/// Which file a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// The path leads to another file than the one that is open.
#[derive(Debug, thiserror::Error)]
#[error("{0}: replaced while it was in use; restart the gateway to use the new file")]
struct Replaced(PathBuf);

impl Database {
    /// Opens the file and makes it if it is missing.
    pub(super) async fn open(path: &Path, readers: u32, timeout: Duration) -> Result<Database, StoreError> {
        let file = FileId::make(path).map_err(unavailable)?;
        let common = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(timeout)
            .synchronous(SqliteSynchronous::Normal)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().acquire_timeout(timeout).test_before_acquire(false);
        let writer = common.clone().journal_mode(SqliteJournalMode::Wal);
        let writer = connect_in_turn(pool.clone().max_connections(1), writer, timeout).await?;
        let reader = common.pragma("query_only", "ON");
        let readers = pool.max_connections(readers.max(1)).connect_lazy_with(reader);
        Ok(Database { readers, writer, path: path.to_owned(), file, timeout })
    }

    /// Does `work`, but not for longer than the store's time limit.
    pub(super) async fn within<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.check_file()?;
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(elapsed) => Err(unavailable(elapsed).into()),
        }
    }

    /// A connection that can only read.
    pub(super) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// A transaction that holds the write lock from its beginning. Dropped before its commit, it changes nothing.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// An open file outlives its name: without this, a store that was deleted or replaced would go on answering from
    /// what nobody can change any more, and revocations would go unseen.
    ///
    /// One look at a local file; on the control half that is no wait worth a thread.
    fn check_file(&self) -> Result<(), StoreError> {
        let now = FileId::of(&self.path).map_err(unavailable)?;
        if now == self.file { Ok(()) } else { Err(broken(Replaced(self.path.clone()))) }
    }
}

impl FileId {
    fn of(path: &Path) -> io::Result<FileId> {
        let metadata = std::fs::metadata(path)?;
        Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// SQLite would make the file readable for everybody, and its companions take over the mode of the file.
    fn make(path: &Path) -> io::Result<FileId> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => FileId::of(path),
        }
    }
}

/// Connects, after others who are doing the same.
///
/// Of two processes that switch a new file to WAL at the same moment, SQLite turns one away at once, whatever
/// `busy_timeout` says.
async fn connect_in_turn(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
    timeout: Duration,
) -> Result<SqlitePool, StoreError> {
    let connecting = async {
        loop {
            match pool.clone().connect_with(options.clone()).await {
                Err(sqlx::Error::Database(cause)) if cause.code().is_some_and(|code| family(&code) == Some(BUSY)) => {
                    tokio::time::sleep(TURN).await;
                }
                result => return result,
            }
        }
    };
    Ok(tokio::time::timeout(timeout, connecting).await.map_err(unavailable)??)
}

/// It may work later.
pub(super) fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(cause))
}

/// It will not work later either.
pub(super) fn broken(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(Box::new(cause))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let passing = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(cause) => cause.code().is_some_and(|code| is_passing(&code)),
            _ => false,
        };
        if passing { unavailable(error) } else { broken(error) }
    }
}

/// Does this result code of SQLite say "not now" rather than "not ever"?
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

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> LedgerError {
        LedgerError::Store(error.into())
    }
}

impl From<sqlx::Error> for AccountError {
    fn from(error: sqlx::Error) -> AccountError {
        AccountError::Store(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_counts_as_unavailable() {
        for passing in ["5", "6", "261", "517", "10", "266", "522", "13", "14"] {
            assert!(is_passing(passing), "{passing}");
        }
        for lasting in ["1", "8", "11", "19", "26", "267", "2067", "", "x"] {
            assert!(!is_passing(lasting), "{lasting}");
        }
    }

    #[test]
    fn errors_of_the_driver_are_sorted_by_whether_waiting_helps() {
        assert!(matches!(StoreError::from(sqlx::Error::PoolTimedOut), StoreError::Unavailable(_)));
        assert!(matches!(StoreError::from(sqlx::Error::Io(io::Error::other("x"))), StoreError::Unavailable(_)));
        assert!(matches!(StoreError::from(sqlx::Error::RowNotFound), StoreError::Broken(_)));
        assert!(matches!(StoreError::from(sqlx::Error::ColumnNotFound("x".to_owned())), StoreError::Broken(_)));
    }
}
