//! Bodies that nobody wants: over HTTP/2 they are taken for a moment all the same, so that the answer is not lost.

use std::time::Duration;

use tokengate::config::settings::{Browser, Login};
use tokio::time::Instant;

use crate::support::frames::Frames;
use crate::support::http2::{H2, collect, streaming};
use crate::support::origin::ok;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Step, eventually, soon};

/// Less than the gateway takes of a body that it does not want, and more than a client may send ahead.
const WITHIN: usize = 200_000;
const BEYOND: usize = 1 << 20;
const NO_ERROR: u32 = 0;
/// Less than the gateway waits for a body that it does not want.
const MOMENT: Duration = Duration::from_millis(500);

async fn gateway(origin: &Origin) -> Gateway {
    let login = Login { browser: Some(Browser::default()), ..Login::default() };
    Site::before(origin).with(|settings| settings.login = Some(login)).start().await
}

fn head<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    [&pseudo, more].concat()
}

/// What this client finds, who is given a moment by the gateway: one who was held up for longer, as on a busy machine,
/// may try again.
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
async fn an_early_answer_is_not_followed_by_a_reset_if_the_body_ends_soon() {
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
        // By the endpoint.
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
async fn an_early_success_is_followed_by_a_reset_only_if_the_body_cannot_be_sent_ahead() {
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
async fn a_page_comes_when_the_body_has_come_that_it_does_not_need() {
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
async fn a_body_that_goes_on_and_on_is_reset_without_an_error() {
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
async fn a_stop_waits_for_such_a_body_a_moment_and_cuts_nothing() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut client = H2::open(&gateway).await;
    let (body, request) = streaming(&Ask::new("POST", "/api/x"));
    assert_eq!(collect(soon("answer", client.send(request)).await.unwrap()).await.status, 401);
    // The request is over, whatever follows.
    gateway.has_counted("api", "no_credentials", 1).await;
    assert_eq!(soon("the stop", gateway.stop(Duration::from_secs(60))).await.cut, 0);
    drop(body);
}

#[tokio::test]
async fn a_worker_that_is_cut_short_survives_the_bodies_that_it_lets_go() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let gateway = gateway(&origin).await;
    let mut client = H2::open(&gateway).await;
    let (body, request) = streaming(&Ask::new("POST", "/public/x"));
    let answer = tokio::spawn(async move { client.send(request).await });
    eventually(PATIENCE, "the upload has begun", || async { origin.open_connections() == 1 }).await;
    // A worker that panics cannot say how many it cut.
    assert_eq!(soon("the stop", gateway.stop(Duration::from_millis(1))).await.cut, 1);
    assert!(soon("the answer", answer).await.unwrap().is_err());
    drop(body);
}
