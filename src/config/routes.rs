//! `[routes.NAME]`: which requests go to which upstream, with which limits.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::access::{self, Admission, Auth};
use super::cors::{self, Cors};
use super::defaults::{BOUNDS, RouteDefaults};
use super::document::Document;
use super::forward_certificate::{self, ForwardCertificate};
use super::host_header::HostHeader;
use super::identity::{CLIENT_CERT, IdentityFields, RESERVED_FIELDS, fold};
use super::names::Names;
use super::patterns::{self, HostPattern, PathPattern};
use super::portals::{Portal, Portals};
use super::reader::{Named, Table};
use super::value::Fault;
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
    /// Index into [`Settings::upstreams`](super::Settings::upstreams).
    pub upstream: usize,
    /// Which callers may use it.
    pub auth: Auth,
    /// The accepted credentials, in the order of the checks; never empty. The first one decides the form of the refusal
    /// for requests without credentials.
    pub credentials: Vec<AuthMethod>,
    /// Who is asked about requests without credentials. Only with [`Auth::Required`].
    pub portal: Option<Arc<Portal>>,
    /// Whether `Token token="KEY"` is accepted too.
    pub token_parameter: bool,
    /// Scopes that the token must have. Only with [`Auth::Required`].
    pub scopes: ScopeSet,
    /// Further rules about callers and requests.
    pub admission: Admission,
    /// Which `Authorization` the upstream gets.
    pub forward_authorization: ForwardAuthorization,
    /// What the upstream gets of the client's certificate.
    pub forward_certificate: ForwardCertificate,
    /// Headers with the meaning of an identity in other systems that clients may send here.
    pub pass_headers: Vec<HeaderName>,
    /// Whether the prefix is stripped before forwarding.
    pub strip_prefix: bool,
    /// The `Host` that the upstream gets.
    pub host_header: HostHeader,
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
    /// Cross-origin rules; `None`: programs in browsers can use it from its own origin only.
    pub cors: Option<Cors>,
    /// Names of the rates that its requests count for, in the order of the file.
    pub rates: Vec<Arc<str>>,
    /// Names of the quotas that its requests count for, in the order of the file.
    pub quotas: Vec<Arc<str>>,
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

impl Route {
    /// A route to the first upstream with defaults for everything else.
    pub fn to(name: &str, path: PathPattern) -> Route {
        Route {
            name: Arc::from(name),
            host: HostPattern::Any,
            path,
            methods: Vec::new(),
            upstream: 0,
            auth: Auth::Required,
            credentials: vec![AuthMethod::Token],
            portal: None,
            token_parameter: false,
            scopes: ScopeSet::default(),
            admission: Admission::default(),
            forward_authorization: ForwardAuthorization::default_for(Auth::Required),
            forward_certificate: ForwardCertificate::Never,
            pass_headers: Vec::new(),
            strip_prefix: false,
            host_header: HostHeader::Keep,
            empty_segments: false,
            encoded_slashes: false,
            encoded_percent: false,
            buffer_request: false,
            streaming: false,
            body_limit: BOUNDS.body,
            body_rate: BOUNDS.body_rate,
            request_body_timeout: BOUNDS.request_body,
            response_headers_timeout: BOUNDS.response_headers,
            response_body_timeout: BOUNDS.response_body,
            total_timeout: BOUNDS.total,
            cors: None,
            rates: Vec::new(),
            quotas: Vec::new(),
        }
    }

    /// Whether there are requests that both routes match and for which neither takes precedence.
    pub fn rivals(&self, other: &Route) -> bool {
        // A route that lists methods is more specific than one that lists none.
        let methods_meet = match (self.methods.is_empty(), other.methods.is_empty()) {
            (true, true) => true,
            (false, false) => self.methods.iter().any(|method| other.methods.contains(method)),
            _ => false,
        };
        methods_meet && self.host == other.host && self.path == other.path
    }
}

/// Hop-by-hop and framing headers besides [`RESERVED_FIELDS`]: no route can pass them on.
const NEVER_PASSED: [&str; 13] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// The settings of `[identity]` that routes depend on.
pub(super) struct RouteIdentity<'a> {
    /// The names of the identity headers.
    pub identity: &'a IdentityFields,
    /// Whether all routes forward every `Authorization` by default.
    pub forwards_all: bool,
}

