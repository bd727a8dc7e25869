//! Migrates a database to this version, and creates its key file.
//!
//! If several gateways start at once, one does the work and the others wait for it.

use std::path::Path;

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{Change, Database, Statement};
use crate::config::settings;
use crate::store::error::{broken, unavailable};
use crate::store::keyfile::KeyFile;
use crate::store::seal::Sealer;
use crate::store::{Migration, OpenError, StoreError};

/// The name in the table `meta` of the value that identifies the store's key file.
pub(super) const CHECK_VALUE: &str = "key_file_check";

/// What to do about a lost key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum LostKey {
    /// Refuse to start.
    Refuse,
    /// Create a new one, and delete what was encrypted with the old one.
    Replace,
}

/// The encryption keys of an opened database, and the migrations that ran.
pub(in crate::store) struct Ready {
    pub(in crate::store) sealer: Sealer,
    pub(in crate::store) applied: Vec<Migration>,
}

/// Migrates a database and opens its key file.
pub(in crate::store) async fn prepare<D: Database>(
    database: &D,
    settings: &settings::Store,
    lost: LostKey,
) -> Result<Ready, OpenError> {
    // No timeout here: waiting for locks has its own, and a migration of a large table may take long.
    let applied = database.migrate().await?;
    let fitting = async {
        let mut change = database.begin().await.map_err(|error| database.unopened(error))?;
        let sealer = fit_key(&mut change, database, &settings.key_file, lost).await;
        match sealer {
            Ok(sealer) => change.commit().await.map(|()| sealer).map_err(|error| database.unopened(error)),
            Err(refused) => {
                change.roll_back().await;
                Err(refused)
            }
        }
    };
    let fitted = tokio::time::timeout(settings.timeout, fitting).await;
    let sealer = fitted.unwrap_or_else(|elapsed| Err(database.unopened(unavailable(elapsed))))?;
    Ok(Ready { sealer, applied })
}

/// Checks that [`prepare`] would change nothing.
pub(in crate::store) async fn is_prepared<D: Database>(
    database: &D,
    settings: &settings::Store,
) -> Result<(), OpenError> {
    let not_prepared = || OpenError::NotPrepared { store: database.place() };
    if KeyFile::read(&settings.key_file)?.is_none() {
        return Err(not_prepared());
    }
    if pending(database, settings).await?.is_empty() { Ok(()) } else { Err(not_prepared()) }
}

/// The migrations that [`prepare`] would run.
pub(in crate::store) async fn pending<D: Database>(
    database: &D,
    settings: &settings::Store,
) -> Result<Vec<Migration>, OpenError> {
    let applied = database.rows(Statement::new("SELECT version FROM _sqlx_migrations WHERE success"));
    let applied: Vec<(i64,)> = match tokio::time::timeout(settings.timeout, applied).await {
        Ok(Ok(applied)) => applied,
        // A new database has no such table.
        Ok(Err(StoreError::Broken(_))) => Vec::new(),
        Ok(Err(error)) => return Err(database.unopened(error)),
        Err(elapsed) => return Err(database.unopened(unavailable(elapsed))),
    };
    let is_new = |migration: &Migration| !applied.contains(&(migration.version,));
    Ok(D::migrations().into_iter().filter(is_new).collect())
}

/// The migrations of a migrator, in their order.
pub(in crate::store) fn described(migrations: &Migrator) -> Vec<Migration> {
    let described = migrations
        .iter()
        .map(|migration| Migration { version: migration.version, description: migration.description.to_string() });
    described.collect()
}

/// The migrations of a database, in their order, from the files of a folder below `migrations/`. The macro of the
/// library reads the folder itself, but brings a second build of all database drivers.
macro_rules! migrations {
    ($folder:literal: $($version:literal $description:literal $file:literal)+) => {
        std::sync::LazyLock::new(|| {
            sqlx::migrate::Migrator::with_migrations(vec![$(sqlx::migrate::Migration::new(
                $version,
                $description.into(),
                sqlx::migrate::MigrationType::Simple,
                sqlx::SqlSafeStr::into_sql_str(include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/src/store/migrations/", $folder, "/", $file, ".sql"
                ))),
                false,
            )),+])
        })
    };
}
pub(in crate::store) use migrations;

/// Applies the missing migrations, within the caller's transaction.
pub(in crate::store) async fn apply<C: Migrate>(
    connection: &mut C,
    migrations: &Migrator,
) -> Result<Vec<Migration>, MigrateError> {
    connection.ensure_migrations_table(&migrations.table_name).await?;
    let known = connection.list_applied_migrations(&migrations.table_name).await?;
    // Not `run`: its future cannot move between threads (the compiler loses track of a lifetime in `Acquire`).
    migrations.run_direct(None, connection, false).await?;
    let is_new = |version| known.iter().all(|migration| migration.version != version);
    Ok(described(migrations).into_iter().filter(|migration| is_new(migration.version)).collect())
}

/// Opens the key file of this store, or creates one for a new store.
async fn fit_key<D: Database>(
    change: &mut D::Change,
    database: &D,
    key_file: &Path,
    lost: LostKey,
) -> Result<Sealer, OpenError> {
    let failed = |error| database.unopened(error);
    let mut check = check_value(change).await.map_err(failed)?;
    let keys = match KeyFile::read(key_file)? {
        Some(keys) => keys,
        None if check.is_some() && lost == LostKey::Refuse => {
            return Err(OpenError::KeyLost { key_file: key_file.to_owned(), store: database.place() });
        }
        None => {
            if check.take().is_some() {
                forget_sealed(change).await.map_err(failed)?;
            }
            KeyFile::make(key_file)?
        }
    };
    let sealer = Sealer::new(key_file, &keys)?;
    match check {
        Some(value) if sealer.made(&value) => {}
        Some(_) => return Err(OpenError::WrongKey { key_file: key_file.to_owned(), store: database.place() }),
        None => adopt(change, &sealer).await.map_err(failed)?,
    }
    Ok(sealer)
}

/// The value by which the store recognises its key file.
pub(super) async fn check_value<C: Change>(change: &mut C) -> Result<Option<Vec<u8>>, StoreError> {
    let statement = Statement::new("SELECT value FROM meta WHERE name = $1").bind(CHECK_VALUE);
    let row: Option<(Vec<u8>,)> = change.row(statement).await?;
    Ok(row.map(|(value,)| value))
}

async fn adopt<C: Change>(change: &mut C, sealer: &Sealer) -> Result<(), StoreError> {
    let value = sealer.check_value().map_err(broken)?;
    let statement = Statement::new("INSERT INTO meta (name, value) VALUES ($1, $2)");
    change.execute(statement.bind(CHECK_VALUE).bind(Some(value))).await?;
    Ok(())
}

async fn forget_sealed<C: Change>(change: &mut C) -> Result<(), StoreError> {
    change.execute(Statement::new("UPDATE tokens SET sealed = NULL")).await?;
    change.execute(Statement::new("DELETE FROM meta WHERE name = $1").bind(CHECK_VALUE)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::store::postgres::PostgresDatabase;
    use crate::store::sql::Database;
    use crate::store::sqlite::SqliteDatabase;

    #[test]
    fn every_file_is_a_migration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
        for (name, known) in [("sqlite", SqliteDatabase::migrations()), ("postgres", PostgresDatabase::migrations())] {
            assert_eq!(std::fs::read_dir(folder.join(name)).unwrap().count(), known.len(), "{name}");
        }
    }
}
