//! WebSocket over HTTP/2 (RFC 8441): from clients, to endpoints, and between the versions.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokengate::clock::Clock;
use tokengate::config::settings::{ClientShare, Protocol, Settings};

use super::{LONG, accept, comes, echo, echoes, handshake, streaming};
use crate::support::h2_origin::{Act, H2Origin};
use crate::support::origin::ok;
use crate::support::sockets::{Socket, Streams};
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually, settled, soon};

/// An endpoint of HTTP/2 whose tunnels echo.
pub async fn h2_echo() -> H2Origin {
    H2Origin::with_websocket(|seen| match seen.method.as_str() {
        "CONNECT" => Act::Echo,
        _ => Act::Answer("hello".to_owned()),
    })
    .await
}

fn over_h2(settings: &mut Settings) {
    settings.upstreams[0].protocol = Protocol::Http2;
    settings.upstreams[0].client_share = ClientShare::Unlimited;
}

async fn before(origin: &Origin) -> Gateway {
    Site::before(origin).with(streaming).start().await
}

pub async fn before_h2(origin: &H2Origin) -> Gateway {
    Site::before_all(&[origin.address()]).with(streaming).with(over_h2).start().await
}

/// A working tunnel of this token's owner.
async fn tunnel(streams: &mut Streams, key: &str) -> Socket {
    let (status, mut socket) = streams.websocket(&Ask::get("/api/ws").token(key)).await;
    assert_eq!(status, 200);
    socket.echoes(b"hello").await;
    socket
}

