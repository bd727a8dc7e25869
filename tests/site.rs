//! A site of three gateways over PostgreSQL and Redis, while its servers fail: every answer of the time is judged.
//!
//! Somebody asks at every gateway all the time, with a token that counts, with one that was revoked long ago, and with one
//! that nobody knows. What they may be told is set before each step; anything else fails the test.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::cmd;
use tokengate::config::Settings;
use tokengate::config::settings::RedisCache;
use tokengate::store::{OnConflict, Store, TokenRef};
use tokengate::token::TokenKey;
use tokio::task::JoinHandle;

use crate::support::http2::H2;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{Ask, Fleet, PATIENCE, eventually};

/// Somebody who asks all the time with one token, and what may be said.
struct Asker {
    allowed: Arc<Mutex<BTreeSet<u16>>>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Asker {
    /// At every gateway of the fleet.
    async fn start(fleet: &Fleet, key: &str, allowed: &[u16]) -> Vec<Asker> {
        let mut askers = Vec::new();
        for gateway in &fleet.gateways {
            let (mut client, ask) = (H2::open(gateway).await, Ask::get("/api/x").token(key));
            let allowed = Arc::new(Mutex::new(allowed.iter().copied().collect::<BTreeSet<u16>>()));
            let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let (may, count, end) = (Arc::clone(&allowed), Arc::clone(&asked), Arc::clone(&stop));
            let task = tokio::spawn(async move {
                while !end.load(Ordering::Acquire) {
                    // What was allowed when it was asked, and what is when it is answered: a step may lie between.
                    let before = may.lock().unwrap().clone();
                    let answer = client.ask(&ask).await;
                    let after = may.lock().unwrap().clone();
                    assert!(
                        before.contains(&answer.status) || after.contains(&answer.status),
                        "{} in place of {before:?}: {}",
                        answer.status,
                        answer.text()
                    );
                    if answer.status == 503 {
                        assert!(answer.fields.get("retry-after").is_some());
                    }
                    count.fetch_add(1, Ordering::AcqRel);
                }
            });
            askers.push(Asker { allowed, asked, stop, task });
        }
        askers
    }
}

/// From now on these answers are right.
fn allow(askers: &[Asker], statuses: &[u16]) {
    for asker in askers {
        *asker.allowed.lock().unwrap() = statuses.iter().copied().collect();
    }
}

/// Waits until everybody was answered a few times more. Time goes on meanwhile, so that no refusal is a remembered one.
async fn some_more(fleet: &Fleet, askers: &[Asker]) {
    for asker in askers {
        let begin = asker.asked.load(Ordering::Acquire);
        eventually(PATIENCE, "more answers", || async {
            for gateway in &fleet.gateways {
                gateway.hand.advance(Duration::from_millis(2));
            }
            assert!(!asker.task.is_finished(), "an answer was not allowed");
            asker.asked.load(Ordering::Acquire) >= begin + 5
        })
        .await;
    }
}

async fn end(askers: Vec<Asker>) {
    for asker in askers {
        asker.stop.store(true, Ordering::Release);
        asker.task.await.unwrap();
    }
}

/// Nobody is in a hurry, but where a server stands still the store's time limit has to be waited for.
fn over(redis: &Redis, store_timeout: Duration) -> impl Fn(&mut Settings) {
    let shared = RedisCache::at(&redis.url(), Path::new("")).unwrap();
    move |settings| {
        settings.redis = Some(RedisCache { timeout: Duration::from_millis(250), ..shared.clone() });
        settings.store.timeout = store_timeout;
        settings.store.unknown_per_second = 1_000_000;
        settings.memory.negative_ttl = Duration::from_millis(1);
    }
}

/// A token with this key, which no gateway was asked for yet.
async fn issue(store: &Store, number: usize) -> (TokenKey, String) {
    let text = format!("{number:040x}");
    let user = tokengate::store::NewUser::named(format!("user{number}"));
    let owner = store.accounts.create(user).await.unwrap().0.account.id;
    store.ledger.import(owner, TokenKey::parse(&text).unwrap(), OnConflict::Refuse).await.unwrap();
    (TokenKey::parse(&text).unwrap(), text)
}

async fn revoke(store: &Store, key: &TokenKey) {
    store.ledger.revoke(TokenRef::Digest(key.digest())).await.unwrap();
}

async fn statuses(fleet: &Fleet, key: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for gateway in &fleet.gateways {
        all.push(Ask::get("/api/x").token(key).to(gateway).await.status);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_redis_valid_tokens_pass_and_revoked_ones_do_not() {
    let (mut redis, postgres) = (Redis::start().await, Postgres::shared().await);
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::over(postgres.database().await, folder, 3, over(&redis, Duration::from_secs(20))).await;
    let store = fleet.first().store.clone();
    let (_, valid) = issue(&store, 1).await;
    let (revoked, dead) = issue(&store, 2).await;
    assert_eq!(statuses(&fleet, &dead).await, [200; 3]);
    revoke(&store, &revoked).await;
    fleet.changes_are_applied().await;
    let mut all = Asker::start(&fleet, &valid, &[200]).await;
    all.extend(Asker::start(&fleet, &dead, &[401]).await);
    all.extend(Asker::start(&fleet, &"f".repeat(40), &[401]).await);

    for (number, fault) in ["killed", "paused", "emptied", "restored", "full"].into_iter().enumerate() {
        // Known to the shared cache and to every memory, and saved with it.
        let (victim, key) = issue(&store, 10 + number).await;
        let (later, late_key) = issue(&store, 30 + number).await;
        assert_eq!(statuses(&fleet, &key).await, [200; 3], "{fault}");
        assert_eq!(statuses(&fleet, &late_key).await, [200; 3], "{fault}");
        redis.save().await;
        match fault {
            "killed" | "restored" => redis.kill(),
            "emptied" => {
                redis.kill();
                redis.forget_saved();
            }
            "paused" => redis.pause(),
            _ => {
                let mut limit = cmd("CONFIG");
                limit.arg(&["SET", "maxmemory", "1"]);
                redis.ask::<String>(limit).await;
            }
        }
        some_more(&fleet, &all).await;
        revoke(&store, &victim).await;
        fleet.changes_are_applied().await;
        assert_eq!(statuses(&fleet, &key).await, [401; 3], "{fault}: revoked during it");
        let (_, cold) = issue(&store, 50 + number).await;
        assert_eq!(statuses(&fleet, &cold).await, [200; 3], "{fault}: never asked for before");
        match fault {
            "killed" | "emptied" | "restored" => redis.restart().await,
            "paused" => redis.resume(),
            _ => {
                let mut limit = cmd("CONFIG");
                limit.arg(&["SET", "maxmemory", "0"]);
                redis.ask::<String>(limit).await;
            }
        }
        some_more(&fleet, &all).await;
        assert_eq!(statuses(&fleet, &key).await, [401; 3], "{fault}: it stays dead");
        for gateway in &fleet.gateways {
            eventually(PATIENCE, "the shared cache is back", || async {
                gateway.metric("tokengate_shared_cache_up") == 1
                    && gateway.metric("tokengate_shared_cache_holds_owed") == 0
            })
            .await;
        }
        revoke(&store, &later).await;
        fleet.changes_are_applied().await;
        assert_eq!(statuses(&fleet, &late_key).await, [401; 3], "{fault}: revoked after it");
    }
    end(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_away_known_tokens_pass_and_nobody_is_told_401_for_it() {
    let (mut redis, mut postgres) = (Redis::start().await, Postgres::start().await);
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::over(postgres.database().await, folder, 3, over(&redis, Duration::from_secs(2))).await;
    let store = fleet.first().store.clone();
    let (_, valid) = issue(&store, 1).await;
    let (revoked, dead) = issue(&store, 2).await;
    let (_, unasked) = issue(&store, 3).await;
    let (_, shared) = issue(&store, 4).await;
    assert_eq!(statuses(&fleet, &valid).await, [200; 3]);
    assert_eq!(statuses(&fleet, &dead).await, [200; 3]);
    revoke(&store, &revoked).await;
    fleet.changes_are_applied().await;
    // One gateway alone knows it; the others will hear of it from Redis, once it was not changed for ten seconds.
    eventually(PATIENCE, "the holds are over", || async { redis.contents().await.is_empty() }).await;
    assert_eq!(Ask::get("/api/x").token(&shared).to(fleet.first()).await.status, 200);
    eventually(PATIENCE, "it is shared", || async { !redis.contents().await.is_empty() }).await;
    let known = Asker::start(&fleet, &valid, &[200]).await;
    let mut others = Asker::start(&fleet, &dead, &[401]).await;
    others.extend(Asker::start(&fleet, &"f".repeat(40), &[401]).await);

    for fault in ["killed", "paused", "with Redis"] {
        // Whoever is not known may not be let in, and may not be told that the token is bad; who was told so a moment ago
        // may hear it once more.
        allow(&others, &[401, 503]);
        match fault {
            "killed" => postgres.kill().await,
            "paused" => postgres.pause(),
            _ => {
                redis.kill();
                postgres.kill().await;
            }
        }
        some_more(&fleet, &known).await;
        some_more(&fleet, &others).await;
        if fault == "killed" {
            for status in statuses(&fleet, &shared).await {
                assert_eq!(status, 200, "Redis knows it, and the change log was read a moment ago");
            }
        }
        for status in statuses(&fleet, &unasked).await {
            assert_eq!(status, 503, "{fault}: valid, but nobody can know");
        }
        match fault {
            "killed" => postgres.restart().await,
            "paused" => postgres.resume(),
            _ => {
                postgres.restart().await;
                redis.restart().await;
            }
        }
        for gateway in &fleet.gateways {
            let stranger = Ask::get("/api/x").token(&"e".repeat(40));
            // Connections that broke are found out one by one, so some questions may fail after the first that did not.
            let in_a_row = Cell::new(0);
            let is_known = || async {
                gateway.hand.advance(Duration::from_millis(2));
                let knows = stranger.to(gateway).await.status == 401;
                in_a_row.set(if knows { in_a_row.get() + 1 } else { 0 });
                in_a_row.get() >= 30
            };
            eventually(PATIENCE, "it heals", is_known).await;
        }
        allow(&others, &[401]);
        some_more(&fleet, &known).await;
        some_more(&fleet, &others).await;
    }
    // Known to every gateway, and still nobody passes when the time for that is over.
    allow(&others, &[401, 503]);
    allow(&known, &[200, 503]);
    postgres.kill().await;
    for gateway in &fleet.gateways {
        gateway.hand.advance(Duration::from_secs(400));
    }
    eventually(PATIENCE, "nobody passes", || async { statuses(&fleet, &valid).await == [503; 3] }).await;
    allow(&known, &[503]);
    some_more(&fleet, &known).await;
    allow(&known, &[200, 503]);
    postgres.restart().await;
    eventually(PATIENCE, "it heals", || async { statuses(&fleet, &valid).await == [200; 3] }).await;
    end(known).await;
    end(others).await;
}
