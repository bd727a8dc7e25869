//! Endpoints that speak HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use http::Response;
use tokengate::config::settings::{ClientShare, Ejection, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

fn before(endpoints: &[SocketAddr]) -> Site {
    Site::before_all(endpoints).with(|settings| {
        settings.upstreams[0].protocol = Protocol::Http2;
        settings.upstreams[0].client_share = ClientShare::Unlimited;
    })
}

async fn gateway(origin: &H2Origin) -> Gateway {
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
async fn a_request_that_was_not_processed_is_sent_again_once_with_its_body() {
    for http in BOTH {
        let count = AtomicUsize::new(0);
        let origin = H2Origin::scripted(100, move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => Act::Reset(Reason::REFUSED_STREAM),
            _ => Act::Answer("hello".to_owned()),
        })
        .await;
        let gateway = gateway(&origin).await;
        let answer = Ask::post("/public/x", "body").over(http, &gateway).await;
        assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?}");
        assert_eq!((origin.count(), origin.last().body.as_slice()), (2, &b"body"[..]));
    }
    let origin = H2Origin::scripted(100, |_| Act::Reset(Reason::REFUSED_STREAM)).await;
    let gateway = gateway(&origin).await;
    assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.status, 502);
    assert_eq!(origin.count(), 2, "not a third time");
}

#[tokio::test]
async fn a_request_with_effects_that_may_have_been_processed_is_not_sent_again() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        for http in BOTH {
            let origin = H2Origin::scripted(100, move |_| Act::Reset(reason)).await;
            let gateway = gateway(&origin).await;
            for ask in [Ask::post("/public/x", "body"), Ask::new("DELETE", "/public/x")] {
                assert_eq!(ask.over(http, &gateway).await.status, 502, "{reason:?} {http:?}");
            }
            assert_eq!(origin.count(), 2, "{reason:?} {http:?}");
        }
    }
    // The connection dies.
    let origin = H2Origin::scripted(100, |seen| match seen.target.as_str() {
        "/public/warm" => Act::Answer("warm".to_owned()),
        _ => Act::Close,
    })
    .await;
    let gateway = gateway(&origin).await;
    assert_eq!(Ask::get("/public/warm").to(&gateway).await.status, 200);
    assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.status, 502);
    assert_eq!(origin.count(), 2);
    gateway.has_counted("public", "origin_reset", 1).await;
}

#[tokio::test]
async fn a_connection_that_the_endpoint_ends_under_load_loses_no_request() {
    let count = AtomicUsize::new(0);
    let origin = H2Origin::scripted(100, move |seen| match count.fetch_add(1, Ordering::Relaxed) % 20 {
        7 => Act::GoAway(seen.target.clone()),
        _ => Act::Answer(seen.target.clone()),
    })
    .await;
    let gateway = gateway(&origin).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let mut wire = Wire::open(&gateway).await;
        clients.spawn(async move {
            for number in 0..60 {
                let target = format!("/public/{client}-{number}");
                let ask = if number % 2 == 0 { Ask::post(&target, "body") } else { Ask::get(&target) };
                let answer = wire.ask(ask.bytes()).await;
                assert_eq!((answer.status, answer.text()), (200, target.as_str()));
            }
        });
    }
    clients.join_all().await;
    let mut targets: Vec<String> = origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets.len(), 480);
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 480, "no request was processed twice");
    assert!(origin.connections() > 5);
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
async fn a_cut_response_is_cut_at_the_client() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let origin = H2Origin::scripted(100, move |_| Act::Cut(Arc::clone(&held))).await;
    let gateway = gateway(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(Ask::get("/public/x").bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 200);
    let two = tokio::spawn({
        let ask = Ask::get("/public/x");
        let mut client = H2::open(&gateway).await;
        async move { client.ask(&ask).await }
    });
    origin.has_seen(2).await;
    gate.open();
    assert!(!two.await.unwrap().complete);
    let rest = wire.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    gateway.has_counted("public", "origin_reset", 2).await;
}

