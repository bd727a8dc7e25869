//! Unencrypted listeners, and connection limits of all listeners.

use std::time::Duration;

use tokengate::config::settings::{ExposedToken, ListenerRole, Plaintext, TlsListener};
use tokengate::store::{Act, AuditQuery, TokenDetails, TokenRef};
use tokengate::token::TokenKey;
use tokio::net::TcpStream;

use crate::support::client::Tls;
use crate::support::gateway::{plain, tls};
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
async fn a_refusing_listener_forwards_nothing() {
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
    // There is no upgrade to unencrypted HTTP/2 either.
    let mut wire = Wire::plain(&gateway).await;
    let prior = wire.ask_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(prior.starts_with("HTTP/1.1 400"), "{prior}");
}

#[tokio::test]
async fn a_redirecting_listener_redirects_only_requests_without_secrets() {
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
async fn a_token_that_was_sent_unencrypted_is_marked_and_stays_valid() {
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
async fn a_token_that_was_sent_unencrypted_is_revoked_where_configured() {
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
async fn an_unencrypted_listener_can_serve_requests() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Plaintext::Serve, ExposedToken::Revoke).await;
    let key = gateway.issue("alice").await;
    assert_eq!(in_clear(&gateway, &Ask::get("/api/x")).await.status, 401);
    assert_eq!(in_clear(&gateway, &Ask::get("/api/x").token(&key)).await.text(), "hello");
    assert_eq!(origin.last().fields.get("x-user-name"), Some("alice"));
    assert_eq!(details(&gateway, &key).await.record.revoked, None);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_ends() {
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
        assert_eq!(held[3].ask(Ask::get("/public/x").bytes()).await.status, 200, "admitted callers stay admitted");
        held.pop();
        eventually(PATIENCE, "there is room", || async { Tls::default().connect(&gateway).await.is_ok() }).await;
        assert_eq!(origin.count(), 3);
    }
}

/// The response to bytes without TLS on the HTTPS port.
async fn on_the_wrong_port(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::over(TcpStream::connect(gateway.address()).await.unwrap());
    let answer = wire.ask(bytes).await;
    wire.ends().await;
    answer
}

#[tokio::test]
async fn http_on_the_https_port_gets_an_explanation_only() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for bytes in [
        Ask::get("/public/x").bytes(),
        Ask::get("/public/x").field("X-Forwarded-Proto", "https").bytes(),
        Ask::post("/public/x", vec![b'x'; 200_000]).bytes(),
        Ask::post("/public/x", "body").trailer("x", "1").bytes(),
        Ask::get("/api/x").token(&key).bytes(),
        Ask::new("OPTIONS", "*").bytes(),
        b"GET / HTTP/1.1\n\n".to_vec(),
        b"get /../ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 70_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [Ask::get("/public/1").bytes(), Ask::get("/public/2").bytes()].concat(),
    ] {
        let answer = on_the_wrong_port(&gateway, &bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..40.min(bytes.len())]).into_owned();
        assert_eq!(answer.status, 400, "{shown}");
        assert_eq!(answer.detail(), "This port accepts HTTPS only, but the request was sent without TLS.", "{shown}");
        assert_eq!(answer.fields.get("connection"), Some("close"), "{shown}");
        for absent in ["strict-transport-security", "location"] {
            assert!(!answer.fields.has(absent), "{shown}: {absent}");
        }
    }
    let mut old = Wire::over(TcpStream::connect(gateway.address()).await.unwrap());
    let text = old.ask_raw("GET /public/x HTTP/1.0\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.0 400 ") && text.contains("accepts HTTPS only"), "{text}");
    assert_eq!(origin.connections(), 0);
    assert_eq!(gateway.metric("tokengate_handshake_failures_total"), 0);
}

#[tokio::test]
async fn a_token_that_was_sent_to_the_https_port_without_tls_is_exposed() {
    for fate in [ExposedToken::Ignore, ExposedToken::Mark, ExposedToken::Revoke] {
        let origin = Origin::answering("hello").await;
        let tls = TlsListener { exposed_token: fate, ..tls(vec![0]) };
        let site = Site::before(&origin).with(|settings| settings.listeners[0].role = ListenerRole::Tls(tls));
        let gateway = site.start().await;
        let (sent, kept) = (gateway.issue("alice").await, gateway.issue("bob").await);
        // Reports are handled in order.
        for key in [&sent, &sent] {
            assert_eq!(on_the_wrong_port(&gateway, Ask::get("/api/x").token(key).bytes()).await.status, 400);
        }
        let status = async |key: &str| Ask::get("/api/x").token(key).to(&gateway).await.status;
        match fate {
            ExposedToken::Ignore => assert_eq!(details(&gateway, &sent).await.exposed, None),
            ExposedToken::Mark => {
                eventually(PATIENCE, "marked", || async { details(&gateway, &sent).await.exposed.is_some() }).await;
                assert_eq!(status(&sent).await, 200);
            }
            ExposedToken::Revoke => eventually(PATIENCE, "revoked", || async { status(&sent).await == 401 }).await,
        }
        assert_eq!((details(&gateway, &kept).await.exposed, status(&kept).await), (None, 200));
    }
}

#[tokio::test]
async fn a_partial_head_on_the_https_port_has_the_timeout_of_a_head() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| settings.timeouts.request_headers = Duration::from_secs(2));
    let gateway = site.start().await;
    let mut wire = Wire::over(TcpStream::connect(gateway.address()).await.unwrap());
    wire.send("GET / HTTP/1.1\r\nX-Slow: ").await;
    wire.ends().await;
}
