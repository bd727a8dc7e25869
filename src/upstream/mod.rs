//! Connections to endpoints: one pool per worker and endpoint, without locks.
//!
//! [`UpstreamPools`] holds the pools of a worker's upstream and chooses an endpoint; [`UpstreamPools::lease`] leases
//! one connection, or one stream of an HTTP/2 connection; [`Lease::send`] sends one request on it. A connection returns
//! to its pool only if both bodies have ended cleanly; otherwise it closes.

mod addresses;
mod balance;
mod body;
mod connect;
mod connection;
mod empty_frames;
mod failed;
mod lease;
mod health;
mod http2;
mod http2_sending;
mod http2_stream;
mod pace;
mod pool;
mod pools;
mod probe;
mod race;
mod sending;
mod spool;
mod stream;
mod tally;
mod tls;

pub use addresses::{Addresses, Resolver};
pub use body::{BodyFault, OutgoingBody, RequestBody};
pub use connect::{EndpointLocation, EndpointSpec};
pub use failed::Failed;
pub use health::{Health, Standing};
pub use lease::{Lease, Tunneled};
pub use pool::{EndpointPool, PoolLimits};
pub use pools::{Queue, Rules, UpstreamPools};
pub use probe::{ProbeFault, probe};
pub use sending::is_repeatable;
pub use spool::{Gathering, IN_MEMORY, Spool};
pub use tally::{EndpointTally, Reachability};
pub use tls::{ClientTls, ClientTlsError, TlsFault};

use crate::http1::BadAnswer;

/// What went wrong on the side of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginFault {
    /// The endpoint's host name cannot be resolved.
    Unresolved,
    /// No connection could be opened.
    Connect,
    /// No connection was opened in time.
    ConnectTimeout,
    /// The TLS handshake failed, or the TLS connection broke.
    Tls(Box<TlsFault>),
    /// No connection became free in time, or too many requests are waiting already.
    Overloaded,
    /// The connection ended before the response began.
    Reset,
    /// The response was not HTTP, or its end is ambiguous.
    BadResponse(BadAnswer),
    /// The response did not begin in time.
    Timeout,
}

impl OriginFault {
    /// Whether it counts against the endpoint.
    fn is_of_endpoint(&self) -> bool {
        !matches!(self, OriginFault::Unresolved | OriginFault::Overloaded)
    }

    /// One word, for the log.
    fn word(&self) -> &'static str {
        match self {
            OriginFault::Unresolved => "unresolved",
            OriginFault::Connect => "connect",
            OriginFault::ConnectTimeout => "connect_timeout",
            OriginFault::Tls(_) => "tls",
            OriginFault::Overloaded => "overloaded",
            OriginFault::Reset => "reset",
            OriginFault::BadResponse(_) => "bad_response",
            OriginFault::Timeout => "timeout",
        }
    }
}
