//! `[limits]`: limits that apply before a route is known.

use std::time::Duration;

use super::reader::Table;
use super::value::MANY;
use crate::units::Rate;

/// Limits that apply before a route is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a request head in bytes.
    pub header_bytes: usize,
    /// Maximum number of field lines of a request.
    pub header_count: usize,
    /// Maximum length of a target in bytes.
    pub uri_bytes: usize,
    /// Maximum size of the head of an upstream's response in bytes.
    pub response_header_bytes: usize,
    /// Maximum number of field lines of an upstream's response.
    pub response_header_count: usize,
    /// Maximum number of connections of the process.
    pub connections: usize,
    /// Maximum number of connections of one client (an IPv4 address or an IPv6 /64 network).
    pub connections_per_ip: usize,
    /// Maximum number of unfinished TLS handshakes of the process.
    pub handshakes: usize,
    /// Maximum number of unfinished TLS handshakes of one client; further ones wait.
    pub handshakes_per_ip: usize,
    /// Maximum number of concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
    /// Rate limit of invalid keys per client. Above it, keys that are not in this process's cache are not looked up for
    /// that client. `None`: no limit.
    pub wrong_keys: Option<Rate>,
}

impl Default for Limits {
    /// As in hardened nginx, HAProxy and Envoy configurations at the edge.
    fn default() -> Limits {
        Limits {
            header_bytes: 64 << 10,
            header_count: 100,
            uri_bytes: 8 << 10,
            response_header_bytes: 64 << 10,
            response_header_count: 100,
            connections: 10_000,
            connections_per_ip: 1_000,
            handshakes: 1_024,
            handshakes_per_ip: 128,
            h2_streams: 100,
            wrong_keys: Some(Rate::per_minute(120)),
        }
    }
}

/// `[limits]`, and the timeout of a TLS handshake.
pub(super) fn read(root: &Table<'_>, handshake: &mut Duration) -> Limits {
    root.table("limits", |table| {
        *handshake = table.key("handshake_timeout").duration(*handshake);
        let default = Limits::default();
        // hyper refuses a read buffer below 8 KiB.
        let header_bytes = table.key("header_bytes").size(8 << 10..=1 << 20, default.header_bytes);
        let why = ": the HTTP library reads no more without a copy of them all";
        let header_count = table.key("header_count").count_because(1..=100, why, default.header_count);
        // 65,534 bytes: the longest target that the `http` crate can hold.
        let uri_bytes = table.key("uri_bytes").size(64..=65_534, default.uri_bytes);
        Limits {
            response_header_bytes: table
                .key("response_header_bytes")
                .size(1 << 10..=1 << 20, default.response_header_bytes),
            // Requests and responses use the same header map, which has room for 32,768.
            response_header_count: table.key("response_header_count").count(1..=10_000, default.response_header_count),
            header_bytes,
            header_count,
            uri_bytes,
            connections: table.key("connections").count(1..=MANY, default.connections),
            connections_per_ip: table.key("connections_per_ip").count(1..=MANY, default.connections_per_ip),
            handshakes: table.key("handshakes").count(1..=MANY, default.handshakes),
            handshakes_per_ip: table.key("handshakes_per_ip").count(1..=MANY, default.handshakes_per_ip),
            h2_streams: table.key("h2_streams").count(1..=10_000, default.h2_streams),
            wrong_keys: table.key("wrong_keys").or_word("unlimited").optional_rate(default.wrong_keys),
        }
    })
}
