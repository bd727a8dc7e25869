//! Answers of our own: JSON and pages, never kept by anybody, with the id of the request.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};

use super::fields::forwarded::X_REQUEST_ID;
use super::{Body, Exchange};

/// An answer with this JSON text.
pub(super) fn json(status: StatusCode, text: String, exchange: &Exchange) -> Response<Body> {
    let mut response = self::text(status, text, exchange);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with this text, of a type that is still to be named. `HEAD` gets its length alone.
pub(super) fn text(status: StatusCode, text: String, exchange: &Exchange) -> Response<Body> {
    let (length, is_head) = (text.len(), *exchange.method() == Method::HEAD);
    let mut response = Response::new(if is_head { Body::empty() } else { Body::full(text.into()) });
    *response.status_mut() = status;
    let fields = response.headers_mut();
    if is_head {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(X_REQUEST_ID, exchange.id().clone());
    if let Some(hsts) = exchange.hsts() {
        fields.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    response
}

/// `{"detail": "…"}`, as Django REST Framework says what is wrong.
pub(super) fn detail(status: StatusCode, detail: &str, exchange: &Exchange) -> Response<Body> {
    // Serialising a text cannot fail.
    let detail = serde_json::to_string(detail).unwrap_or_default();
    json(status, format!("{{\"detail\":{detail}}}"), exchange)
}

/// The connection ends with this answer: what else came on it was not read, or means nothing.
pub(super) fn ends_connection(response: &mut Response<Body>, exchange: &Exchange) {
    // HTTP/2 ends the stream instead; there the field is forbidden.
    if !exchange.is_http2() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
