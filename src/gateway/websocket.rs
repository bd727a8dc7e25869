//! The handshake of WebSocket over HTTP/1.1 (RFC 6455 §4), as far as a gateway has to understand it.
//!
//! A switch of protocols is all that request smuggling needs: whoever believes in one that the other side has not made
//! passes requests on unread. So it is passed on only where it is beyond doubt, and believed in only with the answer
//! that nobody can give who has not understood the request. No other protocol than `websocket` is ever switched to.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::fields::nominated;
use crate::client::ClientConnection;

/// What a server hashes with the key, to show that it speaks WebSocket (RFC 6455 §1.3).
const SERVER_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The length of 16 bytes in Base64, with what fills up the end.
const KEY_LENGTH: usize = 24;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const SWITCH: HeaderValue = HeaderValue::from_static("upgrade");

/// A handshake that may be passed on.
pub(super) struct Handshake {
    /// What an endpoint has to answer that takes it.
    accept: String,
}

/// Does a request name WebSocket at all? Then the connection brings no other request, whatever is answered: what its
/// client sends next may be meant as something else. The front judges by the same rule (`listener/head.rs`).
pub(super) fn is_asked_for(head: &Parts) -> bool {
    head.version == Version::HTTP_11 && head.headers.get_all(UPGRADE).iter().any(is_websocket)
}

impl Handshake {
    /// The handshake that a request is, if it is one without fault and the front holds back what follows it.
    pub(super) fn read(head: &Parts, client: &ClientConnection) -> Option<Handshake> {
        let asks = client.held.get() && head.version == Version::HTTP_11 && head.method == Method::GET;
        let key = Some(&head.headers).filter(|_| asks).and_then(|fields| {
            only(fields, &UPGRADE).filter(|value| is_websocket(value))?;
            nominated(fields).find(|name| name.eq_ignore_ascii_case(b"upgrade"))?;
            only(fields, &SEC_WEBSOCKET_KEY)
        })?;
        let key = key.to_str().ok().filter(|key| key.len() == KEY_LENGTH)?;
        Some(Handshake { accept: accept(key) })
    }

    /// Says that the protocol is to be switched, or has been.
    pub(super) fn ask(fields: &mut HeaderMap) {
        fields.insert(CONNECTION, SWITCH);
        fields.insert(UPGRADE, WEBSOCKET);
    }

    /// Has an endpoint with this 101 taken the handshake?
    pub(super) fn is_accepted_by(&self, fields: &HeaderMap) -> bool {
        only(fields, &UPGRADE).is_some_and(is_websocket)
            && nominated(fields).any(|name| name.eq_ignore_ascii_case(b"upgrade"))
            && only(fields, &SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == self.accept.as_bytes())
    }
}

fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// The value of a field that has one line.
fn only<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<&'f HeaderValue> {
    let mut lines = fields.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// What answers a key (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    Base64::encode_string(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{SERVER_GUID}").as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_example_of_the_rfc_is() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
