//! `[routes.NAME.cors]`: which programs in browsers may use a route from other origins.

use std::time::Duration;

use http::{HeaderName, Method};

use super::reader::Table;
use super::url::host::is_host;
use super::value::Fault;

/// Cross-origin rules of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins whose programs may read responses.
    pub origins: CorsOrigins,
    /// The methods that they may use; empty: those of the route.
    pub methods: Vec<Method>,
    /// The headers that they may send, besides those that need no permission.
    pub headers: Vec<HeaderName>,
    /// The headers of responses that they may read, besides those that need no permission.
    pub expose: Vec<HeaderName>,
    /// Whether browsers send cookies with their requests.
    pub credentials: bool,
    /// How long a browser may remember the permission.
    pub max_age: Duration,
    /// Whether programs of public sites may use the route if it is in a private network.
    pub private_network: bool,
}

/// The origins that a route admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// All of them.
    Any,
    /// These, as browsers write them.
    Listed(Vec<String>),
}

impl CorsOrigins {
    /// Whether programs of this origin are admitted.
    pub fn admit(&self, origin: &[u8]) -> bool {
        match self {
            CorsOrigins::Any => true,
            CorsOrigins::Listed(origins) => origins.iter().any(|one| one.as_bytes() == origin),
        }
    }
}

/// `cors` of a route; `None`: it has none.
pub(super) fn read(table: &Table<'_>, method: impl Fn(&str) -> Result<Method, Fault>) -> Option<Cors> {
    table.table_if(false, "cors", |cors| {
        let is_set = cors.is_set();
        let origins = cors.key("origins").required_if(is_set, "add `origins = [\"https://app.example.com\"]`");
        let listed = origins.parse_list(origin);
        let credentials = cors.key("credentials");
        let allows_credentials = credentials.bool(false);
        let is_any = listed.iter().any(|origin| origin == "*");
        if is_any && listed.len() > 1 {
            origins.problem("`*` stands for all origins", "remove the others, or `*`");
        }
        if is_any && allows_credentials {
            let mend = "list the origins, or remove `credentials`";
            credentials.problem("every site could act with the cookies of your users: `origins` is `*`", mend);
        }
        let header = |text: &str| {
            let mend = "write one name, such as \"X-Total-Count\"";
            HeaderName::try_from(text).map_err(|_| Fault::new("is not a valid header name", mend))
        };
        let named = |name| cors.key(name).parse_list(header);
        let default = vec![http::header::AUTHORIZATION, http::header::CONTENT_TYPE];
        let rules = Cors {
            origins: if is_any { CorsOrigins::Any } else { CorsOrigins::Listed(listed) },
            methods: cors.key("methods").parse_list(method),
            headers: cors.key("headers").parse_list_or(default, header),
            expose: named("expose"),
            credentials: allows_credentials,
            max_age: cors.key("max_age").duration(Duration::from_secs(600)),
            private_network: cors.key("private_network").bool(false),
        };
        is_set.then_some(rules)
    })
}

/// An origin as browsers write it: scheme, host, and a port that is not the scheme's own.
fn origin(text: &str) -> Result<String, Fault> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let example = "write one such as \"https://app.example.com\" or \"http://localhost:3000\"";
    let fault = |what: &str| Fault::new(what, example);
    let (scheme, authority) = text.split_once("://").ok_or_else(|| fault("is not an origin"))?;
    let own_port = match scheme {
        "https" => "443",
        "http" => "80",
        _ => return Err(fault("has a scheme other than http and https")),
    };
    if authority.contains(['/', '?', '#', '@']) {
        return Err(fault("contains more than scheme, host and port"));
    }
    if authority != authority.to_ascii_lowercase() {
        return Err(Fault::new("is not in lower case", format!("write \"{}\"", text.to_ascii_lowercase())));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !is_host(host) {
        return Err(fault("has no valid host"));
    }
    match port {
        Some(port) if port == own_port => Err(Fault::new(
            "has the port of its scheme, which browsers leave out",
            format!("write \"{scheme}://{host}\""),
        )),
        Some(port) if port.starts_with('0') || port.parse::<u16>().is_err() => Err(fault("has no valid port")),
        _ => Ok(text.to_owned()),
    }
}
