//! Brings a database up to this version, and its key file into being.
//!
//! Both happen in one transaction that holds the write lock: of several processes that start at once, one does the work
//! and the others find it done.

use std::path::Path;

use sqlx::SqliteConnection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::database::{Database, broken};
use crate::config::settings;
use crate::store::keyfile::KeyFile;
use crate::store::seal::Sealer;
use crate::store::{Migration, OpenError, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// Under which name `meta` keeps the value that tells whether a key file is that of the store.
const CHECK_VALUE: &str = "key_file_check";

/// What to do about a store whose key file is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum LostKey {
    /// Stop.
    Refuse,
    /// Make a new one, and give up what the old one sealed.
    Forsake,
}

/// A database that is ready, the keys that open it, and what had to be done for that.
pub(super) struct Ready {
    pub(super) database: Database,
    pub(super) sealer: Sealer,
    pub(super) applied: Vec<Migration>,
}

/// Opens the database and makes it ready.
pub(super) async fn prepare(settings: &settings::Store, lost: LostKey) -> Result<Ready, OpenError> {
    let settings::StoreUrl::Sqlite(path) = &settings.url;
    let unopened = |source| OpenError::Database { path: path.clone(), source };
    let database = Database::open(path, settings.max_connections, settings.timeout).await.map_err(unopened)?;
    // No time limit of its own: waiting for locks is bounded, and a step over a large table may take what it needs.
    let mut change = database.write().await.map_err(unopened)?;
    let applied = apply(&mut change).await.map_err(|error| schema_error(path, error))?;
    let sealer = fit_key(&mut change, settings, path, lost).await?;
    change.commit().await.map_err(|error| unopened(error.into()))?;
    Ok(Ready { database, sealer, applied })
}

async fn apply(connection: &mut SqliteConnection) -> Result<Vec<Migration>, MigrateError> {
    connection.ensure_migrations_table(&MIGRATIONS.table_name).await?;
    let known = connection.list_applied_migrations(&MIGRATIONS.table_name).await?;
    // Not `run`: its future cannot move between threads (the compiler loses track of a lifetime in `Acquire`).
    MIGRATIONS.run_direct(None, connection, false).await?;
    let is_new = |version| known.iter().all(|migration| migration.version != version);
    Ok(MIGRATIONS
        .iter()
        .filter(|migration| is_new(migration.version))
        .map(|migration| Migration { version: migration.version, description: migration.description.to_string() })
        .collect())
}

/// A locked or damaged file is not a matter of versions.
fn schema_error(path: &Path, error: MigrateError) -> OpenError {
    match error {
        MigrateError::Execute(error) => OpenError::Database { path: path.to_owned(), source: error.into() },
        other => OpenError::Schema { path: path.to_owned(), source: Box::new(other) },
    }
}

/// Finds the key file that belongs to this store, or makes one for a store that has seen none.
async fn fit_key(
    connection: &mut SqliteConnection,
    settings: &settings::Store,
    database: &Path,
    lost: LostKey,
) -> Result<Sealer, OpenError> {
    let failed = |error: StoreError| OpenError::Database { path: database.to_owned(), source: error };
    let (key_file, database) = (settings.key_file.clone(), database.to_owned());
    let mut check = check_value(connection).await.map_err(failed)?;
    let keys = match KeyFile::read(&key_file)? {
        Some(keys) => keys,
        None if check.is_some() && lost == LostKey::Refuse => {
            return Err(OpenError::KeyLost { key_file, database });
        }
        None => {
            if check.take().is_some() {
                forget_sealed(connection).await.map_err(failed)?;
            }
            KeyFile::make(&key_file)?
        }
    };
    let sealer = Sealer::new(&keys)?;
    match check {
        Some(value) if sealer.made(&value) => {}
        Some(_) => return Err(OpenError::WrongKey { key_file, database }),
        None => adopt(connection, &sealer).await.map_err(failed)?,
    }
    Ok(sealer)
}

async fn check_value(connection: &mut SqliteConnection) -> Result<Option<Vec<u8>>, StoreError> {
    let query = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(CHECK_VALUE);
    Ok(query.fetch_optional(connection).await?)
}

async fn adopt(connection: &mut SqliteConnection, sealer: &Sealer) -> Result<(), StoreError> {
    let value = sealer.check_value().map_err(broken)?;
    sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?)")
        .bind(CHECK_VALUE)
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}

async fn forget_sealed(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE tokens SET sealed = NULL").execute(&mut *connection).await?;
    sqlx::query("DELETE FROM meta WHERE name = ?").bind(CHECK_VALUE).execute(connection).await?;
    Ok(())
}
