//! The folder of an ACME account, its certificates and its pending challenges.
//!
//! Several gateways may share it, on one machine or over a network file system. One of them requests certificates at a
//! time: the holder of [`Lock`]. All of them read the pending challenges, because the CA may ask any of them. Every
//! file is written beside its place and renamed, so a reader never sees half of it, and a crash leaves the old one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::AcmeError;

/// The folder of pending challenges.
const CHALLENGES: &str = "challenges";
/// More pending challenges than one order can have: 100 names for Let's Encrypt.
const MAX_PENDING: usize = 1_000;

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// The right to request certificates. It ends when it is dropped, or with the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holds the lock")] File);

/// A challenge that the CA may ask for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The DNS name, without `*.`.
    pub name: String,
    /// The token that the CA asks for.
    pub token: String,
    /// The answer: the token, and the thumbprint of the account's key.
    pub key_authorization: String,
}

impl Folder {
    /// The folder at a path, which may not exist yet.
    pub fn at(path: &Path) -> Folder {
        Folder(path.to_owned())
    }

    /// The file of the account.
    pub fn account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// Takes the lock; `None`: another process has it. Creates the folder.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn try_lock(&self) -> Result<Option<Lock>, AcmeError> {
        for folder in [self.0.clone(), self.0.join(CHALLENGES)] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| file_error(&folder, error))?;
        }
        let path = self.0.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| file_error(&path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(file_error(&path, error.into())),
        }
    }

    /// Writes a file that only this user can read. Replaces the one that is there at once, or not at all.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn write(&self, path: &Path, text: &[u8]) -> Result<(), AcmeError> {
        let write = || {
            let mut name = path.to_owned().into_os_string();
            name.push(".new");
            let beside = PathBuf::from(name);
            // A crash may have left one.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            File::open(path.parent().unwrap_or(&self.0))?.sync_all()
        };
        write().map_err(|error| file_error(path, error))
    }

    /// Reads a file; `None` if it does not exist.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, AcmeError> {
        match fs::read(path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error(path, error)),
        }
    }

    /// Shows a pending challenge to all gateways.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn announce(&self, pending: &Pending) -> Result<(), AcmeError> {
        let path = self.challenge(&pending.token);
        let text = serde_json::to_vec(pending).map_err(|error| file_error(&path, error.into()))?;
        self.write(&path, &text)
    }

    /// Removes all pending challenges: none is, when the holder of the lock begins or ends an order.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn clear(&self, _lock: &Lock) -> Result<(), AcmeError> {
        let folder = self.0.join(CHALLENGES);
        let entries = fs::read_dir(&folder).map_err(|error| file_error(&folder, error))?;
        for entry in entries {
            let path = entry.map_err(|error| file_error(&folder, error))?.path();
            fs::remove_file(&path).map_err(|error| file_error(&path, error))?;
        }
        Ok(())
    }

    /// The pending challenges, in the order of their tokens. Files that cannot be read are left out.
    pub fn pending(&self) -> Vec<Pending> {
        let entries = fs::read_dir(self.0.join(CHALLENGES)).into_iter().flatten().take(MAX_PENDING);
        let read = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let pending: Pending = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            (path == self.challenge(&pending.token)).then_some(pending)
        });
        let mut pending: Vec<Pending> = read.collect();
        pending.sort_by(|a, b| a.token.cmp(&b.token));
        pending
    }

    fn challenge(&self, token: &str) -> PathBuf {
        self.0.join(CHALLENGES).join(token)
    }
}

fn file_error(path: &Path, source: io::Error) -> AcmeError {
    AcmeError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::at(&parent.path().join("acme"));
        let lock = folder.try_lock().unwrap().unwrap();
        assert_eq!(mode(&folder.0), 0o700);
        assert!(folder.try_lock().unwrap().is_none());
        drop(lock);
        assert!(folder.try_lock().unwrap().is_some());
    }

    #[test]
    fn files_are_private_and_a_reader_never_sees_half_of_one() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::at(parent.path());
        let path = parent.path().join("main.pem");
        assert!(folder.read(&path).unwrap().is_none());
        folder.write(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        // What a crash leaves behind is of no effect, and of no use.
        fs::write(parent.path().join("main.pem.new"), "half").unwrap();
        assert_eq!(folder.read(&path).unwrap().unwrap().as_slice(), b"one");
        folder.write(&path, b"two").unwrap();
        assert_eq!((folder.read(&path).unwrap().unwrap().as_slice(), mode(&path)), (&b"two"[..], 0o600));
    }

    #[test]
    fn pending_challenges_are_seen_by_all_until_they_are_cleared() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::at(parent.path());
        assert_eq!(folder.pending(), []);
        let lock = folder.try_lock().unwrap().unwrap();
        let pending = ["t1", "t2"].map(|token| Pending {
            name: "a.test".to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.x"),
        });
        pending.iter().rev().for_each(|one| folder.announce(one).unwrap());
        fs::write(parent.path().join("challenges/other"), "no challenge").unwrap();
        fs::copy(parent.path().join("challenges/t1"), parent.path().join("challenges/t3")).unwrap();
        assert_eq!(Folder::at(parent.path()).pending(), pending);
        folder.clear(&lock).unwrap();
        assert_eq!(folder.pending(), []);
    }
}
