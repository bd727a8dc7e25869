//! The settings: complete, checked, with all defaults applied.
//!
//! Created only by `check` (and by tests). Every reference is a valid index; every certificate is read and matches its
//! key. The defaults and their sources are in `docs/CONFIGURATION.md` and in `gateway.toml`.

mod admin;
mod fields;
mod store;
mod login;
mod route;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use self::admin::Admin;
pub use self::fields::{IdentityFields, RESERVED_FIELDS, fold};
pub use self::login::{Browser, Hashing, Login};
pub use self::route::{Auth, ForwardAuthorization, HostPattern, PathPattern, Route};
pub use self::store::{MemoryCache, OnOutage, Store, StoreUrl, Tokens};
pub use super::django::{Django, DjangoMode};
pub use super::django_columns::{Columns, Flag, Ignored};
pub use super::file_tests::{BadSample, Expected, FileTest, SampleCaller, SampleRequest};
pub use super::shared_cache::{BadRedisUrl, RedisCache, RedisHost, RedisPassword, RedisServers, RedisTls};
pub use super::url::BadDatabaseUrl;
pub use super::url::django::DjangoUrl;
pub use super::url::mysql::MysqlUrl;
pub use super::url::postgres::PostgresUrl;
pub use super::url::tls::{DatabaseTls, TlsMode};
use crate::tls::Certificate;
use crate::units::Rate;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The files that they were read from, and the folders in which files were looked for.
    pub files: Vec<PathBuf>,
    /// Number of threads that serve requests; at least one.
    pub workers: usize,
    /// The addresses that clients connect to; at least one.
    pub listeners: Vec<Listener>,
    /// Certificates, ordered by name.
    pub certificates: Vec<Certificate>,
    /// The store of users and tokens.
    pub store: Store,
    /// The token cache of each process.
    pub memory: MemoryCache,
    /// The shared cache; `None`: not configured.
    pub redis: Option<RedisCache>,
    /// How tokens are issued and read.
    pub tokens: Tokens,
    /// The login with a password; `None`: switched off.
    pub login: Option<Login>,
    /// The identity headers for upstreams.
    pub identity: IdentityFields,
    /// Groups of endpoints.
    pub upstreams: Vec<Upstream>,
    /// Which requests go to which upstream.
    pub routes: Vec<Route>,
    /// Where request bodies are buffered.
    pub spool: Spool,
    /// Limits that apply before a route is known.
    pub limits: Limits,
    /// Timeouts that apply before a route is known.
    pub timeouts: ConnectionTimeouts,
    /// The admin application; `None`: switched off.
    pub admin: Option<Admin>,
    /// Logs.
    pub log: Log,
    /// How long a shutdown waits for requests in flight.
    pub grace: Duration,
    /// How long a shutdown goes on serving while readiness already fails.
    pub shutdown_delay: Duration,
    /// How often the host names of endpoints are resolved again.
    pub resolve_every: Duration,
    /// How the configuration is replaced while the gateway runs.
    pub reload: Reload,
    /// What the file expects of some requests.
    pub tests: Vec<FileTest>,
    /// The Unix socket for `tokengate reload` and `tokengate status`; `None`: there is none.
    pub control: Option<PathBuf>,
}

/// How the configuration is replaced while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Reload when the file, or a file that it names, changes.
    pub watch: bool,
    /// How long tunnels of removed routes may stay open.
    pub drain: Duration,
}

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in the file.
    pub name: String,
    /// The local address; port 0 takes any free one.
    pub address: SocketAddr,
    /// What the listener does.
    pub role: ListenerRole,
}

/// What a listener does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerRole {
    /// HTTPS.
    Tls(TlsListener),
    /// Unencrypted HTTP.
    Plain(PlainListener),
    /// Health and metrics for operators; never requests for upstreams.
    Internal {
        /// Whether it serves `/health`.
        health: bool,
        /// Whether it serves `/metrics`.
        metrics: bool,
    },
}

/// Settings of an HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    /// Indices into [`Settings::certificates`]; clients without SNI get the first. Never empty.
    pub certificates: Vec<usize>,
    /// Whether it offers HTTP/1.1.
    pub http1: bool,
    /// Whether it offers HTTP/2.
    pub http2: bool,
    /// Whether it accepts TLS 1.2 in addition to 1.3.
    pub tls12: bool,
    /// `Strict-Transport-Security: max-age`; `None`: not sent.
    pub hsts: Option<Duration>,
    /// What happens to a live token that was sent to the TLS port without TLS.
    pub exposed_token: ExposedToken,
}

