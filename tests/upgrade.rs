//! WebSocket: which callers get a tunnel, what it forwards, when it ends; and no byte after a handshake is read as a
//! request.

mod closing;
mod http2;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use tokengate::clock::Clock;
use tokengate::config::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::origin::{Request, ok};
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually, soon};

/// The example of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const LONG: Duration = Duration::from_secs(3600);
const SMUGGLED: &[u8] = b"GET /public/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub fn handshake(target: &str) -> Ask {
    Ask::get(target)
        .field("Connection", "Upgrade")
        .field("Upgrade", "websocket")
        .field("Sec-WebSocket-Version", "13")
        .field("Sec-WebSocket-Key", KEY)
}

fn switching(accept: &str) -> Vec<u8> {
    let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: chat\r\n";
    format!("HTTP/1.1 101 Switching Protocols\r\n{fields}Sec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes()
}

fn asks_for_websocket(request: &Request) -> bool {
    request.fields.has("upgrade")
}

/// Switches protocols on request, and echoes; responds 200 otherwise.
pub async fn echo() -> Origin {
    Origin::scripted(|request| {
        if asks_for_websocket(request) {
            let accept = accept(request.fields.get("sec-websocket-key").unwrap());
            vec![Step::Send(switching(&accept)), Step::Echo]
        } else {
            vec![Step::Read, Step::Send(ok("hello"))]
        }
    })
    .await
}

/// The answer to a key (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    Base64::encode_string(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// All routes except `/optional/` allow WebSocket.
pub fn streaming(settings: &mut Settings) {
    for route in &mut settings.routes {
        route.streaming = &*route.name != "optional";
    }
}

async fn before(origin: &Origin) -> Gateway {
    Site::before(origin).with(streaming).start().await
}

/// A working tunnel of this token's owner.
pub async fn tunnel(gateway: &Gateway, key: &str) -> Wire {
    let mut wire = Wire::open(gateway).await;
    wire.send(handshake("/api/ws").token(key).bytes()).await;
    assert_eq!(wire.next_head().await.expect("an answer").0, 101);
    echoes(&mut wire, b"hello").await;
    wire
}

pub async fn echoes(wire: &mut Wire, bytes: &[u8]) {
    wire.send(bytes).await;
    comes(wire, bytes).await;
}

async fn comes(wire: &mut Wire, bytes: &[u8]) {
    while wire.0.buffer.len() < bytes.len() {
        assert!(soon("bytes", wire.0.fill()).await.unwrap(), "the tunnel ended");
    }
    assert!(wire.0.buffer == bytes);
    wire.0.buffer.clear();
}

#[tokio::test]
async fn bytes_pass_a_tunnel_unchanged_in_both_directions() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let text: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    for (count, mut wire) in (1..).zip([Wire::open(&gateway).await, Wire::plain(&gateway).await]) {
        wire.send(handshake("/api/ws?room=1").token(&key).field("X-User-Id", "99").bytes()).await;
        let (status, head) = wire.next_head().await.unwrap();
        assert_eq!(status, 101);
        assert_eq!((head.fields.get("upgrade"), head.fields.get("connection")), (Some("websocket"), Some("upgrade")));
        assert_eq!(head.fields.get("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(head.fields.get("sec-websocket-protocol"), Some("chat"));
        assert!(head.fields.has("x-request-id") && !head.fields.has("transfer-encoding"));
        let seen = origin.last();
        assert_eq!((seen.target.as_str(), seen.fields.get("upgrade")), ("/api/ws?room=1", Some("websocket")));
        assert_eq!(seen.fields.get("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
        assert_eq!(seen.fields.get("x-user-name"), Some("alice"));
        assert_ne!(seen.fields.get("x-user-id"), Some("99"));
        assert!(!seen.fields.has("authorization"));

        let (mut reading, mut writing) = tokio::io::split(wire.0.stream);
        let sent = text.clone();
        let sender = tokio::spawn(async move {
            writing.write_all(&sent).await.unwrap();
            writing.flush().await.unwrap();
            writing
        });
        let mut got = vec![0; text.len()];
        soon("everything comes back", reading.read_exact(&mut got)).await.unwrap();
        assert!(got == text && origin.last().body == text);
        let mut writing = sender.await.unwrap();
        writing.shutdown().await.unwrap();
        assert_eq!(soon("the end", reading.read(&mut got)).await.unwrap_or(0), 0);
        gateway.has_counted("api", "forwarded", count).await;
    }
    origin.is_left().await;
    eventually(PATIENCE, "lines in the log", || async {
        let log = gateway.log.text();
        let tunnels = log.lines().filter(|line| line.contains("status=101") && line.contains("outcome=forwarded"));
        tunnels.filter(|line| line.contains("bytes=3000000")).count() == 2
    })
    .await;
}

#[tokio::test]
async fn bytes_in_one_packet_with_a_head_are_not_lost_on_either_side() {
    let gate = Gate::closed();
    let waiting = Arc::clone(&gate);
    let answer = [switching(ACCEPT), b"first".to_vec()].concat();
    let origin = Origin::doing(vec![Step::Wait(waiting), Step::Send(answer), Step::Echo]).await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    // Looks like a request, but is tunnel data.
    wire.send([handshake("/api/ws").token(&key).bytes(), SMUGGLED.to_vec()].concat()).await;
    origin.has_seen(1).await;
    wire.send("late").await;
    gate.open();
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    comes(&mut wire, &[b"first", SMUGGLED, b"late"].concat()).await;
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn an_endpoint_that_ends_a_tunnel_has_its_last_bytes_passed_on() {
    let answer = [switching(ACCEPT), b"goodbye".to_vec()].concat();
    let origin = Origin::doing(vec![Step::Send(answer), Step::Close]).await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/api/ws").token(&key).bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    assert_eq!(wire.rest().await, b"goodbye");
    drop(wire);
    gateway.has_counted("api", "forwarded", 1).await;
}

#[tokio::test]
async fn without_a_permit_there_is_no_tunnel_and_the_endpoint_sees_nothing() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    for (ask, status) in [
        (handshake("/api/ws"), 401),
        (handshake("/api/ws").token("unknown"), 401),
        (handshake("/scoped/ws").token(&key), 403),
        (handshake("/nowhere").token(&key), 404),
    ] {
        let mut wire = Wire::open(&gateway).await;
        wire.send([ask.bytes(), SMUGGLED.to_vec()].concat()).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.fields.get("connection")), (status, Some("close")));
        wire.ends().await;
    }
    assert_eq!((origin.count(), origin.connections()), (0, 0));
    // On a public route no permit is needed.
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/public/ws").bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    assert_eq!(origin.last().fields.get("x-auth-method"), Some("anonymous"));
}

#[tokio::test]
async fn bytes_after_a_refused_handshake_are_never_a_request() {
    for status in ["200 OK", "426 Upgrade Required", "400 Bad Request", "500 Internal Server Error"] {
        let origin = Origin::doing(vec![
            Step::Read,
            Step::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno").into_bytes()),
        ])
        .await;
        let gateway = before(&origin).await;
        let key = gateway.issue("alice").await;
        let mut at_once = Wire::open(&gateway).await;
        at_once.send([handshake("/api/ws").token(&key).bytes(), SMUGGLED.to_vec()].concat()).await;
        let mut later = Wire::open(&gateway).await;
        later.send(handshake("/api/ws").token(&key).bytes()).await;
        for wire in [&mut at_once, &mut later] {
            let answer = wire.answer().await;
            assert_eq!((answer.text(), answer.fields.get("connection")), ("no", Some("close")), "{status}");
        }
        // The connection may have closed already.
        let _ = later.try_send(SMUGGLED).await;
        at_once.ends().await;
        later.ends().await;
        assert_eq!(origin.count(), 2, "{status}");
        assert!(origin.requests().iter().all(|seen| seen.target == "/api/ws") && origin.stray().is_empty());
    }
}

#[tokio::test]
async fn an_invalid_switch_of_an_endpoint_is_a_bad_gateway() {
    let upgrade = "Upgrade: websocket\r\n";
    let connection = "Connection: upgrade\r\n";
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    for fields in [
        String::new(),
        format!("{upgrade}{connection}"),
        format!("{upgrade}{connection}Sec-WebSocket-Accept: c2hlIHNhbXBsZSBub25jZQ==\r\n"),
        format!("{upgrade}{connection}{accept}{accept}"),
        format!("{upgrade}{accept}"),
        format!("{connection}{accept}"),
        format!("Upgrade: h2c\r\n{connection}{accept}"),
        format!("Upgrade: websocket, h2c\r\n{connection}{accept}"),
    ] {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").into_bytes();
        let origin = Origin::doing(vec![Step::Send(answer), Step::Echo]).await;
        let gateway = before(&origin).await;
        let mut wire = Wire::open(&gateway).await;
        wire.send([handshake("/public/ws").bytes(), SMUGGLED.to_vec()].concat()).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.fields.get("connection")), (502, Some("close")), "{fields}");
        wire.ends().await;
        origin.is_left().await;
        assert!(origin.last().body.is_empty() && origin.count() == 1, "{fields}");
    }
}

