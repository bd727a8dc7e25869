//! Connections to endpoints: one pool per worker and endpoint, no locks.
//!
//! [`UpstreamPools`] holds a worker's pools of one upstream; [`EndpointPool::lease`] gives one connection on loan; [`Lease::send`] sends one
//! request on it. A lease goes home only when both bodies have ended cleanly; anything else closes the connection.

mod addresses;
mod body;
mod client_body;
mod connect;
mod connection;
mod inbox;
mod lease;
mod pace;
mod pool;
mod race;
mod sending;
mod spool;
mod tally;

pub use addresses::Addresses;
pub use body::{BodyFault, OutgoingBody, RequestBody};
pub use client_body::{BrokenOff, ClientBody};
pub use connect::{EndpointSpec, Place};
pub use inbox::Inbox;
pub use lease::{Lease, SendFault, Tunneled};
pub use pool::{EndpointPool, PoolLimits, UpstreamPools};
pub use sending::is_repeatable;
pub use spool::{Gathering, IN_MEMORY, Spool};
pub use tally::{EndpointTally, Reachability};

use crate::http1::BadAnswer;

/// What went wrong on the side of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginFault {
    /// Its name is not known to the resolver.
    Unresolved,
    /// No connection could be made.
    Connect,
    /// No connection was free or could be made in time.
    Overloaded,
    /// The connection ended before the answer began.
    Reset,
    /// What came was no HTTP answer, or one whose end is in doubt.
    BadResponse(BadAnswer),
    /// The answer did not begin in time.
    Timeout,
}
