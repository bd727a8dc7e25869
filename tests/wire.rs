//! Where one request ends and the next begins: raw bytes from the client, raw bytes at the endpoint.

use std::time::Duration;

use crate::support::origin::Request;
use crate::support::{Answer, Ask, Gateway, Origin, Site, Step, Wire, soon};

/// Sends a request whose refusal closes the connection: one response, then the end, whatever follows.
async fn refused(gateway: &Gateway, request: &[u8], status: u16) -> Answer {
    let what = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
    let mut wire = Wire::open(gateway).await;
    let following = b"GET /public/following HTTP/1.1\r\nHost: localhost\r\n\r\n";
    wire.send([request, following].concat()).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, status, "{what:?}: {answer:?}");
    assert!(!answer.detail().is_empty(), "{what:?}");
    assert!(answer.fields.has("x-request-id"), "{what:?}");
    assert_eq!(answer.fields.get("connection"), Some("close"), "{what:?}");
    wire.ends().await;
    answer
}

/// A POST with these lines after `Host` and the token, and the bytes that follow.
fn post(key: &str, lines: &str) -> Vec<u8> {
    format!("POST /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\r\n{lines}").into_bytes()
}

#[tokio::test]
async fn invariant_6_an_ambiguous_framing_is_refused_and_never_repaired() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \"chunked\"\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Content-Length : 5\r\n\r\nhello",
        " Content-Length: 5\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 5, 6\r\n\r\nhello",
        "Content-Length: 5,5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 5 5\r\n\r\nhello",
        "Content-Length:\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5a\r\n\r\nhello",
        "Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "Content-Length: 18446744073709551621\r\n\r\nhello",
        "X-A: a\r\n folded\r\n\r\n",
        "X-A: a\r\n\tfolded\r\n\r\n",
        ": empty\r\n\r\n",
        "no colon\r\n\r\n",
        "X-A: a\0b\r\n\r\n",
        "X-A: a\u{1}b\r\n\r\n",
        "X-A: a\u{7f}b\r\n\r\n",
        "X-A: a\rX-B: b\r\n\r\n",
        "X-A: a\r\r\n\r\n",
        "X-A: a\nX-B: b\r\n\r\n",
        "X-A: a\r\n\n",
        "\n",
        "X-A\r\n: a\r\n\r\n",
        "X\u{0}A: a\r\n\r\n",
        "X(A): a\r\n\r\n",
        "Host: localhost\r\n\r\n",
    ] {
        refused(&gateway, &post(&key, lines), 400).await;
    }
    assert_eq!((origin.count(), origin.stray()), (0, Vec::new()));
}

