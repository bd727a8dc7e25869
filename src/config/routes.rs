//! `[routes.NAME]` and `[defaults]`: which requests go to which upstream, with which limits.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::document::Document;
use super::names::Names;
use super::reader::{Named, Table};
use super::settings::{
    Auth, ConnectionTimeouts, ForwardAuthorization, HostPattern, IdentityFields, PathPattern, RESERVED_FIELDS, Route,
    fold,
};
use super::url::host::is_host;
use super::value::{Fault, Key};
use crate::token::{AuthMethod, Scope, ScopeSet};
use crate::units::ByteSize;

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
    /// The default of `forward_authorization` for all routes.
    pub forwarding: Option<ForwardAuthorization>,
}

/// The values for a route that does not set its own.
pub(super) struct RouteDefaults {
    /// Timeout of a connection attempt to an endpoint.
    pub connect: Duration,
    /// How often the host names of endpoints are resolved again.
    pub resolve_every: Duration,
    /// The values that the tables `timeouts` and `limits` of a route can set.
    pub bounds: Bounds,
}

/// The values that the tables `timeouts` and `limits` of a route can set.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    request_body: Duration,
    response_headers: Duration,
    response_body: Duration,
    total: Option<Duration>,
    body: u64,
    body_rate: Option<u64>,
}

/// The defaults: those of hardened nginx, HAProxy and Envoy configurations at the edge.
const BOUNDS: Bounds = Bounds {
    request_body: Duration::from_secs(30),
    response_headers: Duration::from_secs(30),
    response_body: Duration::from_secs(60),
    total: None,
    body: 10 << 20,
    body_rate: Some(50),
};

impl RouteDefaults {
    /// Longest pause of a client within a request body.
    pub(super) fn request_body_timeout(&self) -> Duration {
        self.bounds.request_body
    }

    /// Minimum rate of a request body in bytes per second.
    pub(super) fn body_rate(&self) -> Option<u64> {
        self.bounds.body_rate
    }
}

impl Bounds {
    /// These values, overridden by those in the tables `timeouts` and `limits`.
    fn overridden_by(self, timeouts: &Table<'_>, limits: &Table<'_>) -> Bounds {
        let body = limits.key("body").or_word("unlimited");
        let rate = limits.key("body_rate").or_word("off");
        Bounds {
            request_body: timeouts.key("request_body").duration().unwrap_or(self.request_body),
            response_headers: timeouts.key("response_headers").duration().unwrap_or(self.response_headers),
            response_body: timeouts.key("response_body").duration().unwrap_or(self.response_body),
            total: timeouts.key("total").or_word("unlimited").optional_duration(self.total),
            body: if body.is_word() { u64::MAX } else { body.bytes(0..=1 << 50).unwrap_or(self.body) },
            body_rate: if rate.is_word() { None } else { rate.parse(byte_rate).or(self.body_rate) },
        }
    }
}

/// `[defaults]`
pub(super) fn read_defaults(root: &Table<'_>) -> (RouteDefaults, ConnectionTimeouts) {
    root.table("defaults", |table| {
        table.table("timeouts", |timeouts| {
            let defaults = ConnectionTimeouts::default();
            let connection = ConnectionTimeouts {
                request_headers: timeouts.key("request_headers").duration().unwrap_or(defaults.request_headers),
                idle: timeouts.key("idle").duration().unwrap_or(defaults.idle),
                write: timeouts.key("write").duration().unwrap_or(defaults.write),
                ..defaults
            };
            let route = RouteDefaults {
                connect: timeouts.key("connect").duration().unwrap_or(Duration::from_secs(5)),
                resolve_every: table.key("resolve_every").duration().unwrap_or(Duration::from_secs(10)),
                bounds: table.table("limits", |limits| BOUNDS.overridden_by(timeouts, limits)),
            };
            (route, connection)
        })
    })
}

