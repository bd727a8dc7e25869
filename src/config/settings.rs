//! What the configuration means: complete, checked, without options for defaults.
//!
//! Made only by `check` (and by tests); every reference is an index that exists, every certificate is read and fits its
//! key. Defaults and their sources stand in `docs/CONFIGURATION.md` and in `gateway.toml`.

mod admin;
mod fields;
mod knowledge;
mod login;
mod route;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use self::admin::Admin;
pub use self::fields::{IdentityFields, RESERVED_FIELDS, fold};
pub use self::knowledge::{MemoryCache, OnOutage, Store, StoreUrl, Tokens};
pub use self::login::{Browser, Hashing, Login};
pub use self::route::{Auth, ForwardAuthorization, HostPattern, PathPattern, Route};
pub use super::database_url::BadDatabaseUrl;
pub use super::django::{Django, DjangoMode, DjangoUrl};
pub use super::django_columns::{Columns, Flag, Ignored};
pub use super::mysql::MysqlUrl;
pub use super::postgres::PostgresUrl;
pub use super::shared_cache::{BadRedisUrl, RedisCache, RedisHost, RedisPassword, RedisServers, RedisTls};
use crate::tls::Certificate;
use crate::units::Rate;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads that serve requests; at least one.
    pub workers: usize,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Certificates, in the order of their names.
    pub certificates: Vec<Certificate>,
    /// Where users and tokens live.
    pub store: Store,
    /// What each process remembers of tokens.
    pub memory: MemoryCache,
    /// The cache that gateways share; `None`: there is none.
    pub redis: Option<RedisCache>,
    /// How tokens are issued and read.
    pub tokens: Tokens,
    /// Tokens for passwords; `None`: switched off.
    pub login: Option<Login>,
    /// What upstreams are told.
    pub identity: IdentityFields,
    /// Groups of endpoints.
    pub upstreams: Vec<Upstream>,
    /// Which requests go where.
    pub routes: Vec<Route>,
    /// Where request bodies are gathered.
    pub spool: Spool,
    /// Limits that hold before a route is known.
    pub limits: Limits,
    /// Timeouts that hold before a route is known.
    pub timeouts: ConnectionTimeouts,
    /// The admin application; `None`: switched off.
    pub admin: Option<Admin>,
    /// Logs.
    pub log: Log,
    /// How long a stop waits for requests in flight.
    pub grace: Duration,
    /// How the configuration is replaced while the gateway runs.
    pub reload: Reload,
    /// The Unix socket for `tokengate reload` and `tokengate status`; `None`: there is none.
    pub control: Option<PathBuf>,
}

/// How the configuration is replaced while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Reload when the file, or a file that it names, changes.
    pub watch: bool,
    /// How long tunnels of routes that are gone may go on.
    pub drain: Duration,
}

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in the file.
    pub name: String,
    /// Where it listens; port 0 takes any free one.
    pub address: SocketAddr,
    /// What it does.
    pub role: ListenerRole,
}

/// What a listener does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerRole {
    /// HTTPS: the front door.
    Tls(TlsListener),
    /// HTTP in clear.
    Plain(PlainListener),
    /// Health and metrics for those who run the gateway; never requests for upstreams.
    Internal {
        /// Answer `/health`.
        health: bool,
        /// Answer `/metrics`.
        metrics: bool,
    },
}

/// Settings of an HTTPS listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    /// Indices into [`Settings::certificates`]; the first answers a client without SNI. Never empty.
    pub certificates: Vec<usize>,
    /// Offer HTTP/1.1.
    pub http1: bool,
    /// Offer HTTP/2.
    pub http2: bool,
    /// Accept TLS 1.2 beside 1.3.
    pub tls12: bool,
    /// `Strict-Transport-Security: max-age`; `None`: not sent.
    pub hsts: Option<Duration>,
    /// What happens to a live token that was sent to it without TLS.
    pub exposed_token: ExposedToken,
}

/// Settings of a listener in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainListener {
    /// What happens to requests.
    pub plaintext: Plaintext,
    /// What happens to a live token that was sent in clear.
    pub exposed_token: ExposedToken,
}

/// What a listener in clear does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// 403 for everything.
    Refuse,
    /// 308 to the same target on `https` for GET and HEAD without credentials; 403 for the rest.
    Redirect,
    /// Serve as if it were HTTPS; loopback addresses only.
    Serve,
}

/// What happens to a live token that was sent in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExposedToken {
    /// Nothing.
    Ignore,
    /// The store notes when it was exposed.
    Mark,
    /// It is revoked.
    Revoke,
}

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the file.
    pub name: String,
    /// Its members; never empty.
    pub endpoints: Vec<Endpoint>,
    /// Most connections to each endpoint, all workers together.
    pub max_connections: usize,
    /// How many of all those one client may use at once.
    pub client_share: ClientShare,
    /// How long an unused connection is kept; less than the endpoint's own.
    pub idle_timeout: Duration,
    /// Longest wait for a new connection.
    pub connect_timeout: Duration,
    /// Send a request once more if nothing of it was sent, or if it has neither effects nor a body.
    pub retry: bool,
}

/// How many connections of an upstream one client may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientShare {
    /// Three times as many as are free.
    Fair,
    /// This number, all workers together.
    Most(usize),
    /// All of them.
    Unlimited,
}

/// One member of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host:port` as written, for `Host` where a route says `host_header = "upstream"`, and for messages.
    pub authority: String,
    /// Where it is.
    pub address: EndpointAddress,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A host (name or address) and a port. A name is looked up at start.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Where request bodies are gathered that need a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The folder for those that are too long for memory.
    pub folder: PathBuf,
    /// Most bytes of all of them together, in memory and in the folder.
    pub max_size: u64,
}

/// Limits that hold before a route is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request head in bytes.
    pub header_bytes: usize,
    /// Most field lines of a request.
    pub header_count: usize,
    /// Longest target in bytes.
    pub uri_bytes: usize,
    /// Longest head of an upstream's answer in bytes.
    pub response_header_bytes: usize,
    /// Most field lines of an upstream's answer.
    pub response_header_count: usize,
    /// Most connections of the process.
    pub connections: usize,
    /// Most connections of one client: of an IPv4 address, or of an IPv6 /64 network.
    pub connections_per_ip: usize,
    /// Most TLS handshakes of the process that have begun and not ended.
    pub handshakes: usize,
    /// Most of them of one client; further ones wait.
    pub handshakes_per_ip: usize,
    /// Most streams of one HTTP/2 connection at once.
    pub h2_streams: u32,
    /// Refused keys from one address; beyond it, keys that this process does not know are not looked up for it. `None`:
    /// no bound.
    pub wrong_keys: Option<Rate>,
}

/// Timeouts that hold before a route is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    /// A TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request head to its last.
    pub request_headers: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// A client that does not take its answer.
    pub write: Duration,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`.
    pub level: tracing::Level,
    /// JSON lines instead of text.
    pub json: bool,
    /// One line for each request, on standard output.
    pub access: bool,
}

impl Listener {
    /// Is it reachable from this machine only?
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
    /// What hardened nginx, HAProxy and Envoy use at the edge.
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