/// Settings of an unencrypted listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainListener {
    /// What happens to requests.
    pub plaintext: Plaintext,
    /// What happens to a live token that was sent unencrypted.
    pub exposed_token: ExposedToken,
}

/// What an unencrypted listener does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// Responds 403 to every request.
    Refuse,
    /// Redirects GET and HEAD without credentials to the same target on `https` (308); responds 403 to all others.
    Redirect,
    /// Serves requests as an HTTPS listener does; loopback addresses only.
    Serve,
}

/// What happens to a live token that was sent unencrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposedToken {
    /// No action.
    Ignore,
    /// The store records when the token was exposed.
    Mark,
    /// The token is revoked.
    Revoke,
}

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the file.
    pub name: String,
    /// Its members; never empty.
    pub endpoints: Vec<Endpoint>,
    /// Maximum number of connections to each endpoint, over all workers.
    pub max_connections: usize,
    /// Maximum number of these connections that one client can use at once.
    pub client_share: ClientShare,
    /// How long an unused connection is kept; must be shorter than the endpoint's own timeout.
    pub idle_timeout: Duration,
    /// Timeout of a connection attempt.
    pub connect_timeout: Duration,
    /// Whether a request is sent once more if no byte of it was sent, or if it has neither effects nor a body.
    pub retry: bool,
}

/// How many connections of an upstream one client may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientShare {
    /// Three times the number of free connections.
    Fair,
    /// This number, over all workers.
    Most(usize),
    /// All of them.
    Unlimited,
}

/// One member of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host:port` as configured, for `Host` on routes with `host_header = "upstream"`, and for messages.
    pub authority: String,
    /// The address to connect to.
    pub address: EndpointAddress,
}

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A host (name or IP address) and a port. A name is resolved at start.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Where request bodies are buffered that need a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The folder for bodies that are too long for memory.
    pub folder: PathBuf,
    /// Limit of all bodies together in bytes, in memory and in the folder.
    pub max_size: u64,
}

/// Limits that apply before a route is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a request head in bytes.
    pub header_bytes: usize,
    /// Maximum number of field lines of a request.
    pub header_count: usize,
    /// Maximum length of a target in bytes.
    pub uri_bytes: usize,
    /// Maximum size of the head of an upstream's response in bytes.
    pub response_header_bytes: usize,
    /// Maximum number of field lines of an upstream's response.
    pub response_header_count: usize,
    /// Maximum number of connections of the process.
    pub connections: usize,
    /// Maximum number of connections of one client (an IPv4 address or an IPv6 /64 network).
    pub connections_per_ip: usize,
    /// Maximum number of unfinished TLS handshakes of the process.
    pub handshakes: usize,
    /// Maximum number of unfinished TLS handshakes of one client; further ones wait.
    pub handshakes_per_ip: usize,
    /// Maximum number of concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
    /// Rate limit of invalid keys per client. Above it, keys that are not in this process's cache are not looked up for
    /// that client. `None`: no limit.
    pub wrong_keys: Option<Rate>,
}

/// Timeouts that apply before a route is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    /// A TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request head to its last.
    pub request_headers: Duration,
    /// A connection without a request in progress.
    pub idle: Duration,
    /// A client that does not read its response.
    pub write: Duration,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`.
    pub level: tracing::Level,
    /// JSON lines instead of text.
    pub json: bool,
    /// One line per request, on standard output.
    pub access: bool,
}

impl Listener {
    /// Whether the address is a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self.address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        }
    }
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { watch: false, drain: Duration::from_secs(3_600) }
    }
}

impl Default for Spool {
    fn default() -> Spool {
        Spool { folder: std::env::temp_dir(), max_size: 1 << 30 }
    }
}

impl Default for Limits {
    /// As in hardened nginx, HAProxy and Envoy configurations at the edge.
    fn default() -> Limits {
        Limits {
            header_bytes: 64 << 10,
            header_count: 100,
            uri_bytes: 8 << 10,
            response_header_bytes: 64 << 10,
            response_header_count: 100,
            connections: 10_000,
            connections_per_ip: 1_000,
            handshakes: 1_024,
            handshakes_per_ip: 128,
            h2_streams: 100,
            wrong_keys: Some(Rate::per_minute(120)),
        }
    }
}

impl Default for ConnectionTimeouts {
    fn default() -> ConnectionTimeouts {
        ConnectionTimeouts {
            handshake: Duration::from_secs(10),
            request_headers: Duration::from_secs(10),
            idle: Duration::from_secs(65),
            write: Duration::from_secs(30),
        }
    }
}
