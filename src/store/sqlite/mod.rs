//! The store in an SQLite file: its connections and transactions, and how its own changes are heard of.

mod database;
mod feed;

pub(super) use self::database::{FileId, SqliteDatabase, sorted};
