//! `[upstreams.NAME]`: groups of endpoints.

use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;

use super::defaults::RouteDefaults;
use super::document::Document;
use super::reader::{Named, Table};
use super::url::check_ends;
use super::url::host::is_host;
use super::value::Fault;

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
}

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A host (name or IP address) and a port. A name is resolved at start.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `[upstreams]`
pub(super) fn read(root: &Table<'_>, defaults: &RouteDefaults) -> Vec<Named<Upstream>> {
    root.named("upstreams", |name, table| {
        let (endpoints, document) = (table.key("endpoints"), table.document());
        let endpoints = endpoints.required("add `endpoints = [\"http://127.0.0.1:8000\"]`");
        let endpoints = endpoints.parse_list(|text| endpoint(text, document));
        let max_connections = table.key("max_connections").count(1..=1_000_000, 1_000);
        let share = table.key("max_connections_per_client").or_word("unlimited");
        let most = share.optional_count(1..=1_000_000);
        Some(Upstream {
            name: name.to_owned(),
            endpoints,
            max_connections,
            client_share: match most {
                _ if share.is_word() => ClientShare::Unlimited,
                Some(most) => ClientShare::Most(most),
                None => ClientShare::Fair,
            },
            idle_timeout: table.key("idle_timeout").duration(Duration::from_secs(30)),
            connect_timeout: table
                .key("connect_timeout")
                .like(Some("defaults.timeouts.connect"))
                .duration(defaults.connect),
            retry: table.key("retries").count(0..=1, 1_u8) == 1,
        })
    })
}

fn endpoint(text: &str, document: &Document<'_>) -> Result<Endpoint, Fault> {
    check_ends(text).map_err(|bad| Fault::new(bad.what, bad.mend))?;
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err(Fault::new("names no socket", "write \"unix:PATH\""));
        }
        // `Host` for a Unix socket; nginx and HAProxy send the same.
        return Ok(Endpoint {
            authority: "localhost".to_owned(),
            address: EndpointAddress::Unix(document.resolve(path)),
        });
    }
    if text.starts_with("https://") {
        let mend = "use \"http://HOST:PORT\" on a network that you trust, or \"unix:PATH\"";
        return Err(Fault::new("is not supported yet: https", mend));
    }
    let example = "write \"http://HOST:PORT\" or \"unix:PATH\"";
    let authority = text.strip_prefix("http://").ok_or_else(|| Fault::new("is not an endpoint", example))?;
    let fault = |what| Fault::new(what, example);
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
    Ok(Endpoint { authority: authority.to_owned(), address: EndpointAddress::Tcp(host, port) })
}
