//! Doors for clients: sockets, TLS, HTTP.
//!
//! A worker opens one socket per listener ([`socket`]), accepts ([`accept`]) within the bounds of all [`connections`],
//! shakes hands ([`tls`]), and serves HTTP ([`serve`], [`http2`]): HTTP/1.1 behind a [`front`] that judges the raw bytes
//! of each head, or HTTP/2 with its frames counted and its header blocks judged ([`watched`]).

pub mod accept;
mod blocks;
pub mod chunks;
mod connections;
mod frames;
pub mod front;
mod head;
pub mod hpack;
mod http2;
mod linger;
mod serve;
pub mod socket;
mod stream;
pub mod tls;
mod watched;

pub use accept::Accept;
pub use connections::Connections;
