//! Streams, downloads and uploads end when their token ends, and only then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokengate::clock::Clock;
use tokengate::store::{End as TokenEnd, LimitChanges, Terms, TokenEvent};
use tokengate::token::{Networks, ScopeSet};
use tokio::io::AsyncWriteExt;

use crate::support::client::BOTH;
use crate::support::http2::{H2, collect, streaming};
use crate::support::message::End;
use crate::support::origin::ok;
use crate::support::watched::Watched;
use crate::support::{Answer, Ask, Gate, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually, soon};

const LONG: Duration = Duration::from_secs(3600);

/// A response that begins, continues when the gate opens, and never ends.
fn endless(gate: &Arc<Gate>) -> Vec<Step> {
    vec![
        Step::Read,
        Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec()),
        Step::Wait(Arc::clone(gate)),
        Step::Send(b"4\r\nmore\r\n".to_vec()),
        Step::Hang,
    ]
}

async fn endless_origin() -> (Origin, Arc<Gate>) {
    let gate = Gate::closed();
    (Origin::doing(endless(&gate)).await, gate)
}

/// A stream whose first piece has arrived.
enum Stream {
    One(Wire),
    Two(Incoming, H2),
}

impl Stream {
    async fn open(http: Http, gateway: &Gateway, key: &str) -> Stream {
        let ask = Ask::get("/api/stream").token(key);
        match http {
            Http::One => {
                let mut wire = Wire::open(gateway).await;
                wire.send(ask.bytes()).await;
                assert_eq!(wire.next_head().await.unwrap().0, 200);
                let mut stream = Stream::One(wire);
                assert!(stream.brings("first").await);
                stream
            }
            Http::Two => {
                let mut client = H2::open(gateway).await;
                let response = soon("head", client.send(ask.http2())).await.unwrap();
                assert_eq!(response.status(), 200);
                let mut stream = Stream::Two(response.into_body(), client);
                assert!(stream.brings("first").await);
                stream
            }
        }
    }

    /// Whether the next piece arrives before the end.
    async fn brings(&mut self, piece: &str) -> bool {
        match self {
            Stream::One(wire) => {
                while !String::from_utf8_lossy(&wire.0.buffer).contains(piece) {
                    if !soon("piece", wire.0.fill()).await.unwrap_or(false) {
                        return false;
                    }
                }
                true
            }
            Stream::Two(incoming, _client) => match soon("piece", incoming.frame()).await {
                Some(Ok(frame)) => frame.into_data().unwrap() == piece,
                // A cut stream must not look complete.
                None => panic!("the stream looks whole"),
                Some(Err(_)) => false,
            },
        }
    }