#[tokio::test]
async fn a_client_of_http2_gets_a_tunnel_to_an_endpoint_of_http1() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut streams = Streams::open(&gateway).await;
    let ask = Ask::get("/api/ws?room=1").token(&key).field("X-User-Id", "99").field("Sec-WebSocket-Protocol", "chat");
    let (status, mut socket) = streams.websocket(&ask.field("Sec-WebSocket-Key", "mine")).await;
    assert_eq!(status, 200);
    assert_eq!(socket.headers.get("sec-websocket-protocol").unwrap(), "chat");
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"] {
        assert!(!socket.headers.contains_key(name), "{name}: {:?}", socket.headers);
    }
    let seen = origin.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/api/ws?room=1"));
    assert_eq!((seen.fields.get("upgrade"), seen.fields.get("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(seen.fields.get("sec-websocket-version"), Some("13"));
    assert_eq!(seen.fields.get("sec-websocket-key").map(str::len), Some(24), "a key of the gateway");
    assert_eq!((seen.fields.get("x-user-name"), seen.fields.get("host")), (Some("alice"), Some("localhost")));
    assert_ne!(seen.fields.get("x-user-id"), Some("99"));
    assert!(!seen.fields.has("authorization"));
    let text: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let sent = text.clone();
    let mut to = socket.to;
    let sender = tokio::spawn(async move {
        let mut rest = bytes::Bytes::from(sent);
        while !rest.is_empty() {
            to.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await.unwrap().unwrap();
            to.send_data(rest.split_to(room.min(rest.len())), false).unwrap();
        }
        to
    });
    let mut got = Vec::new();
    while got.len() < text.len() {
        let piece = soon("bytes", socket.from.data()).await.unwrap().unwrap();
        socket.from.flow_control().release_capacity(piece.len()).unwrap();
        got.extend_from_slice(&piece);
    }
    assert!(got == text && origin.last().body == text);
    // The client closes its direction: the tunnel ends, and so does the endpoint's connection.
    sender.await.unwrap().send_data(bytes::Bytes::new(), true).unwrap();
    while let Some(Ok(_)) = soon("the end", socket.from.data()).await {}
    origin.is_left().await;
    gateway.has_counted("api", "forwarded", 1).await;
    let is_told = |line: &str| line.contains("status=200") && line.contains("http=2") && line.contains("bytes=3000000");
    eventually(PATIENCE, "a line in the log", || async { gateway.log.text().lines().any(is_told) }).await;
}

#[tokio::test]
async fn clients_of_both_versions_get_tunnels_to_endpoints_of_http2() {
    let origin = h2_echo().await;
    let gateway = before_h2(&origin).await;
    let key = gateway.issue("alice").await;
    let mut streams = Streams::open(&gateway).await;
    let mut socket = tunnel(&mut streams, &key).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/api/ws").token(&key).bytes()).await;
    let (status, head) = wire.next_head().await.unwrap();
    assert_eq!(
        (status, head.fields.get("upgrade"), head.fields.get("connection")),
        (101, Some("websocket"), Some("upgrade"))
    );
    assert_eq!(head.fields.get("sec-websocket-accept"), Some(super::ACCEPT));
    for seen in origin.requests() {
        assert_eq!((seen.method.as_str(), seen.protocol.as_deref()), ("CONNECT", Some("websocket")));
        assert_eq!((seen.target.as_str(), seen.authority.as_str()), ("/api/ws", "localhost"));
        assert_eq!(seen.headers.get("x-user-name").unwrap(), "alice");
        for name in ["sec-websocket-key", "upgrade", "connection", "authorization", "content-length"] {
            assert!(!seen.headers.contains_key(name), "{name}: {seen:?}");
        }
    }
    echoes(&mut wire, b"over both").await;
    socket.echoes(&[b'x'; 30_000]).await;
    assert_eq!((origin.connections(), streams.get("/public/x").await), (1, 200));
    drop((wire, socket));
    gateway.has_counted("api", "client_gone", 1).await;
    gateway.has_counted("api", "forwarded", 1).await;
}

#[tokio::test]
async fn without_a_permit_there_is_no_tunnel_over_http2() {
    let (origin, far) = (echo().await, h2_echo().await);
    for gateway in [before(&origin).await, before_h2(&far).await] {
        let key = gateway.issue("alice").await;
        let mut streams = Streams::open(&gateway).await;
        for (ask, status) in [
            (Ask::get("/api/ws"), 401),
            (Ask::get("/api/ws").token("unknown"), 401),
            (Ask::get("/api/ws").field("Content-Type", "application/grpc"), 401),
            (Ask::get("/scoped/ws").token(&key), 403),
            (Ask::get("/nowhere").token(&key), 404),
            (Ask::get("/api/../api/ws").token(&key), 400),
            // A route that does not stream.
            (Ask::get("/optional/ws"), 405),
        ] {
            let (got, mut socket) = streams.websocket(&ask).await;
            assert_eq!(got, status, "{ask:?}");
            assert_eq!(socket.headers.contains_key("allow"), status == 405);
            assert!(socket.text().await.contains("detail"), "{ask:?}");
        }
        assert_eq!(streams.get("/nowhere").await, 404, "the connection goes on");
    }
    assert_eq!((origin.count(), origin.connections(), far.count()), (0, 0, 0));
}

#[tokio::test]
async fn any_other_connect_is_refused_with_the_methods_that_are_served() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let mut streams = Streams::open(&gateway).await;
    let ask = Ask::get("/public/ws").field("Sec-WebSocket-Version", "13");
    let sized = ask.clone().field("Content-Length", "4");
    for (what, ask, protocol, ends) in [
        ("no protocol", &ask, None, false),
        ("another protocol", &ask, Some("connect-udp"), false),
        ("two protocols", &ask, Some("websocket, connect-udp"), false),
        ("another spelling", &ask, Some("WebSocket"), false),
        ("no value", &ask, Some(""), false),
        ("a request that has ended", &ask, Some("websocket"), true),
        ("a length", &sized, Some("websocket"), false),
    ] {
        let (response, _to) = streams.connect(ask, protocol, ends).await.unwrap();
        assert_eq!(response.status(), 405, "{what}");
        let allow = response.headers().get("allow").expect(what);
        assert_eq!(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", "{what}");
    }
    for method in ["CONNECT", "TRACE"] {
        let target = if method == "CONNECT" { "localhost:443" } else { "/public/x" };
        let text = Wire::open(&gateway)
            .await
            .ask_raw(format!("{method} {target} HTTP/1.1\r\nHost: localhost:443\r\nConnection: close\r\n\r\n"))
            .await;
        assert!(text.starts_with("HTTP/1.1 405") && text.to_lowercase().contains("allow: get, "), "{text}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_handshake_that_an_endpoint_refuses_is_answered_with_its_status() {
    for status in [301, 400, 401, 404, 426, 500] {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\nX-Why: because\r\n\r\nno").into_bytes();
        let origin = Origin::doing(vec![Step::Read, Step::Send(answer)]).await;
        let far = H2Origin::with_websocket(move |_| {
            Act::Head(Arc::new(move || Response::builder().status(status).header("x-why", "because").body(()).unwrap()))
        })
        .await;
        for (gateway, text) in [(before(&origin).await, "no"), (before_h2(&far).await, "")] {
            let mut streams = Streams::open(&gateway).await;
            let (got, mut socket) = streams.websocket(&Ask::get("/public/ws")).await;
            assert_eq!((got, socket.headers.get("x-why").unwrap().as_bytes()), (status, &b"because"[..]));
            assert_eq!(socket.text().await, text);
            assert_eq!(streams.get("/nowhere").await, 404);
        }
        let gateway = before_h2(&far).await;
        let mut wire = Wire::open(&gateway).await;
        wire.send(handshake("/public/ws").bytes()).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.fields.get("connection")), (status, Some("close")));
    }
}

#[tokio::test]
async fn what_a_client_could_take_for_a_tunnel_is_a_bad_gateway() {
    let switch = "Upgrade: websocket\r\nConnection: upgrade\r\n";
    for answer in [
        ok("hello"),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        format!("HTTP/1.1 101 Switching Protocols\r\n{switch}\r\n").into_bytes(),
        format!("HTTP/1.1 101 Switching Protocols\r\n{switch}Sec-WebSocket-Accept: {}\r\n\r\n", super::ACCEPT)
            .into_bytes(),
    ] {
        let origin = Origin::doing(vec![Step::Send(answer.clone()), Step::Echo]).await;
        let gateway = before(&origin).await;
        let mut streams = Streams::open(&gateway).await;
        let (status, mut socket) = streams.websocket(&Ask::get("/public/ws")).await;
        assert_eq!(status, 502, "{:?}", String::from_utf8_lossy(&answer));
        assert!(socket.text().await.contains("invalid"));
        origin.is_left().await;
    }
    // An endpoint that does not announce WebSocket is not asked; over HTTP/1.1 the request is an ordinary one.
    let far = H2Origin::answering("hello").await;
    let gateway = before_h2(&far).await;
    let mut streams = Streams::open(&gateway).await;
    assert_eq!(streams.websocket(&Ask::get("/public/ws")).await.0, 502);
    assert_eq!(far.count(), 0);
    let is_told = || async { gateway.log.text().contains("cause=no_websocket") };
    eventually(PATIENCE, "the cause in the log", is_told).await;
    let answer = Wire::open(&gateway).await.ask(handshake("/public/ws").bytes()).await;
    assert_eq!((answer.status, answer.text(), far.last().method.as_str()), (200, "hello", "GET"));
}

#[tokio::test]
async fn only_the_stream_of_a_token_that_ends_is_reset() {
    let (origin, far) = (echo().await, h2_echo().await);
    for gateway in [before(&origin).await, before_h2(&far).await] {
        let (alice, bob) = (gateway.issue("alice").await, gateway.issue("bob").await);
        let short = gateway.issue_named("carol", "", Some(LONG), &Clock::system()).await;
        let mut streams = Streams::open(&gateway).await;
        let mut hers = tunnel(&mut streams, &alice).await;
        let mut his = tunnel(&mut streams, &bob).await;
        let mut carols = tunnel(&mut streams, &short).await;
        gateway.revoke(&alice).await;
        hers.is_reset().await;
        gateway.has_counted("api", "token_ended", 1).await;
        his.echoes(b"more").await;
        carols.echoes(b"more").await;
        gateway.hand.advance(2 * LONG);
        carols.is_reset().await;
        gateway.has_counted("api", "token_ended", 2).await;
        gateway.store.accounts.rename(gateway.user("bob").await, "robert").await.unwrap();
        his.is_reset().await;
        assert_eq!(streams.get("/nowhere").await, 404, "the connection goes on");
    }
    origin.is_left().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_its_tunnel_stops_no_other_stream_and_times_out() {
    let flood = Origin::scripted(|request| match request.fields.get("sec-websocket-key") {
        Some(key) => vec![Step::Send(super::switching(&accept(key))), Step::Flood(vec![b'x'; 1 << 16], usize::MAX)],
        None => vec![Step::Read, Step::Send(ok("hello"))],
    })
    .await;
    let site = Site::before(&flood).with(streaming).with(|s| s.timeouts.write = Duration::from_secs(3));
    let gateway = site.start().await;
    let mut streams = Streams::open(&gateway).await;
    let (status, socket) = streams.websocket(&Ask::get("/public/ws")).await;
    assert_eq!(status, 200);
    settled("the origin stops sending", || flood.flooded()).await;
    assert_eq!(streams.get("/public/x").await, 200);
    gateway.has_counted("public", "client_gone", 1).await;
    assert_eq!(streams.get("/public/x").await, 200);
    drop(socket);
    // The end of a token does not wait for the timeout.
    let site = Site::before(&flood).with(streaming);
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    let mut streams = Streams::open(&gateway).await;
    let (status, _socket) = streams.websocket(&Ask::get("/api/ws").token(&key)).await;
    assert_eq!(status, 200);
    settled("the origin stops sending", || flood.flooded()).await;
    gateway.revoke(&key).await;
    gateway.has_counted("api", "token_ended", 1).await;
}

/// Each message is one frame, and a queued frame costs more than its bytes.
#[tokio::test]
async fn short_messages_to_an_endpoint_that_reads_nothing_stop_no_other_stream() {
    let origin = Origin::scripted(|request| match request.fields.get("sec-websocket-key") {
        Some(key) => vec![Step::Send(super::switching(&accept(key))), Step::Stall],
        None => vec![Step::Read, Step::Send(ok("hello"))],
    })
    .await;
    let gateway = before(&origin).await;
    let mut streams = Streams::open(&gateway).await;
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let (status, mut socket) = streams.websocket(&Ask::get("/public/ws")).await;
        assert_eq!(status, 200);
        socket.to.reserve_capacity(1 << 16);
        // Until the window is full, in frames of a few bytes.
        let mut sent = 0;
        while sent < 60_000 {
            match tokio::time::timeout(Duration::from_millis(200), socket.send(b"ten bytes.")).await {
                Ok(sent_one) => sent_one.unwrap(),
                Err(_) => break,
            }
            sent += 10;
        }
        sockets.push(socket);
    }
    assert_eq!(streams.get("/public/x").await, 200);
    // A client that leaves is noticed although the endpoint takes nothing.
    for mut socket in sockets {
        socket.to.send_reset(h2::Reason::CANCEL);
    }
    gateway.has_counted("public", "client_gone", 8).await;
}

#[tokio::test]
async fn the_ends_of_both_sides_are_passed_on() {
    // The client resets its stream, or its connection ends.
    let (origin, far) = (echo().await, h2_echo().await);
    for gateway in [before(&origin).await, before_h2(&far).await] {
        let key = gateway.issue("alice").await;
        let mut streams = Streams::open(&gateway).await;
        let mut reset = tunnel(&mut streams, &key).await;
        reset.to.send_reset(h2::Reason::CANCEL);
        gateway.has_counted("api", "client_gone", 1).await;
        let left = tunnel(&mut streams, &key).await;
        streams.driver.abort();
        drop(left);
        gateway.has_counted("api", "client_gone", 2).await;
    }
    origin.is_left().await;
    // The client ends its direction with its last bytes, as browsers do, and gets the answer to them.
    let (origin, far) = (echo().await, h2_echo().await);
    for gateway in [before(&origin).await, before_h2(&far).await] {
        let key = gateway.issue("alice").await;
        let mut streams = Streams::open(&gateway).await;
        let mut socket = tunnel(&mut streams, &key).await;
        socket.to.send_data("goodbye".into(), true).unwrap();
        assert_eq!(socket.text().await, "goodbye");
        gateway.has_counted("api", "forwarded", 1).await;
    }
    // The endpoint says goodbye and closes.
    let origin = Origin::scripted(|request| {
        let accept = accept(request.fields.get("sec-websocket-key").unwrap());
        vec![Step::Send([super::switching(&accept), b"goodbye".to_vec()].concat()), Step::Close]
    })
    .await;
    let gateway = before(&origin).await;
    let mut streams = Streams::open(&gateway).await;
    let (_, mut socket) = streams.websocket(&Ask::get("/public/ws")).await;
    assert_eq!(socket.text().await, "goodbye");
    gateway.has_counted("public", "forwarded", 1).await;
    // It breaks off instead.
    let gate = Gate::closed();
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |request| {
        let accept = accept(request.fields.get("sec-websocket-key").unwrap());
        vec![Step::Send(super::switching(&accept)), Step::Wait(Arc::clone(&waiting)), Step::Reset]
    })
    .await;
    let gateway = before(&origin).await;
    let mut streams = Streams::open(&gateway).await;
    let (_, mut socket) = streams.websocket(&Ask::get("/public/ws")).await;
    gate.open();
    socket.is_reset().await;
    gateway.has_counted("public", "origin_reset", 1).await;
}

#[tokio::test]
async fn bytes_that_come_before_the_response_are_not_lost() {
    let gate = Gate::closed();
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |request| {
        let accept = accept(request.fields.get("sec-websocket-key").unwrap());
        let answer = [super::switching(&accept), b"first".to_vec()].concat();
        vec![Step::Wait(Arc::clone(&waiting)), Step::Send(answer), Step::Echo]
    })
    .await;
    let gateway = before(&origin).await;
    let streams = Streams::open(&gateway).await;
    let (mut head, _) = Ask::get("/public/ws").http2().into_parts();
    head.method = http::Method::CONNECT;
    head.extensions.insert(h2::ext::Protocol::from_static("websocket"));
    let mut requests = streams.requests.clone().ready().await.unwrap();
    let (response, mut to) = requests.send_request(http::Request::from_parts(head, ()), false).unwrap();
    to.send_data("early".into(), false).unwrap();
    origin.has_seen(1).await;
    gate.open();
    let mut from = soon("an answer", response).await.unwrap().into_body();
    let mut got = Vec::new();
    while got.len() < b"firstearly".len() {
        got.extend(soon("bytes", from.data()).await.unwrap().unwrap());
    }
    assert_eq!(got, b"firstearly");
}

