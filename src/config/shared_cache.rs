//! `[cache.redis]`: the shared cache.
//!
//! The URL may contain a password, so no error message repeats it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::files::{check_secret_file, report, warn_of_open_key};
use super::reader::Table;
use super::secret::Secrecy;
use super::url::host::is_host;
use super::url::percent_decoded;
use super::value::{Fault, Key};
use crate::tls;

/// Default port of Redis.
const PORT: u16 = 6379;
/// Default port of Sentinel.
const SENTINEL_PORT: u16 = 26379;

/// Default lifetime of an entry.
const TTL: Duration = Duration::from_secs(600);
/// Default timeout of one command.
const TIMEOUT: Duration = Duration::from_millis(50);
/// Default prefix of all keys.
const PREFIX: &str = "tokengate:";

const EXAMPLE: &str = "write redis://HOST:PORT, rediss://HOST:PORT (TLS), unix:PATH, \
                       redis-sentinel://HOST:PORT,HOST:PORT/SERVICE or redis-cluster://HOST:PORT,HOST:PORT";

/// The shared cache in Redis. `Debug` hides the username.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisCache {
    /// The servers.
    pub servers: RedisServers,
    /// TLS to the servers; `None`: unencrypted.
    pub tls: Option<RedisTls>,
    /// The user in the server's ACL; `None`: the default user.
    pub username: Option<String>,
    /// That user's password.
    pub password: Option<RedisPassword>,
    /// Index of the database; 0 in a cluster.
    pub database: u16,
    /// Lifetime of an entry.
    pub ttl: Duration,
    /// Timeout of one command; after it the store is asked.
    pub timeout: Duration,
    /// Prefix of all keys and of the channel.
    pub prefix: String,
    /// Whether it has tokens; `false`: only rates.
    pub tokens: bool,
}

/// The kind of set-up, and its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// One server.
    One(RedisHost),
    /// One server at a Unix socket.
    Unix(PathBuf),
    /// The server that these sentinels report as the master.
    Sentinel {
        /// The sentinels; never empty.
        sentinels: Vec<RedisHost>,
        /// The sentinels' name for the set of servers.
        service: String,
    },
    /// The cluster of these nodes; never empty.
    Cluster(Vec<RedisHost>),
}

/// A host (name or address, without brackets) and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHost(pub String, pub u16);

/// TLS to the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// CA certificates in PEM form; `None`: those of the system.
    pub authorities: Option<Vec<u8>>,
}

/// A password. Wiped when dropped; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisPassword(Zeroizing<String>);

