//! Rates that several gateways count in Redis.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokengate::config::settings::{RateBackend, RateFact, RateRule, RedisCache, RedisPassword, Settings};
use tokio::task::JoinSet;

use super::{limit, one, rate};
use crate::support::fleet::Fleet;
use crate::support::redis::{RULES, Redis};
use crate::support::{Ask, Gateway, PATIENCE, Wire, eventually};

const BURST: usize = 500;
const GATEWAYS: usize = 3;

pub fn shared(settings: &mut Settings, url: &str) {
    // So slow that nothing recovers within the test.
    let rule = rate("shared", one(RateFact::User), "500/d", 500);
    limit(settings, vec![RateRule { backend: RateBackend::Redis { gateways: 3 }, ..rule }]);
    let (username, password) = (Some("gate".to_owned()), Some(RedisPassword::new("open-sesame".to_owned())));
    let cache = RedisCache::at(url, Path::new("")).unwrap();
    settings.redis = Some(RedisCache { username, password, timeout: PATIENCE, ..cache });
}

/// Sends requests over several connections to each gateway, until `done`. Returns the number that passed.
async fn flood(fleet: &Fleet, key: &str, of_each: usize) -> usize {
    let passed = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for gateway in &fleet.gateways {
        for _ in 0..4 {
            let (mut wire, passed) = (Wire::open(gateway).await, Arc::clone(&passed));
            let request = Ask::get("/api/x").token(key).bytes();
            clients.spawn(async move {
                for _ in 0..of_each {
                    match wire.ask(&request).await.status {
                        200 => drop(passed.fetch_add(1, Ordering::Relaxed)),
                        status => assert_eq!(status, 429),
                    }
                }
            });
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    passed.load(Ordering::Relaxed)
}

pub fn lookups(gateway: &Gateway) -> u64 {
    gateway.metric("tokengate_rate_lookups_total{rate=\"shared\"}")
}

pub fn alone(gateway: &Gateway) -> u64 {
    gateway.metric("tokengate_rate_alone_total{rate=\"shared\"}")
}

/// Waits until each gateway has a connection for rates.
pub async fn are_connected(fleet: &Fleet, key: &str) {
    for gateway in &fleet.gateways {
        eventually(PATIENCE, "Redis counts", || async {
            let before = alone(gateway);
            Ask::get("/api/x").token(key).to(gateway).await;
            lookups(gateway) > 0 && alone(gateway) == before
        })
        .await;
    }
}

#[tokio::test]
async fn gateways_count_together_and_ask_redis_rarely() {
    let redis = Redis::start_with(&[RULES]).await;
    let fleet = Fleet::over_sqlite(GATEWAYS, |settings| shared(settings, &redis.url())).await;
    let (warm, key) = (fleet.first().issue("warm").await, fleet.first().issue("alice").await);
    are_connected(&fleet, &warm).await;
    let before: u64 = fleet.gateways.iter().map(lookups).sum();
    let passed = flood(&fleet, &key, 150).await;
    // Each gateway may hold a lease of a tenth of the burst that it does not use.
    assert!((BURST - GATEWAYS * BURST / 10..=BURST).contains(&passed), "{passed}");
    let asked = fleet.gateways.iter().map(lookups).sum::<u64>() - before;
    assert!(asked < 900, "{asked} questions for 1,800 requests");
}

#[tokio::test]
async fn without_redis_each_gateway_allows_its_share_and_no_more() {
    let mut redis = Redis::start_with(&[RULES]).await;
    let fleet = Fleet::over_sqlite(GATEWAYS, |settings| shared(settings, &redis.url())).await;
    let (warm, key) = (fleet.first().issue("warm").await, fleet.first().issue("alice").await);
    are_connected(&fleet, &warm).await;
    let first = flood(&fleet, &key, 10).await;
    assert_eq!(first, 120);
    redis.kill();
    let second = flood(&fleet, &key, 250).await;
    let share = BURST / GATEWAYS;
    assert!(first + second <= GATEWAYS * share + GATEWAYS * BURST / 10, "{first} + {second}");
    assert!(second >= GATEWAYS * share - first, "{second}");
    assert!(fleet.gateways.iter().all(|gateway| alone(gateway) > 0));
}

#[tokio::test]
async fn a_gateway_that_never_reached_redis_allows_its_share() {
    let fleet = Fleet::over_sqlite(1, |settings| shared(settings, "redis://127.0.0.1:1")).await;
    let key = fleet.first().issue("alice").await;
    assert_eq!(flood(&fleet, &key, 100).await, BURST / GATEWAYS);
}
