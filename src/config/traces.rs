//! `[traces]`: traces of requests, for OpenTelemetry.

use std::fmt::{self, Display};

use http::Uri;
use http::uri::Scheme;

use super::files::report;
use super::reader::Table;
use super::value::Fault;
use crate::tls::Authorities;

/// The path at which collectors take traces over HTTP.
const PATH: &str = "/v1/traces";
/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

/// Traces of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Where they are sent.
    pub endpoint: Collector,
    /// The CAs that the certificate of the collector may come from; `None`: those of the system.
    pub authorities: Option<Authorities>,
    /// Of this many requests that have no trusted parent, one is recorded.
    pub sample: u32,
    /// Whether the `traceparent` of a client decides.
    pub trust_parent: bool,
    /// The name of the service in traces.
    pub service_name: String,
}

/// An OpenTelemetry collector that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path for traces.
    pub path: String,
}

impl Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collector { is_encrypted, host, port, path } = self;
        let scheme = if *is_encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{host}:{port}{path}")
    }
}

/// `[traces]`
pub(super) fn read(root: &Table<'_>) -> Option<Traces> {
    root.switch("traces", |table| {
        let sample = table.key("sample").count(1..=1_000_000, 100);
        let trust_parent = table.key("trust_parent").bool(false);
        let service_name = table.key("service_name").parse_or("tokengate".to_owned(), |text| Ok(text.to_owned()));
        let endpoint = table.key("endpoint").parse(collector);
        let is_encrypted = endpoint.as_ref().is_some_and(|collector| collector.is_encrypted);
        let ca_file = table.key("ca_file").only_if(is_encrypted);
        let authorities = ca_file.optional_file().map(|file| Authorities::read(&file));
        match &authorities {
            Some(Err(bad)) => report(&ca_file, bad),
            Some(Ok(_)) if !is_encrypted => {
                ca_file.problem("needs TLS", "write https:// in `endpoint`, or remove this")
            }
            _ => {}
        }
        let authorities = authorities.and_then(Result::ok);
        Some(Traces { endpoint: endpoint?, authorities, sample, trust_parent, service_name })
    })
}

fn collector(text: &str) -> Result<Collector, Fault> {
    let example = "write \"http://HOST:4318\" or \"https://HOST:4318\"";
    let uri: Uri = text.parse().map_err(|_| Fault::new("is not a URL", example))?;
    let is_encrypted = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(Fault::new("is not an HTTP URL", example)),
    };
    let authority =
        uri.authority().filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    let authority = authority.ok_or_else(|| Fault::new("has no valid host", example))?;
    let path = if matches!(uri.path(), "" | "/") { PATH } else { uri.path() };
    Ok(Collector {
        is_encrypted,
        host: authority.host().to_owned(),
        port: authority.port_u16().unwrap_or(PORT),
        path: path.to_owned(),
    })
}
