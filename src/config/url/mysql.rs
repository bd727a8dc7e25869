//! The URL of a MySQL or MariaDB server: `mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=VERIFY_IDENTITY`.
//!
//! Parsed as strictly as that of a PostgreSQL server, for the same reasons.

use std::fmt;
use std::path::PathBuf;

use super::tls::{DatabaseTls, TlsMode};
use super::{BadDatabaseUrl, DatabaseServer, check_ends, cut, fault, file, is_here, one_of, unknown_parameter};

/// An example for error messages.
const EXAMPLE: &str = "write \"mysql://USER@HOST/DATABASE\"";

/// The parameters that may follow the `?`.
const PARAMETERS: [&str; 5] = ["socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// As in MySQL's own clients.
const SSL_MODES: [(&str, TlsMode); 5] = [
    ("DISABLED", TlsMode::Disable),
    ("PREFERRED", TlsMode::Prefer),
    ("REQUIRED", TlsMode::Require),
    ("VERIFY_CA", TlsMode::VerifyCa),
    ("VERIFY_IDENTITY", TlsMode::VerifyFull),
];

/// The URL of a MySQL or MariaDB server. May contain a password.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlUrl {
    /// The server.
    pub server: DatabaseServer,
    /// TLS to the server.
    pub tls: DatabaseTls,
    /// The Unix socket of the server, in place of host and port.
    pub socket: Option<PathBuf>,
}

impl MysqlUrl {
    /// Whether the server is remote and not authenticated.
    pub(in crate::config) fn is_unproven(&self) -> bool {
        self.socket.is_none() && !is_here(&self.server.host) && !self.tls.proves_server()
    }

    /// Parses a URL. `resolve` makes paths of files absolute.
    ///
    /// # Errors
    /// [`BadDatabaseUrl`] if a part would be misread or ignored.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<MysqlUrl, BadDatabaseUrl> {
        check_ends(text)?;
        let rest =
            text.strip_prefix("mysql://").ok_or_else(|| fault("is not the address of a MySQL server", EXAMPLE))?;
        let mut parts = cut(rest, EXAMPLE)?;
        let (parameters, port, host) = (std::mem::take(&mut parts.parameters), parts.port, parts.own_host()?);
        let mut url = MysqlUrl {
            server: parts.server("mysql://", host, port)?,
            tls: DatabaseTls { mode: Some(TlsMode::Prefer), ..DatabaseTls::default() },
            socket: None,
        };
        for (name, value) in parameters {
            let file = || file(name, resolve(&value));
            match name {
                "socket" => url.socket = Some(PathBuf::from(value)),
                "ssl-mode" => url.tls.mode = Some(one_of(name, &value, &SSL_MODES)?),
                "ssl-ca" => url.tls.authorities = Some(file()?),
                "ssl-cert" => url.tls.certificate = Some(file()?),
                "ssl-key" => url.tls.key = Some(file()?),
                unknown => return Err(unknown_parameter(unknown, &PARAMETERS)),
            }
        }
        if url.server.host.is_empty() && url.socket.is_none() {
            return Err(fault("names no host", "name one, or a socket with `?socket=/run/mysqld/mysqld.sock`"));
        }
        Ok(url)
    }
}

/// The location of the server, without user and password.
impl fmt::Display for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl fmt::Debug for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MysqlUrl({})", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MysqlUrl, BadDatabaseUrl> {
        MysqlUrl::parse(text, |path| PathBuf::from(path))
    }

    #[test]
    fn a_url_shows_the_location_and_hides_the_password() {
        for (text, place, unproven) in [
            ("mysql://gw:s%40cret@db:3307/shop", "mysql://db:3307/shop", true),
            ("mysql://gw:s%40cret@db/shop?ssl-mode=VERIFY_IDENTITY", "mysql://db/shop", false),
            ("mysql://gw:s%40cret@localhost/shop?socket=/run/s", "mysql://localhost/shop", false),
            ("mysql://gw:s%40cret@127.0.0.1/shop", "mysql://127.0.0.1/shop", false),
        ] {
            let url = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (url.to_string().as_str(), url.server.password(), url.is_unproven()),
                (place, Some("s@cret"), unproven)
            );
            assert_eq!(format!("{url:?}"), format!("MysqlUrl({place})"));
        }
    }

    #[test]
    fn a_part_that_would_be_ignored_or_misread_is_refused() {
        for text in [
            "mysql://db",
            "mysql://db:0/shop",
            "mysql://db/a/b",
            "mysql://gw:p@w@db/shop",
            "mysql://gw:p#w@db/shop",
            "mysql://db/shop?ssl-mode=verify",
            "mysql://db/shop?sslmode=VERIFY_CA",
            "mysql://db/shop?ssl-ca=missing.pem",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
