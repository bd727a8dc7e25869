//! Endpoints of HTTP/2 that fail: which requests are sent once more, and what clients get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use http::Response;
use tokengate::config::settings::Ejection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::http2::{before, gateway};
use crate::support::by_hand::{ByHand, Frame, OK, frame};
use crate::support::client::BOTH;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS};
use crate::support::h2_origin::{Act, H2Origin};
use crate::support::http2::{H2, streaming};
use crate::support::{Ask, Gate, Origin, PATIENCE, Wire, eventually, soon};

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

/// Speaks HTTP/2 by hand. On each of the first `invalid` connections, the response to the second request begins with an
/// invalid header, which ends the connection; all other responses are a 200 without a body. Counts the requests.
async fn invalid_at_first(invalid: usize) -> (SocketAddr, Arc<AtomicUsize>) {
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
                    match number < invalid {
                        true if asked.len() < 2 => {}
                        // `:status: 200`, and a name with a space.
                        true => stream.write_all(&frame(1, 5, asked[0], b"\x88\0\x03a b\x01x")).await.ok()?,
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
    let (address, count) = invalid_at_first(1).await;
    let gateway = before(&[address]).start().await;
    let mut client = H2::open(&gateway).await;
    let asks = ["/public/one", "/public/two"].map(|target| tokio::spawn(client.begin(Ask::get(target).http2())));
    for answer in asks {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(count.load(Ordering::Relaxed), 4);
    // Those with effects are not repeated.
    let (address, count) = invalid_at_first(1).await;
    let gateway = before(&[address]).start().await;
    let mut client = H2::open(&gateway).await;
    let asks = ["/public/one", "/public/two"].map(|target| tokio::spawn(client.begin(Ask::post(target, "").http2())));
    for answer in asks {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 502);
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
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

/// Speaks HTTP/2 by hand. A request with a long head gets an invalid response, which ends its connection, others get a 200
/// without a body a little later. The first connection answers only when it has three requests. Counts those with long heads.
async fn invalid_to_long_heads() -> (SocketAddr, Arc<AtomicUsize>) {
    let (opened, long) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&long);
    let script = move || {
        let (is_first, long) = (opened.fetch_add(1, Ordering::AcqRel) == 0, Arc::clone(&counted));
        let (mut asked, mut bad) = (0, None);
        move |got: Frame| {
            if got.kind != HEADERS {
                return Vec::new();
            }
            asked += 1;
            if got.payload.len() > 500 {
                long.fetch_add(1, Ordering::AcqRel);
                bad = Some(got.stream);
            }
            match bad {
                _ if is_first && asked < 3 => Vec::new(),
                // `:status: 200`, and a name with a space.
                Some(stream) => frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88\0\x03a b\x01x"),
                None => frame(HEADERS, END_HEADERS | END_STREAM, got.stream, &[OK]),
            }
        }
    };
    (ByHand::speaking(&[], script).await.address(), long)
}

/// The library ends a connection whose endpoint has sent an invalid header, and does not say on which stream. All requests
/// without effects are sent once more, also the one that is to blame.
#[tokio::test]
async fn a_request_that_always_gets_an_invalid_response_fails_no_other_and_is_sent_twice() {
    let (address, long) = invalid_to_long_heads().await;
    let gateway = before(&[address]).start().await;
    let mut client = H2::open(&gateway).await;
    let bad = Ask::get("/public/bad").field("X-Long", "1234567890".repeat(100));
    let bad = tokio::spawn(client.begin(bad.http2()));
    let good: Vec<_> = (0..2).map(|_| tokio::spawn(client.begin(Ask::get("/public/x").http2()))).collect();
    for answer in good {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(soon("answer", bad).await.unwrap().unwrap().status(), 502);
    assert_eq!(long.load(Ordering::Acquire), 2);
}

/// With two endpoints, the second attempt goes to the other one.
#[tokio::test]
async fn requests_whose_connection_an_invalid_response_has_ended_go_to_another_endpoint() {
    let (address, count) = invalid_at_first(usize::MAX).await;
    let good = H2Origin::answering("hello").await;
    let gateway = before(&[address, good.address()]).start().await;
    let mut client = H2::open(&gateway).await;
    let asks: Vec<_> = (0..40).map(|_| tokio::spawn(client.begin(Ask::get("/public/x").http2()))).collect();
    for answer in asks {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
    assert!(count.load(Ordering::Relaxed) <= 40);
}

/// What ends one connection often ends all that are open: the endpoint has crashed, or responds to all requests alike.
#[tokio::test]
async fn a_request_whose_connection_has_ended_is_sent_again_on_a_new_one() {
    let (opened, seen) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let seen_by_all = Arc::clone(&seen);
    let script = move || {
        let (number, seen) = (opened.fetch_add(1, Ordering::AcqRel), Arc::clone(&seen_by_all));
        let (mut asked, mut is_warm) = (Vec::new(), number > 0);
        move |got: Frame| {
            let answer = |stream: u32, block: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
            // `:status: 200`, and a name with a space.
            let invalid = |stream: u32| answer(stream, b"\x88\0\x03a b\x01x");
            match got.kind {
                HEADERS if !std::mem::replace(&mut is_warm, true) => return answer(got.stream, &[OK]),
                HEADERS => asked.push(got.stream),
                DATA => return invalid(asked[0]),
                _ => return Vec::new(),
            }
            seen.fetch_add(1, Ordering::AcqRel);
            match (number, asked.len()) {
                (0, _) | (1, 1) => Vec::new(),
                (1, _) => invalid(asked[0]),
                _ => answer(got.stream, &[OK]),
            }
        }
    };
    // SETTINGS_MAX_CONCURRENT_STREAMS: two requests on each connection.
    let endpoint = ByHand::speaking(&[0, 3, 0, 0, 0, 2], script).await;
    let gateway = before(&[endpoint.address()]).start().await;
    // The limit of the endpoint arrives with its first response.
    assert_eq!(Ask::get("/public/warm").to(&gateway).await.status, 200);
    let has_seen = |count: usize| {
        let seen = Arc::clone(&seen);
        async move { eventually(PATIENCE, "requests", || async { seen.load(Ordering::Acquire) == count }).await }
    };
    let mut client = H2::open(&gateway).await;
    let safe = tokio::spawn(client.begin(Ask::get("/public/one").http2()));
    has_seen(1).await;
    let (mut sender, request) = streaming(&Ask::post("/public/two", ""));
    let with_effects = tokio::spawn(client.begin(request));
    has_seen(2).await;
    let bystander = tokio::spawn(client.begin(Ask::get("/public/three").http2()));
    has_seen(3).await;
    assert_eq!(endpoint.connections(), 2);
    sender.send_data("end".into()).await.unwrap();
    assert_eq!(soon("an answer", with_effects).await.unwrap().unwrap().status(), 502);
    assert_eq!(soon("an answer", safe).await.unwrap().unwrap().status(), 200);
    assert_eq!((endpoint.connections(), seen.load(Ordering::Acquire)), (3, 4));
    assert!(!bystander.is_finished(), "its connection goes on");
}
