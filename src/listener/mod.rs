//! Doors for clients: sockets, TLS, HTTP.
//!
//! A worker opens one socket per listener ([`socket`]), accepts ([`accept`]) within the bounds of all [`connections`],
//! shakes hands ([`tls`]), and serves HTTP
//! ([`serve`]): HTTP/1.1 behind a [`front`] that judges the raw bytes of each head, or HTTP/2 with its
//! [`frames`] watched.

pub mod accept;
pub mod chunks;
mod connections;
mod frames;
pub mod front;
mod head;
mod linger;
mod serve;
pub mod socket;
pub mod tls;

pub use accept::{Accept, Tls};
pub use connections::Connections;
