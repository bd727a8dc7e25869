//! What the addresses of database servers have in common: `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`.
//!
//! Checked here as far as that goes without asking the server, so that nothing in it is silently left out. It may hold
//! a password, so no message shows more than where the server is. An error about an address shows its scheme at most, and
//! of an address that was read only [`DatabaseServer`] is kept.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::reader::nearest;
use super::upstreams::is_host;

/// What is wrong with an address, to be said of it, and how to mend it. Shows nothing of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct BadDatabaseUrl {
    /// "has no valid port".
    pub what: String,
    /// "write a number from 1 to 65535".
    pub mend: String,
}

/// A database server, with the user and password to connect as. `Display` and `Debug` show only where the server is,
/// `SCHEME://HOST:PORT/DATABASE`. They do not show the user: operators put passwords there by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseServer {
    place: String,
    /// A name, an address without brackets, or the folder of a socket. May be empty.
    pub host: String,
    /// `None`: the usual one.
    pub port: Option<u16>,
    /// `None`: as the driver has it.
    pub user: Option<String>,
    password: Option<Zeroizing<String>>,
    /// The name of the database.
    pub database: String,
}

impl DatabaseServer {
    /// The password. Never show it.
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(|password| password.as_str())
    }
}

impl fmt::Display for DatabaseServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for DatabaseServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// The address of a server, cut into its parts, and decoded but for the host.
pub(super) struct Parts<'t> {
    pub user: Option<String>,
    pub password: Option<Zeroizing<String>>,
    pub host: &'t str,
    pub port: Option<&'t str>,
    pub database: &'t str,
    pub parameters: Vec<(&'t str, String)>,
}

pub(super) fn fault(what: impl Into<String>, mend: impl Into<String>) -> BadDatabaseUrl {
    BadDatabaseUrl { what: what.into(), mend: mend.into() }
}

/// What a message may show of an address that cannot be read: its scheme, if that is a known one.
pub(super) fn scheme_of(text: &str) -> &'static str {
    const SCHEMES: [&str; 17] = [
        "django+postgresql:",
        "django+postgres:",
        "django+sqlite:",
        "django+mysql:",
        "postgresql:",
        "postgres:",
        "sqlite:",
        "mysql:",
        "mariadb:",
        "rediss-sentinel:",
        "redis-sentinel:",
        "rediss-cluster:",
        "redis-cluster:",
        "redis+unix:",
        "rediss:",
        "redis:",
        "unix:",
    ];
    SCHEMES.into_iter().find(|scheme| text.starts_with(scheme)).unwrap_or_default()
}

/// Refuses what a file or a variable leaves around an address, such as a line break: a name that ends with one is another name.
pub(super) fn check_ends(text: &str) -> Result<(), BadDatabaseUrl> {
    if text.trim() == text && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(fault("begins or ends with a blank, or holds a line break or another control character", "remove it"))
}

/// Cuts what stands behind `SCHEME://`; `example` shows how the whole is written.
pub(super) fn cut<'t>(rest: &'t str, example: &str) -> Result<Parts<'t>, BadDatabaseUrl> {
    if rest.contains('#') {
        return Err(fault("holds a `#`", "write `#` as `%23`, also in a password"));
    }
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    if server.contains(char::is_whitespace) {
        return Err(fault("holds a blank", "remove it, or write it as `%20` if it belongs there"));
    }
    // What stands before the last `@` may hold a password with characters that should have been encoded.
    let (credentials, place) = server.rsplit_once('@').map_or((None, server), |(before, after)| (Some(before), after));
    if credentials.is_some_and(|credentials| credentials.contains(['/', '@', ' '])) {
        return Err(fault("has a user or password with special characters", "write `/` as `%2F`, `@` as `%40`"));
    }
    let (user, password) = credentials
        .map(|credentials| credentials.split_once(':').map_or((credentials, None), |(user, word)| (user, Some(word))))
        .unzip();
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    if database.is_empty() || database.contains('/') {
        return Err(fault("names no database", example));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.contains(',') {
        return Err(many_hosts());
    }
    // A socket's folder may stand in place of the host, encoded.
    if !(host.is_empty() && user.is_none_or(str::is_empty) || host.starts_with("%2F") || is_host(host)) {
        return Err(fault("has no valid host", example));
    }
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let parameters = parameters.map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        decoded(value).map(|value| (name, value))
    });
    Ok(Parts {
        user: user.filter(|user| !user.is_empty()).map(decoded).transpose()?,
        password: password.flatten().map(decoded).transpose()?.map(Zeroizing::new),
        host,
        port,
        database,
        parameters: parameters.collect::<Result<_, _>>()?,
    })
}

impl Parts<'_> {
    /// The server that they name. `host` and `port` may have come from a parameter.
    pub(super) fn server(
        self,
        scheme: &str,
        host: String,
        port: Option<&str>,
    ) -> Result<DatabaseServer, BadDatabaseUrl> {
        let bad_port = || fault("has no valid port", "write a number from 1 to 65535, or leave it out");
        let number =
            port.map(|port| port.parse().ok().filter(|port: &u16| *port != 0).ok_or_else(bad_port)).transpose()?;
        let shown_port = number.map(|port| format!(":{port}")).unwrap_or_default();
        let shown_host = if host.contains(':') && !host.starts_with('/') { format!("[{host}]") } else { host.clone() };
        Ok(DatabaseServer {
            place: format!("{scheme}{shown_host}{shown_port}/{}", self.database),
            host,
            port: number,
            user: self.user,
            password: self.password,
            database: decoded(self.database)?,
        })
    }

    /// The host that stands before the `/`, decoded and without brackets.
    pub(super) fn own_host(&self) -> Result<String, BadDatabaseUrl> {
        Ok(decoded(self.host)?.trim_start_matches('[').trim_end_matches(']').to_owned())
    }
}

/// Refuses several hosts: the driver connects to one, which need not be the primary.
pub(super) fn many_hosts() -> BadDatabaseUrl {
    let mend = "name the one address that always leads to the primary, such as the provider's own or that of a proxy";
    fault("names more than one host", mend)
}

/// Text in which `%40` stands for `@`.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    String::from_utf8(out).ok()
}

/// As [`percent_decoded`]. A zero byte would end a text early in the protocols of the servers.
fn decoded(text: &str) -> Result<String, BadDatabaseUrl> {
    let decoded = percent_decoded(text).filter(|text| !text.contains('\0'));
    decoded.ok_or_else(|| fault("is not percent-encoded as it should be", "write `%` as `%25`, also in a password"))
}

/// A socket, or an address of this machine alone.
pub(super) fn is_here(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The value of a parameter that takes one of a few words.
pub(super) fn one_of(name: &str, value: &str, words: &[&'static str]) -> Result<&'static str, BadDatabaseUrl> {
    if let Some(word) = words.iter().find(|word| **word == value) {
        return Ok(word);
    }
    let mend = nearest(value, words).unwrap_or_else(|| format!("write one of {}", words.join(", ")));
    Err(fault(format!("has an unknown {name}"), mend))
}

/// A file that a parameter names.
pub(super) fn file(parameter: &str, path: PathBuf) -> Result<PathBuf, BadDatabaseUrl> {
    if path.is_file() {
        return Ok(path);
    }
    Err(fault(format!("names an {parameter} that is not there"), "correct its path"))
}

pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> BadDatabaseUrl {
    let mend = nearest(name, known).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
    fault("has an unknown parameter", mend)
}
