//! Responses of endpoints: each has an unambiguous end, or becomes a 502 with its cause in the log.

use std::time::Duration;

use crate::support::client::BOTH;
use crate::support::http2::H2;
use crate::support::origin::{Request, ok};
use crate::support::{Ask, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually};

mod differential;

/// An endpoint that sends this response at `/public/odd` and an ordinary one everywhere else.
async fn odd(answer: String) -> Origin {
    Origin::scripted(move |request: &Request| {
        let bytes = if request.target == "/public/odd" { answer.clone().into_bytes() } else { ok(&request.target) };
        vec![Step::Read, Step::Send(bytes)]
    })
    .await
}

async fn has_logged(gateway: &Gateway, words: &str) {
    let logged = || async { gateway.log.text().contains(words) };
    eventually(PATIENCE, &format!("the log says {words}"), logged).await;
}

/// Checks that other requests on the same gateway get their own responses.
async fn others_are_served(gateway: &Gateway, what: &str) {
    for http in BOTH {
        for number in 0..2 {
            let target = format!("/public/{number}");
            assert_eq!(Ask::get(&target).over(http, gateway).await.text(), target, "after {what:?}");
        }
    }
}

#[tokio::test]
async fn an_ambiguous_response_is_a_502_whose_cause_is_logged() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let many = "X-A: 1\r\n".repeat(101);
    let long = format!("X-A: {}\r\n", "a".repeat(64 << 10));
    for (head, body, cause) in [
        ("200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks, "two_framings"),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", chunks, "two_framings"),
        ("200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length : 5\r\n", chunks, "two_framings"),
        ("200 OK\r\nContent-Length: 2, 2\r\n", "ok", "content_length"),
        ("200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n", "ok", "content_length"),
        ("200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n", "ok", "content_length"),
        ("200 OK\r\nContent-Length: +2\r\n", "ok", "content_length"),
        ("200 OK\r\nContent-Length:\r\n", "ok", "content_length"),
        ("200 OK\r\nContent-Length: 99999999999999999999\r\n", "ok", "content_length"),
        ("200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", chunks, "transfer_encoding"),
        ("200 OK\r\nTransfer-Encoding: identity\r\n", "ok", "transfer_encoding"),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks, "transfer_encoding"),
        ("200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n", "", "folded_header"),
        ("200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n", "", "header_value:x-a"),
        ("200 OK\r\nX-A: secret\0\r\nContent-Length: 0\r\n", "", "header_value:x-a"),
        ("200 OK\nContent-Length: 0\r\n", "", "line_end"),
        ("200 OK\r\nno colon\r\nContent-Length: 0\r\n", "", "header_name"),
        ("200OK\r\nContent-Length: 0\r\n", "", "status_line"),
        (&format!("200 OK\r\n{many}"), "", "response_header_count"),
        (&format!("200 OK\r\n{long}"), "", "response_header_bytes"),
        ("101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n", "", "unasked_switch"),
    ] {
        let origin = odd(format!("HTTP/1.1 {head}\r\n{body}")).await;
        let gateway = Gateway::before(&origin).await;
        for http in BOTH {
            for ask in [Ask::get("/public/odd"), Ask::post("/public/odd", "body")] {
                let answer = ask.over(http, &gateway).await;
                assert_eq!((answer.status, answer.complete), (502, true), "{http:?} {head:?}");
                assert_eq!(answer.detail(), "The upstream's response is invalid.", "{head:?}");
            }
        }
        gateway.has_counted("public", "origin_bad_response", 4).await;
        has_logged(&gateway, &format!("outcome=origin_bad_response cause={cause} ")).await;
        assert!(!gateway.log.text().contains("secret"), "the log has the name, never the value");
        others_are_served(&gateway, head).await;
    }
    let origin = odd(format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")).await;
    let gateway = Gateway::before(&origin).await;
    assert_eq!(Ask::get("/public/odd").to(&gateway).await.status, 502);
    has_logged(&gateway, " cause=transfer_encoding_in_http_1_0 ").await;
}