    /// Checks that the stream ends, and does not look complete.
    async fn ends_cut(mut self) {
        match &mut self {
            Stream::One(wire) => {
                let rest = wire.rest().await;
                assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"), "the stream looks whole");
            }
            Stream::Two(..) => assert!(!self.brings("more").await, "something more came"),
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_no_other_one_does() {
    for http in BOTH {
        let (origin, gate) = endless_origin().await;
        let gateway = Gateway::before(&origin).await;
        let (alice, bob) = (gateway.issue("alice").await, gateway.issue("bob").await);
        let other = gateway.issue_named("alice", "", None, &Clock::system()).await;
        let hers = Stream::open(http, &gateway, &alice).await;
        let mut others = [Stream::open(http, &gateway, &bob).await, Stream::open(http, &gateway, &other).await];
        gateway.revoke(&alice).await;
        hers.ends_cut().await;
        gateway.has_counted("api", "token_ended", 1).await;
        gate.open();
        for stream in &mut others {
            assert!(stream.brings("more").await, "{http:?}");
        }
        eventually(PATIENCE, "her lease is closed", || async { origin.open_connections() == 2 }).await;
        assert!(origin.stray().is_empty());
        eventually(PATIENCE, "one line in the log", || async {
            gateway.log.text().lines().filter(|line| line.contains("outcome=token_ended")).count() == 1
        })
        .await;
    }
}

#[tokio::test]
async fn every_way_in_which_a_token_ends_ends_its_stream() {
    let (origin, gate) = endless_origin().await;
    let gateway = Gateway::before(&origin).await;
    let (ledger, accounts) = (&gateway.store.ledger, &gateway.store.accounts);
    for (count, way) in (1..).zip(["reset", "deactivate", "delete", "rename", "groups", "scopes", "networks", "end"]) {
        let (owner, key) = (gateway.user(way).await, gateway.issue(way).await);
        let id = ledger.issue_login(owner).await.unwrap().id;
        let stream = Stream::open(Http::Two, &gateway, &key).await;
        let scopes = || Terms { scopes: Some(ScopeSet::parse("admin").unwrap()), ..Terms::default() };
        match way {
            "reset" => drop(ledger.reset_login(owner).await.unwrap()),
            "deactivate" => drop(accounts.deactivate(owner).await.unwrap()),
            "delete" => accounts.delete(owner).await.unwrap(),
            "rename" => accounts.rename(owner, "somebody").await.unwrap(),
            "groups" => drop(accounts.set_groups(owner, &["staff".to_owned()]).await.unwrap()),
            "networks" => {
                let networks = Some(Networks::parse("192.0.2.0/24").unwrap());
                let limits = LimitChanges { networks, ..LimitChanges::default() };
                assert!(ledger.set_terms(id, &Terms { limits, ..Terms::default() }).await.unwrap());
            }
            "scopes" => drop(ledger.set_terms(id, &scopes()).await.unwrap()),
            _ => {
                let over = TokenEnd::At(tokengate::clock::Timestamp::from_micros(1));
                ledger.set_terms(id, &Terms { end: Some(over), ..Terms::default() }).await.unwrap();
            }
        }
        stream.ends_cut().await;
        gateway.has_counted("api", "token_ended", count).await;
    }
    gate.open();
    origin.is_left().await;
}

#[tokio::test]
async fn a_stream_survives_changes_that_do_not_affect_it() {
    for http in BOTH {
        let (origin, gate) = endless_origin().await;
        let (gateway, store) = Watched::start(Site::before(&origin)).await;
        let (owner, key) = (gateway.user("alice").await, gateway.issue("alice").await);
        let mut stream = Stream::open(http, &gateway, &key).await;
        // Another token of alice is issued, changed and revoked; the expiry of this one changes.
        let other = gateway.issue_named("alice", "read", None, &Clock::system()).await;
        gateway.revoke(&other).await;
        let id = gateway.store.ledger.issue_login(owner).await.unwrap().id;
        let later = TokenEnd::At(Clock::system().now().after(LONG));
        let terms = Terms { end: Some(later), ..Terms::default() };
        gateway.store.ledger.set_terms(id, &terms).await.unwrap();
        gateway.store.accounts.set_groups(owner, &[]).await.unwrap();
        store.changes_are_applied().await;
        store.tell(TokenEvent::Gap);
        store.tell(TokenEvent::SubjectChanged(owner));
        eventually(PATIENCE, "the notification arrives", || async { store.all_is_told() }).await;
        // A witness: bob's stream ends because of a later change, so alice's must have been checked by then.
        let witness = gateway.issue("bob").await;
        let ended = Stream::open(http, &gateway, &witness).await;
        gateway.revoke(&witness).await;
        ended.ends_cut().await;
        gate.open();
        assert!(stream.brings("more").await, "{http:?}");
        // The new expiry applies.
        gateway.hand.advance(2 * LONG);
        gateway.has_counted("api", "token_ended", 2).await;
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    for http in BOTH {
        let (origin, gate) = endless_origin().await;
        let gateway = Gateway::before(&origin).await;
        let short = gateway.issue_named("alice", "", Some(LONG), &Clock::system()).await;
        let long = gateway.issue_named("alice", "", Some(3 * LONG), &Clock::system()).await;
        let ends = Stream::open(http, &gateway, &short).await;
        let mut goes_on = Stream::open(http, &gateway, &long).await;
        // A tick has passed, so that only the expiry is checked.
        assert_eq!(Ask::get("/nowhere").to(&gateway).await.status, 404);
        eventually(PATIENCE, "a tick", || async { gateway.log.text().contains("/nowhere") }).await;
        gateway.hand.advance(2 * LONG);
        ends.ends_cut().await;
        gate.open();
        assert!(goes_on.brings("more").await, "{http:?}");
    }
}

#[tokio::test]
async fn streams_continue_during_a_store_outage_and_end_after_it() {
    let (origin, gate) = endless_origin().await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let (alice, bob) = (gateway.issue("alice").await, gateway.issue("bob").await);
    let mut hers = Stream::open(Http::Two, &gateway, &alice).await;
    let mut his = Stream::open(Http::One, &gateway, &bob).await;
    store.set_mute(true);
    gateway.revoke(&alice).await;
    store.changes_are_applied().await;
    store.tell(TokenEvent::Gap);
    eventually(PATIENCE, "the notification arrives", || async { store.all_is_told() }).await;
    assert_eq!(Ask::get("/api/x").token(&alice).to(&gateway).await.status, 503);
    gate.open();
    assert!(hers.brings("more").await && his.brings("more").await);
    store.set_mute(false);
    hers.ends_cut().await;
    gateway.has_counted("api", "token_ended", 1).await;
    eventually(PATIENCE, "her lease is closed, his is not", || async { origin.open_connections() == 1 }).await;
}

#[tokio::test]
async fn a_stream_ends_whose_token_was_revoked_during_its_lookup() {
    let (origin, gate) = endless_origin().await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let key = gateway.issue("alice").await;
    let mut client = H2::open(&gateway).await;
    let answers = store.hold_answers();
    let first = tokio::spawn(client.begin(Ask::get("/api/stream").token(&key).http2()));
    eventually(PATIENCE, "the look-up has read", || async { store.reads() == 1 }).await;
    gateway.revoke(&key).await;
    store.changes_are_applied().await;
    drop(answers);
    // It passed because of a read from before the change, which no further event will report.
    let response = soon("answer", first).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let mut incoming = response.into_body();
    let end = async { while let Some(Ok(_)) = incoming.frame().await {} };
    soon("the stream ends", end).await;
    gateway.has_counted("api", "token_ended", 1).await;
    gate.open();
    origin.is_left().await;
}

#[tokio::test]
async fn a_download_ends_with_its_token_also_while_the_client_does_not_read() {
    let flood = vec![
        Step::Read,
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n".to_vec()),
        Step::Flood(vec![b'x'; 1 << 16], usize::MAX),
    ];
    let origin = Origin::doing(flood).await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let ask = Ask::get("/api/x").token(&key);
    let (mut reading, mut idle) = (Wire::open(&gateway).await, Wire::open(&gateway).await);
    for wire in [&mut reading, &mut idle] {
        wire.send(ask.bytes()).await;
        assert_eq!(wire.next_head().await.unwrap().0, 200);
    }
    let response = soon("head", H2::open(&gateway).await.send(ask.http2())).await.unwrap();
    let reading = tokio::spawn(async move { reading.0.body(End::Close, |_| ()).await });
    let reading_two = tokio::spawn(async move {
        let mut incoming = response.into_body();
        loop {
            match incoming.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("the download looks whole"),
            }
        }
    });
    origin.has_seen(3).await;
    gateway.revoke(&key).await;
    drop(soon("the first end", reading).await.unwrap());
    drop(soon("the second end", reading_two).await.unwrap());
    origin.is_left().await;
    gateway.has_counted("api", "token_ended", 3).await;
    drop(idle);
}

#[tokio::test]
async fn an_upload_is_cut_without_a_response() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|s| s.routes[0].body_limit = u64::MAX).start().await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    let head = format!("POST /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\r\n");
    wire.send(format!("{head}Content-Length: 1000000\r\n\r\nhello")).await;
    let (mut body, request) = streaming(&Ask::new("POST", "/api/x").token(&key));
    let mut client = H2::open(&gateway).await;
    let answer = tokio::spawn(client.begin(request));
    body.send_data(Bytes::from("hello")).await.unwrap();
    origin.has_seen(2).await;
    eventually(PATIENCE, "both bodies have begun", || async {
        origin.requests().iter().all(|seen| seen.body == b"hello")
    })
    .await;
    gateway.revoke(&key).await;
    assert!(soon("the stream is reset", answer).await.unwrap().is_err());
    wire.ends().await;
    origin.is_left().await;
    // Neither earlier nor later bytes reach the endpoint.
    let _ = wire.0.stream.write_all(b"hello").await;
    let _ = body.send_data(Bytes::from("hello")).await;
    gateway.has_counted("api", "token_ended", 2).await;
    assert!(origin.requests().iter().all(|seen| seen.body == b"hello" && !seen.complete));
}

#[tokio::test]
async fn an_upload_is_cut_also_while_the_client_does_not_read() {
    let origin = Origin::doing(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n".to_vec()),
        // More than the client's window, less than all buffers on the way.
        Step::Flood(vec![b'x'; 1 << 16], 3 << 4),
        Step::Read,
    ])
    .await;
    let gateway = Site::before(&origin).with(|s| s.routes[0].body_limit = u64::MAX).start().await;
    let key = gateway.issue("alice").await;
    let (mut body, request) = streaming(&Ask::new("POST", "/api/x").token(&key));
    let mut client = H2::open(&gateway).await;
    let answer = tokio::spawn(client.begin(request));
    body.send_data(Bytes::from("hello")).await.unwrap();
    let _not_taken = soon("head", answer).await.unwrap().unwrap();
    eventually(PATIENCE, "the body has begun", || async { origin.last().body == b"hello" }).await;
    gateway.revoke(&key).await;
    origin.is_left().await;
    let _ = body.send_data(Bytes::from("more")).await;
    assert!(origin.last().body == b"hello" && origin.stray().is_empty());
}

