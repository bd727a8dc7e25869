//! Holds: a change takes precedence over every fill, whenever the fill arrives.

use tokengate::store::Cursor;

use super::{Fleet, record};
use crate::support::redis::{Redis, command};
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_hold_replaces_an_entry_and_blocks_a_late_fill() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (one, other) = (fleet.before(&redis).await, fleet.before(&redis).await);
    let (kept, late) = (record("kept"), record("late"));
    one.fill(&kept).await;
    // The other gateway read the row before the change, and is notified of the change last.
    let begun = other.begin(late.digest).await;
    one.change(&kept, 1).await;
    one.change(&late, 2).await;
    other.cache.keep(begun, &late).await;
    for record in [&kept, &late] {
        assert!(one.finds_nothing(record).await && other.finds_nothing(record).await);
    }
    assert!(redis.contents().await.iter().all(|(_, value, life)| value[0] == b'h' && (1..=10_000).contains(life)));
}

#[tokio::test]
async fn a_gateway_stores_nothing_that_it_looked_up_before_a_change() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    let begun = gateway.begin(alice.digest).await;
    gateway.change(&alice, 1).await;
    // Deletes the hold, as if it had expired.
    redis.ask::<String>(command(&["FLUSHALL"])).await;
    gateway.cache.keep(begun, &alice).await;
    assert!(redis.contents().await.is_empty());
    gateway.fill(&alice).await;
    assert!(gateway.finds(&alice).await);
}

#[tokio::test]
async fn a_fill_that_waited_in_a_suspended_server_is_not_stored() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let mut settings = fleet.settings(&redis.url());
    settings.timeout = std::time::Duration::from_secs(1);
    let (one, other) = (fleet.connected(&settings).await, fleet.before(&redis).await);
    // Loads the scripts into the server.
    one.fill(&record("another key")).await;
    let alice = record("alice's key");
    let begun = one.begin(alice.digest).await;
    let asked = redis.count("evalsha").await;
    redis.pause();
    // The client times out; the fill stays in the server's buffer longer than a lookup may take.
    one.cache.keep(begun, &alice).await;
    let paused = tokio::time::Instant::now();
    eventually(PATIENCE, "longer than a look-up", || async { paused.elapsed().as_millis() > 1_500 }).await;
    redis.resume();
    eventually(PATIENCE, "the fill arrives", || async { redis.count("evalsha").await > asked }).await;
    assert!(other.finds_nothing(&alice).await);
    // A fill without a delay is stored.
    other.fill(&alice).await;
    assert!(one.finds(&alice).await);
}

#[tokio::test]
async fn an_entry_older_than_a_known_change_is_not_trusted_and_is_replaced() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (knows, other) = (fleet.before(&redis).await, fleet.before(&redis).await);
    let (old, new) = (record("alice's key"), {
        let mut new = record("alice's key");
        new.owner.name = "alice2".to_owned();
        new
    });
    other.fill(&old).await;
    let (key, value, _) = redis.contents().await.remove(0);
    knows.change(&old, 1).await;
    // Restores the old entry over the hold, as a replica that never had the hold, or a backup, would.
    let mut set = redis::cmd("SET");
    set.arg(&key).arg(&value);
    redis.ask::<String>(set).await;
    assert!(other.finds(&old).await, "it has no change to deliver");
    assert!(knows.finds_nothing(&old).await);
    knows.fill(&new).await;
    assert!(knows.finds(&new).await && other.finds(&new).await);
}

#[tokio::test]
async fn of_two_fills_the_later_lookup_wins() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let (early, late) = (record("alice's key"), {
        let mut late = record("alice's key");
        late.owner.name = "alice2".to_owned();
        late
    });
    let first = gateway.begin(early.digest).await;
    let now = || async { redis.ask::<(u64, u64)>(command(&["TIME"])).await };
    let (seconds, micros) = now().await;
    let next_millisecond = || async { now().await > (seconds, micros + 1_000) };
    eventually(PATIENCE, "the clock moves", next_millisecond).await;
    let second = gateway.begin(late.digest).await;
    gateway.cache.keep(second, &late).await;
    gateway.cache.keep(first, &early).await;
    assert!(gateway.finds(&late).await);
}

#[tokio::test]
async fn a_change_is_published_once_however_many_gateways_deliver_its_hold() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateways = [fleet.before(&redis).await, fleet.before(&redis).await, fleet.before(&redis).await];
    let alice = record("alice's key");
    for gateway in &gateways {
        gateway.change(&alice, 5).await;
    }
    assert_eq!(redis.count("publish").await, 1);
    gateways[0].change(&alice, 6).await;
    assert_eq!(redis.count("publish").await, 2);
    assert!(gateways.iter().all(|gateway| gateway.counted(|c| &c.holds) >= 1));
}

#[tokio::test]
async fn after_a_gap_no_older_entry_is_trusted() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    gateway.cache.all_changed();
    assert!(gateway.finds_nothing(&alice).await);
    gateway.has_delivered().await;
    assert!(gateway.finds_nothing(&alice).await);
    gateway.fill(&alice).await;
}

#[tokio::test]
async fn a_restarted_gateway_trusts_no_older_entry_until_it_has_read_the_change_log() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let (old, revoked) = (record("old"), record("revoked while it was away"));
    gateway.fill(&old).await;
    gateway.fill(&revoked).await;
    let starting = fleet.ignorant(&fleet.settings(&redis.url()));
    starting.is_connected().await;
    starting.has_delivered().await;
    assert!(starting.finds_nothing(&old).await && starting.finds_nothing(&revoked).await);
    starting.cache.changed(revoked.digest, Cursor(1));
    starting.cache.caught_up();
    starting.has_delivered().await;
    assert!(starting.finds(&old).await && starting.finds_nothing(&revoked).await);
}

#[tokio::test]
async fn the_command_line_delivers_holds_without_the_background_task() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let all: Vec<_> = (0..200).map(|number| record(&format!("key {number}"))).collect();
    for record in &all {
        gateway.fill(record).await;
    }
    let mut command_line = fleet.gateway(&fleet.settings(&redis.url()));
    command_line.task.take().unwrap().abort();
    let changes: Vec<_> = all.iter().zip(1..).map(|(record, number)| (record.digest, Cursor(number))).collect();
    command_line.cache.announce(&changes).await;
    for record in &all {
        assert!(gateway.finds_nothing(record).await);
    }
    assert_eq!(redis.count("publish").await, 200);
}
