//! Errors that prevent a start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::files::OutOfFiles;
use crate::config::Problem;
use crate::listener::tls;
use crate::store::{KeyFileError, NoSessions, StoreError};
use crate::upstream::ClientTlsError;

/// Reason why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The limit of open files is too low.
    #[error(transparent)]
    Files(#[from] OutOfFiles),
    /// A listener's address cannot be used.
    #[error("{key}: cannot listen on {address}{}", cause_of(.source))]
    Listen {
        /// The key of the address in the file, such as `listeners.public`.
        key: String,
        /// Its address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Tests of the configuration file fail.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Tests(Vec<Problem>),
    /// The service manager has passed something that is no listening TCP socket.
    #[error("the service manager passes a socket `{name}` that cannot be used: {what}")]
    Activation {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The service manager has passed a socket that no listener uses.
    #[error(
        "the service manager passes the socket `{name}` on {address}, and no listener has this name or address: \
         add a listener, or remove the socket from its unit"
    )]
    Unused {
        /// Its name.
        name: String,
        /// The address that it is bound to.
        address: SocketAddr,
    },
    /// The control socket cannot be created.
    #[error("control.socket: the socket {path} cannot be created")]
    Control {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Request bodies cannot be spooled.
    #[error("spool.folder: cannot create a file in {folder}")]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The access log cannot be written.
    #[error("log.access_to: {to} cannot be opened")]
    AccessLog {
        /// The value of the key.
        to: String,
        /// The system's error.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] tls::TlsError),
    /// TLS towards endpoints cannot be set up.
    #[error("TLS towards endpoints cannot be set up")]
    ClientTls(#[from] ClientTlsError),
    /// The store does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// Login pages are configured, but no session store.
    #[error("login.browser: sessions cannot be stored: {0}")]
    NoSessions(NoSessions),
    /// An admin application is configured, but the store has no users or tokens to manage.
    #[error("admin: the users of this kind of store are managed elsewhere; remove [admin], or use another store")]
    NoDirectory,
    /// The key file cannot be used for the shared cache.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The system refused to create a thread.
    #[error("a thread cannot be started")]
    Thread(#[from] io::Error),
}

/// What to look at when a socket cannot be opened.
fn cause_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; is another program using it?",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, or a socket that systemd opens"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has the address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_used_comes_with_its_likely_cause() {
        for (kind, wanted) in [
            (io::ErrorKind::AddrInUse, "192.0.2.1:443; is another program using it?"),
            (io::ErrorKind::PermissionDenied, "192.0.2.1:443; ports below 1024 need the capability"),
            (io::ErrorKind::AddrNotAvailable, "192.0.2.1:443; no interface of this machine"),
            (io::ErrorKind::OutOfMemory, "192.0.2.1:443"),
        ] {
            let (key, address) = ("listeners.public".to_owned(), SocketAddr::from(([192, 0, 2, 1], 443)));
            let error = StartError::Listen { key, address, source: kind.into() }.to_string();
            assert!(error.starts_with(&format!("listeners.public: cannot listen on {wanted}")), "{error}");
        }
    }
}
