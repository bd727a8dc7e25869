//! `[upstreams.NAME]`: groups of endpoints.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;

use super::defaults::RouteDefaults;
use super::document::Document;
use super::health::{self, Ejection, HealthCheck};
use super::reader::{Named, Table};
use super::upstream_tls::{self, UpstreamTls};
use super::url::check_ends;
use super::url::host::is_host;
use super::value::{Fault, Key};
use crate::tls::ServerName;

/// A named group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the file.
    pub name: String,
    /// Its members; never empty.
    pub endpoints: Vec<Endpoint>,
    /// Maximum number of connections to each endpoint, over all workers.
    pub max_connections: usize,
    /// Maximum number of these connections that one client can use at once.
    pub client_share: ClientShare,
    /// How long an unused connection is kept; must be shorter than the endpoint's own timeout.
    pub idle_timeout: Duration,
    /// Timeout of a connection attempt.
    pub connect_timeout: Duration,
    /// Whether a request is sent once more if no byte of it was sent, or if it has neither effects nor a body.
    pub retry: bool,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// How requests are spread over the endpoints.
    pub balance: Balance,
    /// Maximum number of requests that wait for a connection, over all workers.
    pub max_waiting: usize,
    /// How long a request waits for a connection.
    pub wait_timeout: Duration,
    /// How long the share of an endpoint grows after its return.
    pub slow_start: Duration,
    /// Active checks; `None`: there are none.
    pub health_check: Option<HealthCheck>,
    /// When an endpoint is ejected; `None`: never.
    pub ejection: Option<Ejection>,
    /// TLS towards its endpoints with `https://`; `None`: there are none.
    pub tls: Option<UpstreamTls>,
}

/// The version of HTTP towards endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; with TLS, HTTP/1.1 if the endpoint chooses that.
    Http2,
}

/// How requests are spread over the endpoints of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// To the one with the fewest requests.
    LeastRequests,
    /// By the id of the user; anonymous requests as with [`Balance::LeastRequests`].
    HashUser,
}

impl Balance {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, Balance); 3] = [
        ("least-requests", Balance::LeastRequests),
        ("round-robin", Balance::RoundRobin),
        ("hash:user_id", Balance::HashUser),
    ];
}

/// How many connections of an upstream one client may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientShare {
    /// Three times the number of free connections.
    Fair,
    /// This number, over all workers.
    Most(usize),
    /// All of them.
    Unlimited,
}

/// One member of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host:port` as configured, for `Host` on routes with `host_header = "upstream"`, and for messages.
    pub authority: String,
    /// The address to connect to.
    pub address: EndpointAddress,
    /// The name in its certificate; `None`: without TLS.
    pub tls: Option<ServerName<'static>>,
    /// Its part of the requests, compared with the weights of the others.
    pub weight: u32,
}

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A host (name or IP address) and a port. A name is resolved at start.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Protocol {
    /// How many requests a connection has at once, at most.
    pub const fn requests_per_connection(self) -> usize {
        match self {
            Protocol::Http1 => 1,
            Protocol::Http2 => 100,
        }
    }
}

impl Upstream {
    /// An upstream with defaults for everything else.
    pub fn of(name: &str, endpoints: Vec<Endpoint>) -> Upstream {
        Upstream {
            name: name.to_owned(),
            endpoints,
            max_connections: 1_000,
            client_share: ClientShare::Fair,
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            retry: true,
            protocol: Protocol::Http1,
            balance: Balance::LeastRequests,
            max_waiting: 1_000,
            wait_timeout: Duration::from_secs(5),
            slow_start: Duration::from_secs(10),
            health_check: None,
            ejection: Some(Ejection::default()),
            tls: None,
        }
    }
}

impl Endpoint {
    /// An endpoint without TLS.
    pub fn at(authority: impl Into<String>, address: EndpointAddress) -> Endpoint {
        Endpoint { authority: authority.into(), address, tls: None, weight: 1 }
    }
}