#[tokio::test]
async fn a_buffered_request_is_not_forwarded_when_its_token_ends() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|s| s.routes[0].buffer_request = true).start().await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    let head = format!("POST /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\r\n");
    wire.send(format!("{head}Content-Length: 10\r\n\r\nhello")).await;
    eventually(PATIENCE, "it was let in", || async { gateway.cached_tokens() == 1 }).await;
    gateway.revoke(&key).await;
    wire.ends().await;
    gateway.has_counted("api", "token_ended", 1).await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_short_response_still_arrives_after_its_token_has_ended() {
    for http in BOTH {
        let gate = Gate::closed();
        let (waiting, never) = (Arc::clone(&gate), Gate::closed());
        let origin = Origin::scripted(move |request| {
            let mut steps = vec![Step::Read, Step::Wait(Arc::clone(&waiting))];
            match request.target.as_str() {
                "/api/short" => steps.push(Step::Send(ok("hello"))),
                _ => steps.extend(endless(&never).into_iter().skip(1)),
            }
            steps
        })
        .await;
        let gateway = Gateway::before(&origin).await;
        let key = gateway.issue("alice").await;
        let asks = ["/api/short", "/api/stream"].map(|path| Ask::post(path, "do it").token(&key));
        let (mut answers, mut wires) = (Vec::new(), Vec::new());
        for ask in asks {
            match http {
                Http::One => {
                    let mut wire = Wire::open(&gateway).await;
                    wire.send(ask.bytes()).await;
                    wires.push(wire);
                }
                Http::Two => {
                    let mut client = H2::open(&gateway).await;
                    answers.push((tokio::spawn(client.begin(ask.http2())), client));
                }
            }
        }
        origin.has_seen(2).await;
        eventually(PATIENCE, "both were sent whole", || async { origin.requests().iter().all(|seen| seen.complete) })
            .await;
        gateway.revoke(&key).await;
        let other = Ask::get("/scoped/x").token(&key);
        eventually(PATIENCE, "it is refused", || async { other.to(&gateway).await.status == 401 }).await;
        gate.open();
        for (answer, _client) in answers {
            let answer = collect(soon("answer", answer).await.unwrap().unwrap()).await;
            assert!(is_whole_or_cut(&answer), "{answer:?}");
        }
        for mut wire in wires {
            let answer = wire.answer().await;
            assert!(is_whole_or_cut(&answer), "{answer:?}");
        }
        gateway.has_counted("api", "forwarded", 1).await;
        gateway.has_counted("api", "token_ended", 1).await;
    }
}

