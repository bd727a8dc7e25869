//! Endpoints that speak HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokengate::config::settings::{ClientShare, Protocol};
use tokio::net::{TcpListener, TcpStream};

use super::over_tls;
use crate::support::authority::Authority;
use crate::support::client::BOTH;
use crate::support::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, block};
use crate::support::h2_origin::{Act, H2Origin};
use crate::support::http2::{H2, streaming};
use crate::support::nginx::Nginx;
use crate::support::tls_front::TlsFront;
use crate::support::{Ask, Gate, Gateway, Http, Origin, PATIENCE, Site, Wire, eventually, settled, soon};

const EVENTS: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/public/events")];

pub fn before(endpoints: &[SocketAddr]) -> Site {
    Site::before_all(endpoints).with(|settings| {
        settings.upstreams[0].protocol = Protocol::Http2;
        settings.upstreams[0].client_share = ClientShare::Unlimited;
    })
}

pub async fn gateway(origin: &H2Origin) -> Gateway {
    before(&[origin.address()]).start().await
}

#[tokio::test]
async fn requests_share_one_connection_and_arrive_as_they_were_sent() {
    let origin = H2Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let key = gateway.issue("alice").await;
    for http in BOTH {
        for ask in [
            Ask::get("/api/a%20b?x=%26"),
            Ask::post("/api/x", "body"),
            Ask::post("/api/x", ""),
            Ask::new("DELETE", "/api/x"),
            Ask::post("/api/x", "body").trailer("x-user-id", "1"),
        ] {
            let answer = ask.clone().token(&key).field("X-User-Name", "root").over(http, &gateway).await;
            assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?} {ask:?}");
            let seen = origin.last();
            assert_eq!((seen.method.as_str(), seen.target.as_str()), (ask.method.as_str(), ask.target.as_str()));
            assert_eq!((seen.authority.as_str(), seen.complete), ("localhost", true));
            assert_eq!(seen.body, ask.body.clone().unwrap_or_default());
            let names: Vec<_> = seen.headers.get_all("x-user-name").iter().collect();
            assert_eq!(names, ["alice"], "{seen:?}");
            assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("host"), "{seen:?}");
        }
        let answer = Ask::new("HEAD", "/public/x").over(http, &gateway).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn no_connection_gets_more_streams_than_its_endpoint_permits() {
    let gate = Gate::closed();
    let waiting = Arc::clone(&gate);
    let origin = H2Origin::scripted(4, move |seen| match seen.target.as_str() {
        "/public/warm" => Act::Answer("warm".to_owned()),
        _ => Act::Wait(Arc::clone(&waiting), "late".to_owned()),
    })
    .await;
    let gateway = gateway(&origin).await;
    // The limit of the endpoint arrives with its first response.
    assert_eq!(Ask::get("/public/warm").to(&gateway).await.text(), "warm");
    let mut client = H2::open(&gateway).await;
    let answers: Vec<_> = (0..10).map(|_| tokio::spawn(client.begin(Ask::get("/public/x").http2()))).collect();
    origin.has_seen(11).await;
    let on = |index: usize| origin.requests().iter().filter(|seen| seen.connection == index).count();
    assert!(on(0) <= 5 && (1..origin.connections()).all(|index| on(index) <= 4), "{:?}", origin.requests());
    assert!(origin.connections() <= 4);
    gate.open();
    for answer in answers {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_open_few_connections() {
    let origin = H2Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut client = H2::open(&gateway).await;
    let answers: Vec<_> = (0..90).map(|_| tokio::spawn(client.begin(Ask::post("/public/x", "body").http2()))).collect();
    for answer in answers {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!((origin.count(), origin.connections()), (90, 1));
}

#[tokio::test]
async fn trailers_reach_the_client_if_they_are_known() {
    let trailers = vec![("grpc-status", "0"), ("grpc-message", "fine"), ("x-user-id", "1"), ("x-cost", "7")];
    let origin = H2Origin::scripted(100, move |_| Act::Trailers("hello".to_owned(), trailers.clone())).await;
    let gateway = gateway(&origin).await;
    let answer = Ask::post("/public/x", "").over(Http::Two, &gateway).await;
    assert_eq!((answer.text(), answer.complete), ("hello", true));
    assert_eq!((answer.trailers.get("grpc-status"), answer.trailers.get("grpc-message")), (Some("0"), Some("fine")));
    assert!(!answer.trailers.has("x-user-id") && !answer.trailers.has("x-cost"));
    let call = Ask::post("/public/x", "").field("Content-Type", "application/grpc");
    let answer = call.over(Http::Two, &gateway).await;
    assert_eq!((answer.trailers.get("x-cost"), answer.trailers.has("x-user-id")), (Some("7"), false), "a gRPC call");
    let answer = call.field("TE", "trailers").over(Http::One, &gateway).await;
    assert_eq!((answer.trailers.get("grpc-status"), answer.trailers.has("x-cost")), (Some("0"), false));
    assert_eq!(origin.last().headers.get("te").unwrap(), "trailers");
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_no_other_one_on_the_connection() {
    let origin = H2Origin::scripted(100, |seen| match seen.target.as_str() {
        "/public/flood" => Act::Flood(50 << 20),
        _ => Act::Answer("hello".to_owned()),
    })
    .await;
    let gateway = gateway(&origin).await;
    let mut stalled = Vec::new();
    for _ in 0..30 {
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::get("/public/flood").bytes()).await;
        stalled.push(wire);
    }
    origin.has_seen(30).await;
    for number in 0..50 {
        let body = vec![b'y'; 100_000];
        assert_eq!(Ask::post(&format!("/public/{number}"), body).to(&gateway).await.text(), "hello");
    }
    assert_eq!(origin.connections(), 1);
}

/// A queued frame costs the library more than its bytes, and it closes connections with too many of them.
#[tokio::test]
async fn short_frames_for_clients_that_read_nothing_stop_no_other_one_on_the_connection() {
    let origin = H2Origin::scripted(100, |seen| match seen.target.as_str() {
        "/public/events" => Act::Pieces(1 << 20, 20),
        _ => Act::Answer("hello".to_owned()),
    })
    .await;
    let gateway = before(&[origin.address()]).with(|settings| settings.routes[1].streaming = true).start().await;
    let mut stalled = Vec::new();
    for _ in 0..30 {
        let mut frames = Frames::without_room(&gateway).await;
        frames.write(HEADERS, END_HEADERS | END_STREAM, 1, &block(&EVENTS)).await;
        stalled.push(frames);
    }
    origin.has_seen(30).await;
    settled("the endpoint stops sending", || origin.sent()).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    assert_eq!(origin.connections(), 1);
    assert_eq!(gateway.outcome("public", "origin_reset"), 0);
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions_with_both_versions_of_clients() {
    let origin = H2Origin::scripted(100, |_| Act::Echo).await;
    let gateway = gateway(&origin).await;
    let body: Vec<u8> = (0..5_000_000_u32).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    for http in BOTH {
        let answer = Ask::post("/public/x", &body).over(http, &gateway).await;
        assert!(answer.complete && answer.body == body, "{http:?}: {}", answer.body.len());
    }
}

#[tokio::test]
async fn messages_go_back_and_forth_on_one_stream() {
    let origin = H2Origin::scripted(100, |_| Act::Echo).await;
    let gateway = before(&[origin.address()]).with(|settings| settings.routes[1].streaming = true).start().await;
    let mut client = H2::open(&gateway).await;
    let (mut sender, request) = streaming(&Ask::post("/public/x", ""));
    let answer = tokio::spawn(client.begin(request));
    sender.send_data("one".into()).await.unwrap();
    let mut body = soon("head", answer).await.unwrap().unwrap().into_body();
    for text in ["one", "two", "three"] {
        let frame = soon("a message", http_body_util::BodyExt::frame(&mut body)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
        let next = if text == "one" { "two" } else { "three" };
        if text != "three" {
            sender.send_data(next.into()).await.unwrap();
        }
    }
    drop(sender);
    assert!(soon("the end", http_body_util::BodyExt::frame(&mut body)).await.is_none_or(|frame| frame.is_ok()));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_and_not_the_connection() {
    let origin = H2Origin::scripted(100, |seen| match seen.target.as_str() {
        "/public/hang" => Act::Hang,
        _ => Act::Answer("hello".to_owned()),
    })
    .await;
    let gateway = gateway(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(Ask::get("/public/hang").bytes()).await;
    origin.has_seen(1).await;
    drop(wire);
    gateway.has_counted("public", "client_gone", 1).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let origin = H2Origin::answering("hello").await;
    let site = before(&[origin.address()]).with(|s| s.upstreams[0].idle_timeout = Duration::from_millis(200));
    let gateway = site.start().await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    origin.is_left().await;
    assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.status, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn with_tls_the_endpoint_chooses_the_version() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    let (old, new) = (Origin::answering("one").await, H2Origin::answering("two").await);
    for (endpoint, alpn, text) in [
        (old.address(), &[&b"http/1.1"[..]][..], "one"),
        (new.address(), &[&b"h2"[..]], "two"),
        (old.address(), &[], "one"),
    ] {
        let front = TlsFront::with(endpoint, &certificate, alpn).await;
        let site = before(&[endpoint]).with(|s| over_tls(s, &[front.address()], &authority.trusted()));
        let gateway = site.start().await;
        for http in BOTH {
            assert_eq!(Ask::post("/public/x", "body").over(http, &gateway).await.text(), text);
        }
    }
}

#[tokio::test]
async fn nginx_serves_over_http2_with_and_without_tls() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"]);
    let files =
        format!("ssl_certificate {}; ssl_certificate_key {};", server.cert_file.display(), server.key_file.display());
    for (listen, is_secure) in [("ssl http2", true), ("http2", false)] {
        let files = if is_secure { files.clone() } else { String::new() };
        let nginx = Nginx::serving(|address| {
            format!(
                "listen {address} {listen}; {files} location / {{ return 200 \"$server_protocol $http_x_user_name\"; }}"
            )
        })
        .await;
        let site = before(&[nginx.address()]).with(|settings| {
            if is_secure {
                over_tls(settings, &[nginx.address()], &authority.trusted());
            }
        });
        let gateway = site.start().await;
        let key = gateway.issue("alice").await;
        for http in BOTH {
            for ask in [Ask::get("/api/x"), Ask::post("/api/x", vec![b'x'; 100_000])] {
                assert_eq!(ask.token(&key).over(http, &gateway).await.text(), "HTTP/2.0 alice", "{}", nginx.log());
            }
        }
    }
}

/// Passes connections on, except the first one, which gets no byte.
async fn mute_at_first(endpoint: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            if counted.fetch_add(1, Ordering::AcqRel) == 0 {
                held.push(near);
                continue;
            }
            tokio::spawn(async move {
                let mut far = TcpStream::connect(endpoint).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_client_that_leaves_while_its_connection_opens_does_not_strand_the_others() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"]).read();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (one, two) = (Origin::answering("hello").await, H2Origin::answering("hello").await);
        let (origin, alpn): (_, &[u8]) = match protocol {
            Protocol::Http1 => (one.address(), b"http/1.1"),
            Protocol::Http2 => (two.address(), b"h2"),
        };
        let front = TlsFront::with(origin, &server, &[alpn]).await;
        let (endpoint, opened) = mute_at_first(front.address()).await;
        let site = Site::before_all(&[endpoint]).with(|settings| {
            over_tls(settings, &[endpoint], &authority.trusted());
            let upstream = &mut settings.upstreams[0];
            (upstream.protocol, upstream.max_connections) = (protocol, 1);
            upstream.client_share = ClientShare::Unlimited;
        });
        let gateway = site.start().await;
        let (mut leaves, mut stays) = (Wire::open(&gateway).await, Wire::open(&gateway).await);
        leaves.send(Ask::get("/public/x").bytes()).await;
        eventually(PATIENCE, "it opens", || async { opened.load(Ordering::Acquire) == 1 }).await;
        stays.send(Ask::get("/public/x").bytes()).await;
        // The worker has read that request when it answers this one.
        assert_eq!(Ask::get("/nowhere").to(&gateway).await.status, 404);
        drop(leaves);
        assert_eq!(stays.answer().await.status, 200, "{protocol:?}");
    }
}
