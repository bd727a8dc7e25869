//! Wrong keys on protected routes: limited per client, without affecting cached callers.

use std::time::Duration;

use tokengate::clock::Clock;
use tokengate::config::Settings;
use tokengate::token::TokenKey;
use tokengate::units::Rate;
use tokio::time::Instant;

use crate::support::client::BOTH;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually};

async fn gateway(origin: &Origin, most: Option<Rate>) -> Gateway {
    Site::before(origin).with(|settings| settings.limits.wrong_keys = most).start().await
}

fn wrong(n: usize) -> Ask {
    Ask::get("/api/x").token(&format!("{n:040}"))
}

#[tokio::test]
async fn wrong_keys_are_limited_and_cached_ones_are_served() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Some(Rate::per_minute(10))).await;
    let known = gateway.issue("alice").await;
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200);
    for n in 0..10 {
        assert_eq!(wrong(n).to(&gateway).await.status, 401, "{n}");
    }
    for http in BOTH {
        // A new key, and one that is cached as invalid; on every kind of route that checks credentials.
        for ask in [wrong(10), wrong(0), Ask::get("/optional/x").token("wrong"), Ask::get("/scoped/x").token("wrong")] {
            let answer = ask.over(http, &gateway).await;
            assert_eq!(answer.status, 429, "{answer:?}");
            assert_eq!(answer.detail(), "Request was throttled. Expected available in 6 seconds.");
            assert_eq!(answer.fields.get("retry-after"), Some("6"));
            assert!(!answer.fields.has("www-authenticate"));
        }
        assert_eq!(
            Ask::get("/api/x").token(&known).over(http, &gateway).await.status,
            200,
            "cached callers are served"
        );
        assert_eq!(Ask::get("/api/x").over(http, &gateway).await.status, 401, "a missing key is no wrong key");
        assert_eq!(Ask::get("/public/x").token("wrong").over(http, &gateway).await.status, 200);
    }
    gateway.has_counted("api", "too_many_requests", 4).await;
    gateway.hand.advance(Duration::from_secs(6));
    assert_eq!(wrong(11).to(&gateway).await.status, 401);
    assert_eq!(wrong(12).to(&gateway).await.status, 429);
}

#[tokio::test]
async fn a_valid_key_that_was_changed_is_looked_up_although_its_client_is_limited() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Some(Rate { count: 2, per: Duration::from_secs(86_400) })).await;
    let (alice, bob) = (gateway.issue("alice").await, gateway.issue("bob").await);
    for key in [&alice, &bob] {
        assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
    }
    for n in 0..2 {
        wrong(n).to(&gateway).await;
    }
    let memory = gateway.memory();
    let digest = TokenKey::parse(&alice).unwrap().digest();
    memory.forget(digest);
    assert_eq!(Ask::get("/api/x").token(&alice).to(&gateway).await.status, 200);
    memory.forget_all();
    for key in [&alice, &bob] {
        assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
    }
    assert_eq!(wrong(3).to(&gateway).await.status, 429);
}

#[tokio::test]
async fn a_key_that_was_valid_is_looked_up_although_its_client_is_limited() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Some(Rate { count: 2, per: Duration::from_secs(86_400) })).await;
    let known = gateway.issue("alice").await;
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200);
    for n in 0..2 {
        wrong(n).to(&gateway).await;
    }
    // Longer than the lifetime of a cache entry.
    gateway.hand.advance(Duration::from_secs(61));
    assert_eq!(wrong(3).to(&gateway).await.status, 429);
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_new_valid_key_is_served_within_the_lookup_budget() {
    let origin = Origin::answering("hello").await;
    // However fast wrong keys arrive here, they do not use up the lookup budget of limited clients.
    let gateway = gateway(&origin, Some(Rate::per_minute(10))).await;
    for n in 0..125 {
        let answer = wrong(n).to(&gateway).await;
        assert_eq!(answer.status, if n < 10 { 401 } else { 429 }, "{n}");
    }
    for http in BOTH {
        for user in ["alice", "bob"] {
            let fresh = gateway.issue_named(user, "", None, &Clock::system()).await;
            assert_eq!(Ask::get("/api/x").token(&fresh).over(http, &gateway).await.status, 200);
        }
        assert_eq!(wrong(1_000).over(http, &gateway).await.status, 429);
    }
}

#[tokio::test]
async fn limited_clients_cause_few_lookups_and_leave_the_rest_to_others() {
    let origin = Origin::answering("hello").await;
    let few = |settings: &mut Settings| {
        settings.limits.wrong_keys = Some(Rate { count: 1, per: Duration::from_secs(86_400) });
        settings.store.unknown_per_second = 10;
    };
    let gateway = Site::before(&origin).with(few).start().await;
    let fresh = gateway.issue("alice").await;
    let begun = Instant::now();
    assert_eq!(wrong(0).to(&gateway).await.status, 401);
    for n in 1..100 {
        assert_eq!(wrong(n).to(&gateway).await.status, 429, "never that the store is away");
    }
    let asked = gateway.metric("tokengate_store_questions_total");
    // One per second, and the accumulated burst.
    let budget = 10 + begun.elapsed().as_secs();
    assert!(asked <= budget, "{asked} questions, where {budget} are allowed");
    // A moment later the budget has room again.
    let ask = Ask::get("/api/x").token(&fresh);
    eventually(PATIENCE, "the good key is served", || async { ask.to(&gateway).await.status == 200 }).await;
}

#[tokio::test]
async fn valid_keys_never_count() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, Some(Rate::per_minute(2))).await;
    for n in 0..20 {
        let key = gateway.issue(&format!("user{n}")).await;
        assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
    }
    assert_eq!(wrong(1).to(&gateway).await.status, 401);
}

#[tokio::test]
async fn without_a_limit_no_key_is_limited() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin, None).await;
    for n in 0..200 {
        assert_eq!(wrong(n).to(&gateway).await.status, 401, "{n}");
    }
}
