//! The Unix socket of the control commands, and its file.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tokio::net::UnixListener;

use super::channel::Channel;

/// The bound socket. Its file is removed when this is dropped.
pub(super) struct ControlSocket {
    listener: UnixListener,
    /// Where clients look for it.
    path: PathBuf,
    /// Where its file is; beside `path` until [`claim`](Self::claim).
    at: PathBuf,
    /// Device and inode: another gateway may have replaced the file.
    file: Option<(u64, u64)>,
}

impl ControlSocket {
    /// Binds the socket beside its path. `replaces` is the socket of the process that this one takes over from.
    ///
    /// # Errors
    /// What the system says; `AddrInUse` if another gateway answers at the path, or if the file there is no socket.
    pub(super) fn open(path: &Path, replaces: Option<&Path>) -> io::Result<ControlSocket> {
        if let Ok(metadata) = path.symlink_metadata() {
            let is_left_behind = || {
                metadata.file_type().is_socket()
                    && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            };
            let is_replaced = replaces.is_some_and(|other| file_at(other) == file_at(path));
            if !is_replaced && !is_left_behind() {
                let what = "another gateway answers there, or the file is not a socket";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
        }
        // Short, because the path of a socket can have 107 bytes only.
        let at = path.with_file_name(format!(".tg{}", std::process::id()));
        // Left behind by another process with this id.
        let _ = std::fs::remove_file(&at);
        // Between bind and chmod another user could connect, so the mode has to be right from the beginning.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&at);
        rustix::process::umask(before);
        let (listener, file) = (listener?, file_at(&at));
        Ok(ControlSocket { listener, path: path.to_owned(), at, file })
    }

    /// Moves the socket to its path. Another one that is there is replaced, so that clients always find one.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn claim(&mut self) -> io::Result<()> {
        std::fs::rename(&self.at, &self.path)?;
        self.at.clone_from(&self.path);
        Ok(())
    }

    /// Takes the path back from a process that has claimed it and does not take over.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn reclaim(&mut self) -> io::Result<()> {
        if file_at(&self.path) != self.file {
            let mut new = ControlSocket::open(&self.path, Some(&self.path))?;
            new.claim()?;
            *self = new;
        }
        Ok(())
    }

    /// Where clients look for it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a client.
    pub(super) async fn accept(&self) -> io::Result<Channel> {
        Ok(Channel::new(self.listener.accept().await?.0))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == file_at(&self.at) {
            // Fails only if it has been removed.
            let _ = std::fs::remove_file(&self.at);
        }
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_path_belongs_to_the_new_socket_at_once_and_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let mut old = ControlSocket::open(&path, None).unwrap();
        assert!(!path.exists(), "not before it serves");
        old.claim().unwrap();
        assert_eq!(ControlSocket::open(&path, None).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        let first = file_at(&path);
        let mut new = ControlSocket::open(&path, Some(&path)).unwrap();
        assert_eq!(file_at(&path), first, "the old one stays until the new one serves");
        new.claim().unwrap();
        assert_ne!(file_at(&path), first);
        old.reclaim().unwrap();
        let reclaimed = file_at(&path);
        drop(new);
        assert_eq!(file_at(&path), reclaimed, "what is not its own is not removed");
        std::fs::remove_file(&path).unwrap();
        old.reclaim().unwrap();
        let (accepted, connected) = tokio::join!(old.accept(), Channel::connect(&path));
        assert!(accepted.is_ok() && connected.is_ok());
        drop(old);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        ControlSocket::open(&path, None).unwrap().claim().unwrap();
        std::fs::write(&path, "text").unwrap();
        assert_eq!(ControlSocket::open(&path, None).err().unwrap().kind(), io::ErrorKind::AddrInUse);
    }
}
