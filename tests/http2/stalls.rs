//! Clients that do not read, or never finish what they begin: each stream has its own timeout.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::pseudo;
use crate::support::client::Tls;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
};
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Step, eventually, soon};

/// Long enough for correct clients on a busy machine.
const SHORT: Duration = Duration::from_secs(2);
/// Ten times as long, and less than the ping timeout of a silent client.
const LATE: Duration = Duration::from_secs(25);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An endless response.
async fn endless() -> Origin {
    Origin::doing(vec![
        Step::Read,
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec()),
        Step::Flood(vec![b'x'; 1 << 14], 1_000_000_000 >> 14),
        Step::Hang,
    ])
    .await
}

#[tokio::test]
async fn an_active_stream_keeps_no_stalled_one_alive() {
    const STALLED: u32 = 20;
    let origin = endless().await;
    let gateway = Site::before(&origin).with(|settings| settings.timeouts.write = 2 * SHORT).start().await;
    let mut client = Frames::without_room(&gateway).await;
    let moving = 2 * STALLED + 1;
    for stream in (1..=moving).step_by(2) {
        client.write(HEADERS, END_HEADERS | END_STREAM, stream, &block(&pseudo("GET", "/public/x"))).await;
    }
    let mut reset = Vec::new();
    let mut drops = tokio::time::interval(Duration::from_millis(200));
    client.write(WINDOW_UPDATE, 0, moving, &1_u32.to_be_bytes()).await;
    let all_but_one = async {
        while reset.len() < usize::try_from(STALLED).unwrap() {
            let (kind, _, stream, _) = client.read().await.unwrap();
            match kind {
                RST_STREAM => reset.push(stream),
                // Byte by byte.
                DATA if stream == moving => {
                    drops.tick().await;
                    client.write(WINDOW_UPDATE, 0, moving, &1_u32.to_be_bytes()).await;
                }
                _ => {}
            }
        }
    };
    soon("the stalled streams end", all_but_one).await;
    reset.sort_unstable();
    assert_eq!(reset, (1..moving).step_by(2).collect::<Vec<_>>());
    // Their connections to the endpoint are released; the active stream has its own.
    eventually(PATIENCE, "connections are closed", || async { origin.open_connections() == 1 }).await;
    gateway.has_counted("public", "client_gone", u64::from(STALLED)).await;
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_ends_with_its_token() {
    let origin = endless().await;
    let gateway = Gateway::before(&origin).await;
    let (key, witness) = (gateway.issue("alice").await, gateway.issue("witness").await);
    let mut client = Frames::without_room(&gateway).await;
    for (stream, key) in [(1, &key), (3, &witness)] {
        let token = format!("Token {key}");
        let fields = [pseudo("GET", "/api/x").as_slice(), &[("authorization", &token)]].concat();
        client.write(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields)).await;
    }
    origin.has_seen(2).await;
    gateway.revoke(&key).await;
    assert_eq!(client.reset().await, 8);
    gateway.has_counted("api", "token_ended", 1).await;
    eventually(PATIENCE, "one connection is closed", || async { origin.open_connections() == 1 }).await;
}

#[tokio::test]
async fn a_preface_has_the_timeout_of_a_head() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.timeouts.request_headers = SHORT).start().await;
    let settings = [0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let mut silent = Vec::new();
    for sent in
        [&[][..], &PREFACE[..10], PREFACE, &[PREFACE, &settings[..5]].concat(), &[PREFACE, &settings[..12]].concat()]
    {
        let mut stream = Tls { alpn: vec![b"h2"], ..Tls::default() }.connect(&gateway).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.flush().await.unwrap();
        silent.push((sent.len(), stream));
    }
    for (sent, mut stream) in silent {
        let end = async {
            let mut scratch = [0; 256];
            while stream.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        };
        soon(&format!("the end after {sent} bytes"), end).await;
    }
}

#[tokio::test]
async fn an_open_header_block_has_the_timeout_of_a_head() {
    let origin = Origin::doing(vec![Step::Read, Step::Hang]).await;
    let gateway = Site::before(&origin).with(|settings| settings.timeouts.request_headers = SHORT).start().await;
    let fields = block(&pseudo("GET", "/public/x"));
    for (busy, parts) in [(false, 1), (true, 1), (true, 2), (true, 3)] {
        let mut client = Frames::open(&gateway).await;
        if busy {
            client.write(HEADERS, END_HEADERS | END_STREAM, 1, &fields).await;
        }
        match parts {
            1 => client.write(HEADERS, END_STREAM, 3, &fields[..9]).await,
            2 => {
                client.write(HEADERS, END_STREAM, 3, &fields[..9]).await;
                client.write(CONTINUATION, 0, 3, &fields[9..]).await;
            }
            // A frame in two pieces.
            _ => client.bytes(&[0, 0, 40, HEADERS, END_HEADERS, 0, 0, 0, 3, 0x82]).await,
        }
        let ended = tokio::time::timeout(LATE, client.goaway()).await;
        assert!(ended.is_ok(), "busy: {busy}, {parts}");
    }
    // A block that arrives in parts in time is served.
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.timeouts.request_headers = 10 * SHORT).start().await;
    let mut client = Frames::open(&gateway).await;
    client.write(HEADERS, END_STREAM, 1, &fields[..9]).await;
    client.write(CONTINUATION, 0, 1, &fields[9..20]).await;
    client.write(CONTINUATION, END_HEADERS, 1, &fields[20..]).await;
    assert_eq!(client.answer_on(1).await, Some(200));
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
}
