//! The WebSocket handshake over HTTP/1.1 (RFC 6455 §4) and HTTP/2 (RFC 8441), as far as a gateway must understand it.
//! The versions of client and endpoint may differ.
//!
//! A switch of protocols permits request smuggling: if the gateway assumes a switch that the endpoint has not made, it
//! forwards further requests unchecked. So a handshake is forwarded only if it is valid, and a 101 is accepted only
//! with the correct `Sec-WebSocket-Accept`, which proves that the endpoint has understood the request. The gateway
//! never switches to any other protocol.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, response};

use super::fields::nominated;
use crate::client::{ClientConnection, ExtendedConnect};
use crate::http1::BadAnswer;
use crate::upstream::{Lease, OriginFault};

/// The text that a server hashes together with the key, to prove that it supports WebSocket (RFC 6455 §1.3).
const SERVER_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The length of 16 bytes in base64, with padding.
const KEY_LENGTH: usize = 24;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const SWITCH: HeaderValue = HeaderValue::from_static("upgrade");

/// A valid handshake, which may be forwarded.
pub(super) struct WebSocketHandshake {
    /// The client's key. A client of HTTP/2 sends none, so the gateway draws one for endpoints of HTTP/1.1.
    key: HeaderValue,
    /// The `Sec-WebSocket-Accept` of an endpoint that accepts it.
    accept: String,
    is_http2: bool,
}

/// Whether a request names WebSocket at all. Then it is the last request of its connection over HTTP/1.1, whatever the
/// response: the client's next bytes may not be HTTP. The parser applies the same rule (`http1/request_head.rs`).
pub(super) fn is_asked_for(head: &Parts) -> bool {
    let in_header = head.version == Version::HTTP_11 && head.headers.get_all(UPGRADE).iter().any(is_websocket);
    in_header || is_extended_connect(head)
}

/// Whether a request is a handshake over HTTP/2 (RFC 8441). A 2xx response would open a tunnel, so only that of an
/// endpoint which has accepted the handshake may be one.
pub(super) fn is_extended_connect(head: &Parts) -> bool {
    head.extensions.get::<ExtendedConnect>().is_some()
}

impl WebSocketHandshake {
    /// Returns the handshake of a request, if it is valid and the connection holds back the bytes that follow it.
    /// Boxed, because most requests move the place of a handshake without having one.
    pub(super) fn read(head: &Parts, client: &ClientConnection) -> Option<Box<WebSocketHandshake>> {
        if is_extended_connect(head) {
            let key = new_key()?;
            let (accept, key) = (accept(&key), HeaderValue::try_from(key).ok()?);
            return Some(Box::new(WebSocketHandshake { key, accept, is_http2: true }));
        }
        let asks = client.held.get() && head.version == Version::HTTP_11 && head.method == Method::GET;
        let key = Some(&head.headers).filter(|_| asks).and_then(|fields| {
            only(fields, &UPGRADE).filter(|value| is_websocket(value))?;
            nominated(fields).find(|name| name.eq_ignore_ascii_case(b"upgrade"))?;
            only(fields, &SEC_WEBSOCKET_KEY)
        })?;
        let text = key.to_str().ok().filter(|key| key.len() == KEY_LENGTH)?;
        Some(Box::new(WebSocketHandshake { key: key.clone(), accept: accept(text), is_http2: false }))
    }

    /// Adds the headers that request the switch.
    pub(super) fn ask(&self, fields: &mut HeaderMap) {
        switch(fields);
        fields.insert(SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// Whether this endpoint can be asked. If not, a handshake over HTTP/1.1 is an ordinary request.
    ///
    /// # Errors
    /// The endpoint cannot be asked, and the handshake came over HTTP/2, where it is no ordinary request.
    pub(super) async fn may_ask(&self, lease: &Lease) -> Result<bool, OriginFault> {
        match lease.takes_websocket().await? {
            false if self.is_http2 => Err(OriginFault::BadResponse(BadAnswer::NoWebSocket)),
            takes => Ok(takes),
        }
    }

    /// Whether the endpoint has accepted the handshake with this 101. Over HTTP/2, its 2xx to an extended CONNECT is
    /// the proof.
    pub(super) fn is_accepted_by(&self, fields: &HeaderMap, is_stream: bool) -> bool {
        is_stream
            || only(fields, &UPGRADE).is_some_and(is_websocket)
                && nominated(fields).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
                && only(fields, &SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == self.accept.as_bytes())
    }

    /// Whether the client would take an ordinary response with this status for a tunnel.
    pub(super) fn is_confused_by(&self, status: StatusCode) -> bool {
        self.is_http2 && status.is_success()
    }

    /// Tells the client that the tunnel is open.
    pub(super) fn confirm(&self, head: &mut response::Parts) {
        head.headers.remove(CONTENT_LENGTH);
        if self.is_http2 {
            head.status = StatusCode::OK;
            head.headers.remove(SEC_WEBSOCKET_ACCEPT);
            return;
        }
        switch(&mut head.headers);
        if let Ok(accept) = HeaderValue::try_from(self.accept.as_str()) {
            head.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
}

fn switch(fields: &mut HeaderMap) {
    fields.insert(CONNECTION, SWITCH);
    fields.insert(UPGRADE, WEBSOCKET);
}

/// A key as a client draws one: 16 random bytes. `None`: the system provides no random numbers.
fn new_key() -> Option<String> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(Base64::encode_string(&random))
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
