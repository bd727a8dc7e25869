//! The key file: 32 random bytes, stored outside the database. While its key is replaced, it has two keys: the old one,
//! then the new one.
//!
//! Read when a store is opened and when it has changed, and created on first start. Only subkeys leave this module, one
//! per [`Purpose`], so a value sealed for one purpose cannot be opened for another. A file is replaced at once or not
//! at all, and refused if other users may read it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use crate::secret_file::{self, OpenToOthers};

/// Length in bytes of the file, and of every subkey.
const LENGTH: usize = 32;

/// Separates our subkeys from those of other programs that use the same file.
const SALT: &[u8] = b"tokengate key file, version 1";

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("{path}: the key file cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It cannot be created.
    #[error(
        "{path}: the key file cannot be created; check that its folder exists and that the gateway can write there"
    )]
    NotMade {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It cannot be replaced by one with another key.
    #[error("{path}: the key file cannot be replaced; check that its folder can be written to")]
    NotReplaced {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users may read or change it.
    #[error("{path}: {open}; {}", .open.mend(.path))]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// The users.
        open: OpenToOthers,
    },
    /// The file is not a key file.
    #[error(
        "{path}: a key file has 32 bytes, or 64 while its key is replaced, this one has {length}; restore the right file"
    )]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// The cryptographic library failed.
    #[error("no subkey could be derived from the key file")]
    NoSubkey,
}

/// The purpose of a subkey.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Seals the keys of login tokens.
    LoginTokens,
    /// Seals the check value of a store.
    StoreCheck,
    /// Seals the entries of the shared cache.
    SharedCache,
}

/// What distinguishes a key file from its former content.
pub(super) type Print = (u64, u64, i64, i64);

/// An opened key file. Neither `Debug` nor `Clone`.
pub(super) struct KeyFile {
    /// One key, or the old one and the new one.
    keys: Vec<Prk>,
    print: Print,
}

/// The bytes of a key file.
pub(super) struct Secrets(Zeroizing<Vec<u8>>);

impl KeyFile {
    /// Reads the file; `None` if it does not exist.
    pub(super) fn read(path: &Path) -> Result<Option<KeyFile>, KeyFileError> {
        let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        // Checks the opened file, not the path, so that the file cannot be swapped in between.
        let metadata = file.metadata().map_err(unreadable)?;
        secret_file::check(&metadata).map_err(|open| KeyFileError::OpenToOthers { path: path.to_owned(), open })?;
        let mut secret = Zeroizing::new([0_u8; 2 * LENGTH]);
        let secret = match metadata.len() {
            32 => secret.get_mut(..LENGTH),
            64 => Some(secret.as_mut_slice()),
            _ => None,
        };
        let wrong = || KeyFileError::WrongLength { path: path.to_owned(), length: metadata.len() };
        let secret = secret.ok_or_else(wrong)?;
        file.read_exact(secret).map_err(unreadable)?;
        let print = print(&metadata);
        Ok(Some(KeyFile { keys: secret.chunks(LENGTH).map(KeyFile::from_secret).collect(), print }))
    }

    /// What distinguishes the file now from its former content; `None`: it cannot be read.
    pub(super) fn print_of(path: &Path) -> Option<Print> {
        path.metadata().ok().as_ref().map(print)
    }

    /// What distinguishes this content from another one.
    pub(super) fn print(&self) -> Print {
        self.print
    }

    /// The number of keys: one, or two while the key is replaced.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Creates a new file, which must not exist yet, and flushes it to disk.
    pub(super) fn make(path: &Path) -> Result<KeyFile, KeyFileError> {
        let not_made = |source| KeyFileError::NotMade { path: path.to_owned(), source };
        let secret = random().map_err(not_made)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(not_made)?;
        file.write_all(secret.as_ref()).and_then(|()| file.sync_all()).map_err(not_made)?;
        // The directory is flushed too: if a power failure lost the file, the store would hold values that cannot be
        // opened.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(not_made)?;
        let print = file.metadata().as_ref().map(print).map_err(|error| not_made(io::Error::from(error.kind())))?;
        Ok(KeyFile { keys: vec![KeyFile::from_secret(secret.as_ref())], print })
    }

    fn from_secret(secret: &[u8]) -> Prk {
        Salt::new(HKDF_SHA256, SALT).extract(secret)
    }

    /// Returns the sealing keys for one purpose, the newest one last.
    pub(super) fn sealing_keys(&self, purpose: Purpose) -> Result<Vec<RandomizedNonceKey>, KeyFileError> {
        let expanded = self.keys.iter().map(|key| KeyFile::expand(key, purpose));
        expanded.collect::<Result<_, _>>().map_err(|Unspecified| KeyFileError::NoSubkey)
    }

