//! Clients whose requests share a connection to an endpoint: what happens on one stream harms no other one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use rustls::pki_types::ServerName;
use tokengate::config::settings::{ClientShare, Protocol};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::by_hand::{self, ByHand, Frame, OK, WINDOW, frame};
use crate::support::client::Tls;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, block};
use crate::support::http2::H2;
use crate::support::nginx::Nginx;
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Site, Wire, eventually, settled, soon};

/// SETTINGS_ENABLE_CONNECT_PROTOCOL.
const WEBSOCKET: &[u8] = &[0, 8, 0, 0, 0, 1];
/// `:method: GET` (RFC 7541, appendix A).
const GET: u8 = 0x82;

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/public/events")];

async fn before(endpoint: SocketAddr) -> Gateway {
    site(endpoint).start().await
}

fn site(endpoint: SocketAddr) -> Site {
    Site::before_all(&[endpoint]).with(|settings| {
        settings.upstreams[0].protocol = Protocol::Http2;
        settings.upstreams[0].client_share = ClientShare::Unlimited;
        settings.routes[1].streaming = true;
    })
}

/// An endpoint that answers the first GET of a connection together with the second one. What it does with all else is up to
/// `others`.
async fn endpoint<F>(settings: &'static [u8], others: impl Fn() -> F + Send + 'static) -> ByHand
where
    F: FnMut(Frame) -> Vec<u8> + Send + 'static,
{
    let script = move || {
        let (mut others, mut held) = (others(), Vec::new());
        move |frame_of_gateway: Frame| match frame_of_gateway {
            Frame { kind: HEADERS, stream, payload, .. } if payload[0] == GET => {
                held.push(stream);
                let answers = if held.len() > 1 { std::mem::take(&mut held) } else { Vec::new() };
                answers.iter().flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, *stream, &[OK])).collect()
            }
            other => others(other),
        }
    };
    ByHand::speaking(settings, script).await
}

/// Another client, whose request is waiting for its answer.
struct Bystander(H2, JoinHandle<hyper::Result<http::Response<hyper::body::Incoming>>>);

impl Bystander {
    async fn of(gateway: &Gateway) -> Bystander {
        let mut client = H2::open(gateway).await;
        let waiting = tokio::spawn(client.begin(Ask::get("/public/waits").http2()));
        Bystander(client, waiting)
    }

    /// Both its request and a new one are answered, on the same connection to the endpoint.
    async fn stays_unharmed(self, gateway: &Gateway, endpoint: &ByHand, what: &str) {
        let Bystander(_client, waiting) = self;
        assert_eq!(Ask::get("/public/x").to(gateway).await.status, 200, "{what}");
        let status = soon("an answer", waiting).await.unwrap().map(|answer| answer.status());
        assert_eq!(status.ok(), Some(StatusCode::OK), "{what}");
        assert_eq!(endpoint.connections(), 1, "{what}");
    }
}

/// A client of HTTP/1.1 that reads nothing, and whose system keeps next to nothing for it.
async fn reads_nothing(gateway: &Gateway, request: Vec<u8>) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let stream = soon("connection", socket.connect(gateway.address())).await.unwrap();
    let connector = TlsConnector::from(Tls::default().config(gateway));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
    stream
}

/// The library counts some 250 bytes for each short frame in its queue, and ends connections with too many of them.
#[tokio::test]
async fn messages_of_one_byte_for_clients_that_read_nothing() {
    const CLIENTS: usize = 6;
    let connect =
        [&[(":method", "CONNECT"), (":protocol", "websocket")], &POST[1..], &[("sec-websocket-version", "13")]];
    let upgrade = "GET /public/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for what in ["HTTP/2", "WebSocket over HTTP/2", "HTTP/1.1", "WebSocket over HTTP/1.1"] {
        let sent = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&sent);
        let drops = move || by_hand::drops(Arc::clone(&counted));
        let endpoint = endpoint(WEBSOCKET, drops).await;
        let gateway = before(endpoint.address()).await;
        let bystander = Bystander::of(&gateway).await;
        let (mut of_two, mut of_one) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            match what {
                "HTTP/2" | "WebSocket over HTTP/2" => {
                    let mut client = Frames::without_room(&gateway).await;
                    match what {
                        "HTTP/2" => client.write(HEADERS, END_HEADERS | END_STREAM, 1, &block(&POST)).await,
                        _ => client.write(HEADERS, END_HEADERS, 1, &block(&connect.concat())).await,
                    }
                    of_two.push(client);
                }
                "HTTP/1.1" => of_one.push(reads_nothing(&gateway, Ask::post("/public/x", "").bytes()).await),
                _ => of_one.push(reads_nothing(&gateway, upgrade.into()).await),
            }
        }
        let sent = || sent.load(Ordering::Acquire);
        eventually(PATIENCE, "the windows are full", || async { sent() >= CLIENTS * WINDOW }).await;
        settled("the endpoint stops sending", sent).await;
        bystander.stays_unharmed(&gateway, &endpoint, what).await;
    }
}

