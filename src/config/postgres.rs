//! The address of a PostgreSQL server: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.
//!
//! Checked here as far as that goes without asking the server, so that nothing in it is silently left out. It may hold a
//! password, so that neither `Debug` nor `Display` nor a complaint shows more than where the server is.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::reader::nearest;
use super::upstreams::is_host;

/// How the whole is written.
const EXAMPLE: &str = "write \"postgres://USER@HOST/DATABASE\"";

/// How it may begin.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What may stand behind the `?`.
const PARAMETERS: [&str; 9] =
    ["host", "port", "user", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "options"];

/// As in libpq.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The address of a PostgreSQL server, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: Zeroizing<String>,
    place: String,
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
pub struct BadPostgresUrl {
    /// "has no valid port".
    pub what: String,
    /// "write a number from 1 to 65535".
    pub mend: String,
}

/// What stands between `//` and `?`.
pub(super) struct Server<'t> {
    pub user: Option<&'t str>,
    pub host: &'t str,
    pub port: Option<&'t str>,
    pub database: &'t str,
}

impl PostgresUrl {
    /// The whole address with its password. Never show it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Is it meant to be one?
    pub(super) fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// Reads an address. Files that it names are where `resolve` says.
    ///
    /// # Errors
    /// [`BadPostgresUrl`] for what would be misread or left out.
    pub fn parse(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<PostgresUrl, BadPostgresUrl> {
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        read(text, rest.ok_or_else(|| fault("is no address of a PostgreSQL server", EXAMPLE))?, &resolve)
    }
}

/// Where the server is, without the password.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.place)
    }
}

fn read(text: &str, rest: &str, resolve: &dyn Fn(&str) -> PathBuf) -> Result<PostgresUrl, BadPostgresUrl> {
    if rest.contains('#') {
        return Err(fault("holds a `#`", "write `#` as `%23`, also in a password"));
    }
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    let server = read_server(server)?;
    let mut url = PostgresUrl {
        text: Zeroizing::new(text.to_owned()),
        place: String::new(),
        root_certificates: None,
        certificate: None,
        key: None,
        unproven: false,
    };
    let (mut host, mut port, mut user, mut mode) = (None, server.port, server.user, "prefer");
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let file = || file(name, &resolve(value));
        match name {
            "host" => host = Some(value),
            "port" => port = Some(value),
            "user" => user = Some(value),
            "sslmode" => mode = ssl_mode(value)?,
            "sslrootcert" => url.root_certificates = Some(file()?),
            "sslcert" => url.certificate = Some(file()?),
            "sslkey" => url.key = Some(file()?),
            "application_name" | "options" => {}
            unknown => return Err(unknown_parameter(unknown)),
        }
    }
    if server.host.is_empty() && host.is_none_or(str::is_empty) {
        return Err(fault("names no host", "name one, or the folder of a socket with `?host=/run/postgresql`"));
    }
    if port.is_some_and(|port| !port.parse().is_ok_and(|port: u16| port != 0)) {
        return Err(fault("has no valid port", "write a number from 1 to 65535, or leave it out"));
    }
    let host = host.unwrap_or(server.host);
    url.unproven = !is_here(host) && !matches!(mode, "verify-ca" | "verify-full");
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    url.place = format!("postgres://{user}{host}{port}/{}", server.database);
    Ok(url)
}

/// Reads `USER:PASSWORD@HOST:PORT/DATABASE`.
pub(super) fn read_server(text: &str) -> Result<Server<'_>, BadPostgresUrl> {
    // What stands before the last `@` may hold a password with characters that should have been encoded.
    let (credentials, place) = text.rsplit_once('@').map_or((None, text), |(before, after)| (Some(before), after));
    if credentials.is_some_and(|credentials| credentials.contains(['/', '@', ' '])) {
        return Err(fault("has a user or password with special characters", "write `/` as `%2F`, `@` as `%40`"));
    }
    let user = credentials.map(|credentials| credentials.split_once(':').map_or(credentials, |(user, _)| user));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    if database.is_empty() || database.contains('/') {
        return Err(fault("names no database", EXAMPLE));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    // A socket's folder may stand in place of the host, encoded.
    if host.is_empty() && user.is_none() || host.starts_with("%2F") || is_host(host) {
        return Ok(Server { user, host, port, database });
    }
    let what = if host.contains(',') { "names more than one host" } else { "has no valid host" };
    Err(fault(what, EXAMPLE))
}