/// `[upstreams]`
pub(super) fn read(root: &Table<'_>, defaults: &RouteDefaults) -> Vec<Named<Upstream>> {
    root.named("upstreams", |name, table| {
        let (key, document) = (table.key("endpoints"), table.document());
        let key = key.required("add `endpoints = [\"http://127.0.0.1:8000\"]`");
        let endpoints = key.parse_list(|text| endpoint(text, document));
        warn_of_unencrypted(&key, &endpoints);
        let max_connections = table.key("max_connections").count(1..=1_000_000, 1_000);
        let share = table.key("max_connections_per_client").or_word("unlimited");
        let most = share.optional_count(1..=1_000_000);
        let tls = upstream_tls::read(table, endpoints.iter().any(|endpoint| endpoint.tls.is_some()));
        let connect_timeout =
            table.key("connect_timeout").like(Some("defaults.timeouts.connect")).duration(defaults.connect);
        Some(Upstream {
            name: name.to_owned(),
            protocol: table
                .key("protocol")
                .choice(&[("h1", Protocol::Http1), ("h2", Protocol::Http2)], Protocol::Http1),
            balance: table.key("balance").choice(&Balance::WORDS, Balance::LeastRequests),
            max_waiting: table
                .key("max_waiting")
                .like(Some("upstreams.NAME.max_connections"))
                .count(0..=1_000_000, max_connections),
            wait_timeout: table
                .key("wait_timeout")
                .like(Some("upstreams.NAME.connect_timeout"))
                .duration(connect_timeout),
            slow_start: table
                .key("slow_start")
                .or_word("off")
                .optional_duration(Some(Duration::from_secs(10)))
                .unwrap_or_default(),
            health_check: health::read_check(table),
            ejection: health::read_ejection(table),
            endpoints,
            max_connections,
            client_share: match most {
                _ if share.is_word() => ClientShare::Unlimited,
                Some(most) => ClientShare::Most(most),
                None => ClientShare::Fair,
            },
            idle_timeout: table.key("idle_timeout").duration(Duration::from_secs(30)),
            connect_timeout,
            retry: table.key("retries").count(0..=1, 1_u8) == 1,
            tls,
        })
    })
}

fn endpoint(text: &str, document: &Document<'_>) -> Result<Endpoint, Fault> {
    check_ends(text).map_err(|bad| Fault::new(bad.what, bad.mend))?;
    let Some((text, weight)) = text.rsplit_once(" weight=") else { return address(text, document) };
    let weight = weight.parse().ok().filter(|weight| (1..=1_000).contains(weight));
    let weight = weight.ok_or_else(|| Fault::new("has no valid weight", "write a weight from 1 to 1000"))?;
    address(text, document).map(|endpoint| Endpoint { weight, ..endpoint })
}

fn address(text: &str, document: &Document<'_>) -> Result<Endpoint, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err(Fault::new("names no socket", "write \"unix:PATH\""));
        }
        // `Host` for a Unix socket; nginx and HAProxy send the same.
        return Ok(Endpoint::at("localhost", EndpointAddress::Unix(document.resolve(path))));
    }
    let example = "write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\"";
    let fault = |what| Fault::new(what, example);
    let (authority, has_tls) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(authority), _) => (authority, false),
        (None, Some(authority)) => (authority, true),
        (None, None) => return Err(fault("is not an endpoint")),
    };
    if authority.contains(['/', '?', '#']) {
        return Err(fault("contains more than host and port"));
    }
    let parsed: Authority = authority.parse().map_err(|_| fault("is not an endpoint"))?;
    let host = parsed.host();
    if authority.contains('@') || !is_host(host) {
        return Err(fault("has no valid host"));
    }
    let port = parsed.port_u16().filter(|port| *port != 0).ok_or_else(|| fault("has no port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = has_tls.then(|| upstream_tls::server_name(&host)).transpose()?;
    Ok(Endpoint { authority: authority.to_owned(), address: EndpointAddress::Tcp(host, port), tls, weight: 1 })
}

/// Warns of endpoints to which requests go unencrypted over foreign networks. `tokengate check` looks at names as well.
fn warn_of_unencrypted(key: &Key<'_>, endpoints: &[Endpoint]) {
    for endpoint in endpoints {
        if let (EndpointAddress::Tcp(host, _), None) = (&endpoint.address, &endpoint.tls)
            && let Ok(address) = host.parse()
            && is_foreign(address)
        {
            let (what, mend) = unencrypted(&endpoint.authority, address);
            key.warning(what, mend);
        }
    }
}

/// The warning about an endpoint without TLS at a foreign address: the problem, and how to fix it.
pub fn unencrypted(authority: &str, address: IpAddr) -> (String, &'static str) {
    let what = format!(
        "requests for {authority} go unencrypted to {address}, which is neither a loopback nor a private address; so \
         others can read and forge identity headers"
    );
    (what, "use https://, or reach the endpoint over a private network")
}

/// Whether packets to this address may cross networks of others.
pub fn is_foreign(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is shared address space (RFC 6598): networks of cloud providers and overlays.
            let is_shared = v4.octets().starts_with(&[100]) && v4.octets().get(1).is_some_and(|byte| byte & 0xc0 == 64);
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || is_shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified())
        }
    }
}