/// What was on its way when a client cancelled its request counts as unread in the library, and its connection never forgets
/// that.
#[tokio::test]
async fn messages_of_one_byte_for_clients_that_have_cancelled() {
    let late = || {
        move |got: Frame| match got.kind {
            HEADERS => frame(HEADERS, END_HEADERS, got.stream, &[OK]),
            RST_STREAM => frame(DATA, 0, got.stream, b"x").repeat(6_000),
            _ => Vec::new(),
        }
    };
    let endpoint = endpoint(&[], late).await;
    let gateway = before(endpoint.address()).await;
    let bystander = Bystander::of(&gateway).await;
    let mut client = Frames::open(&gateway).await;
    for stream in (1..120).step_by(2) {
        client.write(HEADERS, END_HEADERS | END_STREAM, stream, &block(&POST)).await;
        assert_eq!(client.answer_on(stream).await, Some(200), "{stream}");
        client.write(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    }
    gateway.has_counted("public", "client_gone", 60).await;
    bystander.stays_unharmed(&gateway, &endpoint, "cancelled").await;
}

/// What the endpoint did with requests that were cancelled: how many began, and how many it was told to end.
#[derive(Default)]
struct Cancelled {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Cancelled {
    fn note(&self, got: &Frame) {
        self.begun.fetch_add(usize::from(got.kind == HEADERS), Ordering::AcqRel);
        self.ended.fetch_add(usize::from(got.kind == RST_STREAM), Ordering::AcqRel);
    }

    /// A client begins this many requests, and cancels them when the endpoint has them.
    async fn by_a_client(&self, gateway: &Gateway, count: usize) {
        let (begun, ended) = (self.begun.load(Ordering::Acquire), self.ended.load(Ordering::Acquire));
        let mut client = Frames::open(gateway).await;
        let streams = (1..).step_by(2).take(count);
        for stream in streams.clone() {
            client.write(HEADERS, END_HEADERS | END_STREAM, stream, &block(&POST)).await;
        }
        let all = |counter: &AtomicUsize, before: usize| counter.load(Ordering::Acquire) >= before + count;
        eventually(PATIENCE, "the requests arrive", || async { all(&self.begun, begun) }).await;
        for stream in streams {
            client.write(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
        }
        eventually(PATIENCE, "the requests end", || async { all(&self.ended, ended) }).await;
    }
}

/// The library forgets streams soon when many are cancelled, takes what arrives on them for errors, and counts those.
#[tokio::test]
async fn responses_to_many_requests_that_were_cancelled() {
    let cancelled = Arc::<Cancelled>::default();
    let noted = Arc::clone(&cancelled);
    let late = move || {
        let cancelled = Arc::clone(&noted);
        move |got: Frame| {
            cancelled.note(&got);
            match got.kind {
                RST_STREAM if got.payload == 8_u32.to_be_bytes() => [
                    frame(HEADERS, END_HEADERS, got.stream, &[OK]),
                    frame(DATA, 0, got.stream, &[b'x'; 300]).repeat(60),
                ]
                .concat(),
                _ => Vec::new(),
            }
        }
    };
    let endpoint = endpoint(&[], late).await;
    let gateway = before(endpoint.address()).await;
    let bystander = Bystander::of(&gateway).await;
    cancelled.by_a_client(&gateway, 90).await;
    bystander.stays_unharmed(&gateway, &endpoint, "cancelled").await;
}

/// Some endpoints end a connection on which 200 requests were cancelled, for protection against CVE-2023-44487.
#[tokio::test]
async fn so_many_cancelled_requests_that_an_endpoint_ends_their_connection() {
    let cancelled = Arc::<Cancelled>::default();
    let noted = Arc::clone(&cancelled);
    let strict = move || {
        let (cancelled, mut resets, mut waiting) = (Arc::clone(&noted), 0, 0);
        move |got: Frame| {
            cancelled.note(&got);
            let answer = |stream: u32| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[OK]);
            match got.kind {
                HEADERS if got.payload[0] == GET && waiting == 0 => waiting = got.stream,
                HEADERS if got.payload[0] == GET => return answer(got.stream),
                RST_STREAM => resets += 1,
                _ => {}
            }
            match resets {
                120 if got.kind == RST_STREAM => answer(waiting),
                200.. => frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]),
                _ => Vec::new(),
            }
        }
    };
    let endpoint = ByHand::speaking(&[], strict).await;
    let gateway = before(endpoint.address()).await;
    let Bystander(_client, waiting) = Bystander::of(&gateway).await;
    for _ in 0..20 {
        cancelled.by_a_client(&gateway, 40).await;
    }
    let status = soon("an answer", waiting).await.unwrap().map(|answer| answer.status());
    assert_eq!(status.ok(), Some(StatusCode::OK));
    assert_eq!(gateway.outcome("public", "origin_reset"), 0);
    assert!((5..=9).contains(&endpoint.connections()), "{}", endpoint.connections());
}

