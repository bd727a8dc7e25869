//! Where users and tokens live, what is remembered of them, how tokens are made.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Hashing;
use crate::config::django::{Django, DjangoUrl};
use crate::config::postgres::PostgresUrl;
use crate::token::TokenFormat;

/// Where users and tokens live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database.
    pub url: StoreUrl,
    /// What an existing Django database calls its tables, and what may be done there.
    pub django: Django,
    /// 32 random bytes that seal login tokens; made on first start.
    pub key_file: PathBuf,
    /// Most connections to the database.
    pub max_connections: u32,
    /// Longest wait for one answer of the store.
    pub timeout: Duration,
    /// How often the change log is read for revocations.
    pub poll_every: Duration,
    /// What happens to requests while the store is away.
    pub on_outage: OnOutage,
    /// Most questions in a second about tokens that turned out to be unknown; beyond it such a question is not asked.
    pub unknown_per_second: u32,
    /// How passwords are hashed and compared; from `[login]`.
    pub hashing: Hashing,
}

/// What happens to requests while the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOutage {
    /// 503 for everybody, as soon as the outage is noticed.
    Refuse,
    /// Identities that this process knows are served for so long, counted from the last time that the store answered;
    /// 503 for the rest.
    ServeKnown(Duration),
}

impl Store {
    /// A store with everything else at its default.
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

/// Which database.
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
    /// Can users have more tokens than the one that a login gives?
    pub fn keeps_named_tokens(&self) -> bool {
        !matches!(self, StoreUrl::Django(_))
    }
}

/// Where it is, without anything secret: the file, or the server.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => path.display().fmt(f),
            StoreUrl::Postgres(url) => url.fmt(f),
            StoreUrl::Django(url) => url.fmt(f),
        }
    }
}

/// What each process remembers of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCache {
    /// Most entries.
    pub max_entries: usize,
    /// How long an identity is believed.
    pub ttl: Duration,
    /// How long a refusal is believed.
    pub negative_ttl: Duration,
    /// How long the change log may be unreadable before entries count for `blind_ttl` only.
    pub blind_after: Duration,
    /// How long an identity is believed while nobody can tell what was revoked.
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
    /// Scheme words accepted in `Authorization`, compared without case; the first one is the challenge.
    pub schemes: Vec<String>,
    /// How new keys look.
    pub format: TokenFormat,
    /// Keep the login token sealed, so that it can be shown again.
    pub recoverable: bool,
    /// Each new user gets a login token at once.
    pub issue_on_user_create: bool,
    /// Another password revokes all tokens of its user.
    pub revoke_on_password_change: bool,
    /// Lifetime of a new token; `None`: never ends.
    pub default_ttl: Option<Duration>,
    /// Most live tokens of one user.
    pub max_per_user: u32,
    /// The last use of a token is written down at most once in so long.
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
