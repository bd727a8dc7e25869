//! Programs in browsers from other origins, and browsers without a session.

use std::time::Duration;

use tokengate::config::settings::{Auth, Cors, CorsOrigins, EndpointAddress, RateFact, Route, Settings};
use tokengate::token::Networks;

use crate::browser::{Browser, SESSION, with_pages};
use crate::clients::chromium::play;
use crate::rates::{one, rate};
use crate::support::client::BOTH;
use crate::support::{Ask, Gateway, Origin, Site};

const APP: &str = "https://app.test";

fn cors(origins: CorsOrigins) -> Cors {
    Cors {
        origins,
        methods: Vec::new(),
        headers: vec![http::header::AUTHORIZATION, http::header::CONTENT_TYPE],
        expose: vec![http::HeaderName::from_static("ratelimit")],
        credentials: false,
        max_age: Duration::from_secs(600),
        private_network: true,
    }
}

/// `/api/` admits an origin, `/public/` admits all, `/scoped/` admits it with cookies.
fn with_cors(settings: &mut Settings, origin: &str) {
    let listed = || CorsOrigins::Listed(vec![origin.to_owned()]);
    settings.routes[0].cors = Some(cors(listed()));
    settings.routes[1].cors = Some(cors(CorsOrigins::Any));
    settings.routes[3].cors = Some(Cors { credentials: true, ..cors(listed()) });
}

fn preflight(target: &str, origin: &str, method: &str) -> Ask {
    Ask::new("OPTIONS", target).field("Origin", origin).field("Access-Control-Request-Method", method)
}

