//! `[upstreams.NAME.health_check]` and `[upstreams.NAME.ejection]`: when endpoints get no requests.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

use super::host_header::HostHeader;
use super::reader::Table;
use super::value::Fault;

/// Active checks of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path, with a query if there is one.
    pub path: Uri,
    /// The `Host`; `None`: that of the endpoint.
    pub host: Option<HeaderValue>,
    /// The statuses of a healthy endpoint.
    pub status: RangeInclusive<u16>,
    /// The time between two checks, on average.
    pub every: Duration,
    /// Timeout of a check.
    pub timeout: Duration,
    /// After how many successes in a row an unhealthy endpoint is healthy.
    pub healthy: u32,
    /// After how many failures in a row a healthy endpoint is unhealthy.
    pub unhealthy: u32,
}

/// When an endpoint is ejected because requests to it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// After how many failures in a row.
    pub consecutive_errors: u32,
    /// For how long.
    pub eject_for: Duration,
    /// Maximum part of the endpoints that is ejected at once, in percent.
    pub max_ejected: usize,
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection { consecutive_errors: 5, eject_for: Duration::from_secs(30), max_ejected: 50 }
    }
}

/// Statuses, such as `200` and `2xx`.
struct Statuses(RangeInclusive<u16>);

impl Statuses {
    fn parse(text: &str) -> Result<Statuses, Fault> {
        let fault = || Fault::new("is not a status", "write one such as \"200\", or \"2xx\" for all from 200 to 299");
        let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
        let range = match (class, text.parse::<u16>()) {
            (Some(class @ 1..=5), _) => class * 100..=class * 100 + 99,
            (None, Ok(status @ 100..=599)) => status..=status,
            _ => return Err(fault()),
        };
        Ok(Statuses(range))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.clone().into_inner() {
            (first, last) if first == last => write!(f, "{first}"),
            (first, _) => write!(f, "{}xx", first / 100),
        }
    }
}

/// A part in percent.
struct Percent(usize);

impl Percent {
    fn parse(text: &str) -> Result<Percent, Fault> {
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let fault = || Fault::new("is not a percentage", "write \"0%\" to \"100%\"");
        number.filter(|number| *number <= 100).map(Percent).ok_or_else(fault)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Reads `health_check` of an upstream; `None`: there are no checks.
pub(super) fn read_check(upstream: &Table<'_>) -> Option<HealthCheck> {
    upstream.table("health_check", |table| {
        let path = table.key("path");
        let is_on = path.is_set();
        let path = path.parse(|text| {
            let path = text.parse::<PathAndQuery>().ok().filter(|_| text.starts_with('/'));
            path.map(Uri::from).ok_or_else(|| Fault::new("is not a path", "write one such as \"/healthz\""))
        });
        let host = table.key("host").only_if(is_on).parse(|text| match HostHeader::parse(text)? {
            HostHeader::Name(name) => Ok(name),
            _ => Err(Fault::new("is not a host", "write one such as \"app.internal\"")),
        });
        let second = Duration::from_secs(1);
        let least = Duration::from_millis(100);
        let all = Duration::from_secs(3_600);
        let key = |name| table.key(name).only_if(is_on);
        let status = key("status").parse_or(Statuses(200..=299), Statuses::parse);
        let every = key("every").duration_within(least..=all, 5 * second);
        let timeout = key("timeout").duration_within(least..=all, 2 * second);
        let healthy = key("healthy").count(1..=100, 2_u32);
        let unhealthy = key("unhealthy").count(1..=100, 3_u32);
        Some(HealthCheck { path: path?, host, status: status.0, every, timeout, healthy, unhealthy })
    })
}

/// Reads `ejection` of an upstream; `None`: no endpoint is ejected.
pub(super) fn read_ejection(upstream: &Table<'_>) -> Option<Ejection> {
    upstream.table("ejection", |table| {
        let default = Ejection::default();
        let failures = table.key("consecutive_errors").or_word("off");
        let failures = failures.count_unless_word(1..=1_000, default.consecutive_errors);
        let key = |name| table.key(name).only_if(failures.is_some());
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let eject_for = key("eject_for").duration_within(second..=day, default.eject_for);
        let max_ejected = key("max_ejected").parse_or(Percent(default.max_ejected), Percent::parse).0;
        failures.map(|consecutive_errors| Ejection { consecutive_errors, eject_for, max_ejected })
    })
}
