//! Rates of single tokens and users.

use std::time::Duration;

use tokengate::config::settings::{OwnRateRule, RateBackend, RateFact, RateKey};
use tokengate::store::{DetailsChange, LimitChanges, NamedToken, Terms, TokenLimits};
use tokengate::token::{OwnRate, TokenId};

use super::{limit, one, rate};
use crate::support::client::BOTH;
use crate::support::fleet::Fleet;
use crate::support::redis::{RULES, Redis};
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually};

fn own(text: &str) -> OwnRate {
    text.parse().unwrap()
}

async fn issue(gateway: &Gateway, user: &str, rate: Option<&str>) -> (TokenId, String) {
    let limits = TokenLimits { rate: rate.map(own), ..TokenLimits::default() };
    let order = NamedToken { name: "test".to_owned(), limits, ..NamedToken::default() };
    let issued = gateway.store.ledger.issue_named(gateway.user(user).await, &order).await.unwrap();
    (issued.id, issued.key.expose().to_owned())
}

async fn set_user_rate(gateway: &Gateway, user: &str, rate: Option<&str>) {
    let change = DetailsChange { rate: Some(rate.map(own)), ..DetailsChange::default() };
    assert!(gateway.store.accounts.edit(gateway.user(user).await, &change).await.unwrap());
}

/// How many of 20 requests pass.
async fn passing(gateway: &Gateway, key: &str) -> usize {
    let mut passed = 0;
    for n in 0..20 {
        let answer = Ask::get("/api/x").token(key).over(BOTH[n % 2], gateway).await;
        assert!([200, 429].contains(&answer.status), "{}", answer.status);
        passed += usize::from(answer.status == 200);
    }
    passed
}

#[tokio::test]
async fn the_rate_of_a_token_or_user_replaces_that_of_the_route_and_counts_on_all_routes() {
    let origin = Origin::answering("ok").await;
    for (route_key, own_token, own_user, passes) in [
        // Neither: the rate of the route.
        (one(RateFact::Token), None, None, 5),
        // Above and below it.
        (one(RateFact::Token), Some("9/d"), None, 9),
        (one(RateFact::Token), Some("2/d"), None, 2),
        (one(RateFact::Token), Some("100/d burst 3"), None, 3),
        (one(RateFact::User), None, Some("9/d"), 9),
        (one(RateFact::User), None, Some("2/d"), 2),
        // Only a rate of the same key is replaced.
        (one(RateFact::User), Some("9/d"), None, 5),
        (one(RateFact::Token), None, Some("9/d"), 5),
        (one(RateFact::Address), Some("9/d"), Some("9/d"), 5),
        (RateKey(RateFact::Token, Some(RateFact::Route)), Some("9/d"), None, 5),
        // Both count.
        (one(RateFact::Token), Some("9/d"), Some("4/d"), 4),
        (one(RateFact::User), Some("3/d"), Some("9/d"), 3),
    ] {
        let site = Site::before(&origin).with(|settings| limit(settings, vec![rate("a", route_key, "5/d", 5)]));
        let gateway = site.start().await;
        let (_, key) = issue(&gateway, "alice", own_token).await;
        if own_user.is_some() {
            set_user_rate(&gateway, "alice", own_user).await;
        }
        assert_eq!(passing(&gateway, &key).await, passes, "{route_key} {own_token:?} {own_user:?}");
        // Other users have their own counts, except where the client's address counts.
        let (_, other) = issue(&gateway, "bob", None).await;
        let expected = if route_key == one(RateFact::Address) { 0 } else { 5 };
        assert_eq!(passing(&gateway, &other).await, expected);
    }
    // Without rates of routes, and on all routes together.
    let gateway = Gateway::before(&origin).await;
    let (_, key) = issue(&gateway, "alice", Some("3/d")).await;
    for (path, status) in
        [("/api/x", 200), ("/optional/x", 200), ("/api/x", 200), ("/optional/x", 429), ("/public/x", 200)]
    {
        assert_eq!(Ask::get(path).token(&key).to(&gateway).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_client_is_told_of_its_own_rate_and_a_change_applies_at_once() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        let per_user = rate("per-user", one(RateFact::User), "5/min", 5);
        limit(settings, vec![rate("per-token", one(RateFact::Token), "2/min", 2), per_user]);
    });
    let gateway = site.start().await;
    let (id, key) = issue(&gateway, "alice", Some("3/min burst 2")).await;
    let ask = Ask::get("/api/x").token(&key);
    let answer = ask.to(&gateway).await;
    assert_eq!(answer.fields.get("ratelimit"), Some("\"per-user\";r=4;t=12, \"own-token\";r=1;t=20"));
    let policy = "\"per-user\";q=5;w=60, \"own-token\";q=3;w=60;tokengate-burst=2";
    assert_eq!(answer.fields.get("ratelimit-policy"), Some(policy));
    assert_eq!(ask.to(&gateway).await.status, 200);
    let refused = ask.to(&gateway).await;
    assert_eq!((refused.status, refused.fields.get("retry-after")), (429, Some("20")));
    assert_eq!(refused.detail(), "Request was throttled. Expected available in 20 seconds.");
    assert_eq!(refused.fields.get("ratelimit"), Some("\"per-user\";r=2;t=12, \"own-token\";r=0;t=20"));
    assert_eq!(gateway.metric("tokengate_rate_refused_total{rate=\"own-token\"}"), 1);
    assert!(!gateway.metrics().contains("alice"));
    let limits = LimitChanges { rate: Some(Some(own("60/min"))), ..LimitChanges::default() };
    gateway.store.ledger.set_terms(id, &Terms { limits, ..Terms::default() }).await.unwrap();
    eventually(PATIENCE, "the change applies", || async { ask.to(&gateway).await.status == 200 }).await;
    // An open count goes on over a reload.
    gateway.reload(|settings| settings.workers = 1).await.unwrap();
    let limits = LimitChanges { rate: Some(None), ..LimitChanges::default() };
    gateway.store.ledger.set_terms(id, &Terms { limits, ..Terms::default() }).await.unwrap();
    gateway.hand.advance(Duration::from_secs(60));
    eventually(PATIENCE, "the rate of the route applies", || async {
        let answer = ask.to(&gateway).await;
        answer.fields.get("ratelimit-policy") == Some("\"per-token\";q=2;w=60, \"per-user\";q=5;w=60")
    })
    .await;
}

#[tokio::test]
async fn gateways_count_the_rate_of_a_token_together() {
    let redis = Redis::start_with(&[RULES]).await;
    let fleet = Fleet::over_sqlite(3, |settings| {
        super::shared::shared(settings, &redis.url());
        limit(settings, Vec::new());
        let backend = RateBackend::Redis { gateways: 3 };
        settings.own_rates = OwnRateRule { backend, ..settings.own_rates };
    })
    .await;
    let (_, warm) = issue(fleet.first(), "warm", Some("100000/d")).await;
    for gateway in &fleet.gateways {
        eventually(PATIENCE, "Redis counts", || async {
            let alone = gateway.metric("tokengate_rate_alone_total{rate=\"own-token\"}");
            Ask::get("/api/x").token(&warm).to(gateway).await;
            let lookups = gateway.metric("tokengate_rate_lookups_total{rate=\"own-token\"}");
            lookups > 0 && alone == gateway.metric("tokengate_rate_alone_total{rate=\"own-token\"}")
        })
        .await;
    }
    let (_, key) = issue(fleet.first(), "alice", Some("12/d")).await;
    let mut passed = 0;
    for gateway in &fleet.gateways {
        passed += passing(gateway, &key).await;
    }
    assert_eq!(passed, 12);
}
