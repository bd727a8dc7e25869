//! The front end of the admin application: silent clients time out, connections are limited, and a shutdown waits only
//! for requests in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustls::ClientConfig;
use tokengate::admin::server::{AdminListener, Bounds, Stop};
use tokengate::listener::tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::{PATIENCE, eventually};

/// Long enough for correct clients on a busy machine.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(3600);

/// Long limits: only the one that a test shortens can end a connection.
const PATIENT: Bounds = Bounds {
    connections: 8,
    each: 8,
    local: 8,
    handshake: LONG,
    head: LONG,
    keep_alive: true,
    connection: LONG,
    last_answer: LONG,
};

/// A front end of one test. `/` responds at once, and `/wait` when `gate` is closed.
struct Served {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    waiting: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn with(bounds: Bounds) -> Served {
        let site = Site::before_all(&[]);
        let listener = crate::support::gateway::tls(vec![0]);
        let config = tls::config(&listener, &site.settings.certificates, tls::ticketer().unwrap(), None).unwrap();
        let (waiting, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let router = {
            let (waiting, gate) = (Arc::clone(&waiting), Arc::clone(&gate));
            let wait = async move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                let _ = gate.acquire().await;
                "waited"
            };
            Router::new().route("/", get(async || "here")).route("/wait", get(wait))
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let listener = AdminListener {
            acceptor: Some(tokio::sync::watch::channel(TlsAcceptor::from(config)).1),
            router,
            bounds,
            turned_away: Arc::default(),
        };
        let serving = tokio::spawn(listener.serve(socket, async {
            drop(stopped.await);
            Stop::AfterThisResponse
        }));
        let config = Tls::default().trusting(&Arc::new(site.roots));
        Served { address, config, waiting, gate, stop: Some(stop), serving }
    }

    async fn open(&self) -> Wire {
        Wire::over(soon("handshake", connect(self.address, &self.config, "localhost")).await.unwrap())
    }