#[tokio::test]
async fn a_request_line_has_three_words_separated_by_single_spaces() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for line in [
        "GET  /public/x HTTP/1.1\r\n",
        "GET /public/x  HTTP/1.1\r\n",
        "GET /public/x HTTP/1.1 \r\n",
        " GET /public/x HTTP/1.1\r\n",
        "GET\t/public/x\tHTTP/1.1\r\n",
        "GET /public/x\r\n",
        "GET /public/x HTTP/1.2\r\n",
        "GET /public/x HTTP/2.0\r\n",
        "GET /public/x http/1.1\r\n",
        "GET /public/x HTTP/1.1x\r\n",
        "GET /public/x HTTP/01.1\r\n",
        "GET /public/x HTTP/1.1\n",
        "/public/x HTTP/1.1\r\n",
        "\u{16}\u{3}\u{1}\r\n",
        "G@T /public/x HTTP/1.1\r\n",
        "GET public/x HTTP/1.1\r\n",
        "GET /public/<x> HTTP/1.1\r\n",
        "GET http:///public/x HTTP/1.1\r\n",
        "\r\n\r\n\r\nGET /public/x HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        refused(&gateway, format!("{line}Host: localhost\r\n\r\n").as_bytes(), 400).await;
    }
    assert_eq!(origin.count(), 0);
    for line in ["\r\nGET /public/x HTTP/1.1\r\n", "\r\n\r\nGET /public/x HTTP/1.1\r\n"] {
        let mut wire = Wire::open(&gateway).await;
        assert_eq!(wire.ask(format!("{line}Host: localhost\r\n\r\n")).await.status, 200);
    }
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let head = |fields: String| format!("GET /public/x HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let many = |count: usize| head((1..count).map(|n| format!("X-{n}: 1\r\n")).collect());
    let long = |length: usize| head(format!("X-A: {}\r\n", "a".repeat(length)));
    refused(&gateway, many(101).as_bytes(), 431).await;
    refused(&gateway, long(70_000).as_bytes(), 431).await;
    refused(&gateway, format!("GET /public/{} HTTP/1.1\r\n\r\n", "a".repeat(9_000)).as_bytes(), 414).await;
    refused(&gateway, head("Expect: the unexpected\r\n".to_owned()).as_bytes(), 417).await;
    assert_eq!(origin.count(), 0);
    for head in [many(100), long(60_000)] {
        assert_eq!(Wire::open(&gateway).await.ask(head).await.status, 200);
    }
    // The configured limit applies, even above the library's default.
    let wide = Site::before(&origin).with(|settings| settings.limits.header_bytes = 200_000).start().await;
    assert_eq!(Wire::open(&wide).await.ask(long(150_000)).await.status, 200);
    refused(&wide, long(210_000).as_bytes(), 431).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::scripted(|request: &Request| {
        let text = format!("{} {}", request.method, request.target);
        vec![crate::support::Step::Read, crate::support::Step::Send(crate::support::origin::ok(&text))]
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let all = [
        Ask::get("/public/1"),
        Ask::post("/public/2", "GET /public/inner HTTP/1.1\r\n\r\n"),
        Ask::get("/api/3"),
        Ask::post("/public/4", "0\r\n\r\n").trailer("x", "1"),
        Ask::get("/api/5").token(&key),
        Ask::get("/public/6"),
    ];
    let mut wire = Wire::open(&gateway).await;
    wire.send(all.iter().flat_map(Ask::bytes).collect::<Vec<u8>>()).await;
    for ask in &all {
        let answer = wire.answer().await;
        if ask.target == "/api/3" {
            assert_eq!(answer.status, 401);
        } else {
            assert_eq!(answer.text(), format!("{} {}", ask.method, ask.target));
        }
    }
    let targets: Vec<String> = origin.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/public/1", "/public/2", "/public/4", "/api/5", "/public/6"]);
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    let bad = "GET /public/x HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n";
    wire.send([Ask::get("/public/good").bytes(), bad.into(), Ask::get("/public/later").bytes()].concat()).await;
    assert_eq!(wire.answer().await.text(), "hello");
    assert_eq!(wire.answer().await.status, 400);
    wire.ends().await;
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let inner = "POST /public/inner HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".repeat(20);
    for path in ["/api/x", "/nope", "/public/%00"] {
        for chunked in [false, true] {
            let mut ask = Ask::post(path, &inner);
            if chunked {
                ask = ask.trailer("x", "1");
            }
            let mut wire = Wire::open(&gateway).await;
            let answer = wire.ask(ask.bytes()).await;
            assert!([401, 404, 400].contains(&answer.status));
            assert_eq!(answer.fields.get("connection"), Some("close"));
            wire.ends().await;
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_a_refusal() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for size in [1_000, 60_000, 12 << 20, 40 << 20] {
        for chunked in [false, true] {
            for tls in [false, true] {
                let mut wire = if tls { Wire::open(&gateway).await } else { Wire::plain(&gateway).await };
                let ask = Ask::post("/api/x", vec![b'x'; size]);
                // The whole body is sent before the response is read.
                wire.send(if chunked { ask.trailer("x", "1") } else { ask }.bytes()).await;
                assert_eq!(wire.answer().await.status, 401);
                // The connection must end without a reset, which could discard the response.
                assert!(!soon("the end", wire.0.fill()).await.unwrap(), "{size} {chunked} {tls}");
            }
        }
    }
    // Other early responses: no route, a body that is too long, an invalid head.
    for (status, begin) in [
        (404, "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12000000\r\n\r\n"),
        (413, "POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12000000\r\n\r\n"),
        (400, "POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12000000,\r\n\r\n"),
        (400, "POST /public/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nB71B00;\r\n"),
    ] {
        let mut wire = Wire::open(&gateway).await;
        wire.send([begin.as_bytes(), &vec![b'x'; 12_000_000]].concat()).await;
        assert_eq!(wire.answer().await.status, status, "{begin}");
        wire.ends().await;
    }
    let mut wire = Wire::open(&gateway).await;
    wire.send("POST /api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nbegin").await;
    assert_eq!(wire.answer().await.status, 401);
    wire.ends().await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn continue_is_sent_only_if_the_body_is_accepted() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut stranger = Wire::open(&gateway).await;
    stranger.send("POST /api/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(stranger.next_head().await.unwrap().0, 401);
    assert_eq!(origin.connections(), 0);
    let mut alice = Wire::open(&gateway).await;
    alice.send(post(&key, "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n")).await;
    assert_eq!(alice.next_head().await.unwrap().0, 100);
    assert_eq!(alice.ask("hello").await.status, 200);
    let seen = origin.last();
    assert_eq!(seen.body, b"hello");
    assert!(!seen.fields.has("expect"));
    // The connection can serve another request.
    assert_eq!(alice.ask(Ask::get("/public/x").bytes()).await.status, 200);
}

#[tokio::test]
async fn a_request_that_arrives_byte_by_byte_is_one_request() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    for ask in [Ask::get("/api/1"), Ask::post("/api/2", "hello"), Ask::post("/api/3", "hello").trailer("x", "1")] {
        for byte in ask.token(&key).bytes() {
            wire.send([byte]).await;
        }
        assert_eq!(wire.answer().await.text(), "hello");
    }
    let bodies: Vec<Vec<u8>> = origin.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"".as_slice(), b"hello", b"hello"]);
}

#[tokio::test]
async fn a_malformed_body_closes_the_connection_and_never_looks_complete_to_the_endpoint() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let following = "GET /public/following HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for body in [
        "\r\nhello",
        "x\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n",
        "5\r\nhello\r\n0\r\nX: 1\n\r\n",
        "5\rXhello\r\n0\r\n\r\n",
        "5 5\rhello\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;\0ext\r\nhello\r\n0\r\n\r\n",
        "5;a=\r\nhello\r\n0\r\n\r\n",
        "5;a=\"b\r\nhello\r\n0\r\n\r\n",
        "5;a b\r\nhello\r\n0\r\n\r\n",
        "5;;a\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0;\r\n\r\n",
        "5\r\nhello\r\n0 \r\n\r\n",
        "5\r\nhello\r\n0\r\n X: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\r\n folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
        &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(17_000)),
        &format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(1_000)).repeat(20)),
    ] {
        let mut wire = Wire::open(&gateway).await;
        wire.send(
            [post(&key, "Transfer-Encoding: chunked\r\n\r\n").as_slice(), body.as_bytes(), following.as_bytes()]
                .concat(),
        )
        .await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
        assert_eq!(answer.detail(), "The request body is damaged or incomplete.");
        assert!(answer.fields.has("x-request-id"));
        wire.ends().await;
    }
    for seen in origin.requests() {
        assert!(!seen.complete && seen.target == "/api/x", "{seen:?}");
    }
}

