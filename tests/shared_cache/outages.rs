//! The server is unreachable, slow, full, or returns with old data.

use std::net::SocketAddr;
use std::time::Duration;

use tokengate::cache::Looked;
use tokengate::store::Cursor;

use super::{Fleet, record};
use crate::support::redis::{Redis, command};
use crate::support::{Line, PATIENCE, eventually};

#[tokio::test]
async fn an_unreachable_server_causes_no_delay_and_recovers_by_itself() {
    let (mut redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    redis.kill();
    eventually(PATIENCE, "the outage is noticed", || async {
        matches!(gateway.cache.look(alice.digest).await, Looked::Away) && gateway.cache.is_away()
    })
    .await;
    let errors = gateway.counted(|c| &c.errors);
    for _ in 0..10_000 {
        assert!(matches!(gateway.cache.look(alice.digest).await, Looked::Away));
    }
    assert_eq!(gateway.counted(|c| &c.errors), errors, "nobody asked");
    let why = || async { gateway.cache.trouble().is_some_and(|why| why.contains("refused")) };
    eventually(PATIENCE, "the cause is logged", why).await;
    redis.restart().await;
    gateway.is_connected().await;
    gateway.fill(&alice).await;
    assert!(gateway.finds(&alice).await && gateway.cache.trouble().is_none());
}

#[tokio::test]
async fn a_suspended_server_causes_at_most_three_timeouts() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let mut settings = fleet.settings(&redis.url());
    settings.timeout = Duration::from_secs(1);
    let gateway = fleet.connected(&settings).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    let errors = gateway.counted(|c| &c.errors);
    redis.pause();
    for _ in 0..10_000 {
        assert!(matches!(gateway.cache.look(alice.digest).await, Looked::Away));
    }
    assert_eq!(gateway.counted(|c| &c.errors) - errors, 3);
    redis.resume();
    gateway.is_connected().await;
    assert!(gateway.finds(&alice).await);
}

#[tokio::test]
async fn a_partition_is_detected_and_recovers() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let line = Line::to(SocketAddr::from(([127, 0, 0, 1], redis.port))).await;
    let mut settings = fleet.settings(&format!("redis://{}", line.address));
    settings.timeout = Duration::from_secs(1);
    let gateway = fleet.connected(&settings).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    for break_it in [Line::stall, Line::cut] {
        break_it(&line);
        eventually(PATIENCE, "the partition is noticed", || async {
            gateway.cache.look(alice.digest).await;
            gateway.cache.is_away()
        })
        .await;
        line.pass();
        gateway.is_connected().await;
        assert!(gateway.finds(&alice).await);
    }
}

#[tokio::test]
async fn no_entry_is_trusted_while_a_hold_is_undelivered() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let line = Line::to(SocketAddr::from(([127, 0, 0, 1], redis.port))).await;
    let gateway = fleet.connected(&fleet.settings(&format!("redis://{}", line.address))).await;
    let (mut all, other) = (Vec::new(), fleet.before(&redis).await);
    for number in 0..100 {
        let record = record(&format!("key {number}"));
        gateway.fill(&record).await;
        all.push(record);
    }
    line.cut();
    for (record, number) in all.iter().zip(1..) {
        gateway.cache.changed(record.digest, Cursor(number));
    }
    assert_eq!(gateway.cache.owed(), 100);
    assert!(other.finds(&all[0]).await, "this gateway was not notified yet");
    line.pass();
    gateway.has_delivered().await;
    for record in &all {
        assert!(other.finds_nothing(record).await && gateway.finds_nothing(record).await);
    }
    assert_eq!((gateway.counted(|c| &c.holds), redis.count("publish").await), (100, 100));
}

#[tokio::test]
async fn a_restarted_server_with_old_data_revives_no_token() {
    let (mut redis, fleet) = (Redis::start().await, Fleet::new());
    let (knows, late) = (fleet.before(&redis).await, fleet.before(&redis).await);
    let (revoked, withdrawn_later) = (record("revoked"), record("revoked during the outage"));
    knows.fill(&revoked).await;
    knows.fill(&withdrawn_later).await;
    redis.save().await;
    knows.change(&revoked, 1).await;
    late.change(&revoked, 1).await;
    redis.kill();
    for gateway in [&knows, &late] {
        gateway.cache.changed(withdrawn_later.digest, Cursor(2));
    }
    redis.restart().await;
    assert_eq!(
        redis.contents().await.iter().filter(|(_, value, _)| value[0] == b'e').count(),
        2,
        "the old data is back"
    );
    for gateway in [&knows, &late] {
        gateway.is_connected().await;
        for record in [&revoked, &withdrawn_later] {
            assert!(gateway.finds_nothing(record).await);
        }
        gateway.has_delivered().await;
        for record in [&revoked, &withdrawn_later] {
            assert!(gateway.finds_nothing(record).await);
        }
    }
}

#[tokio::test]
async fn a_restarted_empty_server_is_filled_again() {
    let (mut redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    redis.kill();
    redis.forget_saved();
    redis.restart().await;
    eventually(PATIENCE, "it is asked again", || gateway.finds_nothing(&alice)).await;
    gateway.fill(&alice).await;
    assert!(gateway.finds(&alice).await);
}

#[tokio::test]
async fn a_full_server_still_responds_and_still_invalidates() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let (alice, bob) = (record("alice's key"), record("bob's key"));
    gateway.fill(&alice).await;
    redis.ask::<String>(command(&["CONFIG", "SET", "maxmemory", "1mb"])).await;
    gateway.try_fill(&bob).await;
    assert_eq!(gateway.counted(|c| &c.errors), 1);
    assert!(gateway.finds(&alice).await && gateway.finds_nothing(&bob).await);
    assert!(!gateway.cache.is_away(), "it answers");
    gateway.cache.changed(alice.digest, Cursor(1));
    eventually(PATIENCE, "the entry is gone", || async { redis.contents().await.is_empty() }).await;
    assert_eq!(gateway.cache.owed(), 1);
    redis.ask::<String>(command(&["CONFIG", "SET", "maxmemory", "0"])).await;
    gateway.has_delivered().await;
    assert!(gateway.finds_nothing(&alice).await);
}

#[tokio::test]
async fn a_gateway_starts_without_the_server() {
    let fleet = Fleet::new();
    let nobody = format!("redis://127.0.0.1:{}", crate::support::redis::free_port());
    let gateway = fleet.gateway(&fleet.settings(&nobody));
    let alice = record("alice's key");
    assert!(matches!(gateway.cache.look(alice.digest).await, Looked::Away));
    gateway.cache.changed(alice.digest, Cursor(1));
    assert_eq!((gateway.cache.owed(), gateway.cache.is_away()), (1, true));
    gateway.cache.announce(&[(alice.digest, Cursor(1))]).await;
}
