//! Rates of routes: who is counted, what a client is told, and what several gateways count together.

mod figures;
mod own;
mod shared;

use std::time::Duration;

use tokengate::config::settings::{RateBackend, RateFact, RateKey, RateRule, Settings};

use crate::support::client::{BOTH, from_elsewhere};
use crate::support::http2::passed_of_a_crowd;
use crate::support::{Ask, Gateway, Origin, Site, Wire};

/// A rate that is counted in the process.
pub fn rate(name: &str, key: RateKey, rate: &str, burst: u32) -> RateRule {
    let rate = rate.parse().unwrap();
    RateRule { name: name.to_owned(), key, rate, burst, backend: RateBackend::Local, max_keys: 1_000 }
}

pub fn one(fact: RateFact) -> RateKey {
    RateKey(fact, None)
}

/// Sets the rates of all routes.
pub fn limit(settings: &mut Settings, rates: Vec<RateRule>) {
    for route in &mut settings.routes {
        route.rates = rates.iter().map(|rate| rate.name.as_str().into()).collect();
    }
    settings.rates = rates;
}

async fn statuses(gateway: &Gateway, asks: &[Ask]) -> Vec<u16> {
    let mut wire = Wire::open(gateway).await;
    let mut all = Vec::new();
    for ask in asks {
        all.push(wire.ask(ask.bytes()).await.status);
    }
    all
}

#[tokio::test]
async fn a_request_beyond_the_rate_is_refused_in_the_words_of_django_rest_framework() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        limit(settings, vec![rate("per-token", one(RateFact::Token), "2/min", 2)]);
    });
    let gateway = site.start().await;
    for (http, user) in BOTH.into_iter().zip(["alice", "bob"]) {
        let ask = Ask::get("/api/x").token(&gateway.issue(user).await);
        for left in ["\"per-token\";r=1;t=30", "\"per-token\";r=0;t=30"] {
            let answer = ask.over(http, &gateway).await;
            assert_eq!(answer.status, 200, "{http:?}");
            assert_eq!(answer.fields.get("ratelimit"), Some(left));
            assert_eq!(answer.fields.get("ratelimit-policy"), Some("\"per-token\";q=2;w=60"));
        }
        let seen = origin.count();
        let refused = ask.over(http, &gateway).await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.detail(), "Request was throttled. Expected available in 30 seconds.");
        assert_eq!(refused.fields.get("retry-after"), Some("30"));
        assert_eq!(refused.fields.get("ratelimit"), Some("\"per-token\";r=0;t=30"));
        assert_eq!(refused.fields.get("ratelimit-policy"), Some("\"per-token\";q=2;w=60"));
        assert!(!refused.fields.has("www-authenticate"));
        assert_eq!(origin.count(), seen, "the endpoint sees nothing of it");
        gateway.hand.advance(Duration::from_millis(29_500));
        let refused = ask.over(http, &gateway).await;
        assert_eq!(refused.detail(), "Request was throttled. Expected available in 1 second.");
        gateway.hand.advance(Duration::from_millis(500));
        assert_eq!(ask.over(http, &gateway).await.status, 200);
        let head = Ask { method: "HEAD".to_owned(), ..ask.clone() }.over(http, &gateway).await;
        assert_eq!((head.status, head.body.len()), (429, 0));
        // Credentials are checked first, and a wrong key counts for nothing.
        assert_eq!(Ask::get("/api/x").over(http, &gateway).await.status, 401);
        assert_eq!(Ask::get("/api/x").token("wrong").over(http, &gateway).await.status, 401);
    }
    assert_eq!(gateway.metric("tokengate_rate_refused_total{rate=\"per-token\"}"), 6);
    gateway.has_counted("api", "too_many_requests", 6).await;
}