/// A socket, or an address of this machine alone.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.starts_with(['/', '%']) || host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

fn ssl_mode(mode: &str) -> Result<&str, BadPostgresUrl> {
    if SSL_MODES.contains(&mode) {
        return Ok(mode);
    }
    let mend = nearest(mode, &SSL_MODES).unwrap_or_else(|| format!("write one of {}", SSL_MODES.join(", ")));
    Err(fault("has an unknown sslmode", mend))
}

fn unknown_parameter(name: &str) -> BadPostgresUrl {
    if name == "password" {
        return fault("has its password behind `?`", "write \"postgres://USER:PASSWORD@HOST/DATABASE\"");
    }
    let mend = nearest(name, &PARAMETERS).unwrap_or_else(|| format!("known here: {}", PARAMETERS.join(", ")));
    fault("has an unknown parameter", mend)
}

fn file(parameter: &str, path: &Path) -> Result<PathBuf, BadPostgresUrl> {
    if path.is_file() {
        Ok(path.to_owned())
    } else {
        Err(fault(format!("names an {parameter} that is not there"), format!("correct the path: {}", path.display())))
    }
}

fn fault(what: impl Into<String>, mend: impl Into<String>) -> BadPostgresUrl {
    BadPostgresUrl { what: what.into(), mend: mend.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<PostgresUrl, BadPostgresUrl> {
        PostgresUrl::parse(text, |path| PathBuf::from(path))
    }

    #[test]
    fn an_address_says_where_the_server_is_and_hides_the_password() {
        for (text, place) in [
            ("postgres://db/gateway", "postgres://db/gateway"),
            ("postgresql://gw@db:5433/gateway", "postgres://gw@db:5433/gateway"),
            ("postgres://gw:s%40cret@[::1]:5433/gateway?sslmode=verify-full", "postgres://gw@[::1]:5433/gateway"),
            ("postgres://gw:a:secret:b@10.0.0.1/gateway", "postgres://gw@10.0.0.1/gateway"),
            ("postgres:///gateway?host=/run/pg&user=gw&port=5433", "postgres://gw@/run/pg:5433/gateway"),
            ("postgres://gw:secret@%2Frun%2Fpg/gateway?application_name=x", "postgres://gw@%2Frun%2Fpg/gateway"),
        ] {
            let url = read_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.to_string().as_str(), url.expose()), (place, text));
            assert_eq!(format!("{url:?}"), format!("PostgresUrl({place})"));
        }
    }

    #[test]
    fn a_server_elsewhere_has_to_prove_who_it_is() {
        for (text, unproven) in [
            ("postgres://db/a", true),
            ("postgres://10.0.0.1/a?sslmode=require", true),
            ("postgres://db/a?sslmode=verify-full", false),
            ("postgres://db/a?sslmode=verify-ca", false),
            ("postgres://localhost/a", false),
            ("postgres://[::1]/a", false),
            ("postgres:///a?host=/run/pg", false),
            ("postgres://gw@%2Frun%2Fpg/a", false),
            ("postgres://localhost/a?host=db", true),
        ] {
            assert_eq!(read_text(text).map(|url| url.unproven), Ok(unproven), "{text}");
        }
    }

    #[test]
    fn what_would_be_left_out_or_misread_is_refused() {
        for text in [
            "postgres://db",
            "postgres://db/",
            "postgres://db/a/b",
            "postgres:///gateway",
            "postgres://gw@/gateway?host=/run/pg",
            "postgres://db:0/gateway",
            "postgres://db:port/gateway",
            "postgres://a,b/gateway",
            "postgres://gw:p/w@db/gateway",
            "postgres://gw:p@w@db/gateway",
            "postgres://gw:p#w@db/gateway",
            "postgres://db/gateway?password=x",
            "postgres://db/gateway?sslmode=verify_full",
            "postgres://db/gateway?ssl=true",
            "postgres://db/gateway?sslrootcert=missing.pem",
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }
}