#[tokio::test]
async fn tunnels_of_a_removed_route_end_and_other_streams_of_their_connection_go_on() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let key = gateway.issue("alice").await;
    let mut streams = Streams::open(&gateway).await;
    let (_, mut gone) = streams.websocket(&Ask::get("/public/ws")).await;
    gone.echoes(b"hello").await;
    let mut stays = tunnel(&mut streams, &key).await;
    gateway
        .reload(|settings| {
            settings.reload.drain = Duration::from_millis(1);
            settings.routes.retain(|route| &*route.name != "public");
        })
        .await
        .unwrap();
    gone.is_reset().await;
    stays.echoes(b"more").await;
    assert_eq!(streams.get("/public/x").await, 404);
}

#[tokio::test]
async fn a_shutdown_waits_for_tunnels_over_http2_and_cuts_them_at_the_end() {
    for ends in [true, false] {
        let origin = echo().await;
        let gateway = before(&origin).await;
        let key = gateway.issue("alice").await;
        let mut streams = Streams::open(&gateway).await;
        let mut socket = tunnel(&mut streams, &key).await;
        let address = gateway.address();
        let stop = tokio::spawn(gateway.stop(if ends { LONG } else { Duration::from_millis(500) }));
        eventually(PATIENCE, "new connections are refused", || async {
            tokio::net::TcpStream::connect(address).await.is_err()
        })
        .await;
        if ends {
            socket.echoes(b"still here").await;
            socket.to.send_data(bytes::Bytes::new(), true).unwrap();
        } else {
            socket.is_reset().await;
        }
        assert_eq!(soon("the stop", stop).await.unwrap().cut, usize::from(!ends));
        origin.is_left().await;
    }
}

