//! The names of the facts in lines of the access log.
//!
//! Each is stored with what stands around it, so that a line takes one copy for a name.

/// The names of one kind of lines, each with the separator before it and the sign after it.
#[derive(Debug)]
pub(super) struct Names {
    /// Whether lines are JSON objects.
    pub is_json: bool,
    /// Members that every object begins with, with a comma at the end.
    pub constant: &'static str,
    /// The first one, without a separator.
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

macro_rules! text {
    ($name:literal) => {
        concat!(" ", $name, "=")
    };
}

macro_rules! json {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// `name=value`.
pub(super) static TEXT: Names = Names {
    is_json: false,
    constant: "",
    time: "time=",
    id: text!("id"),
    peer: Peer::Whole(text!("peer")),
    http: text!("http"),
    method: text!("method"),
    path: text!("path"),
    marks_query: true,
    status: text!("status"),
    result: "",
    outcome: text!("outcome"),
    cause: text!("cause"),
    route: text!("route"),
    user_id: text!("user_id"),
    user: text!("user"),
    token_id: text!("token_id"),
    bytes: text!("bytes"),
    total: text!("ms"),
    upstream: text!("upstream_ms"),
    unit: Unit::Millis,
};

/// JSON with the same names.
pub(super) static JSON: Names = Names {
    is_json: true,
    constant: "",
    time: "\"time\":",
    id: json!("id"),
    peer: Peer::Whole(json!("peer")),
    http: json!("http"),
    method: json!("method"),
    path: json!("path"),
    marks_query: true,
    status: json!("status"),
    result: "",
    outcome: json!("outcome"),
    cause: json!("cause"),
    route: json!("route"),
    user_id: json!("user_id"),
    user: json!("user"),
    token_id: json!("token_id"),
    bytes: json!("bytes"),
    total: json!("ms"),
    upstream: json!("upstream_ms"),
    unit: Unit::Millis,
};

/// JSON with the names of the Elastic Common Schema.
pub(super) static ECS: Names = Names {
    is_json: true,
    constant: "\"ecs.version\":\"8.17.0\",\"event.dataset\":\"tokengate.access\",\"event.category\":[\"web\"],",
    time: "\"@timestamp\":",
    id: json!("http.request.id"),
    peer: Peer::Parts(json!("client.ip"), json!("client.port")),
    http: json!("http.version"),
    method: json!("http.request.method"),
    path: json!("url.path"),
    marks_query: false,
    status: json!("http.response.status_code"),
    result: json!("event.outcome"),
    outcome: json!("event.reason"),
    cause: json!("error.message"),
    route: json!("labels.route"),
    user_id: json!("user.id"),
    user: json!("user.name"),
    token_id: json!("labels.token_id"),
    bytes: json!("http.response.body.bytes"),
    total: json!("event.duration"),
    upstream: json!("labels.upstream_duration"),
    unit: Unit::Nanos,
};

/// JSON with the names of OpenTelemetry's semantic conventions, as in traces.
pub(super) static OTEL: Names = Names {
    is_json: true,
    constant: "\"event.name\":\"tokengate.access\",",
    time: "\"timestamp\":",
    id: json!("tokengate.request_id"),
    peer: Peer::Parts(json!("client.address"), json!("client.port")),
    http: json!("network.protocol.version"),
    method: json!("http.request.method"),
    path: json!("url.path"),
    marks_query: false,
    status: json!("http.response.status_code"),
    result: "",
    outcome: json!("tokengate.outcome"),
    cause: json!("error.message"),
    route: json!("http.route"),
    user_id: json!("user.id"),
    user: json!("user.name"),
    token_id: json!("tokengate.token_id"),
    bytes: json!("http.response.body.size"),
    total: json!("http.server.request.duration"),
    upstream: json!("tokengate.upstream_duration"),
    unit: Unit::Seconds,
};
