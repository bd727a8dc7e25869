//! Responses of the gateway itself: JSON and pages, with the request id, never cached.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};

use super::fields::forwarded::X_REQUEST_ID;
use super::{Body, Exchange};

/// A response with this JSON text.
pub(super) fn json(status: StatusCode, text: String, exchange: &Exchange) -> Response<Body> {
    let mut response = self::text(status, text, exchange);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response with this text; the caller sets `Content-Type`. A response to `HEAD` has only the length.
pub(super) fn text(status: StatusCode, text: String, exchange: &Exchange) -> Response<Body> {
    let (length, is_head) = (text.len(), exchange.is_head());
    let mut response = Response::new(if is_head { Body::empty() } else { Body::full(text.into()) });
    *response.status_mut() = status;
    let fields = response.headers_mut();
    if is_head {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(X_REQUEST_ID, exchange.id().clone());
    exchange.describes_route(fields);
    if let Some(hsts) = exchange.hsts() {
        fields.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    response
}

/// `{"detail": "…"}`, the form of errors in Django REST Framework.
pub(super) fn detail(status: StatusCode, detail: &str, exchange: &Exchange) -> Response<Body> {
    json(status, detail_text(detail), exchange)
}

/// The text of such a response.
pub(super) fn detail_text(detail: &str) -> String {
    // Serialising a text cannot fail.
    let detail = serde_json::to_string(detail).unwrap_or_default();
    format!("{{\"detail\":{detail}}}")
}

/// Ends the connection after this response: the bytes that follow were not read, or have no meaning.
pub(super) fn ends_connection(response: &mut Response<Body>, exchange: &Exchange) {
    // HTTP/2 ends the stream instead, and forbids the header.
    if !exchange.is_http2() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
