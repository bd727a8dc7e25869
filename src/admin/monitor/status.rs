//! What the gateway is set up to do and how it is, as plain data. Nothing secret is in it.

use std::fmt::Display;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A certificate that ends in fewer days is worth a warning.
const SOON: i64 = 21;

/// What the gateway is set up to do, and how it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// The running version.
    pub version: &'static str,
    /// Since when.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// The file that its configuration was read from then; `None`: there is none.
    pub configuration: Option<String>,
    /// How it was last reloaded.
    pub reload: ReloadStatus,
    /// Threads that serve requests.
    pub workers: usize,
    /// What the gateway answers itself, then in the order of the configuration.
    pub routes: Vec<RouteStatus>,
    /// In the order of the configuration.
    pub upstreams: Vec<UpstreamStatus>,
    /// In the order of their names.
    pub certificates: Vec<CertificateStatus>,
    /// Users and tokens.
    pub store: StoreStatus,
    /// The cache that gateways share; `None`: there is none.
    pub shared_cache: Option<SharedCacheStatus>,
    /// What tells of the changes of others as they happen.
    pub feeds: Vec<FeedStatus>,
}

/// The configuration in use, and the outcome of the last reload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReloadStatus {
    /// Counts configurations, from 1 for the one of the start.
    pub generation: u64,
    /// When the configuration in use was loaded.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub loaded: Timestamp,
    /// When a reload failed after that; `None`: none did.
    #[serde(serialize_with = "as_optional_text")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failed: Option<Timestamp>,
    /// What was wrong.
    pub problems: Vec<String>,
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
    /// Methods; empty: all usual ones.
    pub methods: Vec<String>,
    /// `required`, `optional` or `none`.
    pub auth: &'static str,
    /// What is accepted: `token`, `session`.
    pub credentials: Vec<&'static str>,
    /// Scopes that a token needs, all of them.
    pub scopes: Vec<String>,
    /// Where it leads; empty: the gateway answers itself.
    pub upstream: String,
    /// What else is special: limits and ways, in words.
    pub limits: Vec<String>,
}

/// An upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Most connections to each endpoint.
    pub max_connections: usize,
    /// Its members.
    pub endpoints: Vec<EndpointStatus>,
}

/// A member of an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EndpointStatus {
    /// `host:port`, or a Unix socket.
    pub address: String,
    /// Whether it can be reached.
    pub state: EndpointState,
    /// Connections that are open.
    pub connections: u64,
    /// Attempts to connect that failed, since the start.
    pub failures: u64,
}

/// Whether an endpoint can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Nobody has tried.
    Untried,
    /// The last attempt to connect succeeded.
    Reachable,
    /// The last attempt failed.
    Unreachable,
}

/// A certificate.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CertificateStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Hosts that it is for: names and addresses.
    pub hosts: Vec<String>,
    /// When it ends.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// How many whole days are left; negative once it has ended.
    pub days_left: i64,
    /// Will it end soon, or has it?
    pub ends_soon: bool,
}

/// The store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreStatus {
    /// `SQLite`, `PostgreSQL` or `Django database`.
    pub kind: &'static str,
    /// Where it is, without anything secret.
    pub place: String,
    /// Does it answer?
    pub is_up: bool,
    /// When its log of changes was last read to the end.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub log_read: Timestamp,
    /// Questions about tokens since the start.
    pub questions: u64,
    /// Those that were not answered.
    pub failures: u64,
}

/// The cache that gateways share.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SharedCacheStatus {
    /// Where it is.
    pub place: String,
    /// Does it answer?
    pub is_up: bool,
    /// Why it does not, once that is known.
    pub trouble: Option<String>,
    /// Share of tokens that it knew.
    pub hit_rate: Option<f64>,
    /// Changes that it is still to be told of.
    pub owed: usize,
}

/// What tells of changes as they happen; without one the log is read now and then.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FeedStatus {
    /// Whose.
    pub name: &'static str,
    /// Does it hear?
    pub is_up: bool,
}

impl SharedCacheStatus {
    /// A cache that nobody has asked.
    pub fn unused(place: String) -> SharedCacheStatus {
        SharedCacheStatus { place, is_up: false, trouble: None, hit_rate: None, owed: 0 }
    }
}

impl CertificateStatus {
    /// A certificate as it is at `now`.
    pub fn new(name: &str, hosts: &[String], not_after: Timestamp, now: Timestamp) -> CertificateStatus {
        let days_left = not_after.as_seconds().saturating_sub(now.as_seconds()).div_euclid(86_400);
        CertificateStatus {
            name: name.to_owned(),
            hosts: hosts.to_vec(),
            not_after,
            days_left,
            ends_soon: days_left < SOON,
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
