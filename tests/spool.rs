//! Buffered request bodies: short ones in memory, long ones in files without names, all within one limit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokengate::config::Settings;
use tokengate::upstream::IN_MEMORY;

use crate::support::client::BOTH;
use crate::support::http2::{H2, collect, streaming};
use crate::support::{Answer, Ask, Gate, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually, settled, soon};

const MIB: usize = 1 << 20;
const NO_ROOM: &str = "Too many request bodies are in progress. Try again.";
const NOT_KEPT: &str = "The request body cannot be buffered at the moment. Try again.";

/// `/public/` buffers request bodies, in a folder of the test.
fn site(origin: &Origin) -> (Site, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let site = Site::before(origin).with(|settings| {
        settings.spool.folder = path;
        settings.routes[0].buffer_request = true;
        settings.routes[1].buffer_request = true;
    });
    (site, folder)
}

async fn gateway(origin: &Origin, change: impl FnOnce(&mut Settings)) -> (Gateway, TempDir) {
    let (site, folder) = site(origin);
    (site.with(change).start().await, folder)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
}

/// How many open files of that folder this process has, and how many files have a name there.
fn files(folder: &Path) -> (usize, usize) {
    let folder = folder.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    (open.filter(|target| target.starts_with(&folder)).count(), std::fs::read_dir(&folder).unwrap().count())
}

fn spooled(gateway: &Gateway) -> usize {
    usize::try_from(gateway.metric("tokengate_spooled_bytes")).unwrap()
}

/// Waits until the spool holds this many bytes.
async fn holds(gateway: &Gateway, bytes: usize) {
    eventually(PATIENCE, &format!("the spool holds {bytes} bytes"), || async { spooled(gateway) == bytes }).await;
}

/// Waits until this many files of that folder are open, none of them with a name.
async fn has_files(folder: &TempDir, open: usize) {
    let what = format!("{open} files without names are open");
    eventually(PATIENCE, &what, || async { files(folder.path()) == (open, 0) }).await;
}

async fn is_empty(gateway: &Gateway, folder: &TempDir) {
    holds(gateway, 0).await;
    has_files(folder, 0).await;
}

/// A request with only the first `sent` of its `length` body bytes.
async fn unfinished(gateway: &Gateway, sent: usize, length: usize) -> Wire {
    let mut wire = Wire::open(gateway).await;
    wire.send(format!("POST /public/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")).await;
    wire.send(text(sent)).await;
    wire
}

/// The responses to bodies that are slightly too long, one with a length and one without.
async fn refusals(http: Http, gateway: &Gateway, length: usize) -> [Answer; 2] {
    let declared = match http {
        Http::Two => Ask::post("/public/x", text(length)).over(http, gateway).await,
        // The gateway reads nothing after this head.
        Http::One => unfinished(gateway, 0, length).await.answer().await,
    };
    [declared, Ask::post("/public/x", text(length)).trailer("x", "1").over(http, gateway).await]
}

#[tokio::test]
async fn a_body_without_a_length_gets_one_and_no_body_gets_none() {
    let origin = Origin::answering("hello").await;
    let (gateway, _folder) = gateway(&origin, |_| {}).await;
    for http in BOTH {
        for (body, length) in [("gathered", "8"), ("", "0")] {
            assert_eq!(Ask::post("/public/x", body).trailer("x", "1").over(http, &gateway).await.status, 200);
            let seen = origin.last();
            assert_eq!((seen.fields.get("content-length"), seen.body.as_slice()), (Some(length), body.as_bytes()));
            assert!(!seen.fields.has("transfer-encoding"), "{http:?}");
        }
        Ask::get("/public/x").over(http, &gateway).await;
        assert!(!origin.last().fields.has("content-length"));
    }
}

#[tokio::test]
async fn a_long_body_arrives_whole_and_with_its_length() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    for length in [IN_MEMORY, IN_MEMORY + 1, 10_000_000] {
        let sent = text(length);
        for http in BOTH {
            // Chunked, or without a length; then with one.
            for ask in [Ask::post("/public/x", &sent).trailer("X-User-Id", "1"), Ask::post("/public/x", &sent)] {
                let answer = ask.over(http, &gateway).await;
                assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?} {length}");
                let seen = origin.last();
                assert!(seen.complete && seen.body == sent, "{http:?} {length}: {}", seen.body.len());
                assert_eq!(seen.fields.get("content-length"), Some(length.to_string().as_str()));
                assert!(!seen.fields.has("transfer-encoding") && seen.trailers.0.is_empty());
                is_empty(&gateway, &folder).await;
            }
        }
    }
    assert_eq!(origin.stray(), b"");
}

