//! What the addresses of database servers have in common: `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`.
//!
//! Checked here as far as that goes without asking the server, so that nothing in it is silently left out. It may hold
//! a password, so that no complaint shows more than where the server is.

use std::net::IpAddr;
use std::path::PathBuf;

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

/// An address of a kind of server, cut into its parts.
pub(super) struct Parts<'t> {
    pub user: Option<&'t str>,
    pub host: &'t str,
    pub port: Option<&'t str>,
    pub database: &'t str,
    pub parameters: Vec<(&'t str, &'t str)>,
}

pub(super) fn fault(what: impl Into<String>, mend: impl Into<String>) -> BadDatabaseUrl {
    BadDatabaseUrl { what: what.into(), mend: mend.into() }
}

/// Cuts what stands behind `SCHEME://`; `example` shows how the whole is written.
pub(super) fn cut<'t>(rest: &'t str, example: &str) -> Result<Parts<'t>, BadDatabaseUrl> {
    if rest.contains('#') {
        return Err(fault("holds a `#`", "write `#` as `%23`, also in a password"));
    }
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    // What stands before the last `@` may hold a password with characters that should have been encoded.
    let (credentials, place) = server.rsplit_once('@').map_or((None, server), |(before, after)| (Some(before), after));
    if credentials.is_some_and(|credentials| credentials.contains(['/', '@', ' '])) {
        return Err(fault("has a user or password with special characters", "write `/` as `%2F`, `@` as `%40`"));
    }
    let user = credentials.map(|credentials| credentials.split_once(':').map_or(credentials, |(user, _)| user));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    if database.is_empty() || database.contains('/') {
        return Err(fault("names no database", example));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    // A socket's folder may stand in place of the host, encoded.
    if !(host.is_empty() && user.is_none() || host.starts_with("%2F") || is_host(host)) {
        let what = if host.contains(',') { "names more than one host" } else { "has no valid host" };
        return Err(fault(what, example));
    }
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let parameters = parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, ""))).collect();
    Ok(Parts { user, host, port, database, parameters })
}

/// Where a server is, without the password.
pub(super) fn place(scheme: &str, user: Option<&str>, host: &str, port: Option<&str>, database: &str) -> String {
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{user}{host}{port}/{database}")
}

/// Refuses what is no port.
pub(super) fn check_port(port: Option<&str>) -> Result<(), BadDatabaseUrl> {
    match port.is_some_and(|port| !port.parse().is_ok_and(|port: u16| port != 0)) {
        true => Err(fault("has no valid port", "write a number from 1 to 65535, or leave it out")),
        false => Ok(()),
    }
}

/// A socket, or an address of this machine alone.
pub(super) fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.starts_with(['/', '%']) || host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The value of a parameter that takes one of a few words.
pub(super) fn one_of<'t>(name: &str, value: &'t str, words: &[&str]) -> Result<&'t str, BadDatabaseUrl> {
    if words.contains(&value) {
        return Ok(value);
    }
    let mend = nearest(value, words).unwrap_or_else(|| format!("write one of {}", words.join(", ")));
    Err(fault(format!("has an unknown {name}"), mend))
}

/// A file that a parameter names.
pub(super) fn file(parameter: &str, path: PathBuf) -> Result<PathBuf, BadDatabaseUrl> {
    if path.is_file() {
        return Ok(path);
    }
    Err(fault(format!("names an {parameter} that is not there"), format!("correct the path: {}", path.display())))
}

pub(super) fn unknown_parameter(name: &str, known: &[&str]) -> BadDatabaseUrl {
    let mend = nearest(name, known).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
    fault("has an unknown parameter", mend)
}