#[tokio::test]
async fn an_invalid_handshake_is_an_ordinary_request_without_upgrade() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let without = |name: &str| {
        let mut ask = handshake("/public/ws");
        ask.fields.retain(|(known, _)| known != name);
        ask
    };
    let post = Ask { method: "POST".to_owned(), ..handshake("/public/ws") };
    for (what, ask) in [
        ("a route that does not stream", handshake("/optional/ws")),
        ("another protocol", without("Upgrade").field("Upgrade", "h2c")),
        ("two protocols", without("Upgrade").field("Upgrade", "websocket, h2c")),
        ("two lines", handshake("/public/ws").field("Upgrade", "h2c")),
        ("no key", without("Sec-WebSocket-Key")),
        ("a short key", without("Sec-WebSocket-Key").field("Sec-WebSocket-Key", "short")),
        ("two keys", handshake("/public/ws").field("Sec-WebSocket-Key", KEY)),
        ("not asked for here", without("Connection")),
        ("another method", post),
        ("a body", Ask { body: Some(b"body".to_vec()), ..handshake("/public/ws") }),
    ] {
        let mut wire = Wire::open(&gateway).await;
        let answer = wire.ask(ask.bytes()).await;
        assert_eq!((answer.status, answer.text()), (200, "hello"), "{what}");
        assert!(!origin.last().fields.has("upgrade") && !origin.last().fields.has("connection"), "{what}");
    }
    let mut wire = Wire::open(&gateway).await;
    let old = String::from_utf8(handshake("/public/ws").bytes()).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    assert!(wire.ask_raw(old).await.starts_with("HTTP/1.0 200"));
    assert!(!origin.last().fields.has("upgrade"));
    // A connection that could not have been switched stays open.
    let mut wire = Wire::open(&gateway).await;
    for _ in 0..2 {
        let ask = without("Upgrade").field("Upgrade", "h2c");
        assert_eq!(wire.ask(ask.bytes()).await.status, 200);
    }
}

