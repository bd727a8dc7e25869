//! Endpoints by host name: several addresses, unresponsive ones, and unknown names.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use socket2::{Domain, Socket, Type};
use tokengate::config::settings::{Endpoint, EndpointAddress};
use tokengate::http1;
use tokengate::upstream::{Addresses, EndpointPool, EndpointSpec, Place, PoolLimits};

use crate::support::client::BOTH;
use crate::support::{AMPLE, Ask, Origin, Site, nowhere, soon};

/// Limits of response heads.
const ANSWERS: http1::Limits = http1::Limits { head_bytes: 65_536, head_count: 100 };

/// An address that does not respond to connection attempts: its accept queue is full.
struct Silent {
    socket: Socket,
    _queued: Vec<TcpStream>,
}

impl Silent {
    fn new() -> Silent {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let queued = std::iter::from_fn(connect).take(10).collect::<Vec<_>>();
        assert!(queued.len() < 10, "the queue never fills");
        Silent { socket, _queued: queued }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }
}

#[tokio::test]
async fn an_endpoint_is_reached_at_the_first_address_that_responds() {
    let silent = Silent::new();
    for before in [vec![silent.address()], vec![nowhere()], vec![silent.address(), nowhere(), silent.address()]] {
        let origin = Origin::answering("hello").await;
        let addresses = [before, vec![origin.address()]].concat();
        let what = format!("{addresses:?}");
        let spec = EndpointSpec {
            host: HeaderValue::from_static("two.test"),
            authority: "two.test:80".to_owned(),
            place: Place::Tcp(Addresses::known("two.test", 80, addresses)),
        };
        let limits = PoolLimits { connections: 10, idle: AMPLE, connect: Duration::from_secs(5), answers: ANSWERS };
        let pool = EndpointPool::new(Arc::new(spec), limits, Arc::default());
        let lease = soon("a connection", pool.lease(true, false)).await;
        assert!(lease.is_ok(), "{what}: {:?}", lease.err());
    }
}

fn unknown() -> Endpoint {
    let host = "no-such-host.invalid";
    Endpoint { authority: format!("{host}:80"), address: EndpointAddress::Tcp(host.to_owned(), 80) }
}

#[tokio::test]
async fn a_gateway_starts_with_an_unknown_host_and_answers_503_for_its_upstream() {
    let origin = Origin::answering("hello").await;
    let gateway =
        Site::before(&origin).with(|settings| settings.upstreams[0].endpoints = vec![unknown()]).start().await;
    for http in BOTH {
        let answer = Ask::get("/public/x").over(http, &gateway).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.fields.has("retry-after"));
        assert_eq!(Ask::get("/api/x").over(http, &gateway).await.status, 401);
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn an_endpoint_with_an_unknown_host_gets_no_request_while_another_is_available() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| settings.upstreams[0].endpoints.insert(0, unknown()));
    let gateway = site.start().await;
    for _ in 0..4 {
        assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "hello");
    }
}
