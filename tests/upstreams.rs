//! Endpoints as production has them: TLS, health, balancing, HTTP/2, gRPC.

mod asgi;
mod budget;
mod checks;
mod faults;
mod grpc;
mod health;
mod http2;
mod http2_faults;
mod load;
mod outcomes;
mod places;
mod shared;
mod tls;
mod transfers;

use std::net::SocketAddr;

use tokengate::config::settings::{Endpoint, EndpointAddress, Settings, Upstream, UpstreamTls};
use tokengate::tls::ServerName;

/// Makes the endpoints of the first upstream `https://localhost:PORT`, each at its address.
pub fn over_tls(settings: &mut Settings, endpoints: &[SocketAddr], tls: &UpstreamTls) {
    over_tls_at(&mut settings.upstreams[0], endpoints, tls);
}

/// The same for any upstream.
pub fn over_tls_at(upstream: &mut Upstream, endpoints: &[SocketAddr], tls: &UpstreamTls) {
    let endpoint = |address: &SocketAddr| Endpoint {
        tls: Some(ServerName::try_from("localhost").unwrap()),
        ..Endpoint::at(
            format!("localhost:{}", address.port()),
            EndpointAddress::Tcp("127.0.0.1".to_owned(), address.port()),
        )
    };
    upstream.endpoints = endpoints.iter().map(endpoint).collect();
    upstream.tls = Some(tls.clone());
}
