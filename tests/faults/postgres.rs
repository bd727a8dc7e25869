//! Faults of PostgreSQL, with a healthy Redis. Cached callers pass for `serve_known_for`; for all others, a gateway
//! without a store responds 503.

use tokio::task::JoinHandle;

use super::place::{self, FORGOTTEN, Place, SERVE_KNOWN, hurried};
use super::traffic::Kind::{Fresh, Revoked, Unknown, Valid, Victim};
use super::traffic::Traffic;
use crate::support::redis::Redis;
use crate::support::{Ask, Line, PATIENCE, Postgres, eventually};

#[tokio::test]
async fn postgres_killed_and_started_again() {
    let (mut postgres, redis) = (Postgres::start_over_tcp().await, Redis::start().await);
    let place = Place::with_both(&postgres, &redis, |_| {}).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    traffic.store_is_away();
    postgres.0.kill().await;
    traffic.allow(&[Unknown], &[503]);
    traffic.goes_on().await;
    // Cache entries have expired and cannot be refreshed: cached callers pass all the same, others do not.
    place.advance(FORGOTTEN);
    traffic.allow(&[Revoked], &[503]);
    traffic.goes_on().await;
    // Until revocations have been unreadable for too long.
    traffic.allow(&[Valid, Victim, Fresh], &[200, 503]);
    place.advance(SERVE_KNOWN);
    traffic.allow(&[Valid, Victim, Fresh], &[503]);
    traffic.goes_on().await;
    // It is back, and a token is revoked before any gateway can connect.
    place.to_store.iter().for_each(Line::cut);
    postgres.0.restart().await;
    place.revoke(&traffic.victim).await;
    traffic.goes_on().await;
    traffic.store_is_away();
    traffic.allow(&[Valid], &[200, 503]);
    traffic.allow(&[Victim], &[401, 503]);
    place.to_store.iter().for_each(Line::pass);
    traffic.heals(&place).await;
    traffic.finish(&place).await;
}

/// A server that restarts at once: connections close, and no response is wrong.
#[tokio::test]
async fn postgres_started_again_at_once() {
    let (mut postgres, redis) = (Postgres::start_over_tcp().await, Redis::start().await);
    let place = Place::with_both(&postgres, &redis, |_| {}).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    traffic.store_is_away();
    postgres.0.kill().await;
    postgres.0.restart().await;
    traffic.allow(&[Victim], &[200, 401, 503]);
    place.revoke(&traffic.victim).await;
    traffic.heals(&place).await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn postgres_paused_and_resumed() {
    let (postgres, redis) = (Postgres::start_over_tcp().await, Redis::start().await);
    let place = Place::with_both(&postgres, &redis, hurried).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    traffic.store_is_away();
    postgres.0.pause();
    traffic.allow(&[Unknown], &[503]);
    traffic.goes_on().await;
    place.advance(FORGOTTEN);
    traffic.goes_on().await;
    let revoking: JoinHandle<()> = {
        let (store, victim) = (place.store.clone(), traffic.victim.clone());
        tokio::spawn(async move { place::revoke(&store, &victim).await })
    };
    traffic.goes_on().await;
    traffic.store_is_away();
    traffic.allow(&[Victim], &[200, 401, 503]);
    postgres.0.resume();
    revoking.await.unwrap();
    traffic.heals(&place).await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn postgres_partitioned_from_one_gateway() {
    for break_it in [Line::cut, Line::stall] {
        let (postgres, redis) = (Postgres::start_over_tcp().await, Redis::start().await);
        let place = Place::with_both(&postgres, &redis, hurried).await;
        let traffic = Traffic::start(&place, Some(&redis)).await;
        traffic.store_is_away_at(0);
        break_it(&place.to_store[0]);
        traffic.goes_on().await;
        place.advance(FORGOTTEN);
        traffic.goes_on().await;
        traffic.allow(&[Victim], &[200, 401]);
        traffic.allow_at(0, &[Victim], &[200, 401, 503]);
        place.revoke(&traffic.victim).await;
        for store in &place.fleet.stores[1..] {
            store.changes_are_applied().await;
        }
        for gateway in [1, 2] {
            traffic.allow_at(gateway, &[Victim], &[401]);
        }
        // The isolated gateway is notified by the others through Redis; it cannot look the token up, and refuses it.
        let ask = Ask::get("/api/x").token(&traffic.victim);
        let cut_off = place.fleet.first();
        eventually(PATIENCE, "the others notify it", || async { ask.to(cut_off).await.status != 200 }).await;
        traffic.allow_at(0, &[Victim], &[401, 503]);
        traffic.goes_on().await;
        place.to_store[0].pass();
        traffic.heals(&place).await;
        traffic.finish(&place).await;
    }
}

/// The notification arrives, and then the store fails: the change log, which has the number for the fence, cannot be
/// read.
#[tokio::test]
async fn a_notified_revocation_is_not_undone_by_redis() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let (alice, bob) = (place.issue("alice", 1).await.remove(0), place.issue("bob", 1).await.remove(0));
    place.tokens_are_old(&redis).await;
    for key in [&alice, &bob] {
        assert_eq!(Ask::get("/api/x").token(key).to(place.fleet.first()).await.status, 200);
        place::is_kept(&place, &redis, key).await;
    }
    place.fleet.stores.iter().for_each(|store| store.set_away(true));
    place.revoke(&alice).await;
    place.store.accounts.deactivate(place.user("bob").await).await.unwrap();
    for (who, key) in [("alice", &alice), ("bob", &bob)] {
        let ask = Ask::get("/api/x").token(key);
        for gateway in &place.fleet.gateways {
            eventually(PATIENCE, who, || async { ask.to(gateway).await.status == 503 }).await;
        }
        assert!(place::shared_entry(&redis, key).await.starts_with(b"e"), "{who}: Redis still has the past");
    }
    place.fleet.stores.iter().for_each(|store| store.set_away(false));
    for key in [&alice, &bob] {
        let ask = Ask::get("/api/x").token(key);
        for gateway in &place.fleet.gateways {
            eventually(PATIENCE, "it is known", || async { ask.to(gateway).await.status == 401 }).await;
        }
    }
}
