//! The endpoints of upstreams on the metrics page.

use std::fmt;
use std::sync::Arc;

/// An endpoint in use.
#[derive(Clone)]
pub struct EndpointGauge {
    /// The name of its upstream.
    pub upstream: String,
    /// Its address.
    pub endpoint: String,
    /// Reads its numbers.
    pub read: Arc<dyn Fn() -> EndpointNumbers + Send + Sync>,
}

/// The numbers of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointNumbers {
    /// Whether it gets requests: it is neither ejected nor unhealthy.
    pub available: bool,
    /// Open connections.
    pub connections: u64,
    /// Failed connection attempts.
    pub failures: u64,
    /// How often it was ejected.
    pub ejections: u64,
    /// Requests that failed there and were sent once more.
    pub retries: u64,
}

/// A metric: name, kind, help, value.
type Metric = (&'static str, &'static str, &'static str, fn(&EndpointNumbers) -> u64);

impl EndpointNumbers {
    pub(super) const METRICS: [Metric; 5] = [
        (
            "tokengate_endpoint_available",
            "gauge",
            "Whether the endpoint gets requests: it is neither ejected nor unhealthy.",
            |numbers| u64::from(numbers.available),
        ),
        ("tokengate_endpoint_connections", "gauge", "Open connections to the endpoint.", |numbers| numbers.connections),
        (
            "tokengate_endpoint_connect_failures_total",
            "counter",
            "Failed attempts to connect to the endpoint.",
            |numbers| numbers.failures,
        ),
        ("tokengate_endpoint_ejections_total", "counter", "How often the endpoint was ejected.", |numbers| {
            numbers.ejections
        }),
        (
            "tokengate_endpoint_retries_total",
            "counter",
            "Requests that failed at the endpoint and were sent once more.",
            |numbers| numbers.retries,
        ),
    ];
}

impl fmt::Debug for EndpointGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointGauge").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
