//! Is a request meant for this application, and does it come from its own pages?
//!
//! A browser brings the cookie along for whoever makes it ask. So a request must name a host that the application is
//! called by (a foreign name that is pointed here is none), may not say that it comes from elsewhere, and, if it
//! changes anything, has to say that it comes from here. The secret in each form comes on top of that (`visit`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;

use super::pages;
use crate::config::settings;

/// Longest time for one answer; passwords are compared within it.
const ANSWER: Duration = Duration::from_secs(30);

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What stands in every answer: nothing is loaded from elsewhere, nothing runs that is not ours, nobody frames, reads
/// or keeps it.
const FIELDS: [(HeaderName, &str); 9] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers would send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Who is let by, and how the others are answered.
#[derive(Clone)]
pub(super) struct Guard {
    /// What the application is called by.
    pub settings: Arc<settings::Admin>,
    /// To a path that is written in an odd way.
    pub not_found: fn() -> Response,
    /// To who comes from elsewhere, or calls us by another name.
    pub forbidden: fn() -> Response,
    /// Where the answer takes too long.
    pub too_slow: fn() -> Response,
}

/// Around everything that the application answers.
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
        // Assets say themselves how long they may be kept.
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Around the pages: what changes something must say that it comes from one of them.
pub(super) async fn own_pages_only(request: Request, next: Next) -> Response {
    let fields = request.headers();
    // An `Origin` that is there is ours: see `is_foreign`.
    let is_ours =
        fields.contains_key(header::ORIGIN) || fields.get(FETCH_SITE).is_some_and(|site| site == "same-origin");
    if matches!(*request.method(), Method::GET | Method::HEAD) || is_ours {
        next.run(request).await
    } else {
        pages::forbidden()
    }
}

/// Paths are compared as they are written, so one has one spelling: no escapes, no dots, no empty segments.
fn is_plain(request: &Request) -> bool {
    let path = request.uri().path();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let is_odd = |segment: &str| segment.is_empty() || segment.starts_with('.');
    path.bytes().all(plain)
        && path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || !rest.split('/').any(is_odd))
}

/// Is it addressed to a host that we are?
fn is_for_us(request: &Request, settings: &settings::Admin) -> bool {
    let Some(authority) = one(request.headers(), &header::HOST).and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    request.uri().authority().is_none() && !authority.as_str().contains('@') && settings.is_called(&host)
}

/// Does it say that another site made it? A link from there may be followed, nothing else.
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

/// The value of a field that has one line.
fn one<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    lines.next().is_none().then_some(first)
}
