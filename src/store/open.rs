//! Opens the configured store and migrates its schema.

use super::sql::Database;
use super::{OpenError, Store, django, postgres, sql, sqlite};
use crate::clock::Clock;
use crate::config::settings;
use crate::token::TokenFormat;

/// One migration of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// What it adds.
    pub description: String,
}

/// Opens the configured store and migrates its schema. On first start, creates the key file and an SQLite database.
///
/// # Errors
/// [`OpenError`] names the file or server at fault, and how to fix it.
pub async fn open(settings: &settings::Store, tokens: &settings::Tokens, clock: Clock) -> Result<Store, OpenError> {
    match &settings.url {
        settings::StoreUrl::Sqlite(path) => {
            let database = sqlite::SqliteDatabase::open(path, settings).await?;
            Ok(Store::whole(sql::SqlStore::open(database, settings, tokens, clock).await?))
        }
        settings::StoreUrl::Postgres(url) => {
            let database = postgres::PostgresDatabase::new(url, settings)?;
            Ok(Store::whole(sql::SqlStore::open(database, settings, tokens, clock).await?))
        }
        settings::StoreUrl::Django(url) => django::open(url, settings, tokens.format, clock).await,
    }
}

/// Opens the configured store as it is: creates and migrates nothing.
///
/// # Errors
/// [`OpenError::NotPrepared`] if [`open`] would have to; else as [`open`].
pub async fn open_prepared(
    settings: &settings::Store,
    tokens: &settings::Tokens,
    clock: Clock,
) -> Result<Store, OpenError> {
    match &settings.url {
        settings::StoreUrl::Sqlite(path) => {
            if !path.exists() {
                return Err(OpenError::NotPrepared { store: path.display().to_string() });
            }
            sql::is_prepared(&sqlite::SqliteDatabase::open(path, settings).await?, settings).await?;
        }
        settings::StoreUrl::Postgres(url) => {
            sql::is_prepared(&postgres::PostgresDatabase::new(url, settings)?, settings).await?;
        }
        // Django manages its schema.
        settings::StoreUrl::Django(_) => {}
    }
    open(settings, tokens, clock).await
}

/// Returns the migrations that [`migrate`] would run. Writes nothing.
///
/// # Errors
/// [`OpenError`], as [`open`].
pub async fn pending(settings: &settings::Store) -> Result<Vec<Migration>, OpenError> {
    match &settings.url {
        settings::StoreUrl::Sqlite(path) if !path.exists() => Ok(sqlite::SqliteDatabase::migrations()),
        settings::StoreUrl::Sqlite(path) => {
            sql::pending(&sqlite::SqliteDatabase::open(path, settings).await?, settings).await
        }
        settings::StoreUrl::Postgres(url) => {
            sql::pending(&postgres::PostgresDatabase::new(url, settings)?, settings).await
        }
        // Django manages its schema.
        settings::StoreUrl::Django(_) => Ok(Vec::new()),
    }
}

/// Migrates the schema and creates the key file, without serving. Returns the migrations that ran.
///
/// # Errors
/// [`OpenError`], as [`open`].
pub async fn migrate(settings: &settings::Store) -> Result<Vec<Migration>, OpenError> {
    prepare(settings, sql::LostKey::Refuse).await
}

/// Like [`migrate`], for a store whose key file is lost: creates a new key file and deletes all sealed keys.
///
/// All tokens stay valid. A login token whose key is lost is replaced at the next login. An existing key file is never
/// overwritten.
///
/// # Errors
/// [`OpenError`], as [`open`]; [`OpenError::WrongKey`] if there is a key file and it is not that of the store.
pub async fn migrate_to_new_key(settings: &settings::Store) -> Result<Vec<Migration>, OpenError> {
    prepare(settings, sql::LostKey::Replace).await
}

async fn prepare(settings: &settings::Store, lost: sql::LostKey) -> Result<Vec<Migration>, OpenError> {
    let ready = match &settings.url {
        settings::StoreUrl::Sqlite(path) => {
            let database = sqlite::SqliteDatabase::open(path, settings).await?;
            sql::prepare(&database, settings, lost).await?
        }
        settings::StoreUrl::Postgres(url) => {
            let database = postgres::PostgresDatabase::new(url, settings)?;
            sql::prepare(&database, settings, lost).await?
        }
        // Django manages its schema.
        settings::StoreUrl::Django(url) => {
            return django::open(url, settings, TokenFormat::default(), Clock::system()).await.map(|_| Vec::new());
        }
    };
    Ok(ready.applied)
}
