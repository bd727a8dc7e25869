//! Unneeded request bodies: over HTTP/2 they are read for a short time, so that the response is not lost.

use std::time::Duration;

use tokengate::config::settings::{Browser, Login};
use tokio::time::Instant;

use crate::support::frames::Frames;
use crate::support::http2::{H2, collect, streaming};
use crate::support::origin::ok;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Step, eventually, soon};

/// Less than the gateway reads of an unneeded body, and more than a client may send before it reads the response.
const WITHIN: usize = 200_000;
const BEYOND: usize = 1 << 20;
const NO_ERROR: u32 = 0;
/// Less than the gateway waits for an unneeded body.
const MOMENT: Duration = Duration::from_millis(500);

async fn gateway(origin: &Origin) -> Gateway {
    let login = Login { browser: Some(Browser::default()), ..Login::default() };
    Site::before(origin).with(|settings| settings.login = Some(login)).start().await
}

fn head<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    [&pseudo, more].concat()
}

/// Runs a client that must act within this time; one that was delayed longer, as on a busy machine, is tried again.
async fn within_a_moment(client: impl AsyncFn() -> bool) -> bool {
    for _ in 0..20 {
        let begun = Instant::now();
        let found = client().await;
        if found || begun.elapsed() < MOMENT {
            return found;
        }
    }
    false
}

#[tokio::test]
async fn an_early_response_is_not_followed_by_a_reset_if_the_body_ends_soon() {
    let forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nearly".to_vec();
    let origin = Origin::doing(vec![Step::Send(forbidden), Step::Hang]).await;
    let gateway = gateway(&origin).await;
    for (status, method, path, kind) in [
        (401, "POST", "/api/x", "application/json"),
        (404, "POST", "/nowhere", "application/json"),
        (405, "PUT", "/gettoken/", "application/json"),
        (415, "POST", "/gettoken/", "text/plain"),
        (413, "POST", "/gettoken/", "application/json"),
        (405, "PUT", "/auth/login/", "application/json"),
        // The response of the endpoint.
        (403, "POST", "/public/x", "application/json"),
    ] {
        for body in if status == 413 { vec![WITHIN] } else { vec![12, WITHIN] } {
            let length = body.to_string();
            let head = head(method, path, &[("content-type", kind), ("content-length", &length)]);
            let is_taken = async || {
                let mut client = Frames::open(&gateway).await;
                assert_eq!(client.answer_before_body(&head).await, status, "{method} {path}");
                client.upload(body, true).await
            };
            assert!(within_a_moment(is_taken).await, "{method} {path}: reset, body of {body}");
        }
    }
}

#[tokio::test]
async fn an_early_success_is_followed_by_a_reset_only_if_the_body_exceeds_the_window() {
    let origin = Origin::doing(vec![Step::Send(ok("early")), Step::Hang]).await;
    let gateway = gateway(&origin).await;
    let (short, long) = ("12", WITHIN.to_string());
    for (length, stays) in [(Some(short), true), (Some(&*long), false), (None, false)] {
        let head = head("POST", "/public/x", &Vec::from_iter(length.map(|length| ("content-length", length))));
        let is_taken = async || {
            let mut client = Frames::open(&gateway).await;
            assert_eq!(client.answer_before_body(&head).await, 200);
            client.upload(12, stays).await
        };
        assert_eq!(within_a_moment(is_taken).await, stays, "{length:?}");
    }
}

#[tokio::test]
async fn a_page_is_sent_after_its_unneeded_body_was_read() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    for (method, path) in
        [("OPTIONS", "/gettoken/"), ("OPTIONS", "/auth/login/"), ("GET", "/auth/login/"), ("GET", "/auth/account/")]
    {
        let waits_and_takes = async || {
            let mut client = Frames::open(&gateway).await;
            client.begin(&head(method, path, &[])).await;
            !client.answers().await && client.upload(WITHIN, true).await
        };
        assert!(within_a_moment(waits_and_takes).await, "{method} {path}: answered before its body, or reset");
    }
}

#[tokio::test]
async fn an_endless_body_is_reset_without_an_error() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut client = Frames::open(&gateway).await;
    assert_eq!(client.answer_before_body(&head("POST", "/api/x", &[])).await, 401);
    assert!(!client.upload(BEYOND, false).await, "no end to it");
    let mut silent = Frames::open(&gateway).await;
    assert_eq!(silent.answer_before_body(&head("POST", "/api/x", &[])).await, 401);
    assert_eq!(silent.reset().await, NO_ERROR);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_shutdown_waits_shortly_for_such_a_body_and_cuts_nothing() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut client = H2::open(&gateway).await;
    let (body, request) = streaming(&Ask::new("POST", "/api/x"));
    assert_eq!(collect(soon("answer", client.send(request)).await.unwrap()).await.status, 401);
    // The request has ended, whatever follows.
    gateway.has_counted("api", "no_credentials", 1).await;
    assert_eq!(soon("the stop", gateway.stop(Duration::from_secs(60))).await.cut, 0);
    drop(body);
}

#[tokio::test]
async fn a_worker_at_the_end_of_the_grace_period_drops_such_bodies_without_a_panic() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let gateway = gateway(&origin).await;
    let mut client = H2::open(&gateway).await;
    let (body, request) = streaming(&Ask::new("POST", "/public/x"));
    let answer = tokio::spawn(async move { client.send(request).await });
    eventually(PATIENCE, "the upload has begun", || async { origin.open_connections() == 1 }).await;
    // A worker that panicked could not report how many it cut.
    assert_eq!(soon("the stop", gateway.stop(Duration::from_millis(1))).await.cut, 1);
    assert!(soon("the answer", answer).await.unwrap().is_err());
    drop(body);
}
