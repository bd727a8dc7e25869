//! The door in clear, and how many may come through any door.

use tokengate::config::settings::{ExposedToken, Plaintext};
use tokengate::store::{Act, AuditQuery, TokenDetails, TokenRef};
use tokengate::token::TokenKey;
use tokio::net::TcpStream;

use crate::support::client::Tls;
use crate::support::gateway::plain;
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually};

async fn gateway(origin: &Origin, plaintext: Plaintext, exposed: ExposedToken) -> Gateway {
    Site::before(origin).with(|settings| settings.listeners[1].role = plain(plaintext, exposed)).start().await
}

async fn in_clear(gateway: &Gateway, ask: &Ask) -> Answer {
    let mut wire = Wire::plain(gateway).await;
    wire.send(ask.bytes()).await;
    if ask.method == "HEAD" { wire.answer_to_head().await } else { wire.answer().await }
}

async fn details(gateway: &Gateway, key: &str) -> TokenDetails {
    let digest = TokenKey::parse(key).unwrap().digest();
    gateway.store.ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_door_that_refuses_forwards_nothing_whatever_a_client_says() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Plaintext::Refuse, ExposedToken::Mark).await;
    let key = gateway.issue("alice").await;
    for ask in [
        Ask::get("/public/x"),
        Ask::post("/public/x", "body"),
        Ask::get("/api/x").token(&key),
        Ask::get("/public/x").field("X-Forwarded-Proto", "https"),
        Ask::get("/public/x").field("Forwarded", "proto=https"),
        Ask::get("/nope"),
    ] {
        let answer = in_clear(&gateway, &ask).await;
        assert_eq!(answer.status, 403, "{ask:?}");
        assert!(answer.detail().starts_with("HTTPS is required."));
        assert!(answer.fields.has("x-request-id") && !answer.fields.has("location"));
    }
    assert_eq!((origin.count(), origin.connections()), (0, 0));
    // There is no upgrade to HTTP/2 in clear either.
    let mut wire = Wire::plain(&gateway).await;
    let prior = wire.ask_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(prior.starts_with("HTTP/1.1 400"), "{prior}");
}

#[tokio::test]
async fn a_door_that_redirects_does_so_only_for_requests_that_reveal_nothing() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Plaintext::Redirect, ExposedToken::Mark).await;
    let key = gateway.issue("alice").await;
    let port = gateway.address().port();
    for ask in [Ask::get("/api/a%20b?q=%2F"), Ask::new("HEAD", "/api/a%20b?q=%2F")] {
        let answer = in_clear(&gateway, &ask).await;
        assert_eq!(answer.status, 308);
        assert_eq!(answer.fields.get("location"), Some(format!("https://localhost:{port}/api/a%20b?q=%2F").as_str()));
    }
    for ask in [
        Ask::post("/public/x", "body"),
        Ask::new("DELETE", "/public/x"),
        Ask::new("OPTIONS", "/public/x"),
        Ask::get("/api/x").token(&key),
        Ask::get("/public/x").field("Authorization", "Basic eDp5"),
        Ask::get("/public/x").field("Cookie", "sessionid=x"),
        Ask::get("/public/x").field("Proxy-Authorization", "Basic eDp5"),
    ] {
        let answer = in_clear(&gateway, &ask).await;
        assert_eq!((answer.status, answer.fields.get("location")), (403, None), "{ask:?}");
    }
    for target in ["/public/../x", "/public/%0d%0aX:y", "//evil.test/x"] {
        let answer = in_clear(&gateway, &Ask::get(target)).await;
        let location = answer.fields.get("location").unwrap_or_default().to_owned();
        assert!(answer.status == 400 || location.starts_with("https://localhost:"), "{target} {answer:?}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_token_that_was_sent_in_clear_is_marked_and_lives_on() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Plaintext::Redirect, ExposedToken::Mark).await;
    let (sent, kept) = (gateway.issue("alice").await, gateway.issue("bob").await);
    assert_eq!(in_clear(&gateway, &Ask::get("/api/x").token(&sent)).await.status, 403);
    eventually(PATIENCE, "it is marked", || async { details(&gateway, &sent).await.exposed.is_some() }).await;
    assert_eq!(details(&gateway, &kept).await.exposed, None);
    let query = AuditQuery { act: Some(Act::TokenExposed), limit: 9, ..AuditQuery::default() };
    let told = gateway.store.audit.as_ref().unwrap().entries(&query).await.unwrap().entries;
    let from: Vec<_> = told.iter().map(|entry| (entry.user_name.as_str(), entry.actor.from)).collect();
    assert_eq!(from, [("alice", Some([127, 0, 0, 1].into()))]);
    assert_eq!(Ask::get("/api/x").token(&sent).to(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_sent_in_clear_is_revoked_where_the_settings_say_so() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Plaintext::Refuse, ExposedToken::Revoke).await;
    let (sent, kept) = (gateway.issue("alice").await, gateway.issue("bob").await);
    for key in [&sent, &kept] {
        assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
    }
    assert_eq!(in_clear(&gateway, &Ask::get("/api/x").token(&sent)).await.status, 403);
    eventually(PATIENCE, "it is refused", || async {
        Ask::get("/api/x").token(&sent).to(&gateway).await.status == 401
    })
    .await;
    assert!(details(&gateway, &sent).await.record.revoked.is_some());
    assert_eq!(Ask::get("/api/x").token(&kept).to(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_door_in_clear_may_serve_as_the_other_one_does() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Plaintext::Serve, ExposedToken::Revoke).await;
    let key = gateway.issue("alice").await;
    assert_eq!(in_clear(&gateway, &Ask::get("/api/x")).await.status, 401);
    assert_eq!(in_clear(&gateway, &Ask::get("/api/x").token(&key)).await.text(), "hello");
    assert_eq!(origin.last().fields.get("x-user-name"), Some("alice"));
    assert_eq!(details(&gateway, &key).await.record.revoked, None);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_there_is_room_again_when_one_leaves() {
    for by_address in [false, true] {
        let origin = Origin::answering("hello").await;
        let site = Site::before(&origin).with(|settings| {
            let limit =
                if by_address { &mut settings.limits.connections_per_ip } else { &mut settings.limits.connections };
            *limit = 4;
        });
        let gateway = site.start().await;
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(Wire::open(&gateway).await);
            let mut wire = Wire::plain(&gateway).await;
            assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
            held.push(wire);
        }
        assert!(Tls::default().connect(&gateway).await.is_err());
        let mut wire = Wire::over(TcpStream::connect(gateway.plain_address()).await.unwrap());
        assert!(wire.try_send(Ask::get("/public/x").bytes()).await.is_err() || wire.rest().await.is_empty());
        assert_eq!(held[3].ask(Ask::get("/public/x").bytes()).await.status, 200, "who is in stays in");
        held.pop();
        eventually(PATIENCE, "there is room", || async { Tls::default().connect(&gateway).await.is_ok() }).await;
        assert_eq!(origin.count(), 3);
    }
}
