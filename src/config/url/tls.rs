//! TLS to a database server, as its URL asks for it.

use std::path::PathBuf;

/// TLS to a database server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseTls {
    /// How the server is proven; `None`: the driver's default.
    pub mode: Option<TlsMode>,
    /// CA certificates that the server's certificate must chain to (PEM).
    pub authorities: Option<PathBuf>,
    /// The client certificate (PEM).
    pub certificate: Option<PathBuf>,
    /// The key of the client certificate (PEM).
    pub key: Option<PathBuf>,
}

/// Whether a connection is encrypted, and what the server must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server insists. PostgreSQL only.
    Allow,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted; the server proves nothing.
    Require,
    /// The server's certificate chains to an authority.
    VerifyCa,
    /// The server's certificate also has its host name.
    VerifyFull,
}

impl DatabaseTls {
    /// Whether the server proves its identity.
    pub(in crate::config) fn proves_server(&self) -> bool {
        matches!(self.mode, Some(TlsMode::VerifyCa | TlsMode::VerifyFull))
    }
}
