//! Shutdown: requests in flight finish, new ones are refused, and what exceeds the grace period is cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{Tls, connect};
use crate::support::http2::{H2, collect};
use crate::support::origin::ok;
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually, soon};

const GRACE: Duration = Duration::from_secs(60);

/// An endpoint that responds when the gate opens.
async fn waiting() -> (Origin, Arc<Gate>) {
    let gate = Gate::closed();
    let steps = vec![Step::Read, Step::Wait(Arc::clone(&gate)), Step::Send(ok("hello"))];
    (Origin::doing(steps).await, gate)
}

#[tokio::test]
async fn a_shutdown_finishes_requests_in_flight_and_accepts_no_new_ones() {
    let (origin, gate) = waiting().await;
    let gateway = Site::before(&origin).with(|settings| settings.workers = 2).start().await;
    let (address, config) = (gateway.address(), Tls::default().config(&gateway));
    let (mut wires, mut clients, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for count in 1..=20 {
        let mut wire = Wire::open(&gateway).await;
        wire.send(Ask::post("/public/x", "body").bytes()).await;
        wires.push(wire);
        let mut client = H2::open(&gateway).await;
        answers.push(tokio::spawn(client.begin(Ask::post("/public/x", "body").http2())));
        clients.push(client);
        origin.has_seen(2 * count).await;
    }
    let stop = tokio::spawn(gateway.stop(GRACE));
    eventually(PATIENCE, "new connections are refused", || async { TcpStream::connect(address).await.is_err() }).await;
    assert!(connect(address, &config, "localhost").await.is_err());
    assert!(!stop.is_finished());
    gate.open();
    for wire in &mut wires {
        let answer = wire.answer().await;
        assert_eq!((answer.text(), answer.complete, answer.fields.get("connection")), ("hello", true, Some("close")));
        wire.ends().await;
    }
    for answer in answers {
        let answer = collect(soon("answer", answer).await.unwrap().unwrap()).await;
        assert_eq!((answer.text(), answer.complete), ("hello", true));
    }
    assert_eq!(soon("the stop", stop).await.unwrap().cut, 0);
    assert_eq!(origin.count(), 40);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_connections_without_a_request() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (mut used, mut fresh) = (Wire::open(&gateway).await, Wire::open(&gateway).await);
    assert_eq!(used.ask(Ask::get("/public/x").bytes()).await.status, 200);
    let mut client = H2::open(&gateway).await;
    assert_eq!(client.ask(&Ask::get("/public/x")).await.status, 200);
    let stopped = soon("the stop", gateway.stop(GRACE)).await;
    assert_eq!(stopped.cut, 0);
    used.ends().await;
    fresh.ends().await;
    drop(soon("the connection ends", client.driver).await);
}

#[tokio::test]
async fn a_shutdown_lets_long_bodies_finish_in_both_directions() {
    let (origin, gate) = waiting().await;
    let gateway = Gateway::before(&origin).await;
    let mut upload = Wire::open(&gateway).await;
    upload.send("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut download = Wire::open(&gateway).await;
    download.send(Ask::get("/public/x").bytes()).await;
    origin.has_seen(2).await;
    let address = gateway.address();
    let stop = tokio::spawn(gateway.stop(GRACE));
    eventually(PATIENCE, "the stop has begun", || async { TcpStream::connect(address).await.is_err() }).await;
    upload.send("hello").await;
    gate.open();
    assert_eq!(upload.answer().await.text(), "hello");
    assert_eq!(download.answer().await.text(), "hello");
    assert_eq!(soon("the stop", stop).await.unwrap().cut, 0);
    assert!(origin.requests().iter().any(|seen| seen.body == b"hellohello"));
}

#[tokio::test]
async fn a_shutdown_cuts_what_exceeds_the_grace_period() {
    let origin = Origin::doing(vec![Step::Read, Step::Hang]).await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(Ask::get("/public/x").bytes()).await;
    let mut client = H2::open(&gateway).await;
    let answer = tokio::spawn(client.begin(Ask::get("/public/x").http2()));
    origin.has_seen(2).await;
    let log = gateway.log.clone();
    let stopped = soon("the stop", gateway.stop(Duration::from_millis(200))).await;
    assert_eq!(stopped.cut, 2);
    wire.ends().await;
    assert!(soon("answer", answer).await.unwrap().is_err());
    origin.is_left().await;
    let told = || async { log.text().matches("outcome=client_gone").count() == 2 };
    eventually(PATIENCE, "both are in the log", told).await;
}

#[tokio::test]
async fn a_client_that_connected_before_the_shutdown_is_not_reset() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    // The kernel has accepted them; the worker may not have yet.
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(gateway.plain_address()).await.unwrap();
        stream.write_all(&Ask::get("/public/x").bytes()).await.unwrap();
        waiting.push(Wire::over(stream));
    }
    let stop = tokio::spawn(gateway.stop(GRACE));
    for wire in &mut waiting {
        assert_eq!(wire.answer().await.text(), "hello");
    }
    assert_eq!(soon("the stop", stop).await.unwrap().cut, 0);
    assert_eq!(origin.count(), 20);
}

#[tokio::test]
async fn the_last_lines_of_the_access_log_are_written_before_the_shutdown_returns() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.workers = 2).start().await;
    for _ in 0..10 {
        assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    }
    let log = gateway.log.clone();
    gateway.stop(GRACE).await;
    assert_eq!(log.text().lines().filter(|line| line.contains("outcome=forwarded")).count(), 10);
}
