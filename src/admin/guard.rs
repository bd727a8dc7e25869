//! Request guard: checks the host, and that a request comes from the application's own pages.
//!
//! Browsers send the cookie with requests that other sites trigger. So a request must name a host of the application
//! (against DNS rebinding) and must not come from another site. A request that changes something must also come from
//! one of the application's pages. In addition, each form carries a secret (`visit`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;

use super::reply;
use crate::config::settings;

/// Timeout of a response; it includes password hashing.
const ANSWER: Duration = Duration::from_secs(30);

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Security headers of every response: no foreign resources or scripts, no framing, no cross-origin reads, no caching.
const FIELDS: [(HeaderName, &str); 9] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers would send `Origin: null` with the application's own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Allowed hosts, and the responses to refused requests.
#[derive(Clone)]
pub(super) struct Guard {
    /// Host names of the application.
    pub settings: Arc<settings::Admin>,
    /// Response to a path that is not in its canonical form.
    pub not_found: fn() -> Response,
    /// Response to a cross-site request, or to one with an unknown host.
    pub forbidden: fn() -> Response,
    /// Response to a request that timed out.
    pub too_slow: fn() -> Response,
}

/// Middleware around the whole application.
pub(super) async fn every_request(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = if !is_plain(&request) {
        (guard.not_found)()
    } else if is_for_us(&request, &guard.settings) && !is_foreign(request.method(), request.headers()) {
        timeout(ANSWER, next.run(request)).await.unwrap_or_else(|_| (guard.too_slow)())
    } else {
        (guard.forbidden)()
    };
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        // Assets set their own cache lifetime.
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Middleware around the pages: a request that changes something must come from one of them.
pub(super) async fn own_pages_only(request: Request, next: Next) -> Response {
    let fields = request.headers();
    // If `Origin` is present, `is_foreign` has checked it already.
    let is_ours =
        fields.contains_key(header::ORIGIN) || fields.get(FETCH_SITE).is_some_and(|site| site == "same-origin");
    if matches!(*request.method(), Method::GET | Method::HEAD) || is_ours {
        next.run(request).await
    } else {
        reply::forbidden()
    }
}

/// Each path has one spelling, since paths are compared as bytes: no escapes, no dot segments, no empty segments.
fn is_plain(request: &Request) -> bool {
    let path = request.uri().path();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let is_odd = |segment: &str| segment.is_empty() || segment.starts_with('.');
    path.bytes().all(plain)
        && path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || !rest.split('/').any(is_odd))
}

/// Whether the host belongs to the application.
fn is_for_us(request: &Request, settings: &settings::Admin) -> bool {
    let Some(authority) = one(request.headers(), &header::HOST).and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    request.uri().authority().is_none() && !authority.as_str().contains('@') && settings.is_called(&host)
}

/// Whether the request is cross-site. Following a link from another site is allowed.
fn is_foreign(method: &Method, fields: &HeaderMap) -> bool {
    let own = one(fields, &header::HOST).map(|host| format!("https://{host}")).unwrap_or_default();
    if fields.contains_key(header::ORIGIN) {
        return one(fields, &header::ORIGIN).is_none_or(|origin| !origin.eq_ignore_ascii_case(&own));
    }
    if !fields.contains_key(FETCH_SITE)
        || one(fields, &FETCH_SITE).is_some_and(|site| matches!(site, "same-origin" | "none"))
    {
        return false;
    }
    !(matches!(*method, Method::GET | Method::HEAD) && one(fields, &FETCH_MODE) == Some("navigate"))
}

/// Returns the value of a header that occurs exactly once.
fn one<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    lines.next().is_none().then_some(first)
}
