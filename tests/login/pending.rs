//! Logins with pending bodies: they use no memory, and one client cannot take all places.

use bytes::Bytes;
use http_body_util::channel::Sender;
use tokio::task::JoinSet;

use super::{PASSWORD, gateway, login, token, typed, user};
use crate::support::client::{BOTH, from_elsewhere};
use crate::support::http2::{H2, collect, streaming};
use crate::support::{Origin, PATIENCE, Wire, eventually, soon};

/// An HTTP/2 login that announces the maximum length, and whose body the test holds back.
fn announced(
    length: usize,
) -> (Sender<Bytes, std::convert::Infallible>, http::Request<crate::support::http2::Outgoing>) {
    let ask = typed("application/json", "").field("Content-Length", length.to_string());
    streaming(&ask)
}

#[tokio::test]
async fn one_client_cannot_take_all_places_of_pending_logins() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    let (mut clients, mut bodies, mut answers) = (Vec::new(), Vec::new(), JoinSet::new());
    for _ in 0..10 {
        let mut client = H2::open(&gateway).await;
        for _ in 0..90 {
            let (body, request) = announced(60_000);
            let answer = client.begin(request);
            answers.spawn(async move { answer.await.map(|answer| answer.status().as_u16()) });
            bodies.push(body);
        }
        clients.push(client);
    }
    // All beyond the share are refused before any byte of a body.
    for count in 0..600 {
        let status = soon("refusal", answers.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(status, 429, "{count}");
    }
    let refused = login("alice", PASSWORD).to(&gateway).await;
    assert_eq!((refused.status, refused.fields.get("retry-after")), (429, Some("1")), "{refused:?}");
    assert!(gateway.outcome("gettoken", "too_many_pending") >= 600);
    let mut other = from_elsewhere(&gateway).await;
    token(&other.ask(login("alice", PASSWORD).bytes()).await);
    drop((clients, bodies, answers));
    eventually(PATIENCE, "places are released", || async { login("alice", PASSWORD).to(&gateway).await.status == 200 })
        .await;
}

#[tokio::test]
async fn a_login_that_arrives_in_pieces_works() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    let whole = login("alice", PASSWORD);
    let padded = format!("{}{}", " ".repeat(50_000), String::from_utf8_lossy(whole.body.as_deref().unwrap()));
    for http in BOTH {
        token(&typed("application/json", &padded).over(http, &gateway).await);
    }
    let (mut body, request) = announced(padded.len());
    let mut client = H2::open(&gateway).await;
    let answer = tokio::spawn(client.begin(request));
    for piece in padded.as_bytes().chunks(777) {
        body.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    drop(body);
    token(&collect(soon("answer", answer).await.unwrap().unwrap()).await);
    let mut wire = Wire::open(&gateway).await;
    let bytes = typed("application/json", &padded).bytes();
    for piece in bytes.chunks(4_000) {
        wire.send(piece).await;
    }
    token(&wire.answer().await);
}
