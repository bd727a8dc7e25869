//! Entries: which are stored, which are trusted, and their cost.

use std::time::Duration;

use tokengate::cache::Looked;

use super::{Fleet, record, write_key};
use crate::support::eventually;
use crate::support::redis::{Redis, command};

#[tokio::test]
async fn an_entry_of_one_gateway_is_found_by_another() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (one, other) = (fleet.before(&redis).await, fleet.before(&redis).await);
    let alice = record("alice's key");
    one.fill(&alice).await;
    assert!(one.finds(&alice).await);
    assert!(other.finds(&alice).await);
    assert!(other.finds_nothing(&record("another key")).await);
    assert_eq!((other.counted(|c| &c.hits), other.counted(|c| &c.misses), other.counted(|c| &c.errors)), (1, 1, 0));
}

#[tokio::test]
async fn a_hit_is_one_round_trip() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    let (asked, all) = (redis.count("evalsha").await, gateway.counted(|c| &c.hits));
    for _ in 0..100 {
        assert!(gateway.finds(&alice).await);
    }
    assert_eq!(redis.count("evalsha").await - asked, 100);
    assert_eq!(gateway.counted(|c| &c.hits) - all, 100);
    // Each script was sent once.
    assert_eq!(redis.count("eval").await, 2);
}

#[tokio::test]
async fn scripts_that_the_server_lost_are_sent_again() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    redis.ask::<String>(command(&["SCRIPT", "FLUSH"])).await;
    assert!(gateway.finds(&alice).await);
}

#[tokio::test]
async fn keys_and_values_show_neither_token_nor_user() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let key = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
    gateway.fill(&record(key)).await;
    let contents = redis.contents().await;
    assert_eq!(contents.len(), 1);
    for (name, value, life) in contents {
        assert!(name.starts_with(b"tokengate:") && name.len() == "tokengate:".len() + 64);
        assert!((1..=600_000).contains(&life), "{life}");
        for shown in [key, &key[..8], "alice", "example.com", "sales", "read", "1001"] {
            let is_in = |bytes: &[u8]| bytes.windows(shown.len()).any(|part| part == shown.as_bytes());
            assert!(!is_in(&name) && !is_in(&value), "{shown}");
        }
    }
}

#[tokio::test]
async fn forged_truncated_swapped_and_foreign_entries_count_as_absent_and_holds_replace_them() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let foreign_fleet = Fleet::new();
    write_key(&foreign_fleet.folder.path().join("key"), 2);
    let foreign = foreign_fleet.before(&redis).await;

    let donor = record("donor");
    gateway.fill(&donor).await;
    let (donor_key, whole, _) = redis.contents().await.remove(0);
    let key_of = |name: &str| {
        let digest = record(name).digest;
        let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("tokengate:{hex}")
    };
    assert_eq!(key_of("donor").as_bytes(), donor_key);
    let mut forged = whole.clone();
    *forged.last_mut().unwrap() ^= 1;
    let bad = [
        ("forged", forged),
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("swapped", whole.clone()),
        ("rubbish", b"[true]".to_vec()),
        ("empty", Vec::new()),
        ("long", vec![b'e'; 100_000]),
    ];
    for (name, value) in &bad {
        let mut set = redis::cmd("SET");
        set.arg(key_of(name)).arg(value);
        redis.ask::<String>(set).await;
    }
    redis.ask::<u64>(command(&["RPUSH", &key_of("a list"), "x"])).await;
    foreign.fill(&record("foreign")).await;

    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).chain(["a list", "foreign"]).collect();
    for (count, name) in (1..).zip(&names) {
        assert!(gateway.finds_nothing(&record(name)).await, "{name}");
        assert_eq!(gateway.counted(|c| &c.rejected), count, "{name}");
        gateway.has_delivered().await;
        let held: String = redis.ask(command(&["GET", &key_of(name)])).await;
        assert_eq!(held, "h0", "{name}");
        assert!(gateway.finds_nothing(&record(name)).await, "{name}");
        assert_eq!(gateway.counted(|c| &c.rejected), count, "{name}: what stands there now is ours");
    }
    assert!(gateway.finds(&donor).await);
}

#[tokio::test]
async fn an_entry_that_is_too_old_or_from_the_future_is_not_trusted() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    let minute = Duration::from_secs(60);
    gateway.fill(&alice).await;
    gateway.hand.advance(11 * minute);
    assert!(gateway.finds(&alice).await);
    gateway.hand.advance(Duration::from_secs(1));
    assert!(gateway.finds_nothing(&alice).await);
    assert_eq!(gateway.counted(|c| &c.stale), 1);
    // The next response of the store replaces it.
    gateway.fill(&alice).await;
    assert!(gateway.finds(&alice).await);
    let other = fleet.before(&redis).await;
    assert!(other.finds_nothing(&alice).await, "kept by a gateway whose clock is eleven minutes ahead");
}

#[tokio::test]
async fn an_entry_expires_by_itself() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let mut settings = fleet.settings(&redis.url());
    settings.ttl = Duration::from_millis(50);
    let gateway = fleet.connected(&settings).await;
    let alice = record("alice's key");
    gateway.try_fill(&alice).await;
    let what = "the entry ends";
    eventually(crate::support::PATIENCE, what, || gateway.finds_nothing(&alice)).await;
    assert!(redis.contents().await.is_empty());
}

#[tokio::test]
async fn gateways_with_other_prefixes_share_nothing() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let mut settings = fleet.settings(&redis.url());
    let one = fleet.connected(&settings).await;
    settings.prefix = "other:".to_owned();
    let other = fleet.connected(&settings).await;
    let alice = record("alice's key");
    one.fill(&alice).await;
    assert!(matches!(other.cache.look(alice.digest).await, Looked::Nothing(_)));
}
