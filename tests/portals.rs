//! Portals: services that sign users in, and are asked about requests without a token.

mod attacks;
mod lemonldap;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tokengate::config::settings::{
    Admission, Auth, Endpoint, EndpointAddress, Portal, RateFact, Route, Settings, Upstream,
};
use tokengate::token::Networks;

use crate::explain;
use crate::rates::{one, rate};
use crate::support::client::BOTH;
use crate::support::gateway::route;
use crate::support::origin::Request;
use crate::support::{AMPLE, Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, nowhere};

/// Sends users without a cookie to its login, and lets all others pass.
async fn portal() -> Origin {
    Origin::scripted(|request: &Request| {
        let answer = match request.fields.get("cookie") {
            Some(cookies) if cookies.contains("sso=alice") => {
                "HTTP/1.1 202 Accepted\r\nRemote-User: alice\r\nX-Wiki-User: alice\r\nRemote-Email: a@x\r\n\
                 X-User-Id: 1\r\nSet-Cookie: sso=alice2; Path=/\r\nContent-Length: 2\r\n\r\nOK"
            }
            _ => {
                "HTTP/1.1 302 Found\r\nLocation: https://sso.test/?rd=x\r\nSet-Cookie: state=1\r\nRemote-User: nobody\r\n\
                 Content-Length: 5\r\n\r\nlogin"
            }
        };
        vec![Step::Read, Step::Send(answer.into())]
    })
    .await
}

/// `/wiki/` asks a portal at this port about requests without a token.
pub fn asking(settings: &mut Settings, port: u16) {
    let endpoint = Endpoint::at(format!("127.0.0.1:{port}"), EndpointAddress::Tcp("127.0.0.1".to_owned(), port));
    let upstream = Upstream {
        idle_timeout: AMPLE,
        connect_timeout: PATIENCE,
        wait_timeout: PATIENCE,
        ..Upstream::of("portal", vec![endpoint])
    };
    settings.upstreams.push(upstream);
    let portal = Arc::new(Portal {
        name: "sso".into(),
        upstream: settings.upstreams.len() - 1,
        path: "/verify?x".parse().unwrap(),
        headers: ["remote-user", "x-wiki-user"].map(HeaderName::from_static).to_vec(),
        timeout: PATIENCE,
    });
    let asks =
        |name: &str| Route { portal: Some(Arc::clone(&portal)), ..route(name, &format!("/{name}/"), Auth::Required) };
    let far = Admission { allow_ips: Networks::parse("10.0.0.0/8").unwrap(), ..Admission::default() };
    settings.rates = vec![rate("a", one(RateFact::Address), "1/d", 2)];
    settings.routes.extend([
        asks("wiki"),
        Route { admission: far, ..asks("far") },
        Route { rates: vec!["a".into()], ..asks("limited") },
        Route { streaming: true, ..asks("live") },
    ]);
}

async fn gateway(origin: &Origin, port: u16) -> Gateway {
    Site::before(origin).with(|settings| asking(settings, port)).start().await
}

#[tokio::test]
async fn a_token_passes_without_the_portal_and_a_wrong_one_never_reaches_it() {
    let (origin, portal) = (Origin::answering("wiki").await, portal().await);
    let gateway = gateway(&origin, portal.address().port()).await;
    let key = gateway.issue("alice").await;
    for http in BOTH {
        let cookie = |ask: Ask| ask.field("Cookie", "sso=alice");
        let passed = cookie(Ask::get("/wiki/x").token(&key)).over(http, &gateway).await;
        assert_eq!((passed.status, origin.last().fields.get("x-auth-method")), (200, Some("token")));
        let seen = origin.count();
        for credentials in ["Token unknown", "Token", "Token a b"] {
            let refused = cookie(Ask::get("/wiki/x").field("Authorization", credentials)).over(http, &gateway).await;
            assert_eq!(refused.status, 401, "{credentials}");
        }
        gateway.store.ledger.issue_login(gateway.user("bob").await).await.unwrap();
        let bob = gateway.issue("bob").await;
        gateway.revoke(&bob).await;
        assert_eq!(cookie(Ask::get("/wiki/x").token(&bob)).over(http, &gateway).await.status, 401);
        assert_eq!((portal.count(), origin.count()), (0, seen));
    }
}

