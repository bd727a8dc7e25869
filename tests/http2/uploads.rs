//! Request bodies: many small frames, and clients that wait for a 100 (Continue).

use std::future::poll_fn;

use bytes::Bytes;
use h2::client;
use http::{Request, StatusCode};

use super::pseudo;
use crate::support::client::Tls;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block};
use crate::support::{Gate, Gateway, Origin, Site, soon};

#[tokio::test]
async fn small_frames_for_a_busy_endpoint_end_no_other_stream() {
    for (frames, size) in [(2_400, 1), (12_000, 1), (300, 200)] {
        let gate = Gate::closed();
        let origin = Origin::slow_at(&gate, "hello").await;
        // The only connection is in use, so the upload is not read.
        let gateway = Site::before(&origin).with(|settings| settings.upstreams[0].max_connections = 1).start().await;
        let mut client = Frames::open(&gateway).await;
        client.write(HEADERS, END_HEADERS | END_STREAM, 1, &block(&pseudo("GET", "/public/slow"))).await;
        origin.has_seen(1).await;
        client.write(HEADERS, END_HEADERS, 3, &block(&pseudo("POST", "/public/upload"))).await;
        let text: Vec<u8> = (0..frames * size).map(|place| b'a' + u8::try_from(place % 26).unwrap()).collect();
        for (count, piece) in text.chunks(size).enumerate() {
            let last = if count + 1 == frames { END_STREAM } else { 0 };
            client.write(DATA, last, 3, piece).await;
        }
        client.write(HEADERS, END_HEADERS | END_STREAM, 5, &block(&pseudo("GET", "/nowhere"))).await;
        assert_eq!(client.answer_on(5).await, Some(404), "{frames}");
        gate.open();
        // The responses come in any order.
        origin.has_seen(2).await;
        gateway.has_counted("public", "forwarded", 2).await;
        let upload = origin.requests().into_iter().find(|request| request.target == "/public/upload").unwrap();
        assert!(upload.complete && upload.body == text, "{frames}: {} bytes", upload.body.len());
    }
}

/// The interim and the final status of a client that sends no body before a 100.
async fn patient(gateway: &Gateway, path: &str, key: &str) -> (Option<StatusCode>, StatusCode) {
    let stream = Tls { alpn: vec![b"h2"], ..Tls::default() }.connect(gateway).await.unwrap();
    let (mut sender, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("https://localhost{path}"))
        .header("authorization", format!("Token {key}"))
        .header("expect", "100-continue")
        .body(())
        .unwrap();
    let (mut answer, mut body) = sender.send_request(request, false).unwrap();
    let interim = soon("a 100 or the answer", poll_fn(|cx| answer.poll_informational(cx))).await;
    let interim = interim.map(|interim| interim.unwrap().status());
    if interim.is_some() {
        body.send_data(Bytes::from("hello"), true).unwrap();
    }
    (interim, soon("the answer", answer).await.unwrap().status())
}

#[tokio::test]
async fn a_client_gets_a_100_once_its_token_is_valid() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.routes[1].buffer_request = true).start().await;
    let key = gateway.issue("alice").await;
    for path in ["/api/x", "/public/x"] {
        let seen = patient(&gateway, path, &key).await;
        assert_eq!(seen, (Some(StatusCode::CONTINUE), StatusCode::OK), "{path}");
        assert_eq!(origin.last().body, b"hello");
    }
    let before = origin.count();
    let wrong = "x".repeat(40);
    for (path, key, status) in [("/api/x", &wrong, 401), ("/scoped/x", &key, 403), ("/nowhere", &key, 404)] {
        let (interim, answer) = patient(&gateway, path, key).await;
        assert_eq!((interim, answer.as_u16()), (None, status), "{path}");
    }
    assert_eq!(origin.count(), before);
}

#[tokio::test]
async fn a_client_that_does_not_ask_or_does_not_wait_gets_no_100() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for (fields, at_once) in [(&[][..], false), (&[("expect", "100-continue")], true)] {
        let mut client = Frames::open(&gateway).await;
        let head = block(&[pseudo("POST", "/public/x").as_slice(), fields].concat());
        let frame = |kind, flags, payload: &[u8]| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
        };
        if at_once {
            client.bytes(&[frame(HEADERS, END_HEADERS, &head), frame(DATA, END_STREAM, b"hello")].concat()).await;
        } else {
            client.write(HEADERS, END_HEADERS, 1, &head).await;
            assert!(!client.answers().await);
            client.write(DATA, END_STREAM, 1, b"hello").await;
        }
        assert_eq!(client.answer_on(1).await, Some(200));
    }
}
