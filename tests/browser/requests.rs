//! Sessions as credentials of routes.

use super::{Browser, ORIGIN, SESSION, gateway};
use crate::support::client::BOTH;
use crate::support::sockets::Streams;
use crate::support::{Answer, Ask, Gateway, Http, Origin, Wire};

const NOAUTH: &str = "Authentication credentials were not provided.";
const INVALID: &str = "Invalid token.";

fn refused(answer: &Answer) -> (u16, Option<&str>, String) {
    (answer.status, answer.fields.get("www-authenticate"), answer.detail())
}

#[tokio::test]
async fn the_upstream_gets_the_user_of_a_session_but_not_its_key() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let alice = Browser::of(&gateway, "alice").await;
    for http in BOTH {
        let cookies = format!("a=b; {}; c=\"d\"", alice.cookies());
        let ask = Ask::get("/both/x").field("Cookie", cookies).field("X-Auth-Method", "token").field("X-Token-Id", "1");
        assert_eq!(ask.over(http, &gateway).await.status, 200);
        let seen = origin.last();
        assert_eq!(seen.fields.get("x-auth-method"), Some("session"));
        assert_eq!(seen.fields.get("x-user-name"), Some("alice"));
        assert!(seen.fields.has("x-user-id") && !seen.fields.has("x-token-id"));
        let csrf = &alice.jar["csrftoken"];
        assert_eq!(seen.fields.get("cookie"), Some(format!("a=b; csrftoken={csrf}; c=\"d\"").as_str()));
        assert!(!String::from_utf8_lossy(&seen.head).contains(alice.session()));
    }
    // HTTP/2 sends each cookie on a line of its own.
    let ask = Ask::get("/both/x").field("Cookie", "a=b").field("Cookie", format!("{SESSION}={}", alice.session()));
    assert_eq!(ask.field("Cookie", "c=d").over(Http::Two, &gateway).await.status, 200);
    assert_eq!(origin.last().fields.get("cookie"), Some("a=b; c=d"));
    // Nor on a route that does not check credentials.
    assert_eq!(alice.with_cookies(Ask::get("/public/x")).to(&gateway).await.status, 200);
    assert!(!String::from_utf8_lossy(&origin.last().head).contains(alice.session()));
}

#[tokio::test]
async fn the_first_of_the_credentials_decides_the_form_of_a_refusal() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let alice = Browser::of(&gateway, "alice").await;
    let get = |path: &str| Ask::get(path);
    let key = gateway.issue("bob").await;
    for (path, status, challenge) in
        [("/api/x", 401, Some("Token")), ("/both/x", 401, Some("Token")), ("/first/x", 403, None)]
    {
        assert_eq!(refused(&get(path).to(&gateway).await), (status, challenge, NOAUTH.to_owned()), "{path}");
        assert_eq!(
            refused(&get(path).token("bad").to(&gateway).await),
            (status, challenge, INVALID.to_owned()),
            "{path}"
        );
        let stale = get(path).field("Cookie", format!("{SESSION}=0123456789"));
        assert_eq!(refused(&stale.to(&gateway).await), (status, challenge, NOAUTH.to_owned()), "{path}");
        assert_eq!(get(path).token(&key).to(&gateway).await.status, 200, "{path}");
    }
    assert_eq!(refused(&get("/only/x").token(&key).to(&gateway).await), (403, None, NOAUTH.to_owned()));
    let cookie = |path: &str| alice.with_cookies(get(path));
    assert_eq!(refused(&cookie("/api/x").to(&gateway).await), (401, Some("Token"), NOAUTH.to_owned()));
    assert_eq!(refused(&cookie("/both/x").token("bad").to(&gateway).await), (401, Some("Token"), INVALID.to_owned()));
    for (ask, who) in [
        (cookie("/both/x"), "alice"),
        (cookie("/both/x").token(&key), "bob"),
        (cookie("/first/x").token("bad"), "alice"),
        (cookie("/first/x").token(&key), "alice"),
        (cookie("/only/x").token("bad"), "alice"),
        (cookie("/maybe/x"), "alice"),
    ] {
        assert_eq!(ask.to(&gateway).await.status, 200, "{ask:?}");
        assert_eq!(origin.last().fields.get("x-user-name"), Some(who), "{ask:?}");
    }
    let stale = get("/maybe/x").field("Cookie", format!("{SESSION}=0123456789"));
    assert_eq!(stale.to(&gateway).await.status, 200);
    assert_eq!(origin.last().fields.get("x-auth-method"), Some("anonymous"));
    assert_eq!(cookie("/nowhere").to(&gateway).await.status, 404);
}

