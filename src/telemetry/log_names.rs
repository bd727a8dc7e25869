//! The names of the facts in lines of the access log.

/// The names of one kind of lines.
#[derive(Debug)]
pub(super) struct Names {
    /// Whether lines are JSON objects.
    pub is_json: bool,
    /// Members that every object begins with, with a comma at the end.
    pub constant: &'static str,
    pub time: &'static str,
    pub id: &'static str,
    pub peer: Peer,
    pub http: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    /// Whether a `?` after the path says that the target had a query.
    pub marks_query: bool,
    pub status: &'static str,
    /// `success` or `failure`; empty: not written.
    pub result: &'static str,
    pub outcome: &'static str,
    pub cause: &'static str,
    pub route: &'static str,
    pub user_id: &'static str,
    pub user: &'static str,
    pub token_id: &'static str,
    pub bytes: &'static str,
    pub total: &'static str,
    pub upstream: &'static str,
    pub unit: Unit,
}

/// How the client's address is written.
#[derive(Debug)]
pub(super) enum Peer {
    /// Address and port together.
    Whole(&'static str),
    /// Address, then port.
    Parts(&'static str, &'static str),
}

/// The unit of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Milliseconds with three decimals.
    Millis,
    /// Whole nanoseconds.
    Nanos,
    /// Seconds with six decimals.
    Seconds,
}

/// `name=value`.
pub(super) static TEXT: Names = Names { is_json: false, ..OWN };
/// JSON with the same names.
pub(super) static JSON: Names = OWN;

const OWN: Names = Names {
    is_json: true,
    constant: "",
    time: "time",
    id: "id",
    peer: Peer::Whole("peer"),
    http: "http",
    method: "method",
    path: "path",
    marks_query: true,
    status: "status",
    result: "",
    outcome: "outcome",
    cause: "cause",
    route: "route",
    user_id: "user_id",
    user: "user",
    token_id: "token_id",
    bytes: "bytes",
    total: "ms",
    upstream: "upstream_ms",
    unit: Unit::Millis,
};

/// JSON with the names of the Elastic Common Schema.
pub(super) static ECS: Names = Names {
    is_json: true,
    constant: "\"ecs.version\":\"8.17.0\",\"event.dataset\":\"tokengate.access\",\"event.category\":[\"web\"],",
    time: "@timestamp",
    id: "http.request.id",
    peer: Peer::Parts("client.ip", "client.port"),
    http: "http.version",
    method: "http.request.method",
    path: "url.path",
    marks_query: false,
    status: "http.response.status_code",
    result: "event.outcome",
    outcome: "event.reason",
    cause: "error.message",
    route: "labels.route",
    user_id: "user.id",
    user: "user.name",
    token_id: "labels.token_id",
    bytes: "http.response.body.bytes",
    total: "event.duration",
    upstream: "labels.upstream_duration",
    unit: Unit::Nanos,
};

/// JSON with the names of OpenTelemetry's semantic conventions, as in traces.
pub(super) static OTEL: Names = Names {
    is_json: true,
    constant: "\"event.name\":\"tokengate.access\",",
    time: "timestamp",
    id: "tokengate.request_id",
    peer: Peer::Parts("client.address", "client.port"),
    http: "network.protocol.version",
    method: "http.request.method",
    path: "url.path",
    marks_query: false,
    status: "http.response.status_code",
    result: "",
    outcome: "tokengate.outcome",
    cause: "error.message",
    route: "http.route",
    user_id: "user.id",
    user: "user.name",
    token_id: "tokengate.token_id",
    bytes: "http.response.body.size",
    total: "http.server.request.duration",
    upstream: "tokengate.upstream_duration",
    unit: Unit::Seconds,
};
