//! The control socket: a Unix socket for commands to the running gateway.
//!
//! A client sends one line, a command, and gets one line of JSON. Only the user that runs the gateway can connect: the
//! socket has mode 0600.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

use crate::admin::monitor::status::ReloadStatus;
use crate::admin::monitor::{Asked, Outcome, ReloadHandle, Reloaded};

/// Longest command in bytes.
const LONGEST: u64 = 8_192;
/// Time limit for sending a command.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of connections.
const AT_ONCE: usize = 16;

/// The commands of the socket.
pub(super) struct Control {
    pub reloads: ReloadHandle,
    pub report: watch::Receiver<ReloadStatus>,
}

/// The bound socket. Its file is removed when this is dropped.
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: another gateway may have replaced the file.
    file: Option<(u64, u64)>,
}

impl ControlSocket {
    /// Binds the socket. A file that a gateway left behind is replaced.
    ///
    /// # Errors
    /// The error of the system; `AddrInUse` if another gateway answers there, or if the file is not a socket.
    pub(super) fn open(path: &Path) -> io::Result<ControlSocket> {
        if let Ok(metadata) = path.symlink_metadata() {
            let is_left_behind = metadata.file_type().is_socket()
                && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_left_behind {
                let what = "another gateway answers there, or the file is not a socket";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
            std::fs::remove_file(path)?;
        }
        // Another user could connect between bind and chmod, so the file is created with the right mode.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        Ok(ControlSocket { listener: listener?, path: path.to_owned(), file: file_at(path) })
    }

    /// Serves commands until dropped.
    pub(super) async fn serve(self, control: Control) {
        let (control, places) = (Arc::new(control), Arc::new(Semaphore::new(AT_ONCE)));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let control = Arc::clone(&control);
                    tokio::spawn(async move {
                        // Fails only if the client has disconnected.
                        let _ = control.answer(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept connections");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.file == file_at(&self.path) {
            // Fails if the file was already removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Control {
    async fn answer(&self, stream: tokio::net::UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let mut read = BufReader::new(read.take(LONGEST));
        tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await??;
        let answer = self.carry_out(line.trim()).await;
        write.write_all(format!("{answer}\n").as_bytes()).await
    }

    async fn carry_out(&self, command: &str) -> Value {
        let trigger = "tokengate reload".to_owned();
        if let Some(file) = command.strip_prefix("compare ") {
            return told(self.reloads.ask(Asked::Compare { file: file.into() }).await);
        }
        match command {
            "reload" => told(self.reloads.ask(Asked::Reload { trigger }).await),
            "reload partly" => told(self.reloads.ask(Asked::ReloadPartly { trigger }).await),
            "status" => {
                let report = self.report.borrow().clone();
                json!({ "ok": true, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "reload": report })
            }
            _ => json!({ "ok": false, "problems": ["unknown command; this gateway knows `reload` and `status`"] }),
        }
    }
}

fn told(outcome: Outcome) -> Value {
    match outcome {
        Ok(Reloaded { changes, restart }) => json!({ "ok": true, "changes": changes, "restart": restart }),
        Err(problems) => json!({ "ok": false, "problems": problems }),
    }
}
