//! The WebSocket handshake over HTTP/1.1 (RFC 6455 §4), as far as a gateway must understand it.
//!
//! A switch of protocols permits request smuggling: if the gateway assumes a switch that the endpoint has not made, it
//! forwards further requests unchecked. So a handshake is forwarded only if it is valid, and a 101 is accepted only
//! with the correct `Sec-WebSocket-Accept`, which proves that the endpoint has understood the request. The gateway
//! never switches to any other protocol.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::fields::nominated;
use crate::client::ClientConnection;

/// The text that a server hashes together with the key, to prove that it supports WebSocket (RFC 6455 §1.3).
const SERVER_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The length of 16 bytes in base64, with padding.
const KEY_LENGTH: usize = 24;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const SWITCH: HeaderValue = HeaderValue::from_static("upgrade");

/// A valid handshake, which may be forwarded.
pub(super) struct WebSocketHandshake {
    /// The `Sec-WebSocket-Accept` of an endpoint that accepts it.
    accept: String,
}

/// Whether a request names WebSocket at all. Then it is the last request of its connection, whatever the response: the
/// client's next bytes may not be HTTP. The parser applies the same rule (`http1/request_head.rs`).
pub(super) fn is_asked_for(head: &Parts) -> bool {
    head.version == Version::HTTP_11 && head.headers.get_all(UPGRADE).iter().any(is_websocket)
}

impl WebSocketHandshake {
    /// Returns the handshake of a request, if it is valid and the connection holds back the bytes that follow it.
    pub(super) fn read(head: &Parts, client: &ClientConnection) -> Option<WebSocketHandshake> {
        let asks = client.held.get() && head.version == Version::HTTP_11 && head.method == Method::GET;
        let key = Some(&head.headers).filter(|_| asks).and_then(|fields| {
            only(fields, &UPGRADE).filter(|value| is_websocket(value))?;
            nominated(fields).find(|name| name.eq_ignore_ascii_case(b"upgrade"))?;
            only(fields, &SEC_WEBSOCKET_KEY)
        })?;
        let key = key.to_str().ok().filter(|key| key.len() == KEY_LENGTH)?;
        Some(WebSocketHandshake { accept: accept(key) })
    }

    /// Adds the headers that request or confirm the switch.
    pub(super) fn ask(fields: &mut HeaderMap) {
        fields.insert(CONNECTION, SWITCH);
        fields.insert(UPGRADE, WEBSOCKET);
    }

    /// Whether this 101 of an endpoint accepts the handshake.
    pub(super) fn is_accepted_by(&self, fields: &HeaderMap) -> bool {
        only(fields, &UPGRADE).is_some_and(is_websocket)
            && nominated(fields).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
            && only(fields, &SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == self.accept.as_bytes())
    }
}

fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// The value of a header that has exactly one line.
fn only<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<&'f HeaderValue> {
    let mut lines = fields.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// The `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    Base64::encode_string(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{SERVER_GUID}").as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_the_answer_of_the_example_in_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