/// `[routes]`
pub(super) fn read(
    root: &Table<'_>,
    upstreams: &Names,
    defaults: &RouteDefaults,
    route_identity: &RouteIdentity<'_>,
) -> Vec<Route> {
    let named = root.named("routes", |name, table| route(name, table, upstreams, defaults, route_identity));
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
    upstreams: &Names,
    defaults: &RouteDefaults,
    route_identity: &RouteIdentity<'_>,
) -> Option<Route> {
    let streaming = table.key("streaming").bool().unwrap_or(false);
    let bounds = table.table("timeouts", |timeouts| {
        if streaming {
            refuse_response_timeouts(timeouts);
        }
        table.table("limits", |limits| {
            let rate = limits.key("body_rate");
            if streaming && rate.is_set() {
                rate.problem("a `streaming` route has no minimum rate", "remove it");
            }
            defaults.bounds.overridden_by(timeouts, limits)
        })
    });
    let path = path(table);
    let strip_prefix = table.key("strip_prefix");
    let strips = strip_prefix.bool().unwrap_or(false);
    if strips && matches!(path, Some(PathPattern::Exact(_))) {
        strip_prefix.problem("there is no prefix to strip", "use `path_prefix`, or remove it");
    }
    let request_body = table.key("request_body");
    let buffers = request_body.choice(&[("stream", false), ("buffer", true)]).unwrap_or(false);
    if buffers && bounds.body == u64::MAX {
        request_body.problem("`buffer` needs a limit of the body", "add `limits = { body = \"10MiB\" }`");
    }
    let (auth, scopes) = access(table);
    let credentials = credentials(table, auth);
    let upstream = table.key("upstream");
    upstream.require("add `upstream = \"NAME\"`: one of [upstreams]");
    let host = table.key("host").parse(host).unwrap_or(HostPattern::Any);
    Some(Route {
        name: Arc::from(name),
        host,
        methods: table.key("methods").parse_list(method).unwrap_or_default(),
        upstream: upstreams.find(&upstream).unwrap_or_default(),
        auth,
        token_parameter: token_parameter(table, auth, &credentials),
        credentials,
        scopes,
        forward_authorization: forwarding(table)
            .or(route_identity.forwarding)
            .unwrap_or(ForwardAuthorization::default_for(auth)),
        pass_headers: table
            .key("pass_headers")
            .parse_list(|text| passed(text, route_identity.identity))
            .unwrap_or_default(),
        strip_prefix: strips,
        upstream_host: table.key("host_header").choice(&[("keep", false), ("upstream", true)]).unwrap_or(false),
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
        // Last, so that all other keys have been read by now.
        path: path?,
    })
}

fn keeps(table: &Table<'_>, name: &'static str) -> bool {
    table.key(name).choice(&[("reject", false), ("keep", true)]).unwrap_or(false)
}

fn forwarding(table: &Table<'_>) -> Option<ForwardAuthorization> {
    table.key("forward_authorization").choice(&[
        ("never", ForwardAuthorization::Never),
        ("foreign", ForwardAuthorization::Foreign),
        ("always", ForwardAuthorization::Always),
    ])
}

