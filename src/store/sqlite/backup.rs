//! Backups of the SQLite file: taken while gateways use it, checked, and restored only where no file is.
//!
//! A backup is one file with everything that was committed when it began. It does not contain the key file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::database::SqliteDatabase;
use crate::store::keyfile::{KeyFile, KeyFileError};
use crate::store::seal::Sealer;
use crate::store::sql::Database;

/// The ending of a file that is being written.
pub const PART: &str = ".part";

/// A checked backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Number of users.
    pub users: u64,
    /// Number of tokens, also revoked ones.
    pub tokens: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Whether the key file of the configuration belongs to it; `None`: there is no key file.
    pub key_fits: Option<bool>,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place of the new file is taken.
    #[error("{0}: already exists, and is not replaced; move it away or choose another name")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// SQLite cannot read or copy the database.
    #[error("{path}: {what}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// The error of the database.
        source: sqlx::Error,
    },
    /// The file is damaged.
    #[error("{path}: the database is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first problem that SQLite reports.
        what: String,
    },
    /// The file is from a newer version.
    #[error("{0}: a newer tokengate has written it; use that version")]
    Newer(PathBuf),
    /// The key file is unusable.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
}

/// Copies the database to a new file, and checks the copy. Gateways can read and write meanwhile.
///
/// # Errors
/// [`BackupError`]; no file is left behind.
pub async fn back_up(database: &Path, to: &Path, key_file: &Path) -> Result<Backup, BackupError> {
    refuse_existing(to)?;
    let part = Part::create(to)?;
    let mut connection = connect(database, false).await?;
    let copied = sqlx::query("VACUUM INTO ?").bind(part.path.to_string_lossy()).execute(&mut connection).await;
    copied.map_err(failed(database, "the database cannot be copied"))?;
    // The last connection that closes removes the files beside the database. The copy is complete in any case.
    let _ = connection.close().await;
    let checked = check(&part.path, to, key_file).await?;
    part.finish(to)?;
    Ok(checked)
}

/// Checks a backup and makes it the database, which must not exist.
///
/// # Errors
/// [`BackupError`]; nothing has changed.
pub async fn restore(from: &Path, database: &Path, key_file: &Path) -> Result<Backup, BackupError> {
    // SQLite would apply the log of the former database to the new one.
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = database.as_os_str().to_owned();
        file.push(suffix);
        refuse_existing(Path::new(&file))?;
    }
    let part = Part::create(database)?;
    let copied = fs::copy(from, &part.path);
    // The copy also has the permissions of the backup, which may have been downloaded.
    let copied = copied.and_then(|_| fs::set_permissions(&part.path, Permissions::from_mode(0o600)));
    copied.map_err(|source| BackupError::File { path: from.to_owned(), what: "cannot be read or copied", source })?;
    let checked = check(&part.path, from, key_file).await?;
    part.finish(database)?;
    Ok(checked)
}

/// A file that is being written beside its final place. Dropped, it is removed.
struct Part {
    path: PathBuf,
}

impl Part {
    fn create(place: &Path) -> Result<Part, BackupError> {
        let mut name = place.as_os_str().to_owned();
        name.push(OsString::from(PART));
        let path = PathBuf::from(name);
        // Mode 0600: users and digests of passwords are in it. SQLite accepts an empty file.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Ok(Part { path }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(path)),
            Err(source) => Err(BackupError::File { path, what: "cannot be created", source }),
        }
    }

    /// Gives the file its name, which must be free, once everything is on the disk.
    fn finish(self, place: &Path) -> Result<(), BackupError> {
        let write = || {
            File::open(&self.path)?.sync_all()?;
            // Unlike a rename, a link never replaces a file.
            fs::hard_link(&self.path, place)?;
            let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(place.to_owned()),
            _ => BackupError::File { path: place.to_owned(), what: "cannot be written", source },
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn refuse_existing(path: &Path) -> Result<(), BackupError> {
    if path.symlink_metadata().is_ok() { Err(BackupError::Exists(path.to_owned())) } else { Ok(()) }
}

/// Opens a file. `is_copy`: no other process uses it, and no files may appear beside it.
async fn connect(path: &Path, is_copy: bool) -> Result<SqliteConnection, BackupError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).disable_statement_logging();
    let options = if is_copy { options.read_only(true).immutable(true) } else { options };
    options.connect().await.map_err(failed(path, "the database cannot be opened"))
}

/// Checks a copy; messages name the file `shown`.
async fn check(copy: &Path, shown: &Path, key_file: &Path) -> Result<Backup, BackupError> {
    let mut connection = connect(copy, true).await?;
    let unreadable = || failed(shown, "this is not a database of tokengate");
    let found = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await;
    let found: String = found.map_err(unreadable())?;
    if found != "ok" {
        return Err(BackupError::Damaged { path: shown.to_owned(), what: found });
    }
    let version = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations");
    let version: i64 = version.fetch_one(&mut connection).await.map_err(unreadable())?;
    let newest = SqliteDatabase::migrations().iter().map(|migration| migration.version).max();
    if Some(version) > newest {
        return Err(BackupError::Newer(shown.to_owned()));
    }
    let counts = sqlx::query_as("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM tokens)");
    let (users, tokens): (i64, i64) = counts.fetch_one(&mut connection).await.map_err(unreadable())?;
    let value = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'key_file_check'");
    let value: Option<Vec<u8>> = value.fetch_optional(&mut connection).await.map_err(unreadable())?;
    let sealer = KeyFile::read(key_file)?.map(|keys| Sealer::new(key_file, &keys)).transpose()?;
    let metadata = fs::metadata(copy);
    let metadata =
        metadata.map_err(|source| BackupError::File { path: shown.to_owned(), what: "cannot be read", source })?;
    Ok(Backup {
        users: u64::try_from(users).unwrap_or(0),
        tokens: u64::try_from(tokens).unwrap_or(0),
        bytes: metadata.len(),
        key_fits: sealer.map(|sealer| value.is_none_or(|value| sealer.made(&value))),
    })
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(sqlx::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Database { path, what, source }
}
