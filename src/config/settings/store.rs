//! The store, the cache in memory, and the settings of tokens.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Hashing;
use crate::config::django::Django;
use crate::config::url::django::DjangoUrl;
use crate::config::url::postgres::PostgresUrl;
use crate::token::TokenFormat;

/// The store of users and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database.
    pub url: StoreUrl,
    /// Table names of a Django database, and the access mode.
    pub django: Django,
    /// The key file: 32 random bytes that encrypt login tokens; created on first start.
    pub key_file: PathBuf,
    /// Maximum number of connections to the database.
    pub max_connections: u32,
    /// Timeout of one query.
    pub timeout: Duration,
    /// Interval for reading the change log, which reports revocations.
    pub poll_every: Duration,
    /// What happens to requests while the store is unavailable.
    pub on_outage: OnOutage,
    /// Limit of lookups per second whose token turned out to be unknown. Above it such lookups are refused.
    pub unknown_per_second: u32,
    /// How passwords are hashed and verified; from `[login]`.
    pub hashing: Hashing,
}

/// What happens to requests while the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOutage {
    /// Requests whose credentials must be checked get 503, as soon as the outage is detected.
    Refuse,
    /// Cached callers pass for this time after the last successful query; all others get 503.
    ServeKnown(Duration),
}

impl Store {
    /// A store with defaults for everything else.
    pub fn at(url: StoreUrl, key_file: PathBuf) -> Store {
        Store {
            url,
            django: Django::default(),
            key_file,
            max_connections: 16,
            timeout: Duration::from_secs(1),
            poll_every: Duration::from_millis(250),
            on_outage: OnOutage::ServeKnown(Duration::from_secs(300)),
            unknown_per_second: 1_000,
            hashing: Hashing::default(),
        }
    }
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
    /// The database of an existing Django project.
    Django(DjangoUrl),
}

impl StoreUrl {
    /// Whether users can have tokens besides the login token.
    pub fn keeps_named_tokens(&self) -> bool {
        !matches!(self, StoreUrl::Django(_))
    }
}

/// The location without secrets: the file, or the server.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => path.display().fmt(f),
            StoreUrl::Postgres(url) => url.fmt(f),
            StoreUrl::Django(url) => url.fmt(f),
        }
    }
}

/// The token cache of each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCache {
    /// Maximum number of entries.
    pub max_entries: usize,
    /// How long an identity is cached.
    pub ttl: Duration,
    /// How long a refusal is cached.
    pub negative_ttl: Duration,
    /// How long the change log may be unreadable before `blind_ttl` applies to cached identities.
    pub blind_after: Duration,
    /// How long an identity is cached while revocations cannot be read.
    pub blind_ttl: Duration,
}

impl Default for MemoryCache {
    fn default() -> MemoryCache {
        MemoryCache {
            max_entries: 100_000,
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(1),
            blind_after: Duration::from_secs(2),
            blind_ttl: Duration::from_secs(5),
        }
    }
}

/// How tokens are issued and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Accepted schemes in `Authorization`, case-insensitive; the first one is used in the challenge.
    pub schemes: Vec<String>,
    /// The format of new keys.
    pub format: TokenFormat,
    /// Whether the login token is stored encrypted, so that it can be shown again.
    pub recoverable: bool,
    /// Whether a new user gets a login token at once.
    pub issue_on_user_create: bool,
    /// Whether a change of the password revokes all tokens of the user.
    pub revoke_on_password_change: bool,
    /// Lifetime of a new token; `None`: it does not expire.
    pub default_ttl: Option<Duration>,
    /// Maximum number of live tokens of one user.
    pub max_per_user: u32,
    /// Shortest time between two updates of a token's last use.
    pub last_used_every: Duration,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens {
            schemes: vec!["Token".to_owned()],
            format: TokenFormat::Drf,
            recoverable: true,
            issue_on_user_create: true,
            revoke_on_password_change: false,
            default_ttl: None,
            max_per_user: 20,
            last_used_every: Duration::from_secs(60),
        }
    }
}
