//! The store in an SQLite file: its connections, transactions and feed.

mod database;
mod feed;

pub(super) use self::database::{FileId, SqliteDatabase, sorted};
