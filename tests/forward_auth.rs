//! Proxies that ask the gateway about each request.

mod attacks;
mod browsers;
mod proxies;
mod table;

use std::net::SocketAddr;

use tokengate::config::settings::{
    Auth, Expected, ExposedToken, ForwardAuthorization, ForwardedFamily, Listener, ListenerRole, Plaintext, ProxyTrust,
    RateFact, Route, Settings,
};
use tokengate::token::Networks;
use tokio::net::{TcpSocket, TcpStream};

use crate::browser::{self, Browser};
use crate::explain;
use crate::rates::{one, rate};
use crate::support::client::BOTH;
use crate::support::gateway::{listener, plain, route, tls};
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually, soon};

/// A site with a listener for questions, from 127.0.0.1 only.
fn site(origin: &Origin, change: impl FnOnce(&mut Settings)) -> Site {
    Site::before(origin).with(|settings| {
        let proxies = Networks::parse("127.0.0.1").unwrap();
        let trust = ProxyTrust { proxies, family: ForwardedFamily::XForwarded, protocol: false };
        let role = plain(Plaintext::Serve, ExposedToken::Ignore);
        settings.listeners.push(Listener { trust, forward_auth: true, ..listener("proxies", role) });
        change(settings);
    })
}

/// Where proxies ask.
fn asking(gateway: &Gateway) -> SocketAddr {
    gateway.listener("proxies").unwrap()
}

const FORMS: [&str; 3] = ["/forward-auth", "/auth-request", "/ext-authz"];

/// The question of a proxy about this request.
fn question(form: &str, ask: &Ask) -> Ask {
    let fields = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")];
    let described = [("X-Forwarded-Method", ask.method.as_str()), ("X-Forwarded-Uri", &ask.target)];
    let question = match form {
        "/ext-authz" => Ask::new(&ask.method, &format!("{form}{}", ask.target)),
        _ => described
            .iter()
            .fold(Ask::get(form).field("X-Forwarded-Host", "localhost"), |ask, (name, value)| ask.field(name, value)),
    };
    let question = fields.iter().fold(question, |ask, (name, value)| ask.field(name, value));
    ask.fields.iter().fold(question, |ask, (name, value)| ask.field(name, value))
}

async fn put(gateway: &Gateway, ask: &Ask) -> Answer {
    let mut wire = Wire::over(TcpStream::connect(asking(gateway)).await.unwrap());
    wire.send(ask.bytes()).await;
    if ask.method == "HEAD" { wire.answer_to_head().await } else { wire.answer().await }
}

/// The answer to the question of each form.
async fn answers(gateway: &Gateway, ask: &Ask) -> [Answer; 3] {
    let [a, b, c] = FORMS.map(|form| question(form, ask));
    [put(gateway, &a).await, put(gateway, &b).await, put(gateway, &c).await]
}

