//! `[defaults]`: the values for connections, and for routes and upstreams that do not set their own.

use std::time::Duration;

use super::reader::Table;
use super::value::Fault;
use crate::units::ByteSize;

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

/// The values for a route that does not set its own.
pub(super) struct RouteDefaults {
    /// Timeout of a connection attempt to an endpoint.
    pub connect: Duration,
    /// How often the host names of endpoints are resolved again.
    pub resolve_every: Duration,
    /// The values that the tables `timeouts` and `limits` of a route can set.
    pub bounds: Bounds,
}

/// The values that the tables `timeouts` and `limits` of a route can set.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Longest pause of a client within a request body.
    pub request_body: Duration,
    /// Timeout of a response head.
    pub response_headers: Duration,
    /// Longest pause of an endpoint within a response body.
    pub response_body: Duration,
    /// Timeout of the whole exchange.
    pub total: Option<Duration>,
    /// Maximum size of a request body in bytes.
    pub body: u64,
    /// Minimum rate of a request body in bytes per second.
    pub body_rate: Option<u64>,
}

/// The defaults: those of hardened nginx, HAProxy and Envoy configurations at the edge.
pub(super) const BOUNDS: Bounds = Bounds {
    request_body: Duration::from_secs(30),
    response_headers: Duration::from_secs(30),
    response_body: Duration::from_secs(60),
    total: None,
    body: 10 << 20,
    body_rate: Some(50),
};

impl RouteDefaults {
    /// Longest pause of a client within a request body.
    pub(super) fn request_body_timeout(&self) -> Duration {
        self.bounds.request_body
    }

    /// Minimum rate of a request body in bytes per second.
    pub(super) fn body_rate(&self) -> Option<u64> {
        self.bounds.body_rate
    }
}

impl Bounds {
    /// These values, overridden by those in the tables `timeouts` and `limits`.
    pub(super) fn overridden_by(self, timeouts: &Table<'_>, limits: &Table<'_>) -> Bounds {
        let body = limits.key("body").or_word("unlimited");
        let rate = limits.key("body_rate").or_word("off");
        Bounds {
            request_body: timeouts.key("request_body").duration().unwrap_or(self.request_body),
            response_headers: timeouts.key("response_headers").duration().unwrap_or(self.response_headers),
            response_body: timeouts.key("response_body").duration().unwrap_or(self.response_body),
            total: timeouts.key("total").or_word("unlimited").optional_duration(self.total),
            body: if body.is_word() { u64::MAX } else { body.bytes(0..=1 << 50).unwrap_or(self.body) },
            body_rate: if rate.is_word() { None } else { rate.parse(byte_rate).or(self.body_rate) },
        }
    }
}

/// `[defaults]`
pub(super) fn read(root: &Table<'_>) -> (RouteDefaults, ConnectionTimeouts) {
    root.table("defaults", |table| {
        table.table("timeouts", |timeouts| {
            let defaults = ConnectionTimeouts::default();
            let connection = ConnectionTimeouts {
                request_headers: timeouts.key("request_headers").duration().unwrap_or(defaults.request_headers),
                idle: timeouts.key("idle").duration().unwrap_or(defaults.idle),
                write: timeouts.key("write").duration().unwrap_or(defaults.write),
                ..defaults
            };
            let route = RouteDefaults {
                connect: timeouts.key("connect").duration().unwrap_or(Duration::from_secs(5)),
                resolve_every: table.key("resolve_every").duration().unwrap_or(Duration::from_secs(10)),
                bounds: table.table("limits", |limits| BOUNDS.overridden_by(timeouts, limits)),
            };
            (route, connection)
        })
    })
}

/// Bytes per second.
fn byte_rate(text: &str) -> Result<u64, Fault> {
    let size = text.strip_suffix("/s").and_then(|size| size.parse::<ByteSize>().ok()).filter(|size| size.0 > 0);
    size.map(|size| size.0)
        .ok_or_else(|| Fault::new("is not a size per second", "write one such as \"50B/s\", or \"off\""))
}
