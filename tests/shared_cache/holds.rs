//! A change wins over every fill, whenever the fill arrives.

use tokengate::store::Cursor;

use super::{Fleet, record};
use crate::support::redis::{Redis, command};
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_hold_beats_what_was_kept_and_a_late_fill() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (one, other) = (fleet.before(&redis).await, fleet.before(&redis).await);
    let (kept, late) = (record("kept"), record("late"));
    one.fill(&kept).await;
    // The other gateway read the row before the change, and hears of the change last.
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
async fn a_gateway_keeps_nothing_that_it_asked_for_before_a_change() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    let begun = gateway.begin(alice.digest).await;
    gateway.change(&alice, 1).await;
    // The hold is gone, as if its time were over.
    redis.ask::<String>(command(&["FLUSHALL"])).await;
    gateway.cache.keep(begun, &alice).await;
    assert!(redis.contents().await.is_empty());
    gateway.fill(&alice).await;
    assert!(gateway.finds(&alice).await);
}

#[tokio::test]
async fn a_fill_that_hung_in_a_paused_server_does_not_land() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let mut settings = fleet.settings(&redis.url());
    settings.timeout = std::time::Duration::from_secs(1);
    let (one, other) = (fleet.connected(&settings).await, fleet.before(&redis).await);
    // The server knows the scripts.
    one.fill(&record("another key")).await;
    let alice = record("alice's key");
    let begun = one.begin(alice.digest).await;
    let asked = redis.count("evalsha").await;
    redis.pause();
    // It gives up after its timeout; the fill stays in the buffer of the server, longer than a look-up may take.
    one.cache.keep(begun, &alice).await;
    let paused = tokio::time::Instant::now();
    eventually(PATIENCE, "longer than a look-up", || async { paused.elapsed().as_millis() > 1_500 }).await;
    redis.resume();
    eventually(PATIENCE, "the fill arrives", || async { redis.count("evalsha").await > asked }).await;
    assert!(other.finds_nothing(&alice).await);
    // One that takes no longer lands.
    other.fill(&alice).await;
    assert!(one.finds(&alice).await);
}

#[tokio::test]
async fn an_entry_that_a_gateway_knows_to_be_older_than_a_change_is_not_believed_and_makes_way() {
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
    // Somebody puts the old entry back over the hold: a replica that never saw it, a copy of old data.
    let mut set = redis::cmd("SET");
    set.arg(&key).arg(&value);
    redis.ask::<String>(set).await;
    assert!(other.finds(&old).await, "it knows of no change");
    assert!(knows.finds_nothing(&old).await);
    knows.fill(&new).await;
    assert!(knows.finds(&new).await && other.finds(&new).await);
}

#[tokio::test]
async fn of_two_fills_the_one_that_began_later_stays() {
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
async fn a_change_is_told_once_however_many_gateways_hold_it() {
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
async fn after_a_gap_nothing_older_is_believed() {
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
async fn a_gateway_that_was_away_believes_nothing_from_before_its_start_until_it_caught_up() {
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
async fn the_command_line_holds_and_tells_without_the_task() {
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
