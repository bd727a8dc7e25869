//! Floods of random tokens: their cost is limited.

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::place::{FORGOTTEN, Place};
use super::traffic::random_key;
use crate::support::http2::{H2, collect};
use crate::support::redis::Redis;
use crate::support::{Ask, Gateway};

const FLOOD: usize = 4_000;
/// Concurrent requests on one connection.
const AT_ONCE: usize = 80;
/// Few enough for the slowest machine.
const PER_SECOND: u32 = 25;
const MAX_ENTRIES: usize = 400;
const KNOWN: usize = 20;

/// Sends this many random tokens; returns the number of 401s. All others must be 503.
async fn flood(gateway: &Gateway, count: usize) -> usize {
    let mut client = H2::open(gateway).await;
    let mut refused = 0;
    for _ in 0..count / AT_ONCE {
        let mut all = JoinSet::new();
        for _ in 0..AT_ONCE {
            let asked = client.begin(Ask::get("/api/x").token(&random_key()).http2());
            all.spawn(async move { collect(asked.await.unwrap()).await });
        }
        for answer in all.join_all().await {
            match answer.status {
                401 => refused += 1,
                503 => assert_eq!(answer.fields.get("retry-after"), Some("1")),
                _ => panic!("{answer:?}"),
            }
        }
    }
    refused
}

#[tokio::test]
async fn a_flood_of_random_tokens_is_limited_in_memory_and_at_the_store_and_affects_no_other_caller() {
    let redis = Redis::start().await;
    let place = Place::with_flood_limits(&redis, PER_SECOND, MAX_ENTRIES).await;
    let known = place.issue("alice", KNOWN).await;
    place.fleet.changes_are_applied().await;
    let gateway = place.fleet.first();
    let mut client = H2::open(gateway).await;
    for key in &known {
        assert_eq!(client.ask(&Ask::get("/api/x").token(key)).await.status, 200);
    }
    let questions = || gateway.metric("tokengate_store_questions_total");
    let misses = || gateway.metric("tokengate_cache_misses_total");
    let (asked, missed, begun) = (questions(), misses(), Instant::now());
    // Cached callers are served from memory meanwhile.
    let served = async {
        let mut served = 0;
        for _ in 0..10 {
            for key in &known {
                assert_eq!(client.ask(&Ask::get("/api/x").token(key)).await.status, 200);
                served += 1;
            }
        }
        served
    };
    let (refused, served) = tokio::join!(flood(gateway, FLOOD), served);
    let budget = u64::from(PER_SECOND) * (begun.elapsed().as_secs() + 2);
    assert!(questions() - asked <= budget, "{} questions, where {budget} are allowed", questions() - asked);
    assert_eq!(misses() - missed, u64::try_from(FLOOD).unwrap(), "of {served} known ones every one was a hit");
    assert!(refused < FLOOD && gateway.metric("tokengate_unknown_not_asked_total") > 0, "{refused} were refused");
    assert!(gateway.cached_tokens() <= MAX_ENTRIES + MAX_ENTRIES / 8, "{} entries", gateway.cached_tokens());
    assert!(redis.contents().await.len() <= KNOWN, "Redis has no entries for unknown tokens");

    // They are served also after their entries have expired: their lookups have a queue of their own, without a budget.
    let again = async {
        place.advance(FORGOTTEN);
        for key in &known {
            assert_eq!(client.ask(&Ask::get("/api/x").token(key)).await.status, 200);
        }
    };
    tokio::join!(flood(gateway, FLOOD / 4), again);
}
