//! Bodies in both directions: streamed, within size and rate limits, with their framing kept.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use crate::support::client::BOTH;
use crate::support::http2::{H2, collect, streaming};
use crate::support::origin::{Request, chunked, ok};
use crate::support::{Ask, Gate, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually, settled, soon};

/// More than all kernel buffers on the way can hold.
const HUGE: usize = 256 << 20;
/// The most that can be in flight: the kernel buffers of two connections, and a small part of ours.
const IN_FLIGHT: usize = 40 << 20;

async fn body_at(origin: &Origin, body: &[u8]) {
    eventually(PATIENCE, "the piece arrives", || async { origin.requests().last().is_some_and(|r| r.body == body) })
        .await;
}

#[tokio::test]
async fn a_request_body_streams_piece_by_piece() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for (head, first, second) in
        [("Content-Length: 6", "abc", "def"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n")]
    {
        let mut wire = Wire::open(&gateway).await;
        wire.send(format!("POST /public/x HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{first}")).await;
        body_at(&origin, b"abc").await;
        assert_eq!(wire.ask(second).await.text(), "hello");
        assert_eq!(origin.last().body, b"abcdef");
    }
    let (mut body, request) = streaming(&Ask::new("POST", "/public/x"));
    let mut client = H2::open(&gateway).await;
    let answer = tokio::spawn(async move { collect(client.send(request).await.unwrap()).await });
    body.send_data(Bytes::from("abc")).await.unwrap();
    body_at(&origin, b"abc").await;
    body.send_data(Bytes::from("def")).await.unwrap();
    drop(body);
    assert_eq!(soon("answer", answer).await.unwrap().text(), "hello");
    assert_eq!(origin.last().body, b"abcdef");
}

#[tokio::test]
async fn an_answer_streams_piece_by_piece() {
    let gate = Gate::closed();
    let pieces = |head: &str, first: &str, second: &str| {
        let first = Step::Send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}").into_bytes());
        vec![Step::Read, first, Step::Wait(std::sync::Arc::clone(&gate)), Step::Send(second.as_bytes().to_vec())]
    };
    let (sized, coded) = (
        pieces("Content-Length: 6", "abc", "def"),
        pieces("Transfer-Encoding: chunked", "3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n"),
    );
    let origin =
        Origin::scripted(move |r| if r.target == "/public/sized" { sized.clone() } else { coded.clone() }).await;
    let gateway = Gateway::before(&origin).await;
    let mut waiting = Vec::new();
    for path in ["/public/sized", "/public/coded"] {
        let response = soon("head", H2::open(&gateway).await.send(Ask::get(path).http2())).await.unwrap();
        let (head, mut incoming) = response.into_parts();
        assert_eq!(soon("piece", incoming.frame()).await.unwrap().unwrap().into_data().unwrap(), "abc");
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::get(path).bytes()).await;
        let (_, wire_head) = wire.next_head().await.unwrap();
        while !String::from_utf8_lossy(&wire.0.buffer).contains("abc") {
            assert!(soon("piece", wire.0.fill()).await.unwrap());
        }
        waiting.push((http::Response::from_parts(head, incoming), wire, wire_head));
    }
    gate.open();
    for (response, mut wire, head) in waiting {
        let rest = collect(response).await;
        assert_eq!((rest.text(), rest.complete), ("def", true));
        let mut all = Vec::new();
        let trailers =
            soon("rest", wire.0.body(head.answer_end(200, false), |piece| all.extend_from_slice(piece))).await;
        assert_eq!(all, b"abcdef");
        assert!(trailers.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_upload_waits_for_an_endpoint_that_does_not_read() {
    let origin = Origin::doing(vec![Step::Stall]).await;
    let gateway = Site::before(&origin).with(|s| s.routes[1].body_limit = u64::MAX).start().await;
    let piece = vec![b'x'; 1 << 20];
    let mut wire = Wire::open(&gateway).await;
    wire.send(format!("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {HUGE}\r\n\r\n")).await;
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(1), wire.0.stream.write_all(&piece)).await.is_ok_and(|r| r.is_ok()) {
        sent += piece.len();
        assert!(sent < IN_FLIGHT, "the gateway takes more than it can pass on");
    }
    let (mut body, request) = streaming(&Ask::new("POST", "/public/x"));
    let mut client = H2::open(&gateway).await;
    tokio::spawn(async move { client.send(request).await });
    let mut sent = 0;
    let data = Bytes::from(piece);
    while tokio::time::timeout(Duration::from_secs(1), body.send_data(data.clone())).await.is_ok_and(|r| r.is_ok()) {
        sent += data.len();
        assert!(sent < IN_FLIGHT, "the gateway takes more than it can pass on");
    }
    // Other requests are served meanwhile.
    assert_eq!(Ask::get("/api/x").to(&gateway).await.status, 401);
}

#[tokio::test]
async fn a_download_waits_for_a_client_that_does_not_read() {
    let flood = vec![
        Step::Read,
        Step::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n").into_bytes()),
        Step::Flood(vec![b'x'; 1 << 16], HUGE >> 16),
    ];
    for http in BOTH {
        let origin = Origin::doing(flood.clone()).await;
        let gateway = Gateway::before(&origin).await;
        let (mut wire, mut client) = (Wire::open(&gateway).await, H2::open(&gateway).await);
        let held = match http {
            Http::One => {
                wire.send(Ask::get("/public/x").bytes()).await;
                None
            }
            Http::Two => Some(soon("head", client.send(Ask::get("/public/x").http2())).await.unwrap()),
        };
        eventually(PATIENCE, "the origin sends", || async { origin.flooded() > 0 }).await;
        let taken = settled("the origin stops sending", || origin.flooded()).await;
        assert!((1..IN_FLIGHT).contains(&taken), "{http:?} {taken}");
        assert_eq!(Ask::get("/api/x").to(&gateway).await.status, 401);
        let reading_on = async {
            let mut incoming = held.map(http::Response::into_body);
            while origin.flooded() == taken {
                match &mut incoming {
                    Some(incoming) => drop(incoming.frame().await.unwrap().unwrap()),
                    None => {
                        wire.0.buffer.clear();
                        assert!(wire.0.fill().await.unwrap());
                    }
                }
            }
        };
        soon("the endpoint continues when its reader does", reading_on).await;
    }
}

#[tokio::test]
async fn large_bodies_arrive_unchanged_in_both_directions() {
    let text: Vec<u8> = (0..5_000_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let echo = ok(&"y".repeat(5_000_000));
    let origin = Origin::doing(vec![Step::Read, Step::Send(echo)]).await;
    let gateway = Gateway::before(&origin).await;
    for http in BOTH {
        let answer = Ask::post("/public/x", &text).over(http, &gateway).await;
        assert!(answer.complete && answer.body.len() == 5_000_000 && answer.body.iter().all(|byte| *byte == b'y'));
        assert!(origin.last().body == text, "{http:?}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_declared_or_not() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|s| s.routes[1].body_limit = 1000).start().await;
    for http in BOTH {
        let before = origin.count();
        let declared = Ask::post("/public/x", vec![b'x'; 1001]).over(http, &gateway).await;
        assert_eq!(
            (declared.status, declared.detail()),
            (413, "The request body is too large.".to_owned()),
            "{http:?}"
        );
        assert_eq!(origin.count(), before, "the endpoint got no request");
        let undeclared = Ask::post("/public/x", vec![b'x'; 1001]).trailer("x", "1").over(http, &gateway).await;
        assert_eq!(undeclared.status, 413, "{http:?}");
        for ask in
            [Ask::post("/public/x", vec![b'x'; 1000]), Ask::post("/public/x", vec![b'x'; 1000]).trailer("x", "1")]
        {
            assert_eq!(ask.over(http, &gateway).await.status, 200, "{http:?}");
            assert_eq!(origin.last().body.len(), 1000);
        }
    }
    assert!(origin.requests().iter().all(|seen| !seen.complete || seen.body.len() == 1000));
}

#[tokio::test]
async fn a_body_whose_client_pauses_too_long_is_given_up() {
    let origin = Origin::answering("hello").await;
    let short = Duration::from_millis(200);
    let gateway = Site::before(&origin).with(|s| s.routes[1].request_body_timeout = short).start().await;
    let mut wire = Wire::open(&gateway).await;
    let answer = wire.ask("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!((answer.status, answer.fields.get("connection")), (408, Some("close")));
    wire.ends().await;
    let (mut body, request) = streaming(&Ask::new("POST", "/public/x"));
    let mut client = H2::open(&gateway).await;
    body.send_data(Bytes::from("hello")).await.unwrap();
    let answer = collect(soon("answer", client.send(request)).await.unwrap()).await;
    assert_eq!(answer.status, 408);
    assert!(origin.requests().iter().all(|seen| !seen.complete));
    origin.is_left().await;
}

#[tokio::test]
async fn a_body_keeps_its_framing() {
    let sized = |request: &Request| request.target == "/public/sized";
    let closing = b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec();
    let origin = Origin::scripted(move |request| match request.target.as_str() {
        _ if sized(request) => vec![Step::Read, Step::Send(ok("hello"))],
        "/public/chunked" => vec![Step::Read, Step::Send(chunked("hello", ""))],
        _ => vec![Step::Read, Step::Send(closing.clone()), Step::Close],
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    for http in BOTH {
        let with_length = Ask::post("/public/sized", "body").field("Content-Length", "4");
        let ask = if http == Http::Two { with_length } else { Ask::post("/public/sized", "body") };
        let answer = ask.over(http, &gateway).await;
        assert_eq!((answer.text(), answer.fields.get("content-length")), ("hello", Some("5")));
        assert_eq!(origin.last().fields.get("content-length"), Some("4"), "{http:?}");
        assert!(!origin.last().fields.has("transfer-encoding"));

        let answer = Ask::post("/public/chunked", "body").trailer("x", "1").over(http, &gateway).await;
        assert_eq!((answer.text(), answer.complete, answer.fields.get("content-length")), ("hello", true, None));
        assert_eq!(origin.last().fields.get("transfer-encoding"), Some("chunked"), "{http:?}");
        assert!(!origin.last().fields.has("content-length"));

        let answer = Ask::get("/public/closing").over(http, &gateway).await;
        assert_eq!((answer.text(), answer.complete), ("hello", true));
        let seen = origin.last().fields;
        assert!(!seen.has("content-length") && !seen.has("transfer-encoding"), "{http:?} {seen:?}");
    }
}

#[tokio::test]
async fn only_grpc_trailers_of_a_response_pass() {
    let trailers = "grpc-status: 0\r\nGrpc-Message: ok\r\nX-User-Id: 1\r\nSet-Cookie: a=b\r\n";
    let origin = Origin::doing(vec![Step::Read, Step::Send(chunked("hello", trailers))]).await;
    let gateway = Gateway::before(&origin).await;
    let answer = Ask::get("/public/x").over(Http::Two, &gateway).await;
    assert_eq!((answer.text(), answer.complete), ("hello", true));
    assert_eq!(answer.trailers.get("grpc-status"), Some("0"));
    assert_eq!(answer.trailers.0.len(), 2, "{:?}", answer.trailers);
    let answer = Ask::get("/public/x").over(Http::One, &gateway).await;
    assert_eq!((answer.text(), answer.complete), ("hello", true));
    assert!(!answer.trailers.has("x-user-id") && !answer.trailers.has("set-cookie"));
}

#[tokio::test]
async fn responses_without_a_body_leave_the_connection_open() {
    let origin = Origin::scripted(|request| {
        let answer = match (request.method.as_str(), request.target.as_str()) {
            ("HEAD", _) => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            (_, "/public/204") => "HTTP/1.1 204 No Content\r\n\r\n",
            _ => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
        };
        vec![Step::Read, Step::Send(answer.as_bytes().to_vec())]
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let (mut wire, mut client) = (Wire::open(&gateway).await, H2::open(&gateway).await);
    for _ in 0..2 {
        for (method, path, status) in
            [("HEAD", "/public/x", 200), ("GET", "/public/204", 204), ("GET", "/public/304", 304)]
        {
            let ask = Ask::new(method, path);
            wire.send(ask.bytes()).await;
            let one = wire.answer_to_head().await;
            let two = client.ask(&ask).await;
            for answer in [one, two] {
                assert_eq!((answer.status, answer.body.len(), answer.complete), (status, 0, true), "{path}");
                if method == "HEAD" {
                    assert_eq!(answer.fields.get("content-length"), Some("1234"));
                }
            }
        }
    }
    assert_eq!((origin.count(), origin.connections()), (12, 1));
}