/// The short response is complete; the stream is cut in time.
fn is_whole_or_cut(answer: &Answer) -> bool {
    matches!((answer.text(), answer.complete), ("hello", true) | ("first", false))
}

#[tokio::test]
async fn two_hundred_streams_of_one_token_all_end() {
    let (origin, gate) = endless_origin().await;
    let gateway = Site::before(&origin).with(|settings| settings.workers = 2).start().await;
    let (key, other) = (gateway.issue("alice").await, gateway.issue("bob").await);
    let mut streams = Vec::new();
    let mut witness = Stream::open(Http::One, &gateway, &other).await;
    for _ in 0..4 {
        let mut client = H2::open(&gateway).await;
        for _ in 0..50 {
            let response = soon("head", client.send(Ask::get("/api/stream").token(&key).http2())).await.unwrap();
            streams.push(response.into_body());
        }
    }
    origin.has_seen(201).await;
    gateway.revoke(&key).await;
    for mut incoming in streams {
        let end = async {
            loop {
                match incoming.frame().await {
                    Some(Ok(frame)) => assert_eq!(frame.into_data().unwrap(), "first"),
                    Some(Err(_)) => break,
                    None => panic!("the stream looks whole"),
                }
            }
        };
        soon("the end", end).await;
    }
    gateway.has_counted("api", "token_ended", 200).await;
    gate.open();
    assert!(witness.brings("more").await);
    eventually(PATIENCE, "their leases are closed", || async { origin.open_connections() == 1 }).await;
}
