//! The address of a MySQL or MariaDB server: `mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=VERIFY_IDENTITY`.
//!
//! Read as strictly as that of a PostgreSQL server, and for the same reasons.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::postgres::{Server, is_here, read_server};
use super::reader::nearest;

/// How the whole is written.
const EXAMPLE: &str = "write \"mysql://USER@HOST/DATABASE\"";

/// What may stand behind the `?`.
const PARAMETERS: [&str; 5] = ["socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

/// As in the clients of MySQL.
const SSL_MODES: [&str; 5] = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

/// The address of a MySQL or MariaDB server, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlUrl {
    text: Zeroizing<String>,
    place: String,
    /// The server's socket, in place of host and port.
    pub socket: Option<PathBuf>,
    /// Certificates of the authorities that may vouch for the server (PEM).
    pub root_certificates: Option<PathBuf>,
    /// The certificate by which the server knows us (PEM).
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// Is it elsewhere, and nothing proves who answers there?
    pub(super) unproven: bool,
}

/// What is wrong with an address, to be said of it, and how to mend it. Shows nothing of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct BadMysqlUrl {
    /// "has no valid port".
    pub what: String,
    /// "write a number from 1 to 65535".
    pub mend: String,
}

impl MysqlUrl {
    /// The whole address with its password. Never show it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Reads an address. Files that it names are where `resolve` says.
    ///
    /// # Errors
    /// [`BadMysqlUrl`] for what would be misread or left out.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<MysqlUrl, BadMysqlUrl> {
        let rest = text.strip_prefix("mysql://").ok_or_else(|| fault("is no address of a MySQL server", EXAMPLE))?;
        if rest.contains('#') {
            return Err(fault("holds a `#`", "write `#` as `%23`, also in a password"));
        }
        let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
        let server = read_server(server).map_err(|bad| match bad.mend.contains("postgres://") {
            true => fault(bad.what, EXAMPLE),
            false => fault(bad.what, bad.mend),
        })?;
        let mut url = MysqlUrl {
            text: Zeroizing::new(text.to_owned()),
            place: place(&server),
            socket: None,
            root_certificates: None,
            certificate: None,
            key: None,
            unproven: false,
        };
        let mut mode = "PREFERRED";
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let file = || file(name, resolve(value));
            match name {
                "socket" => url.socket = Some(PathBuf::from(value)),
                "ssl-mode" => mode = ssl_mode(value)?,
                "ssl-ca" => url.root_certificates = Some(file()?),
                "ssl-cert" => url.certificate = Some(file()?),
                "ssl-key" => url.key = Some(file()?),
                unknown => return Err(unknown_parameter(unknown)),
            }
        }
        if server.port.is_some_and(|port| !port.parse().is_ok_and(|port: u16| port != 0)) {
            return Err(fault("has no valid port", "write a number from 1 to 65535, or leave it out"));
        }
        if server.host.is_empty() && url.socket.is_none() {
            return Err(fault("names no host", "name one, or a socket with `?socket=/run/mysqld/mysqld.sock`"));
        }
        let local = url.socket.is_some() || is_here(server.host);
        url.unproven = !local && !matches!(mode, "VERIFY_CA" | "VERIFY_IDENTITY");
        if let Some(socket) = &url.socket {
            url.place = format!("{} at {}", url.place, socket.display());
        }
        Ok(url)
    }
}

/// Where the server is, without the password.
impl fmt::Display for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for MysqlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MysqlUrl({})", self.place)
    }
}

fn place(server: &Server<'_>) -> String {
    let user = server.user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = server.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("mysql://{user}{}{port}/{}", server.host, server.database)
}

fn ssl_mode(mode: &str) -> Result<&str, BadMysqlUrl> {
    if SSL_MODES.contains(&mode) {
        return Ok(mode);
    }
    let mend = nearest(mode, &SSL_MODES).unwrap_or_else(|| format!("write one of {}", SSL_MODES.join(", ")));
    Err(fault("has an unknown ssl-mode", mend))
}

fn unknown_parameter(name: &str) -> BadMysqlUrl {
    let mend = nearest(name, &PARAMETERS).unwrap_or_else(|| format!("known here: {}", PARAMETERS.join(", ")));
    fault("has an unknown parameter", mend)
}

fn file(parameter: &str, path: PathBuf) -> Result<PathBuf, BadMysqlUrl> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(fault(format!("names an {parameter} that is not there"), format!("correct the path: {}", path.display())))
    }
}

fn fault(what: impl Into<String>, mend: impl Into<String>) -> BadMysqlUrl {
    BadMysqlUrl { what: what.into(), mend: mend.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MysqlUrl, BadMysqlUrl> {
        MysqlUrl::parse(text, |path| PathBuf::from(path))
    }

    #[test]
    fn an_address_says_where_the_server_is_and_hides_the_password() {
        for (text, place, unproven) in [
            ("mysql://gw:s%40cret@db:3307/shop", "mysql://gw@db:3307/shop", true),
            ("mysql://gw:secret@db/shop?ssl-mode=VERIFY_IDENTITY", "mysql://gw@db/shop", false),
            ("mysql://gw@localhost/shop?socket=/run/s", "mysql://gw@localhost/shop at /run/s", false),
            ("mysql://gw@127.0.0.1/shop", "mysql://gw@127.0.0.1/shop", false),
        ] {
            let url = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.to_string().as_str(), url.expose(), url.unproven), (place, text, unproven));
            assert_eq!(format!("{url:?}"), format!("MysqlUrl({place})"));
        }
    }

    #[test]
    fn what_would_be_left_out_or_misread_is_refused() {
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
