//! The end of a tunnel after the Close frames of both sides, with endpoints that leave the connection open.

use tokengate::config::settings::Protocol;

use super::http2::{before_h2, h2_echo};
use super::{before, comes, echo, echoes, handshake};
use crate::support::sockets::Streams;
use crate::support::{Ask, Wire};

/// A message, and a Close frame with the code 1000, both masked with zeros.
const MESSAGE: &[u8] = b"\x81\x85\0\0\0\0hello";
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

#[tokio::test]
async fn a_tunnel_ends_when_both_sides_have_sent_their_close_frames() {
    let (one, two) = (echo().await, h2_echo().await);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let gateway = match protocol {
            Protocol::Http1 => before(&one).await,
            Protocol::Http2 => before_h2(&two).await,
        };
        let key = gateway.issue("alice").await;
        // The endpoint sends the Close frame back, and waits.
        let mut streams = Streams::open(&gateway).await;
        let (status, mut socket) = streams.websocket(&Ask::get("/api/ws").token(&key)).await;
        assert_eq!(status, 200);
        socket.echoes(MESSAGE).await;
        socket.echoes(CLOSE).await;
        while let Some(piece) = socket.next().await {
            assert!(piece.unwrap().is_empty(), "{protocol:?}: the stream ends");
        }
        let mut wire = Wire::open(&gateway).await;
        wire.send(handshake("/api/ws").token(&key).bytes()).await;
        assert_eq!(wire.next_head().await.unwrap().0, 101);
        echoes(&mut wire, MESSAGE).await;
        wire.send([MESSAGE, CLOSE].concat()).await;
        comes(&mut wire, &[MESSAGE, CLOSE].concat()).await;
        wire.ends().await;
        gateway.has_counted("api", "forwarded", 2).await;
        assert_eq!(streams.get("/public/x").await, 200, "the connection of the stream goes on");
    }
}