#[tokio::test]
async fn a_long_body_is_in_a_file_without_a_name() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    let short = unfinished(&gateway, MIB, 2 * MIB).await;
    holds(&gateway, MIB).await;
    has_files(&folder, 0).await;
    let mut long = unfinished(&gateway, 3 * MIB, 3 * MIB + 5).await;
    holds(&gateway, 4 * MIB).await;
    has_files(&folder, 1).await;
    assert_eq!(origin.count(), 0, "nothing is sent before the whole body has arrived");
    assert_eq!(long.ask("hello").await.status, 200);
    assert_eq!(origin.last().body.len(), 3 * MIB + 5);
    drop(short);
    is_empty(&gateway, &folder).await;
}

#[tokio::test]
async fn the_body_of_a_client_that_disconnects_is_deleted() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    let wire = unfinished(&gateway, 3 * MIB, 5 * MIB).await;
    let (mut body, request) = streaming(&Ask::new("POST", "/public/x"));
    let mut client = H2::open(&gateway).await;
    let answer = client.begin(request);
    body.send_data(Bytes::from(text(2 * MIB))).await.unwrap();
    holds(&gateway, 5 * MIB).await;
    has_files(&folder, 2).await;
    drop(wire);
    holds(&gateway, 2 * MIB).await;
    drop(answer);
    is_empty(&gateway, &folder).await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_full_spool_refuses_new_bodies_until_there_is_room() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |settings| settings.spool.max_size = 10 << 20).await;
    let mut first = unfinished(&gateway, 8 * MIB, 8 * MIB + 1).await;
    holds(&gateway, 8 * MIB).await;
    for http in BOTH {
        for answer in refusals(http, &gateway, 2 * MIB + 1).await {
            assert_eq!((answer.status, answer.detail().as_str()), (503, NO_ROOM), "{http:?}");
            assert_eq!(answer.fields.get("retry-after"), Some("1"));
        }
        // The refused body has released its space.
        holds(&gateway, 8 * MIB).await;
        assert_eq!(Ask::post("/public/x", "short").over(http, &gateway).await.status, 200);
        assert_eq!(Ask::get("/public/x").over(http, &gateway).await.status, 200);
    }
    gateway.has_counted("public", "spool_full", 4).await;
    assert_eq!(origin.count(), 4);
    assert_eq!(first.ask("x").await.status, 200, "earlier connections are served");
    is_empty(&gateway, &folder).await;
    assert_eq!(Ask::post("/public/x", text(3 * MIB)).to(&gateway).await.status, 200);
}

#[tokio::test]
async fn expect_100_continue_is_refused_if_there_is_no_room() {
    let origin = Origin::answering("hello").await;
    let (gateway, _folder) = gateway(&origin, |settings| settings.spool.max_size = 10 << 20).await;
    let head = format!(
        "POST /public/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        3 * MIB
    );
    let mut wire = Wire::open(&gateway).await;
    wire.send(&head).await;
    assert_eq!(wire.next_head().await.unwrap().0, 100);
    assert_eq!(wire.ask(text(3 * MIB)).await.status, 200);
    assert!(origin.last().body.len() == 3 * MIB && !origin.last().fields.has("expect"));
    let _first = unfinished(&gateway, 8 * MIB, 9 * MIB).await;
    holds(&gateway, 8 * MIB).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(&head).await;
    assert_eq!(wire.next_head().await.unwrap().0, 503, "before anything was sent");
}

#[tokio::test]
async fn a_body_beyond_the_limit_never_reaches_the_upstream() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |settings| settings.routes[1].body_limit = 3 << 20).await;
    for http in BOTH {
        let statuses = refusals(http, &gateway, 3 * MIB + 1).await.map(|answer| answer.status);
        assert_eq!(statuses, [413, 413], "{http:?}");
    }
    assert_eq!(origin.count(), 0);
    is_empty(&gateway, &folder).await;
}

