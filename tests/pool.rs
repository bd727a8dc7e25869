//! Connections to endpoints: reused, limited, closed when unusable.

mod shares;

use std::sync::Arc;
use std::time::Duration;

use tokengate::config::settings::ClientShare;

use crate::support::http2::H2;
use crate::support::origin::ok;
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually, nowhere, soon};

#[tokio::test]
async fn requests_one_after_the_other_share_one_connection() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (mut wire, mut client) = (Wire::open(&gateway).await, H2::open(&gateway).await);
    for _ in 0..20 {
        assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.text(), "hello");
        assert_eq!(client.ask(&Ask::post("/public/x", "body")).await.text(), "hello");
        assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    }
    assert_eq!((origin.count(), origin.connections()), (60, 1));
}

#[tokio::test]
async fn requests_at_the_same_time_have_a_connection_each() {
    let gate = Gate::closed();
    let origin = Origin::doing(vec![Step::Read, Step::Wait(Arc::clone(&gate)), Step::Send(ok("hello"))]).await;
    let gateway = Gateway::before(&origin).await;
    let mut wires = Vec::new();
    for count in 1..=5 {
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::get("/public/x").bytes()).await;
        origin.has_seen(count).await;
        wires.push(wire);
    }
    gate.open();
    for wire in &mut wires {
        assert_eq!(wire.answer().await.text(), "hello");
    }
    assert_eq!(origin.connections(), 5);
}

#[tokio::test]
async fn no_request_fails_with_an_endpoint_that_closes_after_each_response() {
    let origin = Origin::doing(vec![Step::Read, Step::Send(ok("hello")), Step::Close]).await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    for _ in 0..100 {
        assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.text(), "hello");
    }
    assert_eq!(origin.count(), 100, "a connection that is closed takes no request");
}

#[tokio::test]
async fn connection_close_of_a_response_ends_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let origin = Origin::doing(vec![Step::Read, Step::Send(answer.as_bytes().to_vec())]).await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    for _ in 0..5 {
        assert_eq!(wire.ask(Ask::post("/public/x", "body").bytes()).await.text(), "hello");
    }
    assert_eq!((origin.count(), origin.connections()), (5, 5));
    origin.is_left().await;
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let origin = Origin::answering("hello").await;
    let idle = Duration::from_millis(200);
    let gateway = Site::before(&origin).with(|s| s.upstreams[0].idle_timeout = idle).start().await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    assert_eq!(origin.connections(), 1);
    origin.is_left().await;
    assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.status, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn an_endpoint_that_does_not_listen_is_a_bad_gateway() {
    let gateway = Site::before_all(&[nowhere()]).start().await;
    let mut wire = Wire::open(&gateway).await;
    for ask in [Ask::get("/public/x"), Ask::post("/public/x", "")] {
        let answer = wire.ask(ask.bytes()).await;
        assert_eq!((answer.status, answer.detail()), (502, "The upstream cannot be reached.".to_owned()));
        assert!(answer.fields.has("x-request-id"));
    }
    gateway.has_counted("public", "origin_connect", 2).await;
}

#[tokio::test]
async fn another_endpoint_takes_over_from_one_that_cannot_be_reached() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before_all(&[nowhere(), origin.address(), nowhere()]).start().await;
    let mut wire = Wire::open(&gateway).await;
    let mut served = 0;
    for number in 0..30 {
        let ask = if number % 2 == 0 { Ask::get("/public/x") } else { Ask::post("/public/x", "body") };
        served += usize::from(wire.ask(ask.bytes()).await.status == 200);
    }
    assert_eq!((served, origin.count()), (30, 30));
}

#[tokio::test]
async fn endpoints_take_turns() {
    let (one, other) = (Origin::answering("one").await, Origin::answering("other").await);
    let gateway = Site::before_all(&[one.address(), other.address()]).start().await;
    let mut wire = Wire::open(&gateway).await;
    for _ in 0..20 {
        assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
    }
    assert_eq!((one.count(), other.count()), (10, 10));
}

#[tokio::test]
async fn beyond_the_limits_of_connections_and_of_waiting_requests_a_request_is_refused_at_once() {
    let gate = Gate::closed();
    let origin = Origin::doing(vec![Step::Read, Step::Wait(Arc::clone(&gate)), Step::Send(ok("hello"))]).await;
    let gateway = Site::before(&origin).with(|s| {
        s.upstreams[0].max_connections = 2;
        s.upstreams[0].max_waiting = 2;
        s.upstreams[0].client_share = ClientShare::Unlimited;
    });
    let gateway = gateway.start().await;
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::get("/public/x").bytes()).await;
        wires.push(wire);
    }
    origin.has_seen(2).await;
    // Once a fifth request is refused, two are certainly waiting.
    eventually(PATIENCE, "a fifth request is refused", || async {
        // A request that is third or fourth instead waits, and is dropped.
        let answer = tokio::time::timeout(Duration::from_secs(3), Ask::get("/public/x").to(&gateway)).await;
        answer.is_ok_and(|answer| answer.status == 503 && answer.fields.get("retry-after") == Some("1"))
    })
    .await;
    assert_eq!((origin.count(), origin.connections()), (2, 2));
    gate.open();
    for wire in &mut wires {
        assert_eq!(wire.answer().await.text(), "hello");
    }
    assert_eq!(origin.connections(), 2);
    let counted = || async { gateway.outcome("public", "origin_overloaded") > 0 };
    eventually(PATIENCE, "that is counted", counted).await;
}

#[tokio::test]
async fn waiting_for_a_connection_has_a_timeout() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let gateway = Site::before(&origin).with(|s| {
        s.upstreams[0].max_connections = 1;
        s.upstreams[0].client_share = ClientShare::Unlimited;
        s.upstreams[0].wait_timeout = Duration::from_secs(1);
    });
    let gateway = gateway.start().await;
    let mut first = Wire::open(&gateway).await;
    first.send(Ask::get("/public/x").bytes()).await;
    origin.has_seen(1).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 503);
    // The place of a dropped request is free again.
    drop(first);
    origin.is_left().await;
    let mut second = Wire::open(&gateway).await;
    second.send(Ask::get("/public/x").bytes()).await;
    origin.has_seen(2).await;
}

#[tokio::test]
async fn the_connection_of_a_client_that_disconnects_is_closed() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec();
    for steps in [vec![Step::Hang], vec![Step::Read, Step::Hang], vec![Step::Read, Step::Send(begun), Step::Hang]] {
        let origin = Origin::doing(steps).await;
        let gateway = Gateway::before(&origin).await;
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::get("/public/x").bytes()).await;
        let mut client = H2::open(&gateway).await;
        let other = tokio::spawn(async move { client.send(Ask::get("/public/x").http2()).await });
        origin.has_seen(2).await;
        drop(wire);
        other.abort();
        // Dropping a response resets its stream, as dropping the request does.
        drop(other.await);
        origin.is_left().await;
        gateway.has_counted("public", "client_gone", 2).await;
        soon("others are served", async { assert_eq!(Ask::get("/api/x").to(&gateway).await.status, 401) }).await;
    }
}