/// The names that routes refer to.
pub(super) struct RouteNames<'a> {
    /// Those of `[upstreams]`.
    pub upstreams: &'a Names,
    /// Those of `[rates]`.
    pub rates: &'a Names,
    /// Those of `[quotas]`.
    pub quotas: &'a Names,
    /// Those of `[portals]`.
    pub portals: &'a Portals,
}

/// `[routes]`
pub(super) fn read(
    root: &Table<'_>,
    names: &RouteNames<'_>,
    defaults: &RouteDefaults,
    route_identity: &RouteIdentity<'_>,
) -> Vec<Route> {
    let named = root.named("routes", |name, table| route(name, table, names, defaults, route_identity));
    if named.is_empty() {
        let mend = "add [routes.NAME] with `path_prefix` and `upstream`".to_owned();
        root.document().warning(
            None,
            Some("routes"),
            "no route is configured: nothing is forwarded".to_owned(),
            Some(mend),
        );
    }
    refuse_equal_routes(root.document(), &named);
    named.into_iter().filter_map(|route| route.value).collect()
}

fn route(
    name: &str,
    table: &Table<'_>,
    names: &RouteNames<'_>,
    defaults: &RouteDefaults,
    route_identity: &RouteIdentity<'_>,
) -> Option<Route> {
    let path = patterns::path(table);
    let host = table.key("host").parse(patterns::host).unwrap_or(HostPattern::Any);
    let methods = table.key("methods").parse_list(method);
    let upstream =
        names.upstreams.find(&table.key("upstream").required("add `upstream = \"NAME\"`: one of [upstreams]"));
    let (auth, scopes, admission) = access::read(table);
    let restricts = ["scopes", "method_scopes", "groups"].iter().any(|key| table.has(key));
    let (credentials, portal) = credentials(table, auth, names.portals, restricts);
    let streaming = table.key("streaming").bool(false);
    let bounds = table.table("timeouts", |timeouts| {
        if streaming {
            refuse_response_timeouts(timeouts);
        }
        table.table("limits", |limits| {
            let rate = limits.key("body_rate");
            if streaming && rate.is_set() {
                rate.problem("a `streaming` route has no minimum rate", "remove it");
            }
            defaults.bounds.of_route(streaming, timeouts, limits)
        })
    });
    let strip_prefix = table.key("strip_prefix");
    let strips = strip_prefix.bool(false);
    if strips && matches!(path, Some(PathPattern::Exact(_))) {
        strip_prefix.problem("there is no prefix to strip", "use `path_prefix`, or remove it");
    }
    let request_body = table.key("request_body");
    let buffers = request_body.choice(&[("stream", false), ("buffer", true)], false);
    if buffers && bounds.body == u64::MAX {
        request_body.problem("`buffer` needs a limit of the body", "add `limits = { body = \"10MiB\" }`");
    }
    let rates = names.rates.find_all(&table.key("rates"));
    let quotas_key = table.key("quotas");
    let quotas = names.quotas.find_all(&quotas_key);
    if quotas_key.is_set() && (auth != Auth::Required || portal.is_some()) {
        let what = "quotas count requests of tokens and users, and requests on this route can have neither";
        quotas_key.problem(what, "use `auth = \"required\"` without a portal, or a rate with `key = \"address\"`");
    }
    let forwarding = match route_identity.forwards_all {
        true => ForwardAuthorization::Always,
        false => ForwardAuthorization::default_for(auth),
    };
    Some(Route {
        name: Arc::from(name),
        host,
        methods,
        upstream: upstream.unwrap_or_default(),
        auth,
        token_parameter: token_parameter(table, auth, &credentials),
        credentials,
        portal,
        scopes,
        admission,
        forward_authorization: forward_authorization(table, forwarding),
        forward_certificate: forward_certificate::read(table),
        pass_headers: table.key("pass_headers").parse_list(|text| passed(text, route_identity.identity)),
        strip_prefix: strips,
        host_header: table.key("host_header").parse_text_or("keep", HostHeader::parse).unwrap_or(HostHeader::Keep),
        empty_segments: keeps(table, "empty_segments"),
        encoded_slashes: keeps(table, "encoded_slashes"),
        encoded_percent: keeps(table, "encoded_percent"),
        buffer_request: buffers,
        streaming,
        body_limit: bounds.body,
        body_rate: bounds.body_rate.filter(|_| !streaming),
        request_body_timeout: bounds.request_body,
        response_headers_timeout: bounds.response_headers,
        response_body_timeout: bounds.response_body,
        total_timeout: bounds.total,
        cors: cors::read(table, method),
        rates: rates.into_iter().filter_map(|rate| names.rates.name(rate)).collect(),
        quotas: quotas.into_iter().filter_map(|quota| names.quotas.name(quota)).collect(),
        // Last, so that all other keys have been read by now.
        path: path?,
    })
}