#[tokio::test]
async fn requests_before_a_handshake_are_answered_first() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    let first = Ask::get("/public/x").bytes();
    wire.send([first.clone(), first, handshake("/public/ws").bytes(), b"early".to_vec()].concat()).await;
    for _ in 0..2 {
        assert_eq!(wire.answer().await.text(), "hello");
    }
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    comes(&mut wire, b"early").await;
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn only_the_tunnel_of_a_revoked_token_ends() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let (alice, bob) = (gateway.issue("alice").await, gateway.issue("bob").await);
    let short = gateway.issue_named("carol", "", Some(LONG), &Clock::system()).await;
    let (mut hers, mut his, mut carols) =
        (tunnel(&gateway, &alice).await, tunnel(&gateway, &bob).await, tunnel(&gateway, &short).await);
    gateway.revoke(&alice).await;
    hers.ends().await;
    gateway.has_counted("api", "token_ended", 1).await;
    eventually(PATIENCE, "her tunnel is closed", || async { origin.open_connections() == 2 }).await;
    let _ = hers.try_send("more").await;
    echoes(&mut his, b"more").await;
    echoes(&mut carols, b"more").await;
    gateway.hand.advance(2 * LONG);
    carols.ends().await;
    gateway.has_counted("api", "token_ended", 2).await;
    let seen = origin.requests();
    assert_eq!(seen.iter().filter(|seen| seen.body == b"hello").count(), 1, "no further piece arrived");
    gateway.store.accounts.rename(gateway.user("bob").await, "robert").await.unwrap();
    his.ends().await;
    origin.is_left().await;
}

