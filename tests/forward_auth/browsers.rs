//! What browsers do through real proxies with the files of `deploy/forward-auth`: WebSocket and sessions.

use tokengate::store::{NamedToken, TokenLimits};

use super::proxies::{Proxy, ask, connect};
use super::site;
use crate::browser::{self, PASSWORD, SESSION};
use crate::support::origin::ok;
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, Step, Wire, eventually};
use crate::upgrade::{echo, echoes, handshake};

/// Where the proxies listen, for a browser.
const PAGE: &str = "http://localhost";

/// The answer to a handshake, and the connection.
async fn open(proxy: &Proxy, ask: &Ask) -> (u16, Wire) {
    let mut wire = Wire::over(connect("127.0.0.12", proxy.address()).await);
    wire.send(ask.bytes()).await;
    let status = wire.next_head().await.expect("an answer").0;
    (status, wire)
}

async fn websockets(name: &str) {
    let origin = echo().await;
    let gateway = site(&origin, browser::with_pages).start().await;
    let proxy = Proxy::start(name, origin.address(), &gateway).await;
    let cookie = format!("{SESSION}={}", sign_in(&gateway, &proxy).await);
    let reader = read_only(&gateway, "alice").await;
    let (key, revoked) = (gateway.issue("alice").await, gateway.issue("bob").await);
    gateway.revoke(&revoked).await;
    let page = |ask: Ask, from: &str| ask.field("Cookie", format!("a=b; {cookie}")).field("Origin", from);
    let seen = origin.count();
    for (ask, status) in [
        (handshake("/api/ws"), 401),
        (handshake("/api/ws").token(&revoked), 401),
        (handshake("/api/ws").token(&reader), 403),
        (handshake("/scoped/ws").token(&key), 403),
        (handshake("/nowhere/ws").token(&key), 404),
        (page(handshake("/both/ws"), "https://evil.test"), 403),
    ] {
        assert_eq!(open(&proxy, &ask).await.0, status, "{name} {ask:?}\n{}", proxy.log());
    }
    assert_eq!(origin.count(), seen, "{name}: the application sees nothing");
    for (ask, method) in [
        (handshake("/api/ws?x").token(&key), "token"),
        (page(handshake("/both/ws"), PAGE), "session"),
        (handshake("/public/ws").field("X-User-Name", "root"), "anonymous"),
    ] {
        let (status, mut wire) = open(&proxy, &ask).await;
        assert_eq!(status, 101, "{name} {ask:?}\n{}", proxy.log());
        echoes(&mut wire, b"hello").await;
        let seen = origin.last().fields;
        assert_eq!(
            (seen.get("x-auth-method"), seen.get("x-user-name")),
            (Some(method), (method != "anonymous").then_some("alice"))
        );
        assert!(
            !seen.has("authorization") && seen.all("cookie").iter().all(|line| !line.contains(SESSION)),
            "{seen:?}"
        );
    }
    // After the token was revoked, the next handshake is refused.
    gateway.revoke(&key).await;
    eventually(PATIENCE, "401", || async { open(&proxy, &handshake("/api/ws").token(&key)).await.0 == 401 }).await;
    // No other protocol opens a way past the gateway.
    let h2c = |ask: Ask| {
        ask.field("Connection", "Upgrade, HTTP2-Settings").field("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")
    };
    for upgrades in [&["h2c"][..], &["websocket, h2c"], &["h2c, websocket"], &["h2c", "websocket"], &["TLS/1.0"]] {
        for with_key in [false, true] {
            let ask = upgrades.iter().fold(h2c(Ask::get("/public/x")), |ask, value| ask.field("Upgrade", value));
            let ask = if with_key { ask.field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==") } else { ask };
            let before = origin.count();
            let (_, _wire) = open(&proxy, &ask).await;
            for request in origin.requests().split_off(before) {
                let asked = request.fields.all("upgrade");
                assert!(asked.is_empty() || (with_key && asked == ["websocket"]), "{name} {upgrades:?}: {asked:?}");
            }
        }
    }
}

/// A token for reading.
async fn read_only(gateway: &Gateway, user: &str) -> String {
    let limits = TokenLimits { read_only: true, ..TokenLimits::default() };
    let order = NamedToken { name: "reader".to_owned(), limits, ..NamedToken::default() };
    let owner = gateway.user(user).await;
    gateway.store.ledger.issue_named(owner, &order).await.unwrap().key.expose().to_owned()
}

/// The value of a cookie that an answer sets.
fn cookie(answer: &Answer, name: &str) -> String {
    let lines = answer.fields.all("set-cookie");
    let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.split(';').next());
    value.unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
}

