//! What a route says.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::token::{AuthMethod, ScopeSet};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; empty: all.
    pub methods: Vec<Method>,
    /// Index into [`Settings::upstreams`].
    pub upstream: usize,
    /// Who may pass.
    pub auth: Auth,
    /// What is accepted, in the order in which it is looked for; never empty. The first one says how a stranger is
    /// refused.
    pub credentials: Vec<AuthMethod>,
    /// Take `Token token="KEY"` too.
    pub token_parameter: bool,
    /// Scopes that the token must have, all of them. Only with [`Auth::Required`].
    pub scopes: ScopeSet,
    /// Which `Authorization` the upstream gets.
    pub forward_authorization: ForwardAuthorization,
    /// Fields of other systems that a client may send here.
    pub pass_headers: Vec<HeaderName>,
    /// Cut the prefix off before forwarding.
    pub strip_prefix: bool,
    /// Send the endpoint's own `Host` in place of the client's.
    pub upstream_host: bool,
    /// Let empty path segments (`//`) pass.
    pub empty_segments: bool,
    /// Let encoded slashes (`%2F`) pass.
    pub encoded_slashes: bool,
    /// Let slashes, dots and percent signs pass that are encoded more than once (`%252F`).
    pub encoded_percent: bool,
    /// Read the whole request body first and send `Content-Length` (DRF ignores chunked bodies).
    pub buffer_request: bool,
    /// WebSocket and answers without an end: the endpoint may be silent for as long as it likes, before its answer and
    /// within, and a WebSocket handshake is passed on.
    pub streaming: bool,
    /// Longest request body in bytes.
    pub body_limit: u64,
    /// Least bytes a second of a request body, on average; `None`: no bound. Not on a streaming route.
    pub body_rate: Option<u64>,
    /// Longest silence of the client within a request body.
    pub request_body_timeout: Duration,
    /// Longest wait for the head of the response. Not on a streaming route.
    pub response_headers_timeout: Duration,
    /// Longest silence of the endpoint within a response body. Not on a streaming route.
    pub response_body_timeout: Duration,
    /// Longest life of the whole exchange; `None`: no bound.
    pub total_timeout: Option<Duration>,
}

/// Which hosts a route takes. Names are lower case, without port and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Every host one or more labels below: `*.example.com` is kept as `example.com`.
    Below(String),
    /// Any host.
    Any,
}

/// Which paths a route takes, compared with the percent-decoded path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path only.
    Exact(String),
    /// This path and everything below it, by whole segments: `/api/` takes `/api/` and `/api/x`, `/api` takes those and
    /// `/api` too, neither takes `/apix`.
    Prefix(String),
}

/// Who may pass a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A live token is needed.
    Required,
    /// No credentials: anonymous. Bad credentials: refused.
    Optional,
    /// Everybody; credentials are not looked at.
    None,
}

/// Which `Authorization` a client's request reaches the upstream with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardAuthorization {
    /// None.
    Never,
    /// Credentials that the gateway does not read, for an application that checks them itself.
    Foreign,
    /// Any, tokens included.
    Always,
}

impl ForwardAuthorization {
    /// What holds on a route that does not say.
    pub const fn default_for(auth: Auth) -> ForwardAuthorization {
        match auth {
            Auth::Required => ForwardAuthorization::Never,
            Auth::Optional | Auth::None => ForwardAuthorization::Foreign,
        }
    }
}
