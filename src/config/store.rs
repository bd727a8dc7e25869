//! `[store]`: the database of users and tokens, and the behaviour during its outages.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::django::{self, Django};
use super::document::Document;
use super::files::{check_database_tls, check_secret_file};
use super::login::Hashing;
use super::reader::Table;
use super::secret::Secrecy;
use super::store_files::{warn_of_database, warn_of_folder};
use super::url::django::{DjangoUrl, sqlite_file};
use super::url::postgres::PostgresUrl;
use super::url::{self};
use super::value::{Fault, Key, MANY};

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

/// `[store]`
pub(super) fn read(root: &Table<'_>) -> Store {
    root.table("store", |table| {
        let (key, key_file, document) =
            (table.key("url").secret(Secrecy::Url), table.key("key_file"), table.document());
        let url = key.parse_text_or("sqlite:tokengate.db", |text| store_url(text, document));
        let url = url.unwrap_or_else(|| StoreUrl::Sqlite(document.resolve("tokengate.db")));
        match &url {
            StoreUrl::Sqlite(path) => warn_of_database(&key, path),
            StoreUrl::Postgres(url) => check_server(&key, url),
            StoreUrl::Django(url) => check_django(&key, url),
        }
        let secret: PathBuf = key_file.file("tokengate.key");
        check_secret_file(&key_file, &secret);
        if secret.exists() && !is_beside(&secret, &url) {
            warn_of_folder(&key_file, &secret);
        }
        let is_django = matches!(url, StoreUrl::Django(_));
        let default = Store::at(url, secret);
        Store {
            max_connections: table.key("max_connections").count(1..=1_000, default.max_connections),
            timeout: table.key("timeout").duration(default.timeout),
            poll_every: table.key("poll_every").duration(default.poll_every),
            on_outage: on_outage(table),
            django: django::read(table, is_django),
            unknown_per_second: table.key("unknown_per_second").count(1..=MANY, default.unknown_per_second),
            ..default
        }
    })
}

/// Whether the file is in the folder of the database, which has a warning of its own.
fn is_beside(secret: &Path, url: &StoreUrl) -> bool {
    matches!(url, StoreUrl::Sqlite(path) if path.parent() == secret.parent())
}

fn check_server(key: &Key<'_>, url: &PostgresUrl) {
    check_database_tls(key, &url.tls);
    if url.is_unproven() {
        let mend = "add `sslmode=verify-full`, and `sslrootcert=FILE` for an authority of your own";
        key.warning("the connection to this server is not authenticated or not encrypted", mend);
    }
}

fn check_django(key: &Key<'_>, url: &DjangoUrl) {
    if let DjangoUrl::Sqlite(path) = url {
        warn_of_database(key, path);
    }
    if let Some(tls) = url.tls() {
        check_database_tls(key, tls);
    }
    if let Some(mend) = url.proof_missing() {
        key.warning("the connection to this server is not authenticated or not encrypted", mend);
    }
}

fn on_outage(table: &Table<'_>) -> OnOutage {
    let serves_known = table.key("on_outage").choice(&[("serve-known", true), ("refuse", false)], true);
    let known_for = table.key("serve_known_for").only_if(serves_known).duration(Duration::from_secs(300));
    if serves_known { OnOutage::ServeKnown(known_for) } else { OnOutage::Refuse }
}

fn store_url(text: &str, document: &Document<'_>) -> Result<StoreUrl, Fault> {
    let mend = "write \"sqlite:FILE\", the path relative to this file, \"postgres://USER@HOST/DATABASE\", or \
                \"django+…\" for the database of an existing Django project";
    url::check_ends(text).map_err(|bad| Fault::new(bad.what, bad.mend))?;
    if let Some(path) = text.strip_prefix("sqlite:") {
        let file = sqlite_file(path).ok_or_else(|| Fault::new("names no file", mend))?;
        return Ok(StoreUrl::Sqlite(document.resolve(file)));
    }
    if PostgresUrl::is_meant(text) {
        let url = PostgresUrl::parse(text, |path| document.resolve(path));
        return url.map(StoreUrl::Postgres).map_err(|bad| Fault::new(bad.what, bad.mend));
    }
    if DjangoUrl::is_meant(text) {
        let url = DjangoUrl::parse(text, |path| document.resolve(path));
        return url.map(StoreUrl::Django).map_err(|bad| Fault::new(bad.what, bad.mend));
    }
    if text.contains('=') && !text.contains(':') {
        let mend = "write \"postgres://USER:PASSWORD@HOST/DATABASE\"";
        return Err(Fault::new("is a list of `KEY=VALUE`, not an address", mend));
    }
    Err(Fault::new(if text.starts_with("mysql") { "is for Django databases only" } else { "is not a store URL" }, mend))
}