#[tokio::test]
async fn the_answer_of_the_portal_is_obeyed() {
    let (origin, portal) = (Origin::answering("wiki").await, portal().await);
    let gateway = gateway(&origin, portal.address().port()).await;
    for http in BOTH {
        let sent = Ask::get("/wiki/x?y").over(http, &gateway).await;
        assert_eq!((sent.status, sent.fields.get("location")), (302, Some("https://sso.test/?rd=x")));
        assert_eq!((sent.fields.get("set-cookie"), sent.text()), (Some("state=1"), "login"));
        let head = Ask::new("HEAD", "/wiki/x").over(http, &gateway).await;
        assert_eq!((head.status, head.body.len()), (302, 0));
        let seen = origin.count();
        assert_eq!(Ask::post("/wiki/x", "body").over(http, &gateway).await.status, 302);
        assert_eq!(origin.count(), seen, "the application sees nothing");

        let ask = Ask::post("/wiki/x?y", "body").field("Cookie", "a=b; sso=alice").field("Remote-User", "root");
        let ask = ask.field("X_Wiki_User", "root").field("X-Wiki-User", "root").field("Remote-Email", "root");
        let passed = ask.over(http, &gateway).await;
        assert_eq!((passed.status, passed.text()), (200, "wiki"));
        assert_eq!(passed.fields.get("set-cookie"), Some("sso=alice2; Path=/"));
        let request = origin.last();
        assert_eq!((request.method.as_str(), request.body.as_slice()), ("POST", &b"body"[..]));
        for (name, value) in [
            ("remote-user", Some("alice")),
            ("x-wiki-user", Some("alice")),
            ("x_wiki_user", None),
            ("remote-email", None),
            ("x-user-id", None),
            ("x-auth-method", Some("portal")),
            ("cookie", Some("a=b; sso=alice")),
        ] {
            assert_eq!(request.fields.get(name), value, "{name}");
        }
        let question = portal.last();
        assert_eq!((question.method.as_str(), question.target.as_str()), ("GET", "/verify?x"));
        for (name, value) in [
            ("x-forwarded-method", Some("POST")),
            ("x-forwarded-uri", Some("/wiki/x?y")),
            ("x-forwarded-host", Some("localhost")),
            ("x-forwarded-proto", Some("https")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("cookie", Some("a=b; sso=alice")),
            ("content-length", None),
            ("remote-user", None),
        ] {
            let value = if name == "x-forwarded-host" { question.fields.get(name) } else { value };
            assert_eq!(question.fields.get(name), value, "{name}");
        }
    }
    // No client can send the headers of the portal, with a token or without.
    let key = gateway.issue("alice").await;
    for ask in [Ask::get("/wiki/x").token(&key), Ask::get("/public/x"), Ask::get("/api/x").token(&key)] {
        let forged = ask.field("Remote-User", "root").field("x.wiki.user", "root").field("X-Wiki-User", "root");
        assert_eq!(forged.to(&gateway).await.status, 200);
        let fields = origin.last().fields;
        assert!(!fields.has("remote-user") && !fields.has("x-wiki-user") && !fields.has("x.wiki.user"));
    }
}

#[tokio::test]
async fn the_rules_of_the_route_hold_after_the_portal() {
    let (origin, portal) = (Origin::answering("wiki").await, portal().await);
    let gateway = gateway(&origin, portal.address().port()).await;
    let ask = |target: &str| Ask::get(target).field("Cookie", "sso=alice");
    assert_eq!(ask("/far/x").to(&gateway).await.status, 403);
    for status in [200, 200, 429] {
        assert_eq!(ask("/limited/x").to(&gateway).await.status, status);
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_portal_that_is_away_slow_or_failing_is_a_503() {
    let origin = Origin::answering("wiki").await;
    let gate = Gate::closed();
    let answer = |head: &str| vec![Step::Send(format!("{head}\r\nContent-Length: 0\r\n\r\n").into())];
    for (what, steps) in [
        ("failing", answer("HTTP/1.1 500 Oops")),
        ("overloaded", answer("HTTP/1.1 503 Busy")),
        ("ambiguous", answer("HTTP/1.1 200 OK\r\nContent-Length: 1")),
        ("switching", answer("HTTP/1.1 101 Switching\r\nUpgrade: x")),
        ("closing", vec![Step::Close]),
        ("slow", vec![Step::Wait(Arc::clone(&gate))]),
        ("away", Vec::new()),
    ] {
        let portal = Origin::doing(steps).await;
        let port = if what == "away" { nowhere().port() } else { portal.address().port() };
        let site = Site::before(&origin).with(|settings| {
            asking(settings, port);
            if what == "slow" {
                for route in &mut settings.routes {
                    let shorter = |portal: &Arc<Portal>| {
                        Arc::new(Portal { timeout: Duration::from_millis(300), ..Portal::clone(portal) })
                    };
                    route.portal = route.portal.as_ref().map(shorter);
                }
            }
        });
        let gateway = site.start().await;
        for http in BOTH {
            let refused = Ask::get("/wiki/x").field("Cookie", "sso=alice").over(http, &gateway).await;
            assert_eq!((refused.status, refused.fields.get("retry-after")), (503, Some("1")), "{what} {http:?}");
            assert_eq!(refused.detail(), "The sign-in service cannot be reached at the moment. Try again.");
        }
        assert_eq!(gateway.outcome("wiki", "portal_unavailable"), 2, "{what}");
        // Tokens need no portal.
        let key = gateway.issue("alice").await;
        assert_eq!(Ask::get("/wiki/x").token(&key).to(&gateway).await.status, 200, "{what}");
    }
    assert_eq!(origin.count(), 7);
    gate.open();
}

#[tokio::test]
async fn a_connection_serves_on_after_each_answer_of_the_portal() {
    let (origin, portal) = (Origin::answering("wiki").await, portal().await);
    let gateway = gateway(&origin, portal.address().port()).await;
    let mut wire = Wire::open(&gateway).await;
    for _ in 0..3 {
        assert_eq!(wire.ask(Ask::get("/wiki/x").bytes()).await.status, 302);
        assert_eq!(wire.ask(Ask::get("/wiki/x").field("Cookie", "sso=alice").bytes()).await.status, 200);
    }
    assert_eq!(portal.last().connection, 0, "its connection is used again");
}

#[tokio::test]
async fn an_explanation_names_the_portal_and_asks_nothing() {
    let (origin, portal) = (Origin::answering("wiki").await, portal().await);
    let gateway = gateway(&origin, portal.address().port()).await;
    let get = "GET http://a.test/wiki/x";
    let tests = vec![
        explain::test("token", get, Some(""), explain::upstream("X-Auth-Method: token")),
        explain::test("anonymous", get, None, explain::status(401)),
    ];
    let said = explain::problems(&gateway, tests).await;
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains("expected status 401, but the portal `sso` decides (route `wiki`)"), "{said:#?}");
    assert_eq!((portal.count(), origin.count()), (0, 0));
}
