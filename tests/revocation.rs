//! How soon a running gateway applies the revocation or the issue of a token.

use std::time::Duration;

use tokengate::clock::Timestamp;
use tokengate::config::settings::{Store, StoreUrl};
use tokengate::store::{End, OnConflict, Terms};
use tokengate::token::{ScopeSet, TokenKey};

use crate::support::http2::H2;
use crate::support::watched::Watched;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually, soon};

/// The documented delay is one second: it depends on a setting, not on the speed of this machine.
#[test]
fn the_change_log_is_read_several_times_a_second() {
    let store = Store::at(StoreUrl::Sqlite("tokengate.db".into()), "tokengate.key".into());
    assert!(store.poll_every * 3 <= Duration::from_secs(1), "{:?}", store.poll_every);
}

#[tokio::test]
async fn a_cached_token_is_refused_soon_after_its_revocation() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let witness = gateway.issue("witness").await;
    for (way, refusal) in [
        ("revoke", "Invalid token."),
        ("reset", "Invalid token."),
        ("deactivate", "User inactive or deleted."),
        ("delete", "Invalid token."),
        ("expire", "Invalid token."),
    ] {
        let (owner, key) = (gateway.user(way).await, gateway.issue(way).await);
        let mut client = H2::open(&gateway).await;
        for key in [&key, &witness] {
            assert_eq!(client.ask(&Ask::get("/api/x").token(key)).await.status, 200);
        }
        let (ledger, accounts) = (&gateway.store.ledger, &gateway.store.accounts);
        match way {
            "revoke" => gateway.revoke(&key).await,
            "reset" => drop(ledger.reset_login(owner).await.unwrap()),
            "deactivate" => drop(accounts.deactivate(owner).await.unwrap()),
            "delete" => accounts.delete(owner).await.unwrap(),
            _ => {
                let id = ledger.issue_login(owner).await.unwrap().id;
                let over = Terms { end: Some(End::At(Timestamp::from_micros(1))), ..Terms::default() };
                ledger.set_terms(id, &over).await.unwrap();
            }
        }
        let refused = std::cell::RefCell::new(String::new());
        let client = tokio::sync::Mutex::new(client);
        eventually(PATIENCE, way, || async {
            let answer = client.lock().await.ask(&Ask::get("/api/x").token(&key)).await;
            if answer.status == 401 {
                *refused.borrow_mut() = answer.detail();
            }
            answer.status == 401
        })
        .await;
        assert_eq!(*refused.borrow(), refusal, "{way}");
        let seen = origin.count();
        assert_eq!(client.lock().await.ask(&Ask::get("/api/x").token(&key)).await.status, 401, "it stays refused");
        assert_eq!(origin.count(), seen);
        assert_eq!(Ask::get("/api/x").token(&witness).to(&gateway).await.status, 200, "others are not affected");
    }
}

#[tokio::test]
async fn identity_headers_of_a_cached_caller_follow_changes() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (owner, key) = (gateway.user("alice").await, gateway.issue("alice").await);
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
    gateway.store.accounts.rename(owner, "alicia").await.unwrap();
    eventually(PATIENCE, "the new name", || async {
        assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
        origin.last().fields.get("x-user-name") == Some("alicia")
    })
    .await;
    assert_eq!(Ask::get("/scoped/x").token(&key).to(&gateway).await.status, 403);
    let id = gateway.store.ledger.issue_login(owner).await.unwrap().id;
    let terms = Terms { scopes: Some(ScopeSet::parse("admin").unwrap()), ..Terms::default() };
    gateway.store.ledger.set_terms(id, &terms).await.unwrap();
    eventually(PATIENCE, "the new scope", || async {
        Ask::get("/scoped/x").token(&key).to(&gateway).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_refused_works_soon_after_it_was_issued() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
    let ask = Ask::get("/api/x").token(key);
    assert_eq!(ask.to(&gateway).await.status, 401);
    let alice = gateway.user("alice").await;
    gateway.store.ledger.import(alice, TokenKey::parse(key).unwrap(), OnConflict::Refuse).await.unwrap();
    // The clock stands still: the change log evicts the entry, not its age.
    eventually(PATIENCE, "it counts", || async { ask.to(&gateway).await.status == 200 }).await;
    gateway.store.accounts.deactivate(alice).await.unwrap();
    eventually(PATIENCE, "it does not", || async { ask.to(&gateway).await.status == 401 }).await;
    gateway.store.accounts.activate(alice).await.unwrap();
    eventually(PATIENCE, "it counts again", || async { ask.to(&gateway).await.status == 200 }).await;
}

#[tokio::test]
async fn without_the_change_log_a_refusal_is_cached_for_negative_ttl() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| settings.store.poll_every = Duration::from_secs(3600));
    let (gateway, store) = Watched::start_deaf(site).await;
    // The first read of the change log comes at once; it must not be the one that reports the change.
    store.changes_are_applied().await;
    let key = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
    let ask = Ask::get("/api/x").token(key);
    assert_eq!(ask.to(&gateway).await.status, 401);
    let alice = gateway.user("alice").await;
    gateway.store.ledger.import(alice, TokenKey::parse(key).unwrap(), OnConflict::Refuse).await.unwrap();
    gateway.hand.advance(Duration::from_secs(1));
    assert_eq!(ask.to(&gateway).await.status, 200);
    gateway.revoke(key).await;
    assert_eq!(ask.to(&gateway).await.status, 200, "it is believed");
    gateway.hand.advance(Duration::from_secs(60));
    assert_eq!(ask.to(&gateway).await.status, 401, "but for its lifetime only");
}

#[tokio::test]
async fn a_flood_of_unknown_tokens_does_not_evict_cached_ones() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| settings.memory.max_entries = 100);
    let (gateway, store) = Watched::start(site).await;
    let key = gateway.issue("alice").await;
    store.changes_are_applied().await;
    let mut client = H2::open(&gateway).await;
    assert_eq!(client.ask(&Ask::get("/api/x").token(&key)).await.status, 200);
    for number in 0..2_000 {
        let answer = client.ask(&Ask::get("/api/x").token(&format!("unknown{number}"))).await;
        assert_eq!(answer.status, 401);
    }
    let misses = gateway.metric("tokengate_cache_misses_total");
    assert_eq!(client.ask(&Ask::get("/api/x").token(&key)).await.status, 200);
    assert_eq!(gateway.metric("tokengate_cache_misses_total"), misses, "alice is still known");
    assert!(gateway.cached_tokens() <= 200, "{}", gateway.cached_tokens());
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn invariant_4_a_revocation_wins_over_a_lookup_that_began_before_it() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let (key, other) = (gateway.issue("alice").await, gateway.issue("bob").await);
    let ask = Ask::get("/api/x").token(&key);
    let mut client = H2::open(&gateway).await;
    let answers = store.hold_answers();
    let first = tokio::spawn(client.begin(ask.http2()));
    eventually(PATIENCE, "the look-up has read", || async { store.reads() == 1 }).await;
    gateway.revoke(&key).await;
    store.changes_are_applied().await;
    drop(answers);
    // A request from before the revocation may still pass; later ones must not.
    drop(soon("the first answer", first).await);
    for _ in 0..5 {
        assert_eq!(client.ask(&ask).await.status, 401);
    }
    assert_eq!(client.ask(&Ask::get("/api/x").token(&other)).await.status, 200);
}