#[tokio::test]
async fn an_incomplete_body_is_not_forwarded() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send("POST /public/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n").await;
    wire.send(text(2 * MIB)).await;
    assert_eq!(wire.ask("\r\nnonsense\r\n").await.status, 400);
    // More and less than declared.
    for length in [2 * MIB - 1, 2 * MIB + 1] {
        let ask = Ask::post("/public/x", text(2 * MIB)).field("Content-Length", length.to_string());
        let (mut client, request) = (H2::open(&gateway).await, ask.http2());
        if let Ok(response) = soon("answer", client.send(request)).await {
            assert_eq!(collect(response).await.status, 400, "{length}");
        }
    }
    is_empty(&gateway, &folder).await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_disk_that_fails_is_503_and_short_bodies_pass() {
    let origin = Origin::answering("hello").await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    let path = folder.path().to_owned();
    std::fs::remove_dir(&path).unwrap();
    for http in BOTH {
        let answer = Ask::post("/public/x", text(MIB + 1)).over(http, &gateway).await;
        assert_eq!((answer.status, answer.detail().as_str()), (503, NOT_KEPT), "{http:?}");
        assert_eq!(answer.fields.get("retry-after"), Some("1"));
        assert_eq!(Ask::post("/public/x", text(MIB)).over(http, &gateway).await.status, 200, "{http:?}");
    }
    gateway.has_counted("public", "spool_failed", 2).await;
    holds(&gateway, 0).await;
    std::fs::create_dir(&path).unwrap();
    assert_eq!(Ask::post("/public/x", text(MIB + 1)).to(&gateway).await.status, 200);
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn an_endpoint_that_reads_nothing_of_a_body_times_out() {
    let origin = Origin::doing(vec![Step::Stall]).await;
    let (gateway, folder) =
        gateway(&origin, |settings| settings.routes[1].response_headers_timeout = Duration::from_millis(200)).await;
    for http in BOTH {
        assert_eq!(Ask::post("/public/x", text(10_000_000)).over(http, &gateway).await.status, 504, "{http:?}");
    }
    is_empty(&gateway, &folder).await;
}

#[tokio::test]
async fn sending_a_buffered_body_stops_when_its_token_ends() {
    let origin = Origin::doing(vec![Step::Stall]).await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(Ask::post("/api/x", text(10_000_000)).token(&key).bytes()).await;
    origin.has_seen(1).await;
    gateway.revoke(&key).await;
    wire.ends().await;
    is_empty(&gateway, &folder).await;
    gateway.has_counted("api", "token_ended", 1).await;
}

#[tokio::test]
async fn an_endpoint_can_respond_before_it_has_read_the_whole_body() {
    let early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".to_vec();
    let origin = Origin::doing(vec![Step::Send(early), Step::Close]).await;
    let (gateway, folder) = gateway(&origin, |_| {}).await;
    for http in BOTH {
        let answer = Ask::post("/public/x", text(10_000_000)).over(http, &gateway).await;
        // Closing a connection with unread bytes sends a reset, which may overtake the response.
        assert!(matches!((answer.status, answer.text()), (413, "no") | (502, _)), "{http:?} {answer:?}");
    }
    is_empty(&gateway, &folder).await;
}

#[tokio::test]
async fn sending_a_buffered_body_stops_with_its_token_also_while_the_client_does_not_read() {
    let gate = Gate::closed();
    let origin = Origin::doing(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n".to_vec()),
        // More than the client's window, less than all buffers on the way.
        Step::Flood(vec![b'x'; 1 << 16], 3 << 4),
        Step::Wait(Arc::clone(&gate)),
        Step::Read,
    ])
    .await;
    // More than the kernel's buffers.
    let length = 64 * MIB;
    let (gateway, folder) = gateway(&origin, |settings| {
        settings.routes[0].body_limit = 64 << 20;
        // So that no timeout ends it first.
        settings.timeouts.write = Duration::from_secs(600);
    })
    .await;
    let key = gateway.issue("alice").await;
    let mut client = H2::open(&gateway).await;
    let answer = client.begin(Ask::post("/api/x", vec![b'x'; length]).token(&key).http2());
    let _not_taken = soon("head", answer).await.unwrap();
    settled("the answer has come as far as it can", || origin.flooded()).await;
    gateway.revoke(&key).await;
    // Before that 403, since the scope is missing; the endpoint sees none of these requests.
    let is_refused = || async { Ask::get("/scoped/x").token(&key).to(&gateway).await.status == 401 };
    eventually(PATIENCE, "the token has ended", is_refused).await;
    // The connection waits for the endpoint to read, and only then detects the end.
    gate.open();
    origin.is_left().await;
    is_empty(&gateway, &folder).await;
    let seen = origin.last();
    assert!(!seen.complete && seen.body.len() < length, "{}", seen.body.len());
}
