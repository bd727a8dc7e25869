//! Endpoints that misbehave: what their clients see, and that other requests are unaffected.

use std::time::Duration;

use crate::support::client::BOTH;
use crate::support::http2::H2;
use crate::support::origin::{Request, ok};
use crate::support::{Answer, Ask, Gateway, Http, Origin, Site, Step, Wire, soon};

fn sends(bytes: &str) -> Vec<Step> {
    vec![Step::Read, Step::Send(bytes.as_bytes().to_vec())]
}

fn assert_bad_gateway(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 502, "{what}: {answer:?}");
    assert!(answer.detail().starts_with("The upstream"), "{what}");
    assert!(answer.fields.has("x-request-id"), "{what}");
}

#[tokio::test]
async fn an_invalid_response_is_a_bad_gateway_and_closes_its_connection() {
    for bytes in [
        "garbage\r\n\r\n",
        "\r\n\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX(A): 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        for http in BOTH {
            let steps = [sends(bytes), vec![Step::Close]].concat();
            let origin = Origin::doing(steps).await;
            let gateway = Gateway::before(&origin).await;
            assert_bad_gateway(&Ask::get("/public/x").over(http, &gateway).await, bytes);
            origin.is_left().await;
        }
    }
}

#[tokio::test]
async fn a_response_with_an_endless_head_is_a_bad_gateway() {
    let line = format!("X-A: {}\r\n", "a".repeat(1000)).into_bytes();
    let begin = Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec());
    let origin = Origin::doing(vec![Step::Read, begin, Step::Flood(line, 1_000_000)]).await;
    let gateway = Gateway::before(&origin).await;
    assert_bad_gateway(&Ask::get("/public/x").to(&gateway).await, "endless head");
    origin.is_left().await;
    assert!(origin.flooded() < 20 << 20);
}