#[tokio::test]
async fn a_tunnel_is_not_opened_when_its_token_ends_before_the_response() {
    let gate = Gate::closed();
    let waiting = Arc::clone(&gate);
    let origin = Origin::doing(vec![Step::Wait(waiting), Step::Send(switching(ACCEPT)), Step::Echo]).await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send([handshake("/api/ws").token(&key).bytes(), b"early".to_vec()].concat()).await;
    origin.has_seen(1).await;
    gateway.revoke(&key).await;
    let other = Ask::get("/scoped/x").token(&key);
    eventually(PATIENCE, "it is refused", || async { other.to(&gateway).await.status == 401 }).await;
    gate.open();
    wire.ends().await;
    origin.is_left().await;
    assert!(origin.last().body.is_empty(), "nothing came through");
    gateway.has_counted("api", "token_ended", 1).await;
}

#[tokio::test]
async fn a_handshake_is_the_same_wherever_its_bytes_are_cut() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let bytes = [handshake("/public/ws").bytes(), SMUGGLED.to_vec()].concat();
    let head = bytes.len() - SMUGGLED.len();
    for cut in (1..head).step_by(17).chain(head - 4..bytes.len()) {
        let mut wire = Wire::plain(&gateway).await;
        wire.send(&bytes[..cut]).await;
        // The gateway usually reads the first part before the rest arrives.
        tokio::task::yield_now().await;
        wire.send(&bytes[cut..]).await;
        assert_eq!(wire.next_head().await.unwrap().0, 101, "{cut}");
        comes(&mut wire, SMUGGLED).await;
    }
    assert!(origin.requests().iter().all(|seen| seen.target == "/public/ws"));
}

