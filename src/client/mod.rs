//! A client's connection, and the requests on it as far as they are common to HTTP/1.1 and HTTP/2.
//!
//! [`ClientConnection`] is one connection with the policy of its listener. [`Pulse`] records its activity, for the
//! timeouts. [`ClientBody`] is the body of one of its requests. [`HeadFault`] is a fault in the head of a request, and
//! [`framing`] checks where the body of a request ends.

mod body;
pub mod certificate;
mod connection;
mod extended_connect;
mod fault;
pub mod forward_auth;
pub mod forwarded;
pub mod framing;
mod inbox;
mod intake;
mod joined;
pub mod proxy_protocol;
mod pulse;

pub use body::{BrokenOff, ClientBody};
pub use connection::{ClientConnection, ListenerPolicy, Plaintext, PlaintextAnswer};
pub use extended_connect::{ByteStream, ExtendedConnect};
pub use fault::{HeadFault, REFUSED_METHOD};
pub use inbox::Inbox;
pub use intake::{Demand, Intake};
pub use joined::Joined;
pub use pulse::{Ending, OpenConnections, Pulse};