impl RedisPassword {
    /// Wraps the text.
    pub fn new(text: String) -> RedisPassword {
        RedisPassword(Zeroizing::new(text))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("servers", &self.servers)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What is wrong with the URL of a cache. Never repeats the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of the cache {0}; {EXAMPLE}")]
pub struct BadRedisUrl(&'static str);

impl RedisCache {
    /// The cache at a URL, with defaults for everything else. A path in it is relative to `base`.
    ///
    /// # Errors
    /// [`BadRedisUrl`] tells what is wrong with the URL.
    pub fn at(url: &str, base: &Path) -> Result<RedisCache, BadRedisUrl> {
        let bad = BadRedisUrl;
        let mut cache = RedisCache {
            servers: RedisServers::Unix(PathBuf::new()),
            tls: None,
            username: None,
            password: None,
            database: 0,
            ttl: TTL,
            timeout: TIMEOUT,
            prefix: PREFIX.to_owned(),
            tokens: true,
        };
        if url.trim() != url || url.contains(char::is_control) {
            return Err(bad("begins or ends with a blank, or contains a control character"));
        }
        if let Some(path) = url.strip_prefix("redis+unix://").or_else(|| url.strip_prefix("unix:")) {
            let path = path.strip_prefix("//").map_or(path, |rest| if rest.starts_with('/') { rest } else { path });
            // `redis+unix://USER:PASSWORD@…` would become a path, which is logged.
            let is_path = !url.starts_with("redis+") || path.starts_with('/');
            if !is_path || path.is_empty() || path.contains(['?', '#']) {
                return Err(bad("names no socket"));
            }
            cache.servers = RedisServers::Unix(base.join(path));
            return Ok(cache);
        }
        let (scheme, rest) = url.split_once("://").ok_or(bad("has no scheme"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.contains(['?', '#']) {
            return Err(bad("contains more than servers and a path"));
        }
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        if let Some((user, password)) = credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            let unreadable = bad("has a user or a password that is not percent-encoded");
            let user = percent_decoded(user).ok_or(unreadable.clone())?;
            let password = percent_decoded(password).ok_or(unreadable)?;
            cache.username = Some(user).filter(|user| !user.is_empty());
            cache.password = Some(password).filter(|password| !password.is_empty()).map(RedisPassword::new);
        }
        let (scheme, tls) = match scheme.strip_prefix("rediss") {
            Some(rest) => (format!("redis{rest}"), Some(RedisTls::default())),
            None => (scheme.to_owned(), None),
        };
        cache.tls = tls;
        let hosts = |port| hosts.split(',').map(|text| host(text, port)).collect::<Result<Vec<_>, _>>();
        cache.servers = match scheme.as_str() {
            "redis" => {
                let mut hosts = hosts(PORT)?;
                let one = hosts.pop().filter(|_| hosts.is_empty()).ok_or(bad("names more than one server"))?;
                let number = if path.is_empty() { Some(0) } else { path.parse().ok() };
                cache.database = number.ok_or(bad("must end with the number of a database"))?;
                RedisServers::One(one)
            }
            "redis-sentinel" if path.is_empty() || path.contains('/') => return Err(bad("names no service")),
            "redis-sentinel" => RedisServers::Sentinel { sentinels: hosts(SENTINEL_PORT)?, service: path.to_owned() },
            "redis-cluster" if !path.is_empty() => return Err(bad("ends with a path, which a cluster does not have")),
            "redis-cluster" => RedisServers::Cluster(hosts(PORT)?),
            _ => return Err(bad("has an unknown scheme")),
        };
        Ok(cache)
    }
}

fn host(text: &str, port: u16) -> Result<RedisHost, BadRedisUrl> {
    // The colons of an IPv6 address are in brackets.
    let (name, port) = match text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((name, port)) => (name, port.parse().map_err(|_| BadRedisUrl("has a port that is not a number"))?),
        None => (text, port),
    };
    if !is_host(name) || port == 0 {
        return Err(BadRedisUrl("names no valid host"));
    }
    Ok(RedisHost(name.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

/// Reads `[cache.redis]`; `None` if it has no URL.
pub(super) fn read(cache: &Table<'_>) -> Option<RedisCache> {
    cache.table("redis", |table| {
        let url = table.key("url").secret(Secrecy::Url);
        let key = |name| table.key(name).only_if(url.is_set());
        let (username, prefix) = (key("username").secret(Secrecy::Whole), key("prefix"));
        let (password_file, ca_file, ttl, timeout) = (key("password_file"), key("ca_file"), key("ttl"), key("timeout"));
        let tokens = key("tokens");
        let others = [&username, &password_file, &ca_file, &ttl, &timeout, &prefix, &tokens];
        if others.iter().any(|key| key.is_set()) && !url.is_set() {
            url.problem("missing", "add `url = \"${REDIS_URL}\"`");
        }
        // Read before any early return, so that all errors are reported at once.
        let least = Duration::from_millis(1);
        let ttl = ttl.duration_within(least..=Duration::from_secs(86_400), TTL);
        let timeout = timeout.duration_within(least..=Duration::from_secs(10), TIMEOUT);
        let username = username.text();
        let prefix = prefix.parse_or(PREFIX.to_owned(), check_prefix);
        let tokens = tokens.bool(true);
        let password = read_password(&password_file);
        let authorities = ca_file.optional_file().and_then(|file| {
            warn_of_open_key(&ca_file, &file);
            tls::authorities(&file).map_err(|bad| report(&ca_file, &bad)).ok()
        });
        let text = url.text()?;
        let default = match RedisCache::at(&text, &table.document().resolve("")) {
            Ok(default) => default,
            Err(BadRedisUrl(what)) => {
                url.problem(what, EXAMPLE);
                return None;
            }
        };
        if default.password.is_some() && url.is_text(&text) {
            url.warning("contains a password", "take the address from the environment, or use `password_file`");
        }
        if ca_file.is_set() && default.tls.is_none() {
            ca_file.problem("needs TLS", "write rediss:// in `url`, or remove this");
        }
        Some(RedisCache {
            tls: default.tls.map(|_| RedisTls { authorities }),
            username: username.or(default.username),
            password: password.or(default.password),
            ttl,
            timeout,
            prefix,
            tokens,
            ..default
        })
    })
}

fn check_prefix(text: &str) -> Result<String, Fault> {
    // Braces would put all keys of a cluster into one slot, and glob characters have a meaning in ACLs.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_./".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err(Fault::new("is not a valid prefix", "write 1 to 64 of the letters A-Z, a-z, 0-9 and : - _ . /"));
    }
    Ok(text.to_owned())
}

fn read_password(key: &Key<'_>) -> Option<RedisPassword> {
    let file = key.optional_file()?;
    check_secret_file(key, &file);
    let bytes = Zeroizing::new(read_file(key, &file)?);
    match std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n'])) {
        Ok(text) if !text.is_empty() => Some(RedisPassword::new(text.to_owned())),
        _ => {
            key.problem(format!("{}: contains no password", file.display()), "write one line of text to it");
            None
        }
    }
}

fn read_file(key: &Key<'_>, file: &Path) -> Option<Vec<u8>> {
    match std::fs::read(file) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let what = format!("{}: cannot be read: {error}", file.display());
            key.problem(what, "correct the path, or let the user that runs the gateway read it");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> RedisCache {
        RedisCache::at(url, Path::new("/base")).unwrap()
    }

    fn hosts(list: &[(&str, u16)]) -> Vec<RedisHost> {
        list.iter().map(|(host, port)| RedisHost((*host).to_owned(), *port)).collect()
    }

    #[test]
    fn each_kind_of_url_is_accepted() {
        let [one] = hosts(&[("cache.example", 6379)]).try_into().unwrap();
        assert_eq!(at("redis://cache.example").servers, RedisServers::One(one));
        let tls = at("rediss://:p%40ss@[::1]:7000/3");
        assert_eq!((tls.servers, tls.database), (RedisServers::One(RedisHost("::1".to_owned(), 7000)), 3));
        assert_eq!((tls.tls.is_some(), tls.username, tls.password.unwrap().expose()), (true, None, "p@ss"));
        for (url, path) in [
            ("unix:run/r.sock", "/base/run/r.sock"),
            ("unix:/run/r.sock", "/run/r.sock"),
            ("unix:///run/r.sock", "/run/r.sock"),
            ("redis+unix:///run/r.sock", "/run/r.sock"),
        ] {
            assert_eq!(at(url).servers, RedisServers::Unix(path.into()), "{url}");
        }
        let sentinel = at("redis-sentinel://ann:secret@a:1,b/mymaster");
        let sentinels = hosts(&[("a", 1), ("b", 26379)]);
        assert_eq!(sentinel.servers, RedisServers::Sentinel { sentinels, service: "mymaster".to_owned() });
        assert_eq!(sentinel.username.as_deref(), Some("ann"));
        let cluster = at("rediss-cluster://10.0.0.1:7000,10.0.0.2:7001");
        assert_eq!(cluster.servers, RedisServers::Cluster(hosts(&[("10.0.0.1", 7000), ("10.0.0.2", 7001)])));
        assert!(cluster.tls.is_some() && sentinel.tls.is_none());
    }

    #[test]
    fn an_invalid_url_is_refused_and_never_repeated() {
        for (url, what) in [
            ("localhost:6379", "has no scheme"),
            ("http://hunter2@a", "has an unknown scheme"),
            ("redis://hunter2@a,b", "names more than one server"),
            ("redis://hunter2@a/x", "must end with the number of a database"),
            ("redis://:hunter2%4@a", "has a user or a password that is not percent-encoded"),
            ("redis://:hunter2@a:x", "has a port that is not a number"),
            ("redis://:hunter2@a b", "names no valid host"),
            ("redis://a?password=hunter2", "contains more than servers and a path"),
            ("redis-sentinel://:hunter2@a", "names no service"),
            ("redis-cluster://:hunter2@a/0", "ends with a path, which a cluster does not have"),
            ("unix:", "names no socket"),
            ("redis+unix://:hunter2@a", "names no socket"),
        ] {
            let bad = RedisCache::at(url, Path::new("")).unwrap_err();
            assert_eq!(bad, BadRedisUrl(what), "{url}");
            assert!(!bad.to_string().contains("hunter2"));
        }
        assert!(!format!("{:?}", at("redis://:hunter2@a")).contains("hunter2"));
    }
}
