//! `[defaults]`: the values for connections, and for routes and upstreams that do not set their own.

use std::time::Duration;

use super::reader::Table;
use super::value::Key;

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
    /// These values, overridden by those in the tables `timeouts` and `limits` of a route. A streaming route has no
    /// timeouts of the response and no minimum rate.
    pub(super) fn of_route(self, streaming: bool, timeouts: &Table<'_>, limits: &Table<'_>) -> Bounds {
        let time = |name, like| timeouts.key(name).like(Some(like));
        let response = |name, like| time(name, like).only_if(!streaming);
        Bounds {
            request_body: time("request_body", "defaults.timeouts.request_body").duration(self.request_body),
            response_headers: response("response_headers", "defaults.timeouts.response_headers")
                .duration(self.response_headers),
            response_body: response("response_body", "defaults.timeouts.response_body").duration(self.response_body),
            total: time("total", "defaults.timeouts.total").or_word("unlimited").optional_duration(self.total),
            body: read_body(limits.key("body").like(Some("defaults.limits.body")), self.body),
            body_rate: limits
                .key("body_rate")
                .like(Some("defaults.limits.body_rate"))
                .only_if(!streaming)
                .or_word("off")
                .optional_byte_rate(self.body_rate),
        }
    }
}

fn read_body(key: Key<'_>, default: u64) -> u64 {
    let default = Some(default).filter(|body| *body < u64::MAX);
    key.or_word("unlimited").optional_bytes(0..=1 << 50, default).unwrap_or(u64::MAX)
}

/// `[defaults]`
pub(super) fn read(root: &Table<'_>) -> (RouteDefaults, ConnectionTimeouts) {
    root.table("defaults", |table| {
        table.table("timeouts", |timeouts| {
            let defaults = ConnectionTimeouts::default();
            let connection = ConnectionTimeouts {
                request_headers: timeouts.key("request_headers").duration(defaults.request_headers),
                idle: timeouts.key("idle").duration(defaults.idle),
                write: timeouts.key("write").duration(defaults.write),
                ..defaults
            };
            let route = RouteDefaults {
                connect: timeouts.key("connect").duration(Duration::from_secs(5)),
                resolve_every: table.key("resolve_every").duration(Duration::from_secs(10)),
                bounds: Bounds {
                    request_body: timeouts.key("request_body").duration(BOUNDS.request_body),
                    response_headers: timeouts.key("response_headers").duration(BOUNDS.response_headers),
                    response_body: timeouts.key("response_body").duration(BOUNDS.response_body),
                    total: timeouts.key("total").or_word("unlimited").optional_duration(BOUNDS.total),
                    ..table.table("limits", |limits| Bounds {
                        body: read_body(limits.key("body"), BOUNDS.body),
                        body_rate: limits.key("body_rate").or_word("off").optional_byte_rate(BOUNDS.body_rate),
                        ..BOUNDS
                    })
                },
            };
            (route, connection)
        })
    })
}