#[tokio::test]
async fn a_proxy_learns_who_the_caller_is_or_how_to_refuse_the_request() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |settings| {
        settings.rates = vec![rate("a", one(RateFact::User), "1/d", 3)];
        settings.routes.push(Route { rates: vec!["a".into()], ..route("limited", "/limited/", Auth::Required) });
        let (always, auth) = (ForwardAuthorization::Always, Auth::Required);
        settings.routes.push(Route { forward_authorization: always, ..route("own", "/own/", auth) });
    });
    let gateway = gateway.start().await;
    let key = gateway.issue("alice").await;
    let id = gateway.user("alice").await.to_string();
    for method in ["GET", "POST", "DELETE", "HEAD"] {
        for answer in answers(&gateway, &Ask::new(method, "/api/x?y").token(&key)).await {
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{method} {answer:?}");
            for (name, value) in [
                ("x-user-id", Some(id.as_str())),
                ("x-user-name", Some("alice")),
                ("x-auth-method", Some("token")),
                ("authorization", None),
            ] {
                assert_eq!(answer.fields.get(name), value, "{name}");
            }
        }
    }
    for answer in answers(&gateway, &Ask::get("/public/x").field("X-User-Id", "1")).await {
        assert_eq!((answer.fields.get("x-auth-method"), answer.fields.has("x-user-id")), (Some("anonymous"), false));
    }
    for answer in answers(&gateway, &Ask::get("/own/x").token(&key)).await {
        assert_eq!(answer.fields.get("authorization"), Some(format!("Token {key}").as_str()));
    }
    for answer in answers(&gateway, &Ask::get("/limited/x").token(&key)).await {
        assert_eq!(answer.status, 200);
    }
    // Each refusal, in the form that the proxy understands.
    let grpc = Ask::post("/api/x", "").field("Content-Type", "application/grpc");
    for (ask, status) in [
        (Ask::get("/api/x"), 401),
        (Ask::get("/api/x").token("unknown"), 401),
        (grpc, 401),
        (Ask::new("HEAD", "/api/x"), 401),
        (Ask::get("/scoped/x").token(&key), 403),
        (Ask::get("/limited/x").token(&key), 429),
        (Ask::get("/nowhere").token(&key), 404),
        (Ask::new("BREW", "/api/x").token(&key), 405),
        (Ask::get("/public/../api/x"), 400),
        (Ask::get("/public//x"), 400),
    ] {
        let [forward_auth, auth_request, ext_authz] = answers(&gateway, &ask).await;
        let nginx = if status == 401 { 401 } else { 403 };
        assert_eq!([forward_auth.status, auth_request.status, ext_authz.status], [status, nginx, status], "{ask:?}");
        assert_eq!(auth_request.fields.get("x-tokengate-status"), Some(status.to_string().as_str()));
        let body = auth_request.fields.get("x-tokengate-body").unwrap();
        assert_eq!(body.as_bytes(), forward_auth.body, "{ask:?}");
        assert!(ext_authz.body == forward_auth.body || ask.method == "HEAD");
        for header in ["www-authenticate", "retry-after", "allow"] {
            assert_eq!(auth_request.fields.get(header), forward_auth.fields.get(header), "{ask:?} {header}");
        }
        assert!(!forward_auth.fields.has("x-user-id") && !ext_authz.fields.has("x-user-id"));
    }
    gateway.revoke(&key).await;
    let ask = question("/forward-auth", &Ask::get("/api/x").token(&key));
    eventually(PATIENCE, "401", || async { put(&gateway, &ask).await.status == 401 }).await;
    assert_eq!(origin.count(), 0, "nothing is forwarded");
}

#[tokio::test]
async fn an_answer_about_a_head_request_has_the_body_that_its_connection_needs() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |_| {}).start().await;
    let mut wire = Wire::over(TcpStream::connect(asking(&gateway)).await.unwrap());
    for _ in 0..2 {
        let refused = wire.ask(question("/forward-auth", &Ask::new("HEAD", "/api/x")).bytes()).await;
        assert_eq!((refused.status, refused.detail().is_empty()), (401, false));
        wire.send(question("/ext-authz", &Ask::new("HEAD", "/api/x")).bytes()).await;
        assert_eq!(wire.answer_to_head().await.status, 401);
    }
}

#[tokio::test]
async fn only_proxies_may_ask_and_only_questions_are_answered() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, browser::with_pages).start().await;
    let key = gateway.issue("alice").await;
    for form in FORMS {
        let ask = question(form, &Ask::get("/api/x").token(&key));
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = soon("connect", socket.connect(asking(&gateway))).await.unwrap();
        assert_eq!(Wire::over(stream).ask(ask.bytes()).await.status, 403, "{form}");
        for target in ["/gettoken/", "/auth/login/", "/auth/"] {
            let refused = put(&gateway, &question(form, &Ask::get(target).token(&key))).await;
            assert!([403, 404].contains(&refused.status), "{form} {target}");
        }
    }
    for target in ["/api/x", "/public/x", "/", "/forward-auth/", "/ext-authz"] {
        let forwarded = put(&gateway, &Ask::get(target).token(&key).field("X-Forwarded-For", "203.0.113.7")).await;
        assert_eq!(forwarded.status, 404, "{target}");
    }
    // The login and its pages are beside the questions.
    let page = Ask::get("/auth/login/").field("X-Forwarded-For", "203.0.113.7").field("X-Forwarded-Proto", "https");
    assert_eq!(put(&gateway, &page.field("X-Forwarded-Host", "localhost")).await.status, 200);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_session_is_accepted_from_pages_of_the_site_only_and_is_not_passed_on() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, browser::with_pages).start().await;
    browser::user(&gateway, "alice").await;
    let alice = Browser::of(&gateway, "alice").await;
    let cookies = |ask: Ask| ask.field("Cookie", format!("a=b; {}={}", browser::SESSION, alice.session()));
    for answer in answers(&gateway, &cookies(Ask::get("/both/x"))).await {
        assert_eq!((answer.status, answer.fields.get("cookie")), (200, Some("a=b")));
        assert_eq!(
            (answer.fields.get("x-auth-method"), answer.fields.get("x-user-name")),
            (Some("session"), Some("alice"))
        );
    }
    let handshake =
        |ask: Ask| ask.field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").field("Sec-WebSocket-Version", "13");
    for (ask, status) in [
        (cookies(Ask::post("/both/x", "")), 403),
        (cookies(Ask::get("/both/x")).field("Origin", "https://evil.test"), 200),
        (handshake(cookies(Ask::get("/both/x"))).field("Origin", "https://evil.test"), 403),
        (handshake(cookies(Ask::get("/both/x"))).field("Origin", "https://localhost"), 200),
    ] {
        for answer in answers(&gateway, &ask).await {
            assert_eq!(answer.status, status, "{ask:?}");
        }
    }
    // A browser is sent to the login.
    let navigation = Ask::get("/first/x").field("Sec-Fetch-Mode", "navigate").field("Accept", "text/html");
    let [forward_auth, auth_request, ext_authz] = answers(&gateway, &navigation).await;
    assert_eq!([forward_auth.status, auth_request.status, ext_authz.status], [302, 403, 302]);
    for answer in [forward_auth, auth_request, ext_authz] {
        assert_eq!(answer.fields.get("location"), Some("https://localhost/auth/login/?next=/first/x"));
    }
}

