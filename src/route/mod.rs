//! What a request is for, and which rule holds for it. Pure: no input or output, no clock.
//!
//! [`Target::read`] reads a request head once and refuses whatever two servers could read differently;
//! [`RouteTable::find`] leads from there to the one [`Route`] that everything after it is judged by. [`Peer`] says who
//! holds the socket, [`ServerNames`] which certificate a name leads to.

pub mod access;
mod escapes;
mod host;
mod path;
mod paths;
pub mod peer;
pub mod server_names;
pub mod table;
pub mod target;

pub use access::Access;
pub use peer::Peer;
pub use server_names::ServerNames;
pub use table::{Conflict, NoRoute, Route, RouteTable};
pub use target::{BadTarget, Target};