fn keeps(table: &Table<'_>, name: &'static str) -> bool {
    table.key(name).choice(&[("reject", false), ("keep", true)], false)
}

fn forward_authorization(table: &Table<'_>, default: ForwardAuthorization) -> ForwardAuthorization {
    let words = [
        ("never", ForwardAuthorization::Never),
        ("foreign", ForwardAuthorization::Foreign),
        ("always", ForwardAuthorization::Always),
    ];
    table.key("forward_authorization").choice(&words, default)
}

/// The name of a client's header that a route passes on.
fn passed(text: &str, identity: &IdentityFields) -> Result<HeaderName, Fault> {
    let name = HeaderName::try_from(text);
    let name =
        name.map_err(|_| Fault::new("is not a valid header name", "write one name, such as \"X-Original-User\""))?;
    let folded: Vec<u8> = fold(text.as_bytes()).collect();
    let is_own = folded.starts_with(b"xtokengate")
        || folded.starts_with(CLIENT_CERT)
        || identity.names().any(|own| fold(own.as_str().as_bytes()).eq(folded.iter().copied()));
    let is_reserved =
        RESERVED_FIELDS.iter().chain(&NEVER_PASSED).any(|own| fold(own.as_bytes()).eq(folded.iter().copied()));
    if is_own || is_reserved {
        return Err(Fault::new(
            "is set or read by the gateway itself",
            "remove it; the gateway always removes a client's copy",
        ));
    }
    Ok(name)
}

/// Reports response timeouts on a streaming route: they would have no effect, although the operator may rely on them.
fn refuse_response_timeouts(timeouts: &Table<'_>) {
    for key in [timeouts.key("response_headers"), timeouts.key("response_body")] {
        if key.is_set() {
            key.problem(
                "a `streaming` route does not have this timeout",
                "remove it; `total` bounds the whole exchange",
            );
        }
    }
}

fn credentials(
    table: &Table<'_>,
    auth: Auth,
    portals: &Portals,
    restricts: bool,
) -> (Vec<AuthMethod>, Option<Arc<Portal>>) {
    let key = table.key("credentials").only_if(auth != Auth::None);
    if key.is_set() && auth == Auth::None {
        key.problem("this route does not check credentials", "use `auth = \"optional\"` or \"required\", or remove it");
    }
    portals.credentials(table, &key, auth == Auth::Required, restricts)
}

fn token_parameter(table: &Table<'_>, auth: Auth, credentials: &[AuthMethod]) -> bool {
    let key = table.key("token_parameter");
    let wanted = key.bool(false);
    if wanted && (auth == Auth::None || !credentials.contains(&AuthMethod::Token)) {
        key.problem(
            "this route accepts no tokens",
            "use it where `auth` and `credentials` accept tokens, or remove it",
        );
    }
    wanted
}

fn method(text: &str) -> Result<Method, Fault> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => Err(Fault::new("is never forwarded", "remove it")),
        Ok(method) if text == upper => Ok(method),
        Ok(_) => Err(Fault::new("is not in capitals", format!("write \"{upper}\""))),
        Err(_) => Err(Fault::new("is not a valid method", "write a method such as \"GET\"")),
    }
}

/// Reports two routes that match the same requests with the same precedence: the choice would be arbitrary.
fn refuse_equal_routes(document: &Document<'_>, routes: &[Named<Route>]) {
    let mut placed: Vec<_> = routes.iter().filter_map(|named| Some((named, named.value.as_ref()?))).collect();
    placed.sort_by_key(|(named, _)| named.line);
    for (index, (named, route)) in placed.iter().enumerate() {
        if let Some((other, _)) = placed.iter().take(index).find(|(_, other)| route.rivals(other)) {
            let what = format!("overlaps with routes.{}", other.name);
            let mend = "give them different hosts, paths or methods".to_owned();
            document.problem(named.line, Some(&format!("routes.{}", named.name)), what, Some(mend));
        }
    }
}