#[tokio::test]
async fn a_connection_that_ends_before_its_response_is_a_bad_gateway() {
    for steps in [
        vec![Step::Close],
        vec![Step::Reset],
        vec![Step::Read, Step::Close],
        vec![Step::Read, Step::Reset],
        [sends("HTTP/1.1 200 OK\r\nContent-"), vec![Step::Close]].concat(),
    ] {
        for http in BOTH {
            let origin = Origin::doing(steps.clone()).await;
            let gateway = Gateway::before(&origin).await;
            for ask in [Ask::get("/public/x"), Ask::post("/public/x", "body")] {
                assert_bad_gateway(&ask.over(http, &gateway).await, "closed");
            }
            gateway.has_counted("public", "origin_reset", 2).await;
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_respond_times_out() {
    let short = Duration::from_millis(200);
    for steps in [vec![Step::Read, Step::Hang], [sends("HTTP/1.1 200 OK\r\n"), vec![Step::Hang]].concat()] {
        let origin = Origin::doing(steps).await;
        let gateway = Site::before(&origin).with(|s| s.routes[1].response_headers_timeout = short).start().await;
        for http in BOTH {
            for ask in [Ask::get("/public/x"), Ask::post("/public/x", "body")] {
                let answer = ask.over(http, &gateway).await;
                assert_eq!((answer.status, answer.detail()), (504, "The upstream did not respond in time.".to_owned()));
            }
        }
        origin.is_left().await;
        gateway.has_counted("public", "origin_timeout", 4).await;
    }
}

#[tokio::test]
async fn an_incomplete_response_is_incomplete_at_the_client() {
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let damaged = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n";
    let short = Duration::from_millis(200);
    for (bytes, then) in [
        (sized, Step::Close),
        (sized, Step::Reset),
        (sized, Step::Hang),
        (coded, Step::Close),
        (coded, Step::Reset),
        (coded, Step::Hang),
        (damaged, Step::Hang),
    ] {
        let origin = Origin::doing([sends(bytes), vec![then]].concat()).await;
        let gateway = Site::before(&origin).with(|s| s.routes[1].response_body_timeout = short).start().await;
        let mut wire = Wire::open(&gateway).await;
        let answer = wire.ask(Ask::get("/public/x").bytes()).await;
        assert_eq!((answer.status, answer.complete), (200, false), "{bytes}");
        wire.ends().await;
        let mut client = H2::open(&gateway).await;
        let answer = client.ask(&Ask::get("/public/x")).await;
        assert_eq!((answer.status, answer.complete), (200, false), "{bytes}");
        // Only the stream was reset, not the connection.
        assert_eq!(client.ask(&Ask::get("/api/x")).await.status, 401);
        origin.is_left().await;
    }
}

#[tokio::test]
async fn bytes_after_a_response_never_reach_another_client() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for behind in [evil, "garbage", "\r\n\r\n", "HTTP/1.1 "] {
        let origin = Origin::scripted(move |request: &Request| {
            let own = String::from_utf8(ok(&request.target)).unwrap();
            sends(&format!("{own}{behind}"))
        })
        .await;
        let gateway = Gateway::before(&origin).await;
        for number in 0..5 {
            for (http, method) in [(Http::One, "GET"), (Http::Two, "GET"), (Http::One, "POST")] {
                let target = format!("/public/{number}");
                let ask = Ask { body: (method == "POST").then(|| b"body".to_vec()), ..Ask::new(method, &target) };
                let answer = ask.over(http, &gateway).await;
                // A response that came before its request is discarded, and a request with effects may fail because of
                // it.
                if answer.status == 200 {
                    assert_eq!(answer.text(), target, "behind: {behind:?}");
                } else {
                    assert_eq!((answer.status, method), (502, "POST"), "behind: {behind:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_early_response_arrives_and_its_connection_is_not_used_again() {
    let early = Step::Send(ok("early"));
    for then in [Step::Hang, Step::Close] {
        let origin = Origin::doing(vec![early.clone(), then]).await;
        let gateway = Gateway::before(&origin).await;
        // Kept alive, so that the rest of the uploads is never sent.
        let mut uploads = Vec::new();
        for count in 1..=3 {
            let mut wire = Wire::open(&gateway).await;
            wire.send("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nbegin").await;
            assert_eq!(wire.answer().await.text(), "early");
            assert_eq!(origin.connections(), count);
            uploads.push(wire);
        }
        // The gateway neither waits for a client that continues to send, nor leaves it hanging.
        let mut wire = Wire::open(&gateway).await;
        wire.send("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n").await;
        assert_eq!(wire.answer().await.text(), "early");
        let piece = vec![b'x'; 1 << 16];
        soon("the connection ends", async { while wire.try_send(&piece).await.is_ok() {} }).await;
    }
}

#[tokio::test]
async fn interim_responses_do_not_disturb_the_final_one() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let origin = Origin::doing(sends(&format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))).await;
    let gateway = Gateway::before(&origin).await;
    for http in BOTH {
        for ask in [Ask::get("/public/x"), Ask::post("/public/x", "body")] {
            let answer = ask.over(http, &gateway).await;
            assert_eq!((answer.status, answer.text()), (200, "hello"));
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_does_not_block_another() {
    let (slow, fast) = (Origin::doing(vec![Step::Hang]).await, Origin::answering("fast").await);
    let site = Site::before(&slow).with(|settings| {
        let mut other = settings.upstreams[0].clone();
        let address = fast.address();
        other.endpoints[0].address =
            tokengate::config::settings::EndpointAddress::Tcp("127.0.0.1".to_owned(), address.port());
        settings.upstreams.push(other);
        settings.routes[2].upstream = 1;
    });
    let gateway = site.start().await;
    let mut client = H2::open(&gateway).await;
    let mut stuck = Vec::new();
    for count in 1..=20 {
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::get("/public/x").bytes()).await;
        slow.has_seen(count).await;
        stuck.push(wire);
    }
    assert_eq!(Ask::get("/optional/x").to(&gateway).await.text(), "fast");
    assert_eq!(client.ask(&Ask::get("/optional/x")).await.text(), "fast");
}

#[tokio::test]
async fn an_exchange_ends_at_its_total_timeout() {
    let flood = Step::Flood(b"1\r\nx\r\n".to_vec(), 1);
    let mut steps = sends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    steps.extend([flood, Step::Hang]);
    let origin = Origin::doing(steps).await;
    // Long enough for the head on a busy machine.
    let total = Some(Duration::from_secs(2));
    let gateway = Site::before(&origin).with(|s| s.routes[1].total_timeout = total).start().await;
    for http in BOTH {
        let answer = Ask::get("/public/x").over(http, &gateway).await;
        assert_eq!((answer.status, answer.complete), (200, false), "{http:?}");
    }
    origin.is_left().await;
}
