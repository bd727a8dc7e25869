//! The last use of a token: written after requests, at a limited rate, and not lost by a shutdown.

use std::time::Duration;

use tokengate::clock::Timestamp;
use tokengate::store::TokenRef;
use tokengate::token::TokenKey;

use crate::support::watched::Watched;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually};

async fn last_used(gateway: &Gateway, key: &str) -> Option<Timestamp> {
    let digest = TokenKey::parse(key).unwrap().digest();
    gateway.store.ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap().last_used
}

#[tokio::test]
async fn a_use_is_written_once_in_a_minute_however_often_the_token_is_used() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (key, unused) = (gateway.issue("alice").await, gateway.issue("bob").await);
    let ask = Ask::get("/api/x").token(&key);
    for round in 1..=3 {
        let now = gateway.clock().now();
        for _ in 0..20 {
            assert_eq!(ask.to(&gateway).await.status, 200);
        }
        eventually(PATIENCE, "the use is written", || async { last_used(&gateway, &key).await == Some(now) }).await;
        let counted = || async { gateway.metric("tokengate_uses_written_total") == round };
        eventually(PATIENCE, "one more is counted", counted).await;
        gateway.hand.advance(Duration::from_secs(61));
    }
    assert_eq!(last_used(&gateway, &unused).await, None);
}

#[tokio::test]
async fn a_token_that_was_evicted_and_looked_up_again_keeps_to_the_interval() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let key = gateway.issue("alice").await;
    let owner = gateway.user("alice").await;
    let ask = Ask::get("/api/x").token(&key);
    assert_eq!(ask.to(&gateway).await.status, 200);
    eventually(PATIENCE, "the first use is written", || async { last_used(&gateway, &key).await.is_some() }).await;
    gateway.hand.advance(Duration::from_secs(30));
    gateway.store.accounts.rename(owner, "alicia").await.unwrap();
    store.changes_are_applied().await;
    assert_eq!(ask.to(&gateway).await.status, 200);
    let witness = gateway.issue("witness").await;
    assert_eq!(Ask::get("/api/x").token(&witness).to(&gateway).await.status, 200);
    eventually(PATIENCE, "the later use is written", || async { last_used(&gateway, &witness).await.is_some() }).await;
    let counted = || async { gateway.metric("tokengate_uses_written_total") == 2 };
    eventually(PATIENCE, "two are counted, and no third", counted).await;
}

#[tokio::test]
async fn a_shutdown_writes_the_last_uses() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let store = gateway.store.clone();
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
    let _folder = gateway.stop_and_keep(Duration::from_secs(5)).await;
    let digest = TokenKey::parse(&key).unwrap().digest();
    assert!(store.ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap().last_used.is_some());
}