#[tokio::test]
async fn a_tunnel_whose_client_does_not_read_ends_with_its_token_too() {
    let flood = vec![Step::Send(switching(ACCEPT)), Step::Flood(vec![b'x'; 1 << 16], usize::MAX)];
    let origin = Origin::doing(flood).await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/api/ws").token(&key).bytes()).await;
    crate::support::settled("the origin stops sending", || origin.flooded()).await;
    gateway.revoke(&key).await;
    origin.is_left().await;
    gateway.has_counted("api", "token_ended", 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_tunnel_times_out() {
    let flood = vec![Step::Send(switching(ACCEPT)), Step::Flood(vec![b'x'; 1 << 16], usize::MAX)];
    let origin = Origin::doing(flood).await;
    let site = Site::before(&origin).with(streaming).with(|s| s.timeouts.write = Duration::from_millis(300));
    let gateway = site.start().await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/public/ws").bytes()).await;
    origin.has_seen(1).await;
    origin.is_left().await;
    gateway.has_counted("public", "client_gone", 1).await;
}

#[tokio::test]
async fn a_silent_tunnel_or_stream_stays_however_short_the_timeouts_are() {
    let gate = Gate::closed();
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |request| {
        let wait = Step::Wait(Arc::clone(&waiting));
        if asks_for_websocket(request) {
            vec![Step::Send(switching(ACCEPT)), Step::Echo]
        } else if request.target == "/public/body" {
            let (head, rest) = (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe".to_vec(), b"llo".to_vec());
            vec![Step::Read, Step::Send(head), wait, Step::Send(rest)]
        } else {
            vec![Step::Read, wait, Step::Send(ok("hello"))]
        }
    })
    .await;
    // Long enough for correct clients on a busy machine.
    let short = Duration::from_secs(2);
    let site = Site::before(&origin).with(streaming).with(|settings| {
        (settings.timeouts.idle, settings.timeouts.request_headers, settings.timeouts.write) = (short, short, short);
        for route in &mut settings.routes {
            (route.response_headers_timeout, route.response_body_timeout) = (short, short);
        }
    });
    let gateway = site.start().await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/public/ws").bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    let mut head = Wire::open(&gateway).await;
    head.send(Ask::get("/public/head").bytes()).await;
    let mut body = Wire::open(&gateway).await;
    body.send(Ask::get("/public/body").bytes()).await;
    origin.has_seen(3).await;
    // On a route that does not stream, the same pause exceeds the timeout twice.
    for _ in 0..2 {
        assert_eq!(Ask::get("/optional/x").to(&gateway).await.status, 504);
    }
    gate.open();
    echoes(&mut wire, b"hello").await;
    assert_eq!(head.answer().await.text(), "hello");
    assert_eq!(body.answer().await.text(), "hello");
}

#[tokio::test]
async fn the_total_timeout_ends_tunnels_and_streams_that_wait() {
    let origin = Origin::scripted(|request| {
        if asks_for_websocket(request) { vec![Step::Send(switching(ACCEPT)), Step::Echo] } else { vec![Step::Hang] }
    })
    .await;
    // Long enough for the handshake on a busy machine.
    let total = Some(Duration::from_secs(2));
    let gateway = Site::before(&origin).with(streaming).with(|s| s.routes[1].total_timeout = total).start().await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/public/ws").bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    wire.ends().await;
    let (get, post) = (Ask::get("/public/x"), Ask::post("/public/x", "body"));
    let (get, post) = tokio::join!(get.to(&gateway), post.to(&gateway));
    assert_eq!((get.status, post.status), (504, 504));
    origin.is_left().await;
    gateway.has_counted("public", "origin_timeout", 3).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_tunnels_and_cuts_them_at_the_end() {
    for ends in [true, false] {
        let origin = echo().await;
        let gateway = before(&origin).await;
        let key = gateway.issue("alice").await;
        let mut wire = tunnel(&gateway, &key).await;
        let (address, log) = (gateway.address(), gateway.log.clone());
        let grace = if ends { LONG } else { Duration::from_millis(500) };
        let stop = tokio::spawn(gateway.stop(grace));
        eventually(PATIENCE, "new connections are refused", || async {
            tokio::net::TcpStream::connect(address).await.is_err()
        })
        .await;
        if ends {
            echoes(&mut wire, b"still here").await;
            drop(wire);
        } else {
            wire.ends().await;
        }
        assert_eq!(soon("the stop", stop).await.unwrap().cut, usize::from(!ends));
        origin.is_left().await;
        let outcome = if ends { "outcome=forwarded" } else { "outcome=client_gone" };
        let is_told = |line: &str| line.contains("status=101") && line.contains(outcome);
        eventually(PATIENCE, "a line in the log", || async { log.text().lines().any(is_told) }).await;
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_before_the_response_or_disconnects_is_dropped() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let gateway = before(&origin).await;
    let (mut floods, mut leaves) = (Wire::open(&gateway).await, Wire::open(&gateway).await);
    for wire in [&mut floods, &mut leaves] {
        wire.send(handshake("/public/ws").bytes()).await;
    }
    origin.has_seen(2).await;
    let _ = floods.try_send(vec![b'x'; 1 << 20]).await;
    drop(leaves);
    origin.is_left().await;
    gateway.has_counted("public", "client_gone", 2).await;
    floods.ends().await;
}