#[tokio::test]
async fn an_invalid_response_is_a_bad_gateway() {
    type Make = fn() -> Response<()>;
    let cases: [(&str, Make); 3] = [
        ("two lengths", || {
            Response::builder().header("content-length", "0").header("content-length", "1").body(()).unwrap()
        }),
        ("no number", || Response::builder().header("content-length", "x").body(()).unwrap()),
        ("a body that is missing", || Response::builder().header("content-length", "5").body(()).unwrap()),
    ];
    for (what, make) in cases {
        let origin = H2Origin::scripted(100, move |_| Act::Head(Arc::new(make))).await;
        let gateway = gateway(&origin).await;
        for http in BOTH {
            assert_eq!(Ask::post("/public/x", "").over(http, &gateway).await.status, 502, "{what} {http:?}");
        }
        gateway.has_counted("public", "origin_bad_response", 2).await;
    }
    // An endpoint that speaks HTTP/1.1.
    let origin = Origin::answering("hello").await;
    let gateway = before(&[origin.address()]).start().await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 502);
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

/// Speaks HTTP/2 by hand. The responses to the first two requests of its first connection begin with an invalid header, which
/// ends the connection; all others are a 200 without a body. Counts the requests.
async fn invalid_at_first() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&counted);
            tokio::spawn(async move {
                let frame = |kind: u8, flags: u8, on: u8, payload: &[u8]| {
                    let length = u8::try_from(payload.len()).unwrap();
                    [&[0, 0, length, kind, flags, 0, 0, 0, on], payload].concat()
                };
                let (mut preface, mut head, mut asked) = ([0; 24], [0; 9], Vec::new());
                stream.read_exact(&mut preface).await.ok()?;
                stream.write_all(&frame(4, 0, 0, &[])).await.ok()?;
                loop {
                    stream.read_exact(&mut head).await.ok()?;
                    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                    stream.read_exact(&mut payload).await.ok()?;
                    match head[3] {
                        1 => asked.push(head[8]),
                        4 if head[4] == 0 => stream.write_all(&frame(4, 1, 0, &[])).await.ok()?,
                        _ => {}
                    }
                    count.fetch_add(usize::from(head[3] == 1), Ordering::Relaxed);
                    match number {
                        0 if asked.len() < 2 => {}
                        // `:status: 200`, and a name with a space.
                        0 => stream.write_all(&frame(1, 5, asked[0], b"\x88\0\x03a b\x01x")).await.ok()?,
                        _ if head[3] == 1 => stream.write_all(&frame(1, 5, head[8], b"\x88")).await.ok()?,
                        _ => {}
                    }
                }
                #[expect(unreachable_code, reason = "the type of the block")]
                Some(())
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn an_invalid_response_fails_no_request_without_effects_that_shares_its_connection() {
    let (address, count) = invalid_at_first().await;
    let gateway = before(&[address]).start().await;
    let mut client = H2::open(&gateway).await;
    let asks = ["/public/one", "/public/two"].map(|target| tokio::spawn(client.begin(Ask::get(target).http2())));
    for answer in asks {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(count.load(Ordering::Relaxed), 4);
    // Those with effects are not repeated.
    let (address, count) = invalid_at_first().await;
    let gateway = before(&[address]).start().await;
    let mut client = H2::open(&gateway).await;
    let asks = ["/public/one", "/public/two"].map(|target| tokio::spawn(client.begin(Ask::post(target, "").http2())));
    for answer in asks {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 502);
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
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
async fn an_endpoint_that_does_not_respond_times_out_and_its_connection_gets_no_further_requests() {
    let origin = H2Origin::scripted(100, |seen| match seen.target.as_str() {
        "/public/hang" => Act::Hang,
        _ => Act::Answer("hello".to_owned()),
    })
    .await;
    let site = before(&[origin.address()]);
    let gateway = site.with(|s| s.routes[1].response_headers_timeout = Duration::from_millis(300)).start().await;
    assert_eq!(Ask::post("/public/hang", "").to(&gateway).await.status, 504);
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    assert_eq!(origin.connections(), 2);
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

#[tokio::test]
async fn failures_of_streams_eject_an_endpoint_and_other_requests_go_to_another() {
    let (bad, good) =
        (H2Origin::scripted(100, |_| Act::Reset(Reason::INTERNAL_ERROR)).await, H2Origin::answering("hello").await);
    let site = before(&[bad.address(), good.address()]).with(|settings| {
        let eject_for = Duration::from_secs(3_600);
        settings.upstreams[0].ejection = Some(Ejection { consecutive_errors: 2, eject_for, max_ejected: 50 });
    });
    let gateway = site.start().await;
    for _ in 0..10 {
        assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    }
    assert_eq!(bad.count(), 2);
    eventually(PATIENCE, "counted", || async { gateway.outcome("public", "forwarded") == 10 }).await;
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
