//! Opens the store that the settings name, and brings its schema up to this version.

use super::{OpenError, Store, django, postgres, sql, sqlite};
use crate::clock::Clock;
use crate::config::settings;
use crate::token::TokenFormat;

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// What it brings.
    pub description: String,
}

/// Opens the store that the settings name; makes the key file and an SQLite database on first start, and brings the
/// schema up to this version.
///
/// # Errors
/// [`OpenError`] says which file or server is not as it should be, and how to mend it.
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

/// Brings the schema up to this version, and the key file into being, without serving. Says which steps were taken.
///
/// # Errors
/// [`OpenError`], as [`open`].
pub async fn migrate(settings: &settings::Store) -> Result<Vec<Migration>, OpenError> {
    prepare(settings, sql::LostKey::Refuse).await
}

/// As [`migrate`], for a store whose key file is lost for good: makes a new one and forgets all sealed keys.
///
/// All tokens stay valid. Login tokens that are not known any more are replaced at the next login. A key file that is
/// there is never overwritten.
///
/// # Errors
/// [`OpenError`], as [`open`]; [`OpenError::WrongKey`] if there is a key file and it is not that of the store.
pub async fn migrate_to_new_key(settings: &settings::Store) -> Result<Vec<Migration>, OpenError> {
    prepare(settings, sql::LostKey::Forsake).await
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
        // Its schema is Django's.
        settings::StoreUrl::Django(url) => {
            return django::open(url, settings, TokenFormat::default(), Clock::system()).await.map(|_| Vec::new());
        }
    };
    Ok(ready.applied)
}