/// Signs `alice` in on the login page, through the proxy. Returns the session.
async fn sign_in(gateway: &Gateway, proxy: &Proxy) -> String {
    browser::user(gateway, "alice").await;
    let page = ask("127.0.0.12", proxy.address(), &Ask::get("/auth/login/")).await;
    assert_eq!(page.status, 200, "{page:?}");
    let cookies: Vec<_> =
        page.fields.all("set-cookie").iter().map(|line| line.split(';').next().unwrap().to_owned()).collect();
    let secret = browser::secret(&page);
    let form = [("csrfmiddlewaretoken", secret.as_str()), ("username", "alice"), ("password", PASSWORD)];
    let signed = browser::form("/auth/login/", &form).field("Cookie", cookies.join("; ")).field("Origin", PAGE);
    let signed = ask("127.0.0.12", proxy.address(), &signed).await;
    assert_eq!(signed.status, 302, "{signed:?}");
    cookie(&signed, SESSION)
}

async fn sessions(name: &str) {
    let origin = Origin::scripted(|_| vec![Step::Read, Step::Send(ok("ok"))]).await;
    let gateway = site(&origin, browser::with_pages).start().await;
    let proxy = Proxy::start(name, origin.address(), &gateway).await;
    let put = async |request: Ask| ask("127.0.0.12", proxy.address(), &request).await;
    let navigation = |target: &str| Ask::get(target).field("Sec-Fetch-Mode", "navigate").field("Accept", "text/html");
    let seen = origin.count();

    // A browser without a session is sent to the login, and a program is not.
    let sent = put(navigation("/first/x?y=1")).await;
    assert_eq!(
        (sent.status, sent.fields.get("location")),
        (302, Some("http://localhost/auth/login/?next=/first/x%3Fy%3D1")),
        "{name}"
    );
    assert_eq!(put(Ask::get("/first/x")).await.status, 403, "{name}");
    let session = sign_in(&gateway, &proxy).await;
    assert_eq!(origin.count(), seen, "the gateway answers its pages itself");

    let with = |ask: Ask, session: &str| ask.field("Cookie", format!("a=b; {SESSION}={session}; c=d"));
    for request in [navigation("/first/x"), Ask::get("/both/x").field("Origin", "https://evil.test")] {
        let answer = put(with(request, &session)).await;
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{name} {answer:?}\n{}", proxy.log());
        let told = origin.last().fields;
        assert_eq!((told.get("x-auth-method"), told.get("x-user-name")), (Some("session"), Some("alice")), "{name}");
        let cookies = told.all("cookie").join("; ");
        assert!(cookies.contains("a=b") && cookies.contains("c=d") && !cookies.contains(SESSION), "{name} {cookies}");
    }
    let seen = origin.count();
    for (request, status) in [
        // From another site, and without a proof that it comes from this one.
        (with(Ask::post("/both/x", "").field("Origin", "https://evil.test"), &session), 403),
        (with(Ask::post("/both/x", "").field("Origin", PAGE), &session), 403),
        (with(Ask::get("/both/x"), "unknown"), 401),
        (with(Ask::get("/both/x"), &session.to_uppercase()), 401),
        (with(Ask::get("/api/x"), &session), 401),
        (with(Ask::get("/both/x"), &session).token("unknown"), 401),
    ] {
        assert_eq!(put(request.clone()).await.status, status, "{name} {request:?}");
    }
    assert_eq!(origin.count(), seen, "{name}");

    // With the CSRF secret that the pages give, a form of the site passes.
    let account = put(with(Ask::get("/auth/account/"), &session)).await;
    let secret = browser::secret(&account);
    let form = with(Ask::post("/both/x", "body").field("Origin", PAGE).field("X-CSRFToken", &secret), &session);
    assert_eq!(put(form).await.status, 200, "{name}");

    // A session that has ended passes nothing.
    let end = [("csrfmiddlewaretoken", secret.as_str())];
    let ended = put(with(browser::form("/auth/logout/", &end).field("Origin", PAGE), &session)).await;
    assert_eq!(ended.status, 200, "{name} {ended:?}");
    let over = || async { put(with(Ask::get("/both/x"), &session)).await.status == 401 };
    eventually(PATIENCE, "the session has ended", over).await;
}

#[tokio::test]
async fn websockets_pass_nginx_if_the_gateway_allows_them() {
    websockets("nginx").await;
}

#[tokio::test]
async fn websockets_pass_caddy_if_the_gateway_allows_them() {
    websockets("caddy").await;
}

#[tokio::test]
async fn websockets_pass_traefik_if_the_gateway_allows_them() {
    websockets("traefik").await;
}

#[tokio::test]
async fn websockets_pass_envoy_if_the_gateway_allows_them() {
    websockets("envoy").await;
}

#[tokio::test]
async fn browsers_sign_in_through_nginx() {
    sessions("nginx").await;
}

#[tokio::test]
async fn browsers_sign_in_through_caddy() {
    sessions("caddy").await;
}

#[tokio::test]
async fn browsers_sign_in_through_traefik() {
    sessions("traefik").await;
}

#[tokio::test]
async fn browsers_sign_in_through_envoy() {
    sessions("envoy").await;
}