#[tokio::test]
async fn a_preflight_of_a_client_that_the_route_does_not_admit_is_refused() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        with_cors(settings, APP);
        let here = Networks::parse("127.0.0.0/8").unwrap();
        for route in &mut settings.routes {
            route.admission.deny_ips = here.clone();
        }
    });
    let gateway = site.start().await;
    for http in BOTH {
        for (target, status) in [("/public/x", 403), ("/api/x", 401)] {
            let answer = preflight(target, APP, "GET").over(http, &gateway).await;
            assert_eq!((answer.status, answer.fields.has("access-control-allow-methods")), (status, false), "{target}");
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_preflight_of_an_admitted_origin_is_answered_without_a_token() {
    let origin = Origin::answering("ok").await;
    let gateway = Site::before(&origin)
        .with(|settings| {
            with_cors(settings, APP);
            settings.routes[3].methods = vec![http::Method::GET];
        })
        .start()
        .await;
    let all = "GET, HEAD, POST, PUT, PATCH, DELETE";
    for http in BOTH {
        for (target, from, method, allowed) in [
            ("/api/x", APP, "GET", Some((APP, all))),
            ("/api/x", APP, "DELETE", Some((APP, all))),
            ("/public/x", "https://other.test", "POST", Some(("*", all))),
            ("/scoped/x", APP, "GET", Some((APP, "GET"))),
            ("/scoped/x", APP, "POST", None),
            ("/api/x", APP, "BREW", None),
            ("/api/x", APP, "TRACE", None),
            ("/api/x", "https://app.test:8443", "GET", None),
            ("/api/x", "http://app.test", "GET", None),
            ("/api/x", "https://app.test.evil.test", "GET", None),
            ("/api/x", "null", "GET", None),
            ("/optional/x", APP, "GET", None),
        ] {
            let seen = origin.count();
            let answer = preflight(target, from, method).over(http, &gateway).await;
            let says =
                (answer.fields.get("access-control-allow-origin"), answer.fields.get("access-control-allow-methods"));
            match allowed {
                Some((origin_said, methods)) => {
                    assert_eq!(answer.status, 204, "{target} {from} {method}");
                    assert_eq!(says, (Some(origin_said), Some(methods)), "{target} {from} {method}");
                    assert_eq!(answer.fields.get("access-control-allow-headers"), Some("authorization, content-type"));
                    assert_eq!(answer.fields.get("access-control-max-age"), Some("600"));
                    let vary = answer.fields.all("vary").join(", ");
                    assert_eq!(vary, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
                    assert_eq!(origin.count(), seen, "the endpoint sees nothing of it");
                }
                None => {
                    assert!(answer.status != 204, "{target} {from} {method}");
                    assert_eq!(answer.fields.get("access-control-allow-methods"), None, "{target} {from} {method}");
                }
            }
        }
    }
    // Without both headers it is an ordinary request.
    for ask in [
        Ask::new("OPTIONS", "/api/x").field("Origin", APP),
        Ask::new("OPTIONS", "/api/x").field("Access-Control-Request-Method", "GET"),
        Ask::get("/api/x").field("Origin", APP).field("Access-Control-Request-Method", "GET"),
    ] {
        assert_eq!(ask.to(&gateway).await.status, 401, "{ask:?}");
    }
    let private = preflight("/api/x", APP, "GET").field("Access-Control-Request-Private-Network", "true");
    let answer = private.to(&gateway).await;
    assert_eq!(answer.fields.get("access-control-allow-private-network"), Some("true"));
}

#[tokio::test]
async fn answers_and_refusals_tell_the_browser_who_may_read_them() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\
                  Access-Control-Allow-Credentials: true\r\n\r\nok";
    let origin = Origin::scripted(move |_| {
        vec![crate::support::Step::Read, crate::support::Step::Send(answer.as_bytes().to_vec())]
    })
    .await;
    let site = Site::before(&origin).with(|settings| {
        with_cors(settings, APP);
        settings.rates = vec![rate("r", one(RateFact::Token), "1/d", 1)];
        settings.routes[0].rates = vec!["r".into()];
    });
    let gateway = site.start().await;
    for (http, user) in BOTH.into_iter().zip(["alice", "bob"]) {
        let key = gateway.issue(user).await;
        for (ask, status) in [
            (Ask::get("/api/x").token(&key), 200),
            (Ask::get("/api/x").token(&key), 429),
            (Ask::get("/api/x"), 401),
            (Ask::get("/scoped/x").token(&key), 403),
        ] {
            let admitted = ask.clone().field("Origin", APP).over(http, &gateway).await;
            assert_eq!(admitted.status, status);
            assert_eq!(admitted.fields.get("access-control-allow-origin"), Some(APP), "{status}");
            let credentials = admitted.fields.get("access-control-allow-credentials");
            assert_eq!(credentials, (status == 403).then_some("true"));
            assert_eq!(admitted.fields.get("access-control-expose-headers"), Some("ratelimit"));
            assert!(admitted.fields.all("vary").contains(&"Origin"));
        }
        for from in ["https://evil.test", "null", ""] {
            let refused = Ask::get("/public/x").field("Origin", from).over(http, &gateway).await;
            assert_eq!(refused.fields.get("access-control-allow-origin"), Some("*"), "{from}");
            let refused = Ask::get("/api/x").field("Origin", from).over(http, &gateway).await;
            assert!(!refused.fields.has("access-control-allow-origin"), "{from}");
            assert!(refused.fields.all("vary").contains(&"Origin"));
        }
    }
    let both = Ask::get("/api/x").field("Origin", APP).field("Origin", "https://evil.test").to(&gateway).await;
    assert!(!both.fields.has("access-control-allow-origin"));
    // A route without rules leaves the headers of its endpoint alone.
    let other = Ask::get("/optional/x").field("Origin", APP).to(&gateway).await;
    assert_eq!(other.fields.get("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn a_program_in_chromium_reads_answers_and_refusals() {
    let origin = Origin::answering("ok").await;
    let port = crate::support::redis::free_port();
    let page = format!("http://localhost:{port}");
    let site = Site::before(&origin).with(|settings| {
        with_cors(settings, &page);
        settings.rates = vec![rate("r", one(RateFact::Token), "1/d", 1)];
        settings.routes[0].rates = vec!["r".into()];
        let nowhere = [
            ("down", EndpointAddress::Unix("/nowhere/socket".into())),
            ("away", EndpointAddress::Tcp("no-such-host.invalid".into(), 80)),
        ];
        for (name, address) in nowhere {
            let mut upstream = settings.upstreams[0].clone();
            (upstream.name, upstream.endpoints[0].address) = (name.to_owned(), address);
            settings.upstreams.push(upstream);
            let cors = settings.routes[0].cors.clone();
            let upstream = settings.upstreams.len() - 1;
            let open = crate::support::gateway::route(name, &format!("/{name}/"), Auth::None);
            settings.routes.push(Route { cors, upstream, ..open });
        }
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    play("cors.py", "reads", &gateway, &[&port.to_string(), &key]).await;
}

#[tokio::test]
async fn a_browser_without_a_session_is_sent_to_the_login_and_back() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(with_pages).start().await;
    let html = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let navigate = |target: &str| Ask::get(target).field("Sec-Fetch-Mode", "navigate").field("Accept", html);
    for http in BOTH {
        let stale = navigate("/first/x").field("Cookie", format!("{SESSION}=0123456789"));
        for (ask, status, to) in [
            (navigate("/first/x?a=b&c=d"), 302, Some("/auth/login/?next=/first/x%3Fa%3Db%26c%3Dd")),
            (navigate("/only/"), 302, Some("/auth/login/?next=/only/")),
            (stale, 302, Some("/auth/login/?next=/first/x")),
            // Programs keep their answers.
            (Ask::get("/first/x").field("Accept", html), 403, None),
            (navigate("/first/x").token("wrong"), 403, None),
            (Ask::get("/first/x").field("Sec-Fetch-Mode", "cors").field("Accept", html), 403, None),
            (navigate("/both/x"), 401, None),
            (navigate("/api/x"), 401, None),
        ] {
            let answer = ask.over(http, &gateway).await;
            assert_eq!((answer.status, answer.fields.get("location")), (status, to), "{http:?} {ask:?}");
            assert_eq!(answer.fields.get("cache-control"), Some("no-store"));
        }
    }
    crate::browser::user(&gateway, "alice").await;
    let alice = Browser::of(&gateway, "alice").await;
    assert_eq!(alice.with_cookies(navigate("/first/x")).to(&gateway).await.status, 200);
    let _: &Gateway = &gateway;
}
