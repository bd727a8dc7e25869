//! Outage of the store: cached callers are served, others get 503, and no token is called invalid.

use std::fs;
use std::time::Duration;

use tokengate::config::settings::OnOutage;

use crate::support::client::BOTH;
use crate::support::watched::Watched;
use crate::support::{Answer, Ask, Origin, PATIENCE, Site, eventually};

fn assert_unavailable(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 503, "{what}: {answer:?}");
    assert_eq!(answer.detail(), "Tokens cannot be checked at the moment. Try again.", "{what}");
    assert_eq!(answer.fields.get("retry-after"), Some("1"), "{what}");
    assert!(!answer.fields.has("www-authenticate"), "{what}");
}

#[tokio::test]
async fn invariant_5_a_store_outage_never_admits_a_caller_and_never_causes_401() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let (known, unasked) = (gateway.issue("alice").await, gateway.issue("bob").await);
    store.changes_are_applied().await;
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200);
    let away = gateway.database.with_extension("away");
    fs::rename(&gateway.database, &away).unwrap();

    for http in BOTH {
        let answer = Ask::get("/api/x").token(&known).over(http, &gateway).await;
        assert_eq!((answer.status, answer.text()), (200, "hello"), "cached callers are served");
        assert_eq!(Ask::get("/public/x").token(&unasked).over(http, &gateway).await.status, 200);
        let seen = origin.count();
        for (path, key) in [
            ("/api/x", unasked.as_str()),
            ("/api/x", "unknown"),
            ("/optional/x", unasked.as_str()),
            ("/optional/x", "unknown"),
            ("/scoped/x", "unknown"),
        ] {
            assert_unavailable(&Ask::get(path).token(key).over(http, &gateway).await, path);
        }
        // A malformed key is refused without the store.
        assert_eq!(Ask::get("/api/x").over(http, &gateway).await.status, 401);
        assert_eq!(Ask::get("/api/x").token(&"a".repeat(256)).over(http, &gateway).await.status, 401);
        assert_eq!(origin.count(), seen);
    }

    // After the lifetime of cache entries, but within the time for which cached callers are served.
    gateway.hand.advance(Duration::from_secs(61));
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200, "cached callers are served");
    assert!(gateway.metric("tokengate_served_unasked_total") >= 1);
    gateway.hand.advance(Duration::from_secs(240));
    let seen = origin.count();
    assert_unavailable(&Ask::get("/api/x").token(&known).to(&gateway).await, "the cached identity is too old");
    assert_eq!(origin.count(), seen);
    assert!(gateway.outcome("api", "store_unavailable") >= 5);

    fs::rename(&away, &gateway.database).unwrap();
    for key in [&known, &unasked] {
        let ask = Ask::get("/api/x").token(key);
        eventually(PATIENCE, "the store is back", || async { ask.to(&gateway).await.status == 200 }).await;
    }
    assert_eq!(Ask::get("/api/x").token("unknown").to(&gateway).await.status, 401);
}

#[tokio::test]
async fn a_store_outage_refuses_all_callers_where_configured() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| settings.store.on_outage = OnOutage::Refuse);
    let (gateway, store) = Watched::start(site).await;
    let key = gateway.issue("alice").await;
    store.changes_are_applied().await;
    let ask = Ask::get("/api/x").token(&key);
    assert_eq!(ask.to(&gateway).await.status, 200);
    store.set_away(true);
    // The outage is detected when the change log was not read for `blind_after`.
    gateway.hand.advance(Duration::from_secs(3));
    let seen = origin.count();
    assert_unavailable(&ask.to(&gateway).await, "known");
    assert_eq!(origin.count(), seen);
    store.set_away(false);
    eventually(PATIENCE, "the store is back", || async { ask.to(&gateway).await.status == 200 }).await;
}

#[tokio::test]
async fn an_expired_token_is_not_served_because_the_store_is_away() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let clock = gateway.clock();
    let key = gateway.issue_named("alice", "", Some(Duration::from_secs(30)), &clock).await;
    store.changes_are_applied().await;
    let ask = Ask::get("/api/x").token(&key);
    assert_eq!(ask.to(&gateway).await.status, 200);
    store.set_away(true);
    gateway.hand.advance(Duration::from_secs(29));
    assert_eq!(ask.to(&gateway).await.status, 200);
    gateway.hand.advance(Duration::from_secs(1));
    assert_unavailable(&ask.to(&gateway).await, "expired, and the store is unavailable");
}

#[tokio::test]
async fn an_unavailable_store_is_not_queried_for_each_request() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    store.set_away(true);
    for number in 0..50 {
        assert_unavailable(&Ask::get("/api/x").token(&format!("unknown{number}")).to(&gateway).await, "unknown");
    }
    let asked = gateway.metric("tokengate_store_questions_total");
    assert!(asked < 50, "{asked} of 50 questions went to a dead store");
}

#[tokio::test]
async fn a_token_that_was_revoked_during_an_outage_is_refused_after_it() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let key = gateway.issue("alice").await;
    store.changes_are_applied().await;
    let ask = Ask::get("/api/x").token(&key);
    assert_eq!(ask.to(&gateway).await.status, 200);
    store.set_away(true);
    gateway.revoke(&key).await;
    assert_unavailable(&Ask::get("/api/x").token("unknown").to(&gateway).await, "unknown");
    // The revocation cannot be read now; the lifetime of the cache entry limits the delay.
    assert_eq!(ask.to(&gateway).await.status, 200);
    store.set_away(false);
    eventually(PATIENCE, "the revocation is applied", || async { ask.to(&gateway).await.status == 401 }).await;
}

#[tokio::test]
async fn a_damaged_store_is_an_outage_and_not_an_empty_store() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let (known, unasked) = (gateway.issue("alice").await, gateway.issue("bob").await);
    store.changes_are_applied().await;
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200);
    // Puts another file without tokens in its place.
    fs::rename(&gateway.database, gateway.database.with_extension("away")).unwrap();
    fs::write(&gateway.database, "this is no database").unwrap();
    assert_eq!(Ask::get("/api/x").token(&known).to(&gateway).await.status, 200);
    for key in [unasked.as_str(), "unknown"] {
        assert_unavailable(&Ask::get("/api/x").token(key).to(&gateway).await, key);
    }
}
