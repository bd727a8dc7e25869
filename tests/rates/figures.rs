//! The bounds of rates under load, at the size that `RATE_REQUESTS` and `RATE_KEYS` say: `scripts/nightly` sets them to
//! 100,000 requests and ten million keys.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokengate::clock::Timestamp;
use tokengate::config::settings::{RateBackend, RateFact, RateRule, RedisCache, RedisPassword};
use tokengate::limits::{Leases, Measure, Pace, Throttle};
use tokengate::units::Rate;
use tokio::task::JoinSet;

use super::shared::{alone, are_connected, lookups};
use super::{limit, one, rate};
use crate::support::fleet::Fleet;
use crate::support::redis::{RULES, Redis};
use crate::support::{Ask, PATIENCE, Wire};

const GATEWAYS: usize = 3;
const CONNECTIONS: usize = 4;

fn size(variable: &str, usual: usize) -> usize {
    env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Gateways whose rate allows a tenth of the requests and recovers nothing, and the key that they count.
async fn fleet(redis: &Redis, burst: usize) -> (Fleet, String) {
    let url = redis.url();
    let fleet = Fleet::over_sqlite(GATEWAYS, |settings| {
        let burst = u32::try_from(burst).unwrap();
        let rule = rate("shared", one(RateFact::User), &format!("{burst}/d"), burst);
        limit(settings, vec![RateRule { backend: RateBackend::Redis { gateways: 3 }, ..rule }]);
        let (username, password) = (Some("gate".to_owned()), Some(RedisPassword::new("open-sesame".to_owned())));
        let cache = RedisCache::at(&url, Path::new("")).unwrap();
        // The answers that never come are waited for.
        let timeout = PATIENCE.min(std::time::Duration::from_secs(1));
        settings.redis = Some(RedisCache { username, password, timeout, ..cache });
    })
    .await;
    let (warm, key) = (fleet.first().issue("warm").await, fleet.first().issue("alice").await);
    are_connected(&fleet, &warm).await;
    (fleet, key)
}

/// Sends this number of requests over several connections to each gateway; `sent` counts them. Returns the number that
/// passed.
async fn flood(fleet: &Fleet, key: &str, requests: usize, sent: &Arc<AtomicUsize>) -> usize {
    let mut clients = JoinSet::new();
    for gateway in &fleet.gateways {
        for _ in 0..CONNECTIONS {
            let mut wire = Wire::open(gateway).await;
            let (request, sent) = (Ask::get("/api/x").token(key).bytes(), Arc::clone(sent));
            clients.spawn(async move {
                let mut passed = 0;
                for _ in 0..requests.div_ceil(GATEWAYS * CONNECTIONS) {
                    match wire.ask(&request).await.status {
                        200 => passed += 1,
                        status => assert_eq!(status, 429),
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                passed
            });
        }
    }
    let mut passed = 0;
    while let Some(client) = clients.join_next().await {
        passed += client.unwrap();
    }
    passed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_together_allow_the_rate_and_what_they_may_hold() {
    let requests = size("RATE_REQUESTS", 3_000);
    let burst = requests / 10;
    let redis = Redis::start_with(&[RULES]).await;
    let (fleet, key) = fleet(&redis, burst).await;
    let before: u64 = fleet.gateways.iter().map(lookups).sum();
    let passed = flood(&fleet, &key, requests, &Arc::default()).await;
    let asked = fleet.gateways.iter().map(lookups).sum::<u64>() - before;
    println!("{requests} requests, {burst} allowed: {passed} passed, {asked} questions to Redis");
    // A gateway that Redis answers too late counts its share, at most what the bound says.
    let late: u64 = fleet.gateways.iter().map(alone).sum();
    assert!(passed <= burst + usize::try_from(late).unwrap(), "{passed} of {burst}, {late} alone");
    assert!(passed >= burst - GATEWAYS * burst / 10, "{passed} of {burst}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_is_killed_in_the_middle_lets_no_more_pass_than_the_shares() {
    let requests = size("RATE_REQUESTS", 3_000);
    // So many that half of them are not used up when Redis is killed.
    let burst = requests / 2;
    let mut redis = Redis::start_with(&[RULES]).await;
    let (fleet, key) = fleet(&redis, burst).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (flooding, watching) = (flood(&fleet, &key, requests, &sent), async {
        while sent.load(Ordering::Relaxed) < requests / 4 {
            tokio::task::yield_now().await;
        }
        redis.kill();
    });
    let (passed, ()) = tokio::join!(flooding, watching);
    let alone: u64 = fleet.gateways.iter().map(alone).sum();
    println!(
        "{requests} requests, {burst} allowed, Redis killed after a quarter: {passed} passed, {alone} questions failed"
    );
    let share = burst / GATEWAYS;
    assert!(passed <= burst + GATEWAYS * share, "{passed} of {burst}");
    assert!(passed < GATEWAYS * burst && alone > 0, "{passed} of {burst}, {alone}");
    assert!(passed >= GATEWAYS * share - GATEWAYS * burst / 10, "{passed}: no gateway refuses everything");
}

/// The memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn any_number_of_keys_takes_the_memory_of_max_keys() {
    let keys = size("RATE_KEYS", 300_000);
    let most = 100_000;
    let pace = Pace::new(Rate::per_minute(600), 600);
    let (measure, forgotten) = (Measure::new(pace, 3), Arc::new(AtomicU64::new(0)));
    let now = |n: usize| Timestamp::from_micros(1_800_000_000_000_000 + i64::try_from(n).unwrap());
    let before = resident();
    let local = Throttle::with(pace, most, Arc::clone(&forgotten));
    let shared = Leases::new(most, Arc::clone(&forgotten));
    for n in 0..keys {
        assert!(local.take(&n, now(n)).is_ok());
        shared.begin(&measure, &n, now(n));
    }
    let grown = resident().saturating_sub(before);
    println!("{keys} keys: {grown} KiB for two tables of {most}");
    assert!(forgotten.load(Ordering::Relaxed) > 0, "the tables were full");
    // Other tests of this process take memory at the same time, unless this one runs alone.
    if env::var_os("RATE_KEYS").is_some() {
        // Each key takes up to 80 bytes, and building a table takes twice its size for a moment.
        assert!(grown < 24 << 10, "{grown} KiB");
    }
}
