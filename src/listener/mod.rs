//! Accepts connections of clients: sockets, TLS, HTTP.
//!
//! A worker opens one socket per listener ([`socket`]), accepts connections ([`accept`]) within the limits of all
//! [`connections`], performs the TLS handshake ([`tls`]), and serves HTTP ([`http1`], [`http2`]). For HTTP/2,
//! [`watched`] counts frames and checks header blocks.

pub mod accept;
mod blocks;
mod connections;
mod frames;
pub mod hpack;
mod http1;
mod http2;
mod linger;
mod proxied;
pub mod sample;
mod serve;
pub mod socket;
mod stream;
mod tcp;
pub mod tls;
mod watched;

pub use accept::Accept;
pub use connections::Connections;
