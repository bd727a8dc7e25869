//! The `Host` that an upstream gets.

use http::HeaderValue;
use http::uri::Authority;

use super::url::host::is_host;
use super::value::Fault;

/// The `Host` that an upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// That of the client.
    Keep,
    /// That of the endpoint.
    Upstream,
    /// This one.
    Name(HeaderValue),
}

impl HostHeader {
    /// Reads `keep`, `upstream`, or a host with or without port.
    pub(super) fn parse(text: &str) -> Result<HostHeader, Fault> {
        match text {
            "keep" => return Ok(HostHeader::Keep),
            "upstream" => return Ok(HostHeader::Upstream),
            _ => {}
        }
        let authority = text.parse::<Authority>().ok().filter(|host| !text.contains('@') && is_host(host.host()));
        let has_port = |host: &Authority| host.as_str() == host.host() || host.port_u16().is_some();
        let name = authority.filter(has_port).and_then(|_| HeaderValue::try_from(text).ok());
        let fault = || Fault::new("is not a host", "write \"keep\", \"upstream\", or a host such as \"app.internal\"");
        name.map(HostHeader::Name).ok_or_else(fault)
    }
}
