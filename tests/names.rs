//! Endpoints by host name: several addresses, unresponsive ones, and unknown names.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use socket2::{Domain, Socket, Type};
use tokengate::config::settings::{Endpoint, EndpointAddress, Protocol};
use tokengate::http1;
use tokengate::upstream::{Addresses, EndpointLocation, EndpointPool, EndpointSpec, PoolLimits, Resolver};

use crate::support::client::BOTH;
use crate::support::{AMPLE, Ask, Origin, PATIENCE, Site, eventually, nowhere, soon};

/// Limits of response heads.
const ANSWERS: http1::Limits = http1::Limits { head_bytes: 65_536, head_count: 100 };

/// An address that does not respond to connection attempts: its accept queue is full.
pub struct Silent {
    socket: Socket,
    _queued: Vec<TcpStream>,
}

impl Silent {
    pub fn new() -> Silent {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let queued = std::iter::from_fn(connect).take(10).collect::<Vec<_>>();
        assert!(queued.len() < 10, "the queue never fills");
        Silent { socket, _queued: queued }
    }

    pub fn address(&self) -> SocketAddr {
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
            location: EndpointLocation::Tcp(Addresses::known("two.test", 80, addresses)),
            tls: None,
            protocol: Protocol::Http1,
        };
        let limits = PoolLimits { connections: 10, idle: AMPLE, connect: Duration::from_secs(5), answers: ANSWERS };
        let pool = EndpointPool::new(Arc::new(spec), limits, Arc::default(), Rc::default());
        let lease = soon("a connection", pool.lease_new(false)).await;
        assert!(lease.is_ok(), "{what}: {:?}", lease.err());
    }
}

fn unknown() -> Endpoint {
    let host = "no-such-host.invalid";
    Endpoint::at(format!("{host}:80"), EndpointAddress::Tcp(host.to_owned(), 80))
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

/// A resolver whose answer the test sets; `None`: it is down.
#[derive(Clone, Default)]
pub struct Told {
    answer: Arc<Mutex<Option<Vec<SocketAddr>>>>,
    asked: Arc<AtomicUsize>,
}

impl Told {
    pub fn saying(address: SocketAddr) -> Told {
        Told { answer: Arc::new(Mutex::new(Some(vec![address]))), ..Told::default() }
    }

    pub fn resolver(&self) -> Resolver {
        let told = self.clone();
        Resolver::new(move |_, _| {
            told.asked.fetch_add(1, Ordering::Relaxed);
            let answer = told.answer.lock().unwrap().clone();
            std::future::ready(answer.ok_or_else(|| std::io::Error::other("the resolver is down")))
        })
    }

    /// Sets the answer, and waits until it was given twice: then the first one is in use.
    pub async fn says(&self, answer: Option<Vec<SocketAddr>>) {
        *self.answer.lock().unwrap() = answer;
        let before = self.asked.load(Ordering::Relaxed);
        let asked = || async { self.asked.load(Ordering::Relaxed) >= before + 2 };
        eventually(PATIENCE, "the resolver is asked twice", asked).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_comes_back_under_another_address_is_found_and_a_resolver_that_is_down_changes_nothing() {
    let (one, two) = (Origin::answering("one").await, Origin::answering("two").await);
    let told = Told::saying(one.address());
    let mut site = Site::before(&one);
    site.resolver = told.resolver();
    site.settings.resolve_every = Duration::from_millis(1);
    let address = EndpointAddress::Tcp("app.test".to_owned(), 80);
    site.settings.upstreams[0].endpoints = vec![Endpoint::at("app.test:80", address)];
    let gateway = site.start().await;
    let text = async || Ask::get("/public/x").to(&gateway).await.text().to_owned();
    assert_eq!(text().await, "one");
    told.says(Some(vec![two.address()])).await;
    // The unused connection to the old address is closed on the next tick of the worker.
    one.is_left().await;
    assert_eq!(text().await, "two");
    told.says(None).await;
    assert_eq!(text().await, "two");
    let connections = two.connections();
    told.says(Some(vec![one.address(), two.address()])).await;
    assert_eq!(text().await, "two");
    assert_eq!(two.connections(), connections, "a connection to an address that stays is kept");
}
