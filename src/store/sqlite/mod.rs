//! The store in an SQLite file: its connections, transactions and feed.

mod backup;
mod database;
mod feed;

pub use self::backup::{Backup, BackupError, PART, back_up, restore};
pub(super) use self::database::{FileId, SqliteDatabase, sorted};