#[tokio::test]
async fn an_unambiguous_response_arrives_in_every_notation() {
    for (answer, body, fields) in [
        (
            "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length : 5\r\n\r\nhello",
            "hello",
            &[("x-a", "b"), ("content-length", "5")][..],
        ),
        (
            "HTTP/1.1 200 OK\r\nX-A\t: b\r\nTransfer-Encoding\t: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
            &[("x-a", "b")],
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello", "hello", &[("content-length", "5")]),
        ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello", &[("content-length", "5")]),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;a=\"b;c\"\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
            "hello",
            &[],
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            &[("content-length", "5")],
        ),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "", &[]),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "", &[]),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", &[]),
    ] {
        let origin = odd(answer.to_owned()).await;
        let gateway = Gateway::before(&origin).await;
        for http in BOTH {
            let got = Ask::get("/public/odd").over(http, &gateway).await;
            assert_eq!((got.status.to_string().as_str(), got.complete), (&answer[9..12], true), "{http:?} {answer:?}");
            assert_eq!(got.text(), body, "{http:?} {answer:?}");
            for (name, value) in fields {
                assert_eq!(got.fields.get(name), Some(*value), "{http:?} {answer:?}");
            }
            if got.status == 204 {
                assert!(!got.fields.has("content-length"), "{answer:?}");
            }
        }
        others_are_served(&gateway, answer).await;
    }
}

#[tokio::test]
async fn a_response_with_a_malformed_body_is_cut_and_logged() {
    let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello";
    for (rest, cause) in [
        ("!\r\n0\r\n\r\n", "chunk_end"),
        ("\n0\r\n\r\n", "chunk_end"),
        ("\r\nx\r\n", "chunk_line"),
        ("\r\n5\n", "chunk_line"),
        ("\r\n+5\r\nhello\r\n0\r\n\r\n", "chunk_line"),
        ("\r\n5 \r\nhello\r\n0\r\n\r\n", "chunk_line"),
        ("\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", "chunk_line"),
        ("\r\n0\r\nno colon\r\n\r\n", "header_name"),
        ("\r\n0\r\nX: a\0\r\n\r\n", "header_value:x"),
    ] {
        let origin = odd(format!("{begin}{rest}")).await;
        let gateway = Gateway::before(&origin).await;
        for http in BOTH {
            let answer = Ask::get("/public/odd").over(http, &gateway).await;
            assert_eq!((answer.status, answer.complete), (200, false), "{http:?} {rest:?}");
        }
        gateway.has_counted("public", "origin_bad_response", 2).await;
        has_logged(&gateway, &format!("outcome=origin_bad_response cause={cause} ")).await;
        others_are_served(&gateway, rest).await;
    }
}

#[tokio::test]
async fn limits_for_responses_are_settings() {
    let many = "X-A: 1\r\n".repeat(150);
    let long = format!("X-B: {}\r\n", "b".repeat(100 << 10));
    let origin = odd(format!("HTTP/1.1 200 OK\r\n{many}{long}Content-Length: 5\r\n\r\nhello")).await;
    let site = Site::before(&origin).with(|settings| {
        settings.limits.response_header_count = 152;
        settings.limits.response_header_bytes = 110 << 10;
    });
    let gateway = site.start().await;
    let answer = Ask::get("/public/odd").to(&gateway).await;
    assert_eq!((answer.status, answer.text(), answer.fields.all("x-a").len()), (200, "hello", 150));
    let gateway = Site::before(&origin).with(|settings| settings.limits.response_header_count = 152).start().await;
    assert_eq!(Ask::get("/public/odd").to(&gateway).await.status, 502);
    has_logged(&gateway, " cause=response_header_bytes ").await;
}

/// How a client announces the end of its request body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Nothing,
    Length,
    /// Chunked over HTTP/1.1, a stream without a length over HTTP/2.
    ByItsEnd,
}

