//! Configuration and state of the gateway, as plain data without secrets.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A certificate that expires within this number of days gets a warning.
const EXPIRY_WARNING_DAYS: i64 = 21;

/// Configuration and state of the gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// The version of the program.
    pub version: &'static str,
    /// When the process started.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// The configuration file; `None`: the configuration is not from a file.
    pub configuration: Option<String>,
    /// The outcome of the last reload.
    pub reload: ReloadStatus,
    /// Threads that serve requests.
    pub workers: usize,
    /// Routes: first those that the gateway answers itself, then the others in the order of the configuration.
    pub routes: Vec<RouteStatus>,
    /// Upstreams, in the order of the configuration.
    pub upstreams: Vec<UpstreamStatus>,
    /// Certificates, ordered by name.
    pub certificates: Vec<CertificateStatus>,
    /// The store of users and tokens.
    pub store: StoreStatus,
    /// The shared cache; `None`: there is none.
    pub shared_cache: Option<SharedCacheStatus>,
    /// The feeds: connections on which changes are pushed.
    pub feeds: Vec<FeedStatus>,
}

/// The configuration in use, and the outcome of the last reload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReloadStatus {
    /// The number of this configuration; 1 is the one of the start.
    pub generation: u64,
    /// When the configuration in use was loaded.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub loaded: Timestamp,
    /// When a later reload failed; `None`: none has failed.
    #[serde(serialize_with = "as_optional_text")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failed: Option<Timestamp>,
    /// The problems of that reload.
    pub problems: Vec<String>,
    /// Settings that the file changes and that only a restart can change; a partial reload left them as they were.
    pub restart: Vec<String>,
}

/// A route and its policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// `example.com`, `*.example.com` or `*`.
    pub host: String,
    /// The path, with `*` behind a prefix.
    pub path: String,
    /// Methods; empty: the default methods.
    pub methods: Vec<String>,
    /// `required`, `optional` or `none`.
    pub auth: &'static str,
    /// Accepted credentials: `token`, `session`.
    pub credentials: Vec<&'static str>,
    /// The scopes that a token needs, all of them.
    pub scopes: Vec<String>,
    /// The upstream; empty: the gateway answers itself.
    pub upstream: String,
    /// Limits and other settings that differ from the default, as text.
    pub limits: Vec<String>,
}

/// An upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Maximum number of connections to each endpoint.
    pub max_connections: usize,
    /// The endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint of an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndpointStatus {
    /// `host:port`, or a Unix socket.
    pub address: String,
    /// Whether it can be reached.
    pub state: EndpointState,
    /// Number of open connections.
    pub connections: u64,
    /// Number of failed connection attempts since the start.
    pub failures: u64,
}

/// Whether an endpoint can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// No connection was attempted yet.
    Untried,
    /// The last connection attempt succeeded.
    Reachable,
    /// The last connection attempt failed.
    Unreachable,
    /// Requests to it failed, so it gets none for a while.
    Ejected,
    /// Its health checks fail, so it gets no requests.
    Unhealthy,
}

/// A certificate.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CertificateStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The names and addresses of its hosts.
    pub hosts: Vec<String>,
    /// When it expires.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// Whole days until it expires; negative after that.
    pub days_left: i64,
    /// Whether it expires soon or has expired.
    pub ends_soon: bool,
    /// What is known about its renewal by a CA; `None`: its files come from elsewhere.
    pub acme: Option<AcmeStatus>,
}

/// A certificate that a CA issues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AcmeStatus {
    /// Whether a self-signed certificate stands in, because the CA has issued none yet.
    pub waiting: bool,
    /// When it is to be renewed; `None`: not known yet.
    #[serde(serialize_with = "as_optional_text")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub renewal: Option<Timestamp>,
    /// Why the last attempt failed; `None`: it did not.
    pub failure: Option<String>,
    /// Why the CA could not be asked when to renew it; `None`: it answered, or was not asked.
    pub unreachable: Option<String>,
}

/// The store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreStatus {
    /// `SQLite`, `PostgreSQL` or `Django database`.
    pub kind: &'static str,
    /// The address, without secrets.
    pub place: String,
    /// Does it answer?
    pub is_up: bool,
    /// When the change log was last read to its end.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub log_read: Timestamp,
    /// Number of token lookups since the start.
    pub questions: u64,
    /// Number of failed lookups.
    pub failures: u64,
}

/// The shared cache.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SharedCacheStatus {
    /// The address, without secrets.
    pub place: String,
    /// Does it answer?
    pub is_up: bool,
    /// Why it is down, once that is known.
    pub trouble: Option<String>,
    /// Hit rate, from 0 to 1.
    pub hit_rate: Option<f64>,
    /// Number of changes that are not delivered to it yet.
    pub owed: usize,
}

/// A feed of changes. Without one, the gateway polls the change log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FeedStatus {
    /// The name.
    pub name: &'static str,
    /// Whether it is connected.
    pub is_up: bool,
}

impl SharedCacheStatus {
    /// A shared cache without lookups.
    pub fn unused(place: String) -> SharedCacheStatus {
        SharedCacheStatus { place, is_up: false, trouble: None, hit_rate: None, owed: 0 }
    }
}

impl CertificateStatus {
    /// Describes a certificate at the time `now`.
    pub fn new(name: &str, hosts: &[String], not_after: Timestamp, now: Timestamp) -> CertificateStatus {
        let days_left = not_after.as_seconds().saturating_sub(now.as_seconds()).div_euclid(86_400);
        CertificateStatus {
            name: name.to_owned(),
            hosts: hosts.to_vec(),
            not_after,
            days_left,
            ends_soon: days_left < EXPIRY_WARNING_DAYS,
            acme: None,
        }
    }
}

fn as_optional_text<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_within_three_weeks_or_has_ended_is_worth_a_warning() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        for (seconds, days_left, ends_soon) in
            [(21 * 86_400, 21, false), (21 * 86_400 - 1, 20, true), (3_600, 0, true), (-1, -1, true)]
        {
            let not_after = Timestamp::from_micros(now.as_micros() + seconds * 1_000_000);
            let status = CertificateStatus::new("one", &[], not_after, now);
            assert_eq!((status.days_left, status.ends_soon), (days_left, ends_soon));
        }
    }
}
