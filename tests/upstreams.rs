//! Endpoints as production has them: TLS, health, balancing, HTTP/2, gRPC.

mod asgi;
mod faults;
mod grpc;
mod health;
mod http2;
mod load;
mod outcomes;
mod shared;
mod tls;
mod transfers;

use std::net::SocketAddr;

use tokengate::config::settings::{Endpoint, EndpointAddress, Settings, UpstreamTls};
use tokengate::tls::ServerName;

/// Makes the endpoints of the first upstream `https://localhost:PORT`, each at its address.
pub fn over_tls(settings: &mut Settings, endpoints: &[SocketAddr], tls: &UpstreamTls) {
    let endpoint = |address: &SocketAddr| Endpoint {
        tls: Some(ServerName::try_from("localhost").unwrap()),
        ..Endpoint::at(
            format!("localhost:{}", address.port()),
            EndpointAddress::Tcp("127.0.0.1".to_owned(), address.port()),
        )
    };
    settings.upstreams[0].endpoints = endpoints.iter().map(endpoint).collect();
    settings.upstreams[0].tls = Some(tls.clone());
}
