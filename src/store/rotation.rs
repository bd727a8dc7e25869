//! Replaces the key of the key file while gateways use the store.
//!
//! In four steps, each of which leaves a state in which every value can be decrypted, so that a crash after any of them
//! is mended by beginning again:
//!
//! 1. The file gets the new key behind the old one. Gateways read it when they meet a value that they cannot decrypt.
//! 2. The check value of the store is made with the new key. From then on every gateway encrypts with it.
//! 3. All values are encrypted again, in batches. No value comes after that uses the old key.
//! 4. The file keeps the new key only.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::keyfile::{KeyFile, KeyFileError, Secrets};
use super::seal::Sealer;
use super::sql::{self, Database};
use super::{OpenError, StoreError, postgres, sqlite};
use crate::config::settings;

/// How far step 3 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Values in the store when it began.
    pub total: u64,
    /// Values that were looked at.
    pub looked_at: u64,
    /// Values that were encrypted again. The others were already.
    pub renewed: u64,
    /// Values that no key decrypts. They could not be decrypted before, either.
    pub unreadable: u64,
    /// Whether the file already had the second key: an earlier run was interrupted, or only added it.
    pub continued: bool,
}

/// Why the key was not replaced. The command can be run again.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The store cannot be opened, or the key file is not its own.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The key file cannot be read or replaced.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// All values use the new key, but the file cannot be replaced.
    #[error("{source}; all values use the new key now: remove the first 32 bytes of the file yourself (tail -c 32)")]
    NotFinished {
        /// Why not.
        source: KeyFileError,
    },
    /// The store failed.
    #[error("the store failed; run the command again, it continues where it stopped")]
    Store(#[from] StoreError),
    /// Another process replaces the key.
    #[error("another process is replacing the key of {0}")]
    Busy(PathBuf),
    /// The lock cannot be taken.
    #[error("{path}: {source}")]
    Lock {
        /// Its file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A Django database has no encrypted values.
    #[error("a Django database has no values that are encrypted with the key file")]
    Django,
}

/// Which steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Only the first: the file is then copied to all gateways.
    AddKey,
    /// All that are left.
    All,
}

/// Replaces the key of the key file; continues a replacement that was interrupted. `None`: only the first step was
/// asked for.
///
/// # Errors
/// [`RotationError`].
pub async fn rotate_key(
    settings: &settings::Store,
    steps: Steps,
    report: impl FnMut(Progress),
) -> Result<Option<Progress>, RotationError> {
    match &settings.url {
        settings::StoreUrl::Sqlite(path) => {
            if !path.exists() {
                return Err(OpenError::NotPrepared { store: path.display().to_string() }.into());
            }
            rotate(&sqlite::SqliteDatabase::open(path, settings).await?, settings, steps, report).await
        }
        settings::StoreUrl::Postgres(url) => {
            rotate(&postgres::PostgresDatabase::new(url, settings)?, settings, steps, report).await
        }
        settings::StoreUrl::Django(_) => Err(RotationError::Django),
    }
}

async fn rotate<D: Database>(
    database: &D,
    settings: &settings::Store,
    steps: Steps,
    report: impl FnMut(Progress),
) -> Result<Option<Progress>, RotationError> {
    let path = &settings.key_file;
    let _lock = lock(path)?;
    sql::is_prepared(database, settings).await?;
    let read = || {
        KeyFile::read(path)?
            .ok_or_else(|| KeyFileError::Unreadable { path: path.clone(), source: std::io::ErrorKind::NotFound.into() })
    };
    let mut file = read()?;
    let fits = sql::fits(database, settings, &Sealer::new(path, &file)?).await;
    if !fits.map_err(|error| database.unopened(error))? {
        return Err(OpenError::WrongKey { key_file: path.clone(), store: database.place() }.into());
    }
    let continued = file.count() > 1;
    if !continued {
        Secrets::read(path)?.with_new_key()?.replace(path)?;
        file = read()?;
    }
    if steps == Steps::AddKey {
        return Ok(None);
    }
    let sealer = Sealer::new(path, &file)?;
    sql::switch(database, settings, &sealer).await?;
    let progress = sql::reseal(database, settings, &sealer, report).await?;
    let newest = Secrets::read(path)?.newest();
    newest.replace(path).map_err(|source| RotationError::NotFinished { source })?;
    Ok(Some(Progress { continued, ..progress }))
}

/// Two processes at once would each add a key, and one of the two would be lost.
fn lock(key_file: &Path) -> Result<File, RotationError> {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |source| RotationError::Lock { path: path.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(RotationError::Busy(key_file.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}
