//! The settings: complete, checked, with all defaults applied.
//!
//! Created only by `config::load` (and by tests). Every reference is a valid index; every certificate is read and
//! matches its key. The type of each table is in the table's own file, with its defaults and its reader; the names are
//! here too.

use std::path::PathBuf;
use std::time::Duration;

pub use super::access::{Admission, Auth, MethodScopes};
pub use super::acme::{Acme, AcmeCertificate, AcmeChallenge, ExternalAccount};
pub use super::admin::Admin;
pub use super::client_certificates::{CertificateUsers, ClientCertificates, Listed};
pub use super::cors::{Cors, CorsOrigins};
pub use super::defaults::ConnectionTimeouts;
pub use super::django::{Django, DjangoMode};
pub use super::django_columns::{Columns, Flag, Ignored};
pub use super::file_tests::{BadSample, Expected, FileTest, SampleCaller, SampleRequest};
pub use super::forward_certificate::ForwardCertificate;
pub use super::health::{Ejection, HealthCheck};
pub use super::host_header::HostHeader;
pub use super::identity::{CLIENT_CERT, IdentityFields, RESERVED_FIELDS, fold};
pub use super::lifecycle::{Control, Reload};
pub use super::limits::Limits;
pub use super::listeners::{
    ExposedToken, ForwardedFamily, Listener, ListenerRole, PlainListener, Plaintext, ProxyTrust, TlsListener,
};
pub use super::log::{AccessTarget, Log, Redacted};
pub use super::login::{BasicLogin, Browser, Hashing, Login, LoginPath, LoginResponse};
pub use super::memory_cache::MemoryCache;
pub use super::patterns::{HostPattern, PathPattern};
pub use super::portals::Portal;
pub use super::quotas::QuotaRule;
pub use super::rates::{OwnRateRule, RateBackend, RateFact, RateKey, RateRule};
pub use super::routes::{ForwardAuthorization, Route};
pub use super::shared_cache::{BadRedisUrl, RedisCache, RedisHost, RedisPassword, RedisServers, RedisTls};
pub use super::spool::Spool;
pub use super::store::{OnOutage, Store, StoreUrl};
pub use super::tokens::{PerLogin, Tokens};
pub use super::traces::{Collector, Traces};
pub use super::upstream_tls::UpstreamTls;
pub use super::upstreams::{
    Balance, ClientShare, Endpoint, EndpointAddress, Protocol, Upstream, is_foreign, unencrypted,
};
pub use super::url::BadDatabaseUrl;
pub use super::url::django::DjangoUrl;
pub use super::url::mysql::MysqlUrl;
pub use super::url::postgres::PostgresUrl;
pub use super::url::tls::{DatabaseTls, TlsMode};
use crate::tls::Certificate;

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
    /// The CA that issues some of them; `None`: not configured.
    pub acme: Option<Acme>,
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
    /// How often requests may come.
    pub rates: Vec<RateRule>,
    /// How many requests may come in a day or month.
    pub quotas: Vec<QuotaRule>,
    /// Where the rates of single tokens and users are counted.
    pub own_rates: OwnRateRule,
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
    /// Traces of requests; `None`: none.
    pub traces: Option<Traces>,
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
    /// The Unix socket for commands to the running gateway; `None`: there is none.
    pub control: Option<Control>,
}