/// The name of a client's header that a route passes on.
fn passed(text: &str, identity: &IdentityFields) -> Result<HeaderName, Fault> {
    let name = HeaderName::try_from(text);
    let name =
        name.map_err(|_| Fault::new("is not a valid header name", "write one name, such as \"X-Original-User\""))?;
    let folded: Vec<u8> = fold(text.as_bytes()).collect();
    let is_own = folded.starts_with(b"xtokengate")
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

/// Bytes per second.
fn byte_rate(text: &str) -> Result<u64, Fault> {
    let size = text.strip_suffix("/s").and_then(|size| size.parse::<ByteSize>().ok()).filter(|size| size.0 > 0);
    size.map(|size| size.0)
        .ok_or_else(|| Fault::new("is not a size per second", "write one such as \"50B/s\", or \"off\""))
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

fn access(table: &Table<'_>) -> (Auth, ScopeSet) {
    let (auth, scopes) = (table.key("auth"), table.key("scopes"));
    let ways = [("required", Auth::Required), ("optional", Auth::Optional), ("none", Auth::None)];
    let way = auth.choice(&ways).unwrap_or(Auth::Required);
    if scopes.is_set() && way != Auth::Required {
        scopes.problem("scopes need a required token", "use `auth = \"required\"`, or remove the scopes");
    }
    let grammar = "use 1 to 64 characters of a-z, 0-9, `.`, `_`, `-` and `:`";
    let needed = scopes.parse_list(|text| Scope::parse(text).map_err(|_| Fault::new("is not a valid scope", grammar)));
    (way, ScopeSet::new(needed.unwrap_or_default()))
}

fn credentials(table: &Table<'_>, auth: Auth) -> Vec<AuthMethod> {
    let key = table.key("credentials");
    if key.is_set() && auth == Auth::None {
        key.problem("this route does not check credentials", "use `auth = \"optional\"` or \"required\", or remove it");
    }
    let words = [("token", AuthMethod::Token), ("session", AuthMethod::Session)];
    let listed = key.list().map(|list| list.iter().filter_map(|member| member.choice(&words)).collect::<Vec<_>>());
    listed.filter(|list| !list.is_empty()).unwrap_or_else(|| vec![AuthMethod::Token])
}

fn token_parameter(table: &Table<'_>, auth: Auth, credentials: &[AuthMethod]) -> bool {
    let key = table.key("token_parameter");
    let wanted = key.bool().unwrap_or(false);
    if wanted && (auth == Auth::None || !credentials.contains(&AuthMethod::Token)) {
        key.problem(
            "this route accepts no tokens",
            "use it where `auth` and `credentials` accept tokens, or remove it",
        );
    }
    wanted
}

fn path(table: &Table<'_>) -> Option<PathPattern> {
    let (exact, prefix) = (table.key("path"), table.key("path_prefix"));
    match (exact.is_set(), prefix.is_set()) {
        (true, false) => plain_path(&exact).map(PathPattern::Exact),
        (false, true) => plain_path(&prefix).map(PathPattern::Prefix),
        (true, true) => {
            prefix.problem("`path` and `path_prefix` cannot be combined", "remove one");
            None
        }
        (false, false) => {
            let mend = "add `path_prefix = \"/\"` for a whole tree or `path` for exactly one";
            table.problem("this route has no path", mend);
            None
        }
    }
}

/// A path in the form in which requests are compared. Any other form would never match, although the operator may rely
/// on it.
pub(super) fn plain_path(key: &Key<'_>) -> Option<String> {
    key.parse(|text| {
        let is_dots = |segment: &str| segment == "." || segment == "..";
        if !text.starts_with('/') {
            Err(Fault::new("does not begin with `/`", format!("write \"/{text}\"")))
        } else if text.contains('%') {
            Err(Fault::new("contains `%`", "write the path decoded; requests are compared decoded"))
        } else if text.contains("//") {
            Err(Fault::new("contains an empty segment", "write one `/`"))
        } else if text.split('/').any(is_dots) {
            Err(Fault::new("contains a `.` or `..` segment", "write the path without them"))
        } else if text.contains(['?', '#', '\\', '*']) || text.chars().any(char::is_control) {
            Err(Fault::new(
                "contains a character that a path cannot contain",
                "leave out `?`, `#`, `\\`, `*` and control characters",
            ))
        } else {
            Ok(text.to_owned())
        }
    })
}

fn host(text: &str) -> Result<HostPattern, Fault> {
    let mend = "write a name without port, such as \"api.example.com\" or \"*.example.com\"";
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("*.") {
        Some(below) if is_host(below) && !below.starts_with('[') => Ok(HostPattern::Below(below.to_owned())),
        None if is_host(&lower) => Ok(HostPattern::Exact(lower)),
        _ => Err(Fault::new("is not a valid host", mend)),
    }
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
        if let Some((other, _)) = placed.iter().take(index).find(|(_, other)| rivals(route, other)) {
            let what = format!("overlaps with routes.{}", other.name);
            let mend = "give them different hosts, paths or methods".to_owned();
            document.problem(named.line, Some(&format!("routes.{}", named.name)), what, Some(mend));
        }
    }
}

fn rivals(one: &Route, other: &Route) -> bool {
    // A route that lists methods is more specific than one that lists none.
    let methods_meet = match (one.methods.is_empty(), other.methods.is_empty()) {
        (true, true) => true,
        (false, false) => one.methods.iter().any(|method| other.methods.contains(method)),
        _ => false,
    };
    methods_meet && one.host == other.host && one.path == other.path
}
