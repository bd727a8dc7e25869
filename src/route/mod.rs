//! Parses the target of a request and finds its route. Pure: no I/O, no clock.
//!
//! [`Target::read`] parses a request head once and refuses what two servers could read differently.
//! [`RouteTable::find`] finds the one [`Route`] that all later steps use. [`Peer`] is the other end of the client
//! connection. [`ServerNames`] maps names to certificates.

mod escapes;
mod host;
mod path;
mod paths;
pub mod peer;
pub mod server_names;
pub mod table;
pub mod target;

pub use peer::Peer;
pub use server_names::ServerNames;
pub use table::{NoRoute, Route, RouteTable, STANDARD_METHODS};
pub use target::{BadTarget, Target};