#[tokio::test]
async fn request_bodies_of_all_methods_and_framings_reach_the_endpoint() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut count = 0;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for (said, body) in [
            (Said::Nothing, ""),
            (Said::Length, ""),
            (Said::Length, "body"),
            (Said::ByItsEnd, ""),
            (Said::ByItsEnd, "body"),
        ] {
            for http in BOTH {
                let what = format!("{http:?} {method} {said:?} {body:?}");
                let ask = Ask::new(method, "/public/x");
                let status = match http {
                    Http::One => {
                        let mut wire = Wire::open(&gateway).await;
                        let (size, head) = (body.len(), format!("{method} /public/x HTTP/1.1\r\nHost: localhost\r\n"));
                        let rest = match said {
                            Said::Nothing => "\r\n".to_owned(),
                            Said::Length => format!("Content-Length: {size}\r\n\r\n{body}"),
                            Said::ByItsEnd if body.is_empty() => {
                                "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()
                            }
                            Said::ByItsEnd => {
                                format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
                            }
                        };
                        wire.send(format!("{head}{rest}")).await;
                        if method == "HEAD" { wire.answer_to_head().await.status } else { wire.answer().await.status }
                    }
                    Http::Two => {
                        let mut client = H2::open(&gateway).await;
                        match said {
                            Said::Nothing => client.ask(&ask).await.status,
                            Said::Length => client.ask(&Ask { body: Some(body.into()), ..ask }).await.status,
                            Said::ByItsEnd => {
                                let (mut sender, request) = crate::support::http2::streaming(&ask);
                                let answer = client.begin(request);
                                if !body.is_empty() {
                                    sender.send_data(body.into()).await.unwrap();
                                }
                                drop(sender);
                                answer.await.unwrap().status().as_u16()
                            }
                        }
                    }
                };
                count += 1;
                let seen = origin.last();
                assert_eq!((status, origin.count()), (200, count), "{what}");
                assert_eq!((seen.method.as_str(), seen.complete), (method, true), "{what}");
                assert_eq!(String::from_utf8_lossy(&seen.body), body, "{what}");
                let (length, coding) = (seen.fields.get("content-length"), seen.fields.get("transfer-encoding"));
                match (said, body) {
                    (Said::Length, "body") => assert_eq!((length, coding), (Some("4"), None), "{what}"),
                    (Said::ByItsEnd, "body") => assert_eq!((length, coding), (None, Some("chunked")), "{what}"),
                    // An empty body: its framing may differ, but not be ambiguous.
                    _ => assert!(length.is_none() || coding.is_none(), "{what}"),
                }
            }
        }
    }
    assert!(origin.stray().is_empty());
}

#[tokio::test]
async fn requests_with_effects_succeed_with_an_endpoint_that_closes_after_each_response() {
    let origin = Origin::doing(vec![Step::Read, Step::Send(ok("hello")), Step::Close]).await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    for count in 1..=30 {
        assert_eq!(wire.ask(Ask::post("/public/x", "body").bytes()).await.text(), "hello");
        origin.is_left().await;
        assert_eq!(origin.count(), count);
    }
}

#[tokio::test]
async fn an_upload_continues_during_its_response_although_the_client_reads_nothing() {
    const LENGTH: usize = 8 << 20;
    let begin = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    let flood = Step::Flood(vec![b'x'; 1 << 16], LENGTH >> 16);
    let read = Origin::scripted(move |_| vec![Step::Send(begin.clone().into_bytes()), Step::Read, flood.clone()]).await;
    let gateway = Site::before(&read).with(|s| s.routes[1].body_limit = u64::MAX).start().await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(format!("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    for _ in 0..LENGTH >> 16 {
        wire.send(vec![b'y'; 1 << 16]).await;
    }
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.body.len(), answer.complete), (200, LENGTH, true));
    eventually(Duration::from_secs(20), "all of it arrives", || async { read.last().body.len() == LENGTH }).await;
}
