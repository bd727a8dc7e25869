//! The common parts of database URLs: `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`.
//!
//! Checked as far as possible without asking the server, so that no part of a URL is silently ignored. A URL may
//! contain a password. So an error about a URL shows its scheme at most, and of a valid URL only [`DatabaseServer`] is
//! kept, which shows only the server's location.

pub(super) mod django;
pub(super) mod host;
pub(super) mod mysql;
pub(super) mod postgres;
pub(super) mod tls;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use zeroize::Zeroizing;

use self::host::is_host;
use super::nearest::nearest;

/// What is wrong with a URL (a predicate whose subject is the URL), and how to fix it. Never shows the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct BadDatabaseUrl {
    /// "has no valid port".
    pub what: String,
    /// "write a number from 1 to 65535".
    pub mend: String,
}

/// A database server, with the user and password to connect as. `Display` and `Debug` show only the location,
/// `SCHEME://HOST:PORT/DATABASE`. They hide the user: operators put passwords there by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseServer {
    place: String,
    /// A host name, an IP address without brackets, or the folder of a Unix socket. May be empty.
    pub host: String,
    /// `None`: the default port.
    pub port: Option<u16>,
    /// `None`: the driver's default.
    pub user: Option<String>,
    password: Option<Zeroizing<String>>,
    /// The name of the database.
    pub database: String,
}

impl DatabaseServer {
    /// The password. Must never be logged or shown.
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

/// The parts of a URL, percent-decoded except for the host.
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

/// Refuses what a file or a variable leaves around an address, such as a line break: a name that ends with one is
/// another name.
pub(super) fn check_ends(text: &str) -> Result<(), BadDatabaseUrl> {
    if text.trim() == text && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(fault("begins or ends with a blank, or contains a line break or another control character", "remove it"))
}

/// Splits what follows `SCHEME://`; `example` is a valid URL for the error message.
pub(super) fn cut<'t>(rest: &'t str, example: &str) -> Result<Parts<'t>, BadDatabaseUrl> {
    if rest.contains('#') {
        return Err(fault("contains a `#`", "write `#` as `%23`, also in a password"));
    }
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    if server.contains(char::is_whitespace) {
        return Err(fault("contains a blank", "remove it, or write it as `%20` if it belongs there"));
    }
    // The part before the last `@` may contain a password with unescaped special characters.
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
    // The host may be the percent-encoded folder of a Unix socket.
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
    /// The server of the URL. `host` and `port` may come from parameters.
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

    /// The host before the `/`, decoded and without brackets.
    pub(super) fn own_host(&self) -> Result<String, BadDatabaseUrl> {
        Ok(decoded(self.host)?.trim_start_matches('[').trim_end_matches(']').to_owned())
    }
}

/// Refuses several hosts: the driver connects to one of them, which may not be the primary.
pub(super) fn many_hosts() -> BadDatabaseUrl {
    let mend = "name the one address that always leads to the primary, such as the provider's own or that of a proxy";
    fault("names more than one host", mend)
}

/// Percent-decodes a text; `None` if an escape is malformed.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push(if byte == b'%' { u8::try_from(digit()? * 16 + digit()?).ok()? } else { byte });
    }
    String::from_utf8(out).ok()
}

/// Like [`percent_decoded`], but refuses a zero byte, which would end a text early in the database protocols.
fn decoded(text: &str) -> Result<String, BadDatabaseUrl> {
    let decoded = percent_decoded(text).filter(|text| !text.contains('\0'));
    decoded.ok_or_else(|| fault("is not correctly percent-encoded", "write `%` as `%25`, also in a password"))
}

/// Whether `host` is a Unix socket or a loopback address.
pub(super) fn is_here(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The value of a parameter with a fixed list of values.
pub(super) fn one_of<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T, BadDatabaseUrl> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == value) {
        return Ok(*meaning);
    }
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let mend = nearest(value, &words).unwrap_or_else(|| format!("write one of {}", words.join(", ")));
    Err(fault(format!("has an unknown {name}"), mend))
}

/// The file that a parameter names.
pub(super) fn file(parameter: &str, path: PathBuf) -> Result<PathBuf, BadDatabaseUrl> {
    if path.is_file() {
        return Ok(path);
    }
    Err(fault(format!("names an {parameter} that does not exist"), "correct its path"))
}

pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> BadDatabaseUrl {
    let mend = nearest(name, known).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
    fault("has an unknown parameter", mend)
}
