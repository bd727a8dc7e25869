//! Doors for clients: sockets, TLS, HTTP.
//!
//! A worker opens one socket per listener ([`socket`]), accepts ([`accept`]), shakes hands ([`tls`]), and serves HTTP
//! ([`serve`]): HTTP/1.1 behind a [`front`] that judges the raw bytes of each head, or HTTP/2 with its
//! [`frames`] watched.

pub mod accept;
pub mod chunks;
mod frames;
pub mod front;
mod head;
pub mod hpack;
mod serve;
pub mod socket;
pub mod tls;

pub use accept::{Accept, Census};