#[tokio::test]
async fn a_body_that_its_client_aborts_never_looks_complete_to_the_endpoint() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for lines in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let before = origin.count();
        let mut wire = Wire::open(&gateway).await;
        wire.send(post(&key, lines)).await;
        origin.has_seen(before + 1).await;
        drop(wire);
    }
    soon("the gateway closes the connection", async {
        while origin.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(origin.requests().iter().all(|seen| !seen.complete), "{:?}", origin.requests());
}

#[tokio::test]
async fn http_1_0_gets_responses_of_its_version() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send("GET /public/x HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    let text = String::from_utf8(wire.rest().await).unwrap();
    assert!(text.starts_with("HTTP/1.0 200") || text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.ends_with("\r\n\r\nhello"), "{text}");
    assert!(origin.last().head.starts_with(b"GET /public/x HTTP/1.1\r\n"));
    let coded = "POST /public/x HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let text = Wire::open(&gateway).await.ask_raw(coded).await;
    assert!(text.contains(" 400 "), "{text}");
    let text = Wire::open(&gateway).await.ask_raw("GET /public/x HTTP/1.0\r\n\r\n").await;
    assert!(text.contains(" 400 "), "{text}");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn http_1_0_gets_a_body_without_a_length_until_the_connection_closes() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello world",
    ] {
        let origin = Origin::doing(vec![Step::Send(answer.as_bytes().to_vec()), Step::Close]).await;
        let gateway = Gateway::before(&origin).await;
        for mut wire in [Wire::open(&gateway).await, Wire::plain(&gateway).await] {
            wire.send("GET /public/x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n").await;
            let text = String::from_utf8(wire.rest().await).unwrap();
            assert!(text.contains("connection: close\r\n") && text.ends_with("\r\n\r\nhello world"), "{text}");
        }
        gateway.has_counted("public", "forwarded", 2).await;
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_an_early_response_of_the_endpoint() {
    let forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nearly".to_vec();
    let origin = Origin::doing(vec![Step::Send(forbidden), Step::Hang]).await;
    let gateway = Site::before(&origin).with(|settings| settings.routes[1].body_limit = 100 << 20).start().await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(Ask::post("/public/x", vec![b'x'; 30 << 20]).bytes()).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.text()), (403, "early"));
    wire.ends().await;
}

#[tokio::test]
async fn an_endless_refused_upload_is_not_read_endlessly() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::plain(&gateway).await;
    wire.send("POST /api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n").await;
    assert_eq!(wire.answer().await.status, 401);
    let (piece, mut sent) = (vec![b'x'; 1 << 20], 0_usize);
    while sent < 1_000 && wire.try_send(&piece).await.is_ok() {
        sent += 1;
    }
    assert!((100..1_000).contains(&sent), "{sent} MiB");
}

#[tokio::test]
async fn a_shutdown_waits_shortly_for_a_refused_upload_and_cuts_nothing() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send("POST /api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nbegin").await;
    assert_eq!(wire.answer().await.status, 401);
    assert_eq!(soon("the stop", gateway.stop(Duration::from_secs(60))).await.cut, 0);
}
