//! Slow, silent or vanished clients: each has a timeout, and other clients are unaffected.

mod uploads;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokengate::config::settings::ConnectionTimeouts;
use tokio::net::TcpStream;

use crate::support::client::Tls;
use crate::support::frames::Frames;
use crate::support::http2::{H2, streaming};
use crate::support::{Ask, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually, soon};

/// Long enough for correct clients on a busy machine.
const SHORT: Duration = Duration::from_secs(2);

/// A gateway with only one short timeout.
async fn impatient(origin: &Origin, change: impl FnOnce(&mut ConnectionTimeouts)) -> Gateway {
    Site::before(origin).with(|settings| change(&mut settings.timeouts)).start().await
}

#[tokio::test]
async fn a_head_that_arrives_byte_by_byte_has_the_same_timeout() {
    let origin = Origin::answering("hello").await;
    let gateway = impatient(&origin, |timeouts| timeouts.request_headers = SHORT).await;
    let mut dripping = Wire::open(&gateway).await;
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    dripping.send("GET /public/x HTTP/1.1\r\nX-Drip: ").await;
    let gone = async {
        loop {
            drops.tick().await;
            if dripping.try_send("a").await.is_err() {
                break;
            }
        }
    };
    soon("the gateway closes", gone).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_silent_client_after_the_handshake_times_out() {
    let origin = Origin::answering("hello").await;
    let gateway = impatient(&origin, |timeouts| timeouts.request_headers = SHORT).await;
    let mut silent = Wire::open(&gateway).await;
    let mut in_clear = Wire::over(TcpStream::connect(gateway.plain_address()).await.unwrap());
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    silent.ends().await;
    in_clear.ends().await;
}

#[tokio::test]
async fn the_second_head_of_a_connection_has_the_same_timeout() {
    let origin = Origin::answering("hello").await;
    let gateway = impatient(&origin, |timeouts| timeouts.request_headers = SHORT).await;
    let mut wire = Wire::open(&gateway).await;
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
    wire.send("GET /pub").await;
    wire.ends().await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_one_with_a_request_is_not() {
    let gate = crate::support::Gate::closed();
    let waiting = std::sync::Arc::clone(&gate);
    let origin = Origin::scripted(move |request| {
        let answer = Step::Send(crate::support::origin::ok("hello"));
        if request.target == "/public/slow" {
            vec![Step::Read, Step::Wait(std::sync::Arc::clone(&waiting)), answer]
        } else {
            vec![Step::Read, answer]
        }
    })
    .await;
    let gateway = impatient(&origin, |timeouts| timeouts.idle = SHORT).await;
    let mut busy = Wire::open(&gateway).await;
    busy.send(Ask::get("/public/slow").bytes()).await;
    let mut busy_client = H2::open(&gateway).await;
    let busy_answer = tokio::spawn(busy_client.begin(Ask::get("/public/slow").http2()));
    origin.has_seen(2).await;

    let mut wire = Wire::open(&gateway).await;
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
    wire.ends().await;
    let mut client = H2::open(&gateway).await;
    assert_eq!(client.ask(&Ask::get("/public/x")).await.status, 200);
    drop(soon("the connection ends", client.driver).await);
    let silent = H2::open(&gateway).await;
    drop(soon("the connection ends", silent.driver).await);

    gate.open();
    assert_eq!(busy.answer().await.text(), "hello");
    assert_eq!(soon("answer", busy_answer).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_endless_header_block_of_http_2_times_out() {
    let origin = Origin::answering("hello").await;
    let gateway = impatient(&origin, |timeouts| timeouts.idle = SHORT).await;
    soon("the connection ends", Frames::open(&gateway).await.open_header_block()).await;
    // Nor one that does not even begin.
    let mut wire = Wire::over(Tls { alpn: vec![b"h2"], ..Tls::default() }.connect(&gateway).await.unwrap());
    wire.rest().await;
}

#[tokio::test]
async fn a_client_that_never_reads_its_response_times_out() {
    let flood = vec![
        Step::Read,
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec()),
        Step::Flood(vec![b'x'; 1 << 16], 1_000_000_000 >> 16),
        Step::Hang,
    ];
    for http in [Http::One, Http::Two] {
        let origin = Origin::doing(flood.clone()).await;
        let gateway = impatient(&origin, |timeouts| timeouts.write = SHORT).await;
        let (mut wire, mut client) = (Wire::open(&gateway).await, H2::open(&gateway).await);
        let held = match http {
            Http::One => {
                wire.send(Ask::get("/public/x").bytes()).await;
                None
            }
            Http::Two => Some(soon("head", client.send(Ask::get("/public/x").http2())).await.unwrap()),
        };
        origin.has_seen(1).await;
        origin.is_left().await;
        gateway.has_counted("public", "client_gone", 1).await;
        drop(held);
    }
}

#[tokio::test]
async fn a_client_that_reads_no_response_without_a_body_times_out() {
    let origin = Origin::answering("hello").await;
    let gateway = impatient(&origin, |timeouts| timeouts.write = SHORT).await;
    for (method, target) in [("HEAD", "/public/x"), ("HEAD", "/nowhere")] {
        for mut wire in [Wire::open(&gateway).await, Wire::plain(&gateway).await] {
            let many = Ask::new(method, target).bytes().repeat(1_000);
            let gone = async { while wire.try_send(&many).await.is_ok() {} };
            soon("the gateway closes", gone).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_reads_is_served_to_the_end() {
    // In total this takes longer than the timeout.
    let text = "x".repeat(4 << 20);
    let origin = Origin::answering(&text).await;
    let gateway = impatient(&origin, |timeouts| timeouts.write = 2 * SHORT).await;
    let mut client = H2::open(&gateway).await;
    let response = soon("head", client.send(Ask::get("/public/x").http2())).await.unwrap();
    let mut incoming = response.into_body();
    let (mut length, mut pauses) = (0, tokio::time::interval(Duration::from_millis(20)));
    while let Some(frame) = soon("piece", incoming.frame()).await {
        length += frame.unwrap().into_data().unwrap().len();
        pauses.tick().await;
    }
    assert_eq!(length, text.len());
}

#[tokio::test]
async fn stalled_bodies_delay_no_other_request() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|s| s.routes[1].request_body_timeout = SHORT).start().await;
    let mut stalled = Vec::new();
    for count in 1..=50 {
        let mut wire = Wire::open(&gateway).await;
        wire.send("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhel").await;
        let (mut body, request) = streaming(&Ask::new("POST", "/public/x"));
        let mut client = H2::open(&gateway).await;
        let answer = tokio::spawn(client.begin(request));
        body.send_data(Bytes::from("hel")).await.unwrap();
        stalled.push((wire, client, answer, body));
        if count % 10 == 0 {
            assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
        }
    }
    for (mut wire, _client, answer, _body) in stalled {
        assert_eq!(wire.answer().await.status, 408);
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 408);
    }
    let what = "only idle connections to the endpoint are open";
    eventually(PATIENCE, what, || async { origin.open_connections() <= 5 }).await;
}
