//! Questions that a client tries to change, through a proxy that passes on what the client sends.

use tokengate::config::settings::{Admission, Auth, Cors, CorsOrigins, MethodScopes, Route};
use tokengate::token::ScopeSet;
use tokio::net::TcpStream;

use super::{FORMS, answers, asking, put, question, site};
use crate::support::gateway::route;
use crate::support::{Ask, Origin, Wire};

#[tokio::test]
async fn nothing_beside_the_description_of_the_proxy_changes_the_judgement() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |settings| {
        let scopes = |text| ScopeSet::parse(text).unwrap();
        let method_scopes = MethodScopes::new(vec![("GET".parse().unwrap(), scopes("read"))], scopes("write"));
        let admission = Admission { method_scopes, ..Admission::default() };
        settings.routes.push(Route { admission, ..route("methods", "/methods/", Auth::Required) });
        settings.routes[0].cors = Some(Cors {
            origins: CorsOrigins::Any,
            methods: Vec::new(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: std::time::Duration::from_secs(1),
            private_network: true,
        });
    });
    let gateway = gateway.start().await;
    let reader = gateway.issue_named("alice", "read", None, &gateway.clock()).await;
    let preflight = |target: &str| {
        Ask::new("OPTIONS", target).field("Origin", "https://a.test").field("Access-Control-Request-Method", "GET")
    };
    for (ask, status) in [
        (Ask::get("/api/x").field("X_Forwarded_Uri", "/public/x").field("X-Forwarded-Uri2", "/public/x"), 401),
        (Ask::get("/api/x").field("X-Original-URL", "/public/x").field("X-Original-URI", "/public/x"), 401),
        (Ask::get("/api/x").field("X-Rewrite-URL", "/public/x").field("X-Original-Method", "OPTIONS"), 401),
        (Ask::get("/api/x").field("X-Forwarded-Prefix", "/public").field("X-Forwarded-Path", "/public/x"), 401),
        (Ask::get("/api/x").field("Forwarded", "for=127.0.0.1;host=evil.test;proto=http"), 401),
        (Ask::post("/methods/x", "").token(&reader).field("X-HTTP-Method-Override", "GET"), 403),
        (
            Ask::post("/methods/x", "").token(&reader).field("X-HTTP-Method", "GET").field("X-Method-Override", "GET"),
            403,
        ),
        (Ask::new("get", "/methods/x").token(&reader), 405),
        (Ask::new("HEAD", "/methods/x").token(&reader), 200),
        // An answer that allows a preflight would let it through without a token.
        (preflight("/api/x"), 401),
        (preflight("/methods/x"), 401),
        (Ask::new("OPTIONS", "/api/x"), 401),
        // The paths of questions are paths like others.
        (Ask::get("/forward-auth"), 404),
        (Ask::get("/auth-request"), 404),
        (Ask::get("/ext-authz/public/x"), 404),
        (Ask::get("/ext-authz/ext-authz/public/x"), 404),
        (Ask::get("/public/../api/x"), 400),
        (Ask::get("/public/%2e%2e/api/x"), 400),
        (Ask::get("/public/..%2fapi/x"), 400),
        (Ask::get("/public%2fx"), 400),
        (Ask::get("/public/%2F..%2Fapi"), 400),
        (Ask::get("/public\\..\\api"), 400),
        (Ask::get("//public/x"), 404),
        (Ask::get("/%"), 400),
        (Ask::get("/public/%00"), 400),
        (Ask::get("/public/x;/../api"), 400),
    ] {
        let [forward_auth, auth_request, ext_authz] = answers(&gateway, &ask).await;
        let nginx = if [200, 401].contains(&status) { status } else { 403 };
        assert_eq!([forward_auth.status, auth_request.status, ext_authz.status], [status, nginx, status], "{ask:?}");
        if status != 200 {
            let shown = auth_request.fields.get("x-tokengate-status");
            assert_eq!(shown, Some(status.to_string().as_str()), "{ask:?}");
        }
    }
    // Each header of the description exists once, with one value.
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Uri"] {
        for value in ["/public/x", "127.0.0.1", "GET", "https", ""] {
            let ask = question("/forward-auth", &Ask::get("/api/x")).field(name, value);
            let status = put(&gateway, &ask).await.status;
            assert!([400, 401].contains(&status), "{name}: {value}: {status}");
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn the_body_of_a_question_is_not_read_as_another_question() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |_| {}).start().await;
    let key = gateway.issue("alice").await;
    let inner = question("/forward-auth", &Ask::get("/public/x")).bytes();
    for form in FORMS {
        for chunked in [false, true] {
            for allowed in [false, true] {
                let ask = if allowed { Ask::post("/api/x", "").token(&key) } else { Ask::post("/api/x", "") };
                let mut asked = question(form, &ask);
                asked.method = "POST".to_owned();
                asked.body = Some(inner.clone());
                asked = if chunked { asked.trailer("X-End", "1") } else { asked };
                let mut wire = Wire::over(TcpStream::connect(asking(&gateway)).await.unwrap());
                wire.send(asked.bytes()).await;
                wire.send(question(form, &Ask::get("/api/last")).field("Connection", "close").bytes()).await;
                let first = wire.answer().await;
                assert_eq!(first.status, if allowed { 200 } else { 401 }, "{form} {first:?}");
                // The next answer is about the next question, or the connection ends.
                let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
                assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 401 "), "{form} {rest}");
                assert!(!rest.contains("HTTP/1.1 200"), "{form} {rest}");
            }
        }
    }
}

#[tokio::test]
async fn a_question_that_is_too_long_is_never_a_yes() {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, |_| {}).start().await;
    let key = gateway.issue("alice").await;
    for form in FORMS {
        for ask in [
            Ask::get("/api/x").token(&key).field("X-Long", "x".repeat(300_000)),
            Ask::get(&format!("/api/{}", "x".repeat(300_000))).token(&key),
            (0..2_000).fold(Ask::get("/api/x").token(&key), |ask, at| ask.field(&format!("X-{at}"), "x")),
        ] {
            let mut wire = Wire::over(TcpStream::connect(asking(&gateway)).await.unwrap());
            // The gateway may close the connection before it has everything.
            let _ = wire.try_send(question(form, &ask).field("Connection", "close").bytes()).await;
            let said = String::from_utf8_lossy(&wire.rest().await).into_owned();
            assert!(said.starts_with("HTTP/1.1 4") || said.is_empty(), "{form} {}", &said[..said.len().min(200)]);
        }
    }
}