#[tokio::test]
async fn each_value_of_a_key_has_its_own_count() {
    use RateFact::{Address, Route, Token, User};
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let clock = gateway.clock();
    let alice = gateway.issue("alice").await;
    let other = gateway.issue_named("alice", "", None, &clock).await;
    let bob = gateway.issue("bob").await;
    let (api, optional) = (|key: &str| Ask::get("/api/x").token(key), |key: &str| Ask::get("/optional/x").token(key));
    let anonymous = Ask::get("/optional/x");
    let asks = [api(&alice), api(&alice), api(&other), optional(&alice), api(&bob), anonymous.clone(), anonymous];
    for (key, expected) in [
        (one(Token), [200, 429, 200, 429, 200, 200, 429]),
        (one(User), [200, 429, 429, 429, 200, 200, 429]),
        (one(Address), [200, 429, 429, 429, 429, 429, 429]),
        (one(Route), [200, 429, 429, 200, 429, 429, 429]),
        (RateKey(User, Some(Route)), [200, 429, 429, 200, 200, 200, 429]),
        (RateKey(Address, Some(Route)), [200, 429, 429, 200, 429, 429, 429]),
    ] {
        gateway.reload(|settings| limit(settings, vec![rate("one", key, "1/d", 1)])).await.unwrap();
        assert_eq!(statuses(&gateway, &asks).await, expected, "{key}");
        let mut elsewhere = from_elsewhere(&gateway).await;
        let status = elsewhere.ask(api(&alice).bytes()).await.status;
        let counts_addresses = [key.0, key.1.unwrap_or(key.0)].contains(&Address);
        assert_eq!(status == 200, counts_addresses, "{key}");
        gateway.reload(|settings| limit(settings, Vec::new())).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_one_rate_refuses_counts_for_no_other() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        let per_user = rate("per-user", one(RateFact::User), "1/min", 1);
        limit(settings, vec![rate("site", one(RateFact::Route), "3/min", 3), per_user]);
    });
    let gateway = site.start().await;
    let (alice, bob, carol) = (gateway.issue("alice").await, gateway.issue("bob").await, gateway.issue("carol").await);
    let ask = |key: &str| Ask::get("/api/x").token(key);
    let asks = [ask(&alice), ask(&alice), ask(&alice), ask(&alice), ask(&bob), ask(&carol), ask(&carol)];
    assert_eq!(statuses(&gateway, &asks).await, [200, 429, 429, 429, 200, 200, 429]);
    let refused = ask(&carol).to(&gateway).await;
    assert_eq!(refused.fields.get("retry-after"), Some("60"), "until every rate allows it");
    assert_eq!(refused.fields.get("ratelimit-policy"), Some("\"site\";q=3;w=60, \"per-user\";q=1;w=60"));
    assert_eq!(refused.fields.get("ratelimit"), Some("\"site\";r=0;t=20, \"per-user\";r=0;t=60"));
}

#[tokio::test]
async fn all_workers_and_connections_share_one_count() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        settings.workers = 4;
        limit(settings, vec![rate("site", one(RateFact::Route), "100/h", 100)]);
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    assert_eq!((passed_of_a_crowd(&gateway, &key).await, origin.count()), (100, 100));
}

#[tokio::test]
async fn an_unchanged_rate_keeps_its_counts_over_a_reload() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| limit(settings, vec![rate("a", one(RateFact::User), "1/h", 1)]));
    let gateway = site.start().await;
    let ask = Ask::get("/api/x").token(&gateway.issue("alice").await);
    assert_eq!(ask.to(&gateway).await.status, 200);
    gateway.reload(|settings| settings.rates.insert(0, rate("b", one(RateFact::Token), "9/h", 9))).await.unwrap();
    assert_eq!(ask.to(&gateway).await.status, 429);
    let changes = gateway.reload(|settings| settings.rates[1].burst = 2).await.unwrap();
    assert_eq!(changes.to_string(), "rate `a` changed");
    assert_eq!(ask.to(&gateway).await.status, 200, "a changed rate begins with a whole burst");
}

#[tokio::test]
async fn requests_that_are_refused_for_another_reason_do_not_count() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        settings.routes[0].body_limit = 10;
        limit(settings, vec![rate("a", one(RateFact::Address), "1/h", 1)]);
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    for (ask, status) in [
        (Ask::get("/api/x"), 401),
        (Ask::get("/scoped/x").token(&key), 403),
        (Ask::post("/api/x", [b'x'; 11]).token(&key), 413),
        (Ask::get("/nowhere"), 404),
        (Ask::get("/api/x").token(&key), 200),
        (Ask::get("/api/x").token(&key), 429),
    ] {
        assert_eq!(ask.to(&gateway).await.status, status, "{ask:?}");
    }
}

#[tokio::test]
async fn headers_of_an_endpoint_about_its_own_rates_stay() {
    let origin = Origin::scripted(|_| {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRateLimit: \"own\";r=5;t=9\r\n\r\n";
        vec![crate::support::Step::Read, crate::support::Step::Send(answer.as_bytes().to_vec())]
    })
    .await;
    let site =
        Site::before(&origin).with(|settings| limit(settings, vec![rate("a", one(RateFact::Address), "5/h", 5)]));
    let gateway = site.start().await;
    let answer = Ask::get("/public/x").to(&gateway).await;
    assert_eq!(answer.fields.all("ratelimit"), ["\"own\";r=5;t=9", "\"a\";r=4;t=720"]);
}