/// A connection that has had many cancelled requests is better than none.
#[tokio::test]
async fn many_cancelled_requests_where_no_other_connection_may_be_opened() {
    let cancelled = Arc::<Cancelled>::default();
    let noted = Arc::clone(&cancelled);
    let script = move || {
        let cancelled = Arc::clone(&noted);
        move |got: Frame| {
            cancelled.note(&got);
            Vec::new()
        }
    };
    let endpoint = endpoint(&[], script).await;
    let gateway = site(endpoint.address()).with(|settings| settings.upstreams[0].max_connections = 1).start().await;
    let bystander = Bystander::of(&gateway).await;
    for _ in 0..4 {
        cancelled.by_a_client(&gateway, 40).await;
    }
    bystander.stays_unharmed(&gateway, &endpoint, "cancelled").await;
}

/// The library permits a hundred empty frames in the life of a connection.
#[tokio::test]
async fn responses_with_empty_frames() {
    let empty = || {
        move |got: Frame| match got.kind {
            HEADERS => [
                frame(HEADERS, END_HEADERS, got.stream, &[OK]),
                frame(DATA, 0, got.stream, b"").repeat(70),
                frame(DATA, 0, got.stream, b"hel"),
                frame(DATA, 0, got.stream, b""),
                frame(DATA, 0, got.stream, b"lo"),
                frame(DATA, END_STREAM, got.stream, b""),
            ]
            .concat(),
            _ => Vec::new(),
        }
    };
    let endpoint = endpoint(&[], empty).await;
    let gateway = before(endpoint.address()).await;
    let bystander = Bystander::of(&gateway).await;
    for _ in 0..4 {
        let answer = Ask::post("/public/x", "").to(&gateway).await;
        assert_eq!((answer.status, answer.text(), answer.complete), (200, "hello", true));
    }
    bystander.stays_unharmed(&gateway, &endpoint, "empty frames").await;
}

#[tokio::test]
async fn a_thousand_cancelled_requests_at_nginx() {
    let gate = Gate::closed();
    let origin = Origin::slow_at(&gate, "hello").await;
    let application = origin.address();
    let nginx =
        Nginx::serving(|address| format!("listen {address} http2; location / {{ proxy_pass http://{application}; }}"))
            .await;
    let gateway = before(nginx.address()).await;
    let slow = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/public/slow")];
    let mut bystander = H2::open(&gateway).await;
    let waiting = tokio::spawn(bystander.begin(Ask::get("/public/slow").http2()));
    let mut seen = 1;
    for _ in 0..20 {
        let mut two = Frames::open(&gateway).await;
        for stream in (1..90).step_by(2) {
            two.write(HEADERS, END_HEADERS | END_STREAM, stream, &block(&slow)).await;
        }
        let mut one = Vec::new();
        for _ in 0..5 {
            let mut client = Wire::open(&gateway).await;
            client.send(Ask::get("/public/slow").bytes()).await;
            one.push(client);
        }
        seen += 50;
        origin.has_seen(seen).await;
        for stream in (1..90).step_by(2) {
            two.write(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
        }
        drop(one);
        assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "hello", "{}", nginx.log());
        seen += 1;
    }
    gate.open();
    assert_eq!(soon("an answer", waiting).await.unwrap().unwrap().status(), StatusCode::OK, "{}", nginx.log());
    gateway.has_counted("public", "client_gone", 1_000).await;
    assert_eq!(gateway.outcome("public", "origin_reset"), 0, "{}", nginx.log());
}