#[tokio::test]
async fn the_total_timeout_ends_a_tunnel_over_http2() {
    let origin = echo().await;
    let total = Some(Duration::from_secs(2));
    let gateway = Site::before(&origin).with(streaming).with(|s| s.routes[1].total_timeout = total).start().await;
    let mut streams = Streams::open(&gateway).await;
    let (status, mut socket) = streams.websocket(&Ask::get("/public/ws")).await;
    assert_eq!(status, 200);
    socket.is_reset().await;
    gateway.has_counted("public", "origin_timeout", 1).await;
    assert_eq!(streams.get("/nowhere").await, 404);
}

#[tokio::test]
async fn an_endpoint_of_http2_that_sends_no_settings_is_not_waited_for_forever() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let site = Site::before_all(&[address]).with(streaming).with(over_h2);
    let gateway = site.with(|s| s.upstreams[0].connect_timeout = Duration::from_millis(300)).start().await;
    let mut streams = Streams::open(&gateway).await;
    assert_eq!(streams.websocket(&Ask::get("/public/ws")).await.0, 504);
    let mut wire = Wire::open(&gateway).await;
    wire.send(handshake("/public/ws").bytes()).await;
    assert_eq!(wire.answer().await.status, 504);
    silent.abort();
}

/// HTTP/1.1 behind a client of HTTP/1.1 is as before.
#[tokio::test]
async fn a_handshake_over_http1_keeps_the_key_of_its_client() {
    let origin = echo().await;
    let gateway = before(&origin).await;
    let mut wire = Wire::open(&gateway).await;
    wire.send([handshake("/public/ws").bytes(), b"early".to_vec()].concat()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 101);
    comes(&mut wire, b"early").await;
    assert_eq!(origin.last().fields.get("sec-websocket-key"), Some(super::KEY));
}