    /// A connection with a pending request.
    async fn open_waiting(&self) -> Wire {
        let (mut wire, before) = (self.open().await, self.waiting.load(Ordering::SeqCst));
        wire.send(Ask::get("/wait").bytes()).await;
        eventually(PATIENCE, "the request is there", || async { self.waiting.load(Ordering::SeqCst) > before }).await;
        wire
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

async fn is_here(wire: &mut Wire) {
    let answer = wire.ask(Ask::get("/").bytes()).await;
    assert_eq!((answer.status, answer.text(), answer.fields.has("connection")), (200, "here", false));
}

#[tokio::test]
async fn a_client_without_a_handshake_times_out() {
    let served = Served::with(Bounds { handshake: SHORT, ..PATIENT }).await;
    let mut silent = Wire::over(TcpStream::connect(served.address).await.unwrap());
    let mut dripping = Wire::over(TcpStream::connect(served.address).await.unwrap());
    dripping.send([22, 3, 1]).await;
    silent.ends().await;
    dripping.ends().await;
    is_here(&mut served.open().await).await;
}

#[tokio::test]
async fn a_client_with_an_incomplete_head_times_out() {
    let served = Served::with(Bounds { head: SHORT, ..PATIENT }).await;
    let (mut silent, mut half, mut second) = (served.open().await, served.open().await, served.open().await);
    half.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await;
    is_here(&mut second).await;
    second.send("GET /").await;
    // Sending byte by byte does not extend the timeout.
    let dripped = async {
        while half.try_send("a").await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    soon("the server closes the connection", dripped).await;
    silent.ends().await;
    second.ends().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_free_place() {
    let served = Served::with(Bounds { connections: 2, ..PATIENT }).await;
    let (mut one, mut other) = (served.open().await, served.open_waiting().await);
    let (address, config) = (served.address, Arc::clone(&served.config));
    let third = tokio::spawn(async move { connect(address, &config, "localhost").await });
    for _ in 0..50 {
        is_here(&mut one).await;
    }
    assert!(!third.is_finished(), "it is not accepted yet");
    drop(one);
    let mut third = Wire::over(soon("handshake", third).await.unwrap().unwrap());
    is_here(&mut third).await;
    served.gate.close();
    assert_eq!(other.answer().await.text(), "waited");
}

#[tokio::test]
async fn one_client_does_not_take_all_places() {
    let served = Served::with(Bounds { local: 2, ..PATIENT }).await;
    let (mut one, mut other) = (served.open().await, served.open().await);
    // After a response, the front end knows that their handshakes have ended.
    is_here(&mut one).await;
    is_here(&mut other).await;
    for _ in 0..5 {
        Wire::over(TcpStream::connect(served.address).await.unwrap()).ends().await;
    }
    is_here(&mut one).await;
    drop(other);
    eventually(PATIENCE, "there is a place again", || async {
        connect(served.address, &served.config, "localhost").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_age_of_a_connection_is_limited() {
    let served = Served::with(Bounds { connection: SHORT, ..PATIENT }).await;
    let (mut busy, mut idle) = (served.open_waiting().await, served.open().await);
    is_here(&mut idle).await;
    // This connection came later, so the time of the other is over as well.
    idle.ends().await;
    served.gate.close();
    let answer = busy.answer().await;
    assert_eq!((answer.text(), answer.fields.get("connection")), ("waited", Some("close")));
    busy.ends().await;

    let served = Served::with(Bounds { connection: SHORT, last_answer: SHORT, ..PATIENT }).await;
    served.open_waiting().await.ends().await;
}

#[tokio::test]
async fn a_shutdown_waits_only_for_requests_in_flight() {
    let mut served = Served::with(PATIENT).await;
    let mut busy = served.open_waiting().await;
    let (mut used, mut fresh) = (served.open().await, served.open().await);
    is_here(&mut used).await;
    let mut unshaken = Wire::over(TcpStream::connect(served.address).await.unwrap());
    unshaken.send([22, 3, 1]).await;
    // By now that connection was accepted as well.
    is_here(&mut served.open().await).await;
    served.stop();
    used.ends().await;
    fresh.ends().await;
    unshaken.ends().await;
    let refused = || async { TcpStream::connect(served.address).await.is_err() };
    eventually(PATIENCE, "new connections are refused", refused).await;
    assert!(!served.serving.is_finished());
    served.gate.close();
    let answer = busy.answer().await;
    assert_eq!((answer.text(), answer.complete, answer.fields.get("connection")), ("waited", true, Some("close")));
    busy.ends().await;
    soon("the listener is closed", served.serving).await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_long_gets_a_431() {
    let served = Served::with(PATIENT).await;
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    for (fields, path) in [
        (format!("X: {}\r\n", "y".repeat(40_000)), "/".to_owned()),
        (many, "/".to_owned()),
        (String::new(), format!("/{}", "y".repeat(40_000))),
    ] {
        let mut wire = served.open().await;
        // The response may come before all of it was read.
        let _ = wire.try_send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).await;
        let answer = wire.answer().await;
        assert!(matches!(answer.status, 414 | 431), "{answer:?}");
        wire.ends().await;
    }
    is_here(&mut served.open().await).await;
}

/// A gateway, and a connection to its admin application with an incomplete form.
async fn half_a_form(origin: &Origin) -> (Gateway, Wire) {
    let gateway = gateway(origin).await;
    let config = Tls::default().config(&gateway);
    let mut wire = Wire::over(soon("handshake", connect(gateway.admin_address(), &config, "localhost")).await.unwrap());
    let own = format!("localhost:{}", gateway.admin_address().port());
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {own}\r\nOrigin: https://{own}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n"
    );
    wire.send(head).await;
    // The body is requested when it is read.
    assert_eq!(wire.next_head().await.unwrap().0, 100);
    wire.send("username=").await;
    (gateway, wire)
}

#[tokio::test]
async fn an_incomplete_form_times_out() {
    let origin = Origin::answering("fine").await;
    let (_gateway, mut wire) = half_a_form(&origin).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    let answer = wire.answer().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text().contains("took too long"));
    wire.ends().await;
}

#[tokio::test]
async fn a_shutdown_ends_incomplete_requests() {
    let origin = Origin::answering("fine").await;
    let (gateway, mut wire) = half_a_form(&origin).await;
    soon("the stop", gateway.stop(SHORT)).await;
    wire.ends().await;
}

#[tokio::test]
async fn a_body_after_a_refusal_delays_no_response() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let own = format!("localhost:{}", gateway.admin_address().port());
    let (here, long) = (format!("https://{own}"), "a".repeat(66_000));
    for (origin, length, status) in [
        // From another site: the rest is not read.
        ("https://evil.example", "Content-Length: 1000000000\r\n\r\na".to_owned(), 403),
        // From an own page, and longer than the limit of a form.
        (&here, format!("Content-Length: 1000000000\r\n\r\n{long}"), 413),
        (&here, format!("Transfer-Encoding: chunked\r\n\r\nfffff\r\n{long}"), 413),
    ] {
        let config = Tls::default().config(&gateway);
        let stream = soon("handshake", connect(gateway.admin_address(), &config, "localhost")).await.unwrap();
        let mut wire = Wire::over(stream);
        let head = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {own}\r\nOrigin: {origin}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{length}"
        );
        let _ = wire.try_send(head).await;
        assert_eq!(wire.answer().await.status, status, "{origin}");
        wire.ends().await;
    }
}
