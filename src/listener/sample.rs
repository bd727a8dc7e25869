//! Reads the head of a request from bytes in memory, as a connection of HTTP/1.1 does.

use bytes::Bytes;

use crate::client::ClientConnection;
use crate::config::settings::Limits;
use crate::http1::request_head::HeadSearch;
use crate::http1::{RequestFraming, RequestHead};

/// Reads the bytes of a head, its empty line included. A damaged head is replaced, as on a connection.
pub fn read(bytes: &[u8], limits: &Limits, client: &ClientConnection) -> RequestHead {
    let found = HeadSearch::default().end(bytes, limits.header_bytes);
    let head = found.and_then(|_| RequestHead::read(&Bytes::copy_from_slice(bytes), limits));
    let head = head.unwrap_or_else(RequestHead::damaged);
    client.held.set(head.framing == RequestFraming::WebSocketHandshake);
    head
}
