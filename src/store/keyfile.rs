//! The key file: 32 random bytes, stored outside the database.
//!
//! Read once when a store is opened, and created on first start. Only subkeys leave this module, one per [`Purpose`],
//! so a value sealed for one purpose cannot be opened for another. Never overwrites a file; refuses a file that other
//! users may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    /// Other users may read or change it.
    #[error("{path}: {open}; {}", .open.mend(.path))]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// The users.
        open: OpenToOthers,
    },
    /// The file is not a key file.
    #[error("{path}: a key file has 32 bytes, this one has {length}; restore the right file")]
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

/// An opened key file. Neither `Debug` nor `Clone`.
pub(super) struct KeyFile(Prk);

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
        if metadata.len() != 32 {
            return Err(KeyFileError::WrongLength { path: path.to_owned(), length: metadata.len() });
        }
        let mut secret = Zeroizing::new([0_u8; LENGTH]);
        file.read_exact(secret.as_mut()).map_err(unreadable)?;
        Ok(Some(KeyFile::from_secret(&secret)))
    }

    /// Creates a new file, which must not exist yet, and flushes it to disk.
    pub(super) fn make(path: &Path) -> Result<KeyFile, KeyFileError> {
        let not_made = |source| KeyFileError::NotMade { path: path.to_owned(), source };
        let mut secret = Zeroizing::new([0_u8; LENGTH]);
        aws_lc_rs::rand::fill(secret.as_mut()).map_err(|_| not_made(io::Error::other("no random numbers")))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(not_made)?;
        file.write_all(secret.as_ref()).and_then(|()| file.sync_all()).map_err(not_made)?;
        // The directory is flushed too: if a power failure lost the file, the store would hold values that cannot be
        // opened.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(not_made)?;
        Ok(KeyFile::from_secret(&secret))
    }

    fn from_secret(secret: &[u8; LENGTH]) -> KeyFile {
        KeyFile(Salt::new(HKDF_SHA256, SALT).extract(secret))
    }

    /// Returns the sealing key for one purpose.
    pub(super) fn sealing_key(&self, purpose: Purpose) -> Result<RandomizedNonceKey, KeyFileError> {
        self.expand(purpose).map_err(|Unspecified| KeyFileError::NoSubkey)
    }

    fn expand(&self, purpose: Purpose) -> Result<RandomizedNonceKey, Unspecified> {
        let label: &[u8] = match purpose {
            Purpose::LoginTokens => b"login tokens",
            Purpose::StoreCheck => b"store check",
            Purpose::SharedCache => b"shared cache",
        };
        let mut subkey = Zeroizing::new([0_u8; LENGTH]);
        self.0.expand(&[label], SubkeyLength)?.fill(subkey.as_mut())?;
        RandomizedNonceKey::new(&AES_256_GCM, subkey.as_ref())
    }
}

/// Seals the entries of the shared cache. All gateways need the same key file.
pub struct SharedCacheKey(RandomizedNonceKey);

impl SharedCacheKey {
    /// Derives the subkey from an existing key file.
    ///
    /// # Errors
    /// [`KeyFileError`] if it does not exist or cannot be used.
    pub fn read(path: &Path) -> Result<SharedCacheKey, KeyFileError> {
        let missing = || KeyFileError::Unreadable { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
        let keys = KeyFile::read(path)?.ok_or_else(missing)?;
        keys.sealing_key(Purpose::SharedCache).map(SharedCacheKey)
    }

    /// Returns the key.
    pub fn expose(&self) -> &RandomizedNonceKey {
        &self.0
    }
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