#[tokio::test]
async fn a_session_key_is_no_token_and_a_token_no_session_key() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let alice = Browser::of(&gateway, "alice").await;
    let key = gateway.issue("alice").await;
    for _ in 0..2 {
        assert_eq!(Ask::get("/both/x").token(alice.session()).to(&gateway).await.status, 401);
        assert_eq!(Ask::get("/both/x").field("Cookie", format!("{SESSION}={key}")).to(&gateway).await.status, 401);
        assert_eq!(Ask::get("/both/x").token(&key).to(&gateway).await.status, 200);
        assert_eq!(alice.with_cookies(Ask::get("/both/x")).to(&gateway).await.status, 200);
    }
}

#[tokio::test]
async fn an_unsafe_request_with_a_session_must_come_from_a_page_of_ours() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let alice = Browser::of(&gateway, "alice").await;
    let csrf = alice.jar["csrftoken"].clone();
    let post = |method: &str| alice.with_cookies(Ask::new(method, "/both/x"));
    let missing = "CSRF Failed: CSRF token missing.";
    let incorrect = "CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect.";
    let other = "CSRF Failed: Origin checking failed - https://evil.example does not match any trusted origins.";
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for (ask, why) in [
            (post(method).field("Origin", ORIGIN), missing),
            (post(method).field("Origin", ORIGIN).field("X-CSRFToken", "x"), incorrect),
            (post(method).field("Origin", ORIGIN).field("X-CSRFToken", &csrf).field("X-CSRFToken", "x"), incorrect),
            (post(method).field("Origin", ORIGIN).field("X-CSRFToken", &csrf).field("X-CSRFToken", &csrf), incorrect),
            (post(method).field("Origin", "https://evil.example").field("X-CSRFToken", &csrf), other),
            (post(method).field("X-CSRFToken", &csrf), "CSRF Failed: Referer checking failed - no Referer."),
        ] {
            let answer = ask.to(&gateway).await;
            assert_eq!(refused(&answer), (403, None, why.to_owned()), "{method}");
        }
    }
    assert_eq!(origin.count(), 0, "nothing of it reached the upstream");
    for method in ["POST", "DELETE"] {
        let ask = post(method).field("X-CSRFToken", &csrf);
        assert_eq!(ask.clone().field("Origin", ORIGIN).to(&gateway).await.status, 200, "{method}");
        assert_eq!(ask.field("Referer", "https://localhost/page").to(&gateway).await.status, 200, "{method}");
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(post(method).field("Origin", "https://evil.example").to(&gateway).await.status, 200, "{method}");
    }
    let key = gateway.issue("alice").await;
    assert_eq!(post("POST").token(&key).to(&gateway).await.status, 200, "a request with a token is not from a browser");
}

#[tokio::test]
async fn a_websocket_with_a_session_must_come_from_a_page_of_ours() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let alice = Browser::of(&gateway, "alice").await;
    let handshake = |from: &str| {
        let ask = alice.with_cookies(Ask::get("/live/x")).field("Connection", "Upgrade").field("Upgrade", "websocket");
        let ask = ask.field("Sec-WebSocket-Version", "13").field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        ask.field("Origin", from)
    };
    assert_eq!(handshake("https://evil.example").to(&gateway).await.status, 403);
    assert_eq!(origin.count(), 0);
    assert_eq!(handshake(ORIGIN).to(&gateway).await.status, 200, "the endpoint is asked, and declines");
    // Over HTTP/2, where the client would take that answer for a tunnel.
    let mut streams = Streams::open(&gateway).await;
    for (from, status, count) in [("https://evil.example", 403, 1), (ORIGIN, 502, 2)] {
        let ask = alice.with_cookies(Ask::get("/live/x")).field("Origin", from);
        assert_eq!((streams.websocket(&ask).await.0, origin.count()), (status, count), "{from}");
    }
}

#[tokio::test]
async fn no_upstream_sets_or_reads_a_session() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: {SESSION}=planted; Path=/; Secure\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    );
    let origin = Origin::doing(vec![crate::support::Step::Read, crate::support::Step::Send(answer.into_bytes())]).await;
    let gateway = gateway(&origin).await;
    let answer = Ask::get("/public/x").to(&gateway).await;
    assert_eq!(answer.fields.all("set-cookie"), ["a=b"]);
}

#[tokio::test]
async fn an_unencrypted_session_is_refused() {
    use crate::support::gateway::plain;
    use tokengate::config::settings::{ExposedToken, Plaintext};
    let origin = Origin::answering("hello").await;
    let site = crate::support::Site::before(&origin).with(super::with_pages).with(|settings| {
        settings.listeners[1].role = plain(Plaintext::Redirect, ExposedToken::Mark);
    });
    let gateway: Gateway = site.start().await;
    super::user(&gateway, "alice").await;
    let alice = Browser::of(&gateway, "alice").await;
    let mut wire = Wire::plain(&gateway).await;
    assert_eq!(wire.ask(alice.with_cookies(Ask::get("/both/x")).bytes()).await.status, 403);
}