#[tokio::test]
async fn a_question_is_explained_and_a_token_for_reading_opens_no_tunnel() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |_| {}).start().await;
    let asked = |name: &str, headers: &[&str], read_only: bool, expected: Expected| {
        let mut test = explain::test(name, "GET https://a.test/api/x", Some(""), expected);
        test.request.listener = Some("proxies".to_owned());
        test.request.headers = headers.iter().map(|line| (*line).to_owned()).collect();
        test.caller.as_mut().unwrap().read_only = read_only;
        test
    };
    let allowed = || explain::upstream("X-Forwarded-Proto: https");
    let tests = vec![
        asked("a", &[], false, allowed()),
        asked("b", &[], true, allowed()),
        asked("c", &["Sec-WebSocket-Version: 13"], false, allowed()),
        asked("d", &["Sec-WebSocket-Version: 13"], true, explain::status(403)),
        asked("e", &["X_User_Id: 1"], false, explain::status(400)),
        asked("f", &["Host: b.test"], false, explain::upstream("Host: a.test")),
    ];
    assert_eq!(explain::problems(&gateway, tests).await, [""; 0]);
}

#[tokio::test]
async fn identity_headers_in_other_spellings_are_refused_or_named_for_removal() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |settings| crate::portals::asking(settings, 9)).start().await;
    let portals = ["Remote_User", "remote.user", "XWikiUser", "X.Wiki.User"];
    let certificates = ["Client_Cert", "client.cert.chain", "ClientCertificate"];
    for name in ["X_User_Id", "x.user.name", "XAuthMethod"].into_iter().chain(portals).chain(certificates) {
        let [forward_auth, auth_request, ext_authz] = answers(&gateway, &Ask::get("/public/x").field(name, "1")).await;
        assert_eq!([forward_auth.status, auth_request.status, ext_authz.status], [400, 403, 200], "{name}");
        let removed = ext_authz.fields.get("x-envoy-auth-headers-to-remove").unwrap();
        assert_eq!(removed, name.to_ascii_lowercase());
    }
    let key = gateway.issue("alice").await;
    let ask = Ask::get("/api/x").token(&key).field("X-User-Id", "1").field("X-User-Email", "root@a.test");
    let ask = ask.field("X-Forwarded-Host", "evil.test").field("X-Goog-Iap", "1").field("Accept", "*/*");
    let answer = put(&gateway, &question("/ext-authz", &ask)).await;
    let removed = answer.fields.get("x-envoy-auth-headers-to-remove").unwrap();
    let mut removed: Vec<&str> = removed.split(',').collect();
    removed.sort_unstable();
    assert_eq!(removed, ["authorization", "x-goog-iap", "x-user-email"]);
}

#[tokio::test]
async fn questions_can_come_over_https() {
    let origin = Origin::answering("ok").await;
    let site = site(&origin, |settings| {
        let proxies = Networks::parse("127.0.0.1").unwrap();
        settings.listeners[0].trust = ProxyTrust { proxies, family: ForwardedFamily::XForwarded, protocol: false };
        settings.listeners[0].forward_auth = true;
        settings.listeners[0].role = ListenerRole::Tls(tls(vec![0]));
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    for http in BOTH {
        for form in FORMS {
            let answer = question(form, &Ask::post("/api/x", "").token(&key)).over(http, &gateway).await;
            assert_eq!((answer.status, answer.fields.get("x-user-name")), (200, Some("alice")), "{http:?} {form}");
            let refused = question(form, &Ask::new("HEAD", "/api/x")).over(http, &gateway).await;
            assert_eq!(refused.status, 401, "{http:?} {form}");
        }
    }
}