    fn expand(key: &Prk, purpose: Purpose) -> Result<RandomizedNonceKey, Unspecified> {
        let label: &[u8] = match purpose {
            Purpose::LoginTokens => b"login tokens",
            Purpose::StoreCheck => b"store check",
            Purpose::SharedCache => b"shared cache",
        };
        let mut subkey = Zeroizing::new([0_u8; LENGTH]);
        key.expand(&[label], SubkeyLength)?.fill(subkey.as_mut())?;
        RandomizedNonceKey::new(&AES_256_GCM, subkey.as_ref())
    }
}

impl Secrets {
    /// Reads the keys of a file, to write them to another one.
    pub(super) fn read(path: &Path) -> Result<Secrets, KeyFileError> {
        // Checks permissions and length.
        KeyFile::read(path)?.ok_or_else(|| missing(path))?;
        let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
        std::fs::read(path).map(|secrets| Secrets(Zeroizing::new(secrets))).map_err(unreadable)
    }

    /// The same with a new key behind them.
    pub(super) fn with_new_key(&self) -> Result<Secrets, KeyFileError> {
        let new = random().map_err(|_| KeyFileError::NoSubkey)?;
        Ok(Secrets(Zeroizing::new([self.0.as_slice(), new.as_ref()].concat())))
    }

    /// The last key only.
    pub(super) fn newest(&self) -> Secrets {
        let last = self.0.chunks(LENGTH).next_back().unwrap_or_default();
        Secrets(Zeroizing::new(last.to_vec()))
    }

    /// Replaces the file, which keeps its owner, group and mode. A crash leaves either content.
    pub(super) fn replace(&self, path: &Path) -> Result<(), KeyFileError> {
        let replace = || {
            let before = std::fs::metadata(path)?;
            let mut name = path.as_os_str().to_owned();
            name.push(".new");
            let beside = PathBuf::from(name);
            // A crash may have left one.
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            if file.metadata()?.uid() != before.uid() || file.metadata()?.gid() != before.gid() {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(before.permissions())?;
            file.write_all(&self.0)?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        replace().map_err(|source| KeyFileError::NotReplaced { path: path.to_owned(), source })
    }
}

/// Seals the entries of the shared cache. All gateways need the same key file.
pub struct SharedCacheKey {
    path: PathBuf,
    keys: RwLock<(Print, Arc<[RandomizedNonceKey]>)>,
}

impl SharedCacheKey {
    /// Derives the subkeys from an existing key file.
    ///
    /// # Errors
    /// [`KeyFileError`] if it does not exist or cannot be used.
    pub fn read(path: &Path) -> Result<SharedCacheKey, KeyFileError> {
        let file = KeyFile::read(path)?.ok_or_else(|| missing(path))?;
        let keys = file.sealing_keys(Purpose::SharedCache)?;
        Ok(SharedCacheKey { path: path.to_owned(), keys: RwLock::new((file.print(), keys.into())) })
    }

    /// Reads the file again if it has changed.
    ///
    /// # Errors
    /// [`KeyFileError`]; the keys stay.
    pub fn refresh(&self) -> Result<(), KeyFileError> {
        let now = KeyFile::print_of(&self.path);
        if now == Some(self.keys.read().unwrap_or_else(PoisonError::into_inner).0) {
            return Ok(());
        }
        let file = KeyFile::read(&self.path)?.ok_or_else(|| missing(&self.path))?;
        let keys = file.sealing_keys(Purpose::SharedCache)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = (file.print(), keys.into());
        Ok(())
    }

    /// Returns the keys; the last one seals.
    pub fn expose(&self) -> Arc<[RandomizedNonceKey]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner).1)
    }
}

fn missing(path: &Path) -> KeyFileError {
    KeyFileError::Unreadable { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }
}

fn random() -> io::Result<Zeroizing<[u8; LENGTH]>> {
    let mut secret = Zeroizing::new([0_u8; LENGTH]);
    aws_lc_rs::rand::fill(secret.as_mut()).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(secret)
}

fn print(metadata: &Metadata) -> Print {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

struct SubkeyLength;

impl KeyType for SubkeyLength {
    fn len(&self) -> usize {
        LENGTH
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_key_file_is_private_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(KeyFile::read(&path).unwrap().is_none());
        KeyFile::make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), LENGTH);
        assert!(matches!(KeyFile::make(&path), Err(KeyFileError::NotMade { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert!(KeyFile::read(&path).unwrap().is_some());
    }

    #[test]
    fn a_key_file_of_another_length_or_readable_by_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyFile::make(&path).unwrap();
        for mode in [0o604, 0o602, 0o644] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert!(
                matches!(KeyFile::read(&path), Err(KeyFileError::OpenToOthers { open: OpenToOthers::Everyone { mode: m }, .. }) if m == mode)
            );
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        for length in [0, 31, 33] {
            std::fs::write(&path, vec![1; length]).unwrap();
            assert!(matches!(KeyFile::read(&path), Err(KeyFileError::WrongLength { .. })), "{length}");
        }
    }
}
