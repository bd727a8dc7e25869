//! The settings of a route.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::token::{AuthMethod, ScopeSet};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in the file.
    pub name: Arc<str>,
    /// The hosts that it matches.
    pub host: HostPattern,
    /// The paths that it matches.
    pub path: PathPattern,
    /// The methods that it matches; empty: all.
    pub methods: Vec<Method>,
    /// Index into [`Settings::upstreams`].
    pub upstream: usize,
    /// Which callers may use it.
    pub auth: Auth,
    /// The accepted credentials, in the order of the checks; never empty. The first one decides the form of the refusal
    /// for requests without credentials.
    pub credentials: Vec<AuthMethod>,
    /// Whether `Token token="KEY"` is accepted too.
    pub token_parameter: bool,
    /// Scopes that the token must have. Only with [`Auth::Required`].
    pub scopes: ScopeSet,
    /// Which `Authorization` the upstream gets.
    pub forward_authorization: ForwardAuthorization,
    /// Headers with the meaning of an identity in other systems that clients may send here.
    pub pass_headers: Vec<HeaderName>,
    /// Whether the prefix is stripped before forwarding.
    pub strip_prefix: bool,
    /// Whether the upstream gets the endpoint's own `Host` in place of the client's.
    pub upstream_host: bool,
    /// Whether empty path segments (`//`) are allowed.
    pub empty_segments: bool,
    /// Whether encoded slashes (`%2F`) are allowed.
    pub encoded_slashes: bool,
    /// Whether slashes, dots and percent signs may be encoded more than once (`%252F`).
    pub encoded_percent: bool,
    /// Whether the whole request body is read first and sent with `Content-Length` (DRF ignores chunked bodies).
    pub buffer_request: bool,
    /// WebSocket and endless responses: the endpoint has no timeout before or within its response, and WebSocket
    /// handshakes are passed on.
    pub streaming: bool,
    /// Maximum size of a request body in bytes.
    pub body_limit: u64,
    /// Minimum rate of a request body in bytes per second, on average; `None`: no minimum. Not on a streaming route.
    pub body_rate: Option<u64>,
    /// Longest pause of the client within a request body.
    pub request_body_timeout: Duration,
    /// Timeout of the response head. Not on a streaming route.
    pub response_headers_timeout: Duration,
    /// Longest pause of the endpoint within a response body. Not on a streaming route.
    pub response_body_timeout: Duration,
    /// Timeout of the whole exchange; `None`: no timeout.
    pub total_timeout: Option<Duration>,
}

/// The hosts that a route matches. Names are in lower case, without port and trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Every host one or more labels below: `*.example.com` is stored as `example.com`.
    Below(String),
    /// Any host.
    Any,
}

/// The paths that a route matches; compared with the percent-decoded path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path only.
    Exact(String),
    /// This path and everything below it, by whole segments: `/api/` matches `/api/` and `/api/x`; `/api` matches those
    /// and `/api` too; neither matches `/apix`.
    Prefix(String),
}

/// Which callers may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Only callers with valid credentials.
    Required,
    /// Requests without credentials are anonymous; invalid credentials are refused.
    Optional,
    /// All requests; credentials are not checked.
    None,
}

/// Which `Authorization` header is forwarded to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardAuthorization {
    /// None.
    Never,
    /// Only credentials that the gateway does not read, for an application that checks them itself.
    Foreign,
    /// Every one, tokens included.
    Always,
}

impl ForwardAuthorization {
    /// The default for a route that does not set it.
    pub const fn default_for(auth: Auth) -> ForwardAuthorization {
        match auth {
            Auth::Required => ForwardAuthorization::Never,
            Auth::Optional | Auth::None => ForwardAuthorization::Foreign,
        }
    }
}
