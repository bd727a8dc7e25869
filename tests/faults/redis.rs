//! Faults of Redis. The store responds all the time, so requests are unaffected: no 503.

use super::place::{FORGOTTEN, Place, is_kept, shared_cache, shared_entry};
use super::traffic::Traffic;
use crate::support::redis::{Redis, Sentinels, command};
use crate::support::{Line, PATIENCE, eventually};

/// Some load, with entries in memory and without.
async fn load(place: &Place, traffic: &Traffic) {
    traffic.goes_on().await;
    place.advance(FORGOTTEN);
    traffic.goes_on().await;
}

#[tokio::test]
async fn redis_killed_and_started_again_empty() {
    let mut redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    redis.kill();
    load(&place, &traffic).await;
    traffic.revoke_victim(&place).await;
    load(&place, &traffic).await;
    redis.forget_saved();
    redis.restart().await;
    traffic.goes_on().await;
    place.redis_is_up().await;
    place.advance(FORGOTTEN);
    is_kept(&place, &redis, &traffic.valid).await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn redis_paused_and_resumed() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    redis.pause();
    load(&place, &traffic).await;
    traffic.revoke_victim(&place).await;
    load(&place, &traffic).await;
    redis.resume();
    traffic.goes_on().await;
    place.redis_is_up().await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn redis_restarted_with_data_from_before_the_revocation() {
    let mut redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    is_kept(&place, &redis, &traffic.victim).await;
    redis.save().await;
    traffic.revoke_victim(&place).await;
    redis.kill();
    load(&place, &traffic).await;
    redis.restart().await;
    assert!(shared_entry(&redis, &traffic.victim).await.starts_with(b"e"), "the old data is back");
    load(&place, &traffic).await;
    place.redis_is_up().await;
    load(&place, &traffic).await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn redis_partitioned_from_one_gateway() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    place.to_redis[1].stall();
    load(&place, &traffic).await;
    traffic.revoke_victim(&place).await;
    load(&place, &traffic).await;
    place.to_redis[1].cut();
    load(&place, &traffic).await;
    place.to_redis[1].pass();
    load(&place, &traffic).await;
    place.redis_is_up().await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn redis_out_of_memory() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    redis.ask::<String>(command(&["CONFIG", "SET", "maxmemory", "1mb"])).await;
    load(&place, &traffic).await;
    traffic.revoke_victim(&place).await;
    load(&place, &traffic).await;
    redis.ask::<String>(command(&["CONFIG", "SET", "maxmemory", "0"])).await;
    place.redis_is_up().await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn a_replica_of_redis_promoted() {
    let mut servers = Sentinels::start().await;
    let url = servers.url();
    let place = Place::with(|settings| settings.redis = Some(shared_cache(&url))).await;
    let traffic = Traffic::start(&place, None).await;
    let first = servers.master().await;
    servers.servers[first].kill();
    load(&place, &traffic).await;
    traffic.revoke_victim(&place).await;
    eventually(PATIENCE, "another master", || async { servers.master().await != first }).await;
    load(&place, &traffic).await;
    place.redis_is_up().await;
    traffic.finish(&place).await;
}

#[tokio::test]
async fn redis_lost_by_all_gateways_at_different_times() {
    let redis = Redis::start().await;
    let place = Place::with_redis(&redis).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    for break_it in [Line::cut, Line::stall, Line::pass] {
        for line in &place.to_redis {
            break_it(line);
            traffic.goes_on().await;
        }
        place.advance(FORGOTTEN);
    }
    traffic.revoke_victim(&place).await;
    place.redis_is_up().await;
    traffic.finish(&place).await;
}
