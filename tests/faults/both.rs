//! Outages of PostgreSQL and Redis at once: cached callers pass as long as configured, then get 503.

use std::time::Duration;

use tokengate::config::Settings;
use tokengate::config::settings::OnOutage;

use super::place::{BLIND, FORGOTTEN, Place, SERVE_KNOWN, hurried};
use super::traffic::Kind::{Fresh, Revoked, Unknown, Valid, Victim};
use super::traffic::Traffic;
use crate::support::redis::Redis;
use crate::support::{Line, Postgres};

#[tokio::test]
async fn both_killed_and_started_again() {
    let (mut postgres, mut redis) = (Postgres::start_over_tcp().await, Redis::start().await);
    let place = Place::with_both(&postgres, &redis, |_| {}).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    traffic.store_is_away();
    redis.kill();
    postgres.0.kill().await;
    traffic.allow(&[Unknown], &[503]);
    traffic.goes_on().await;
    place.advance(FORGOTTEN);
    traffic.allow(&[Revoked], &[503]);
    traffic.goes_on().await;
    traffic.allow(&[Valid, Victim], &[200, 503]);
    place.advance(SERVE_KNOWN);
    traffic.allow(&[Valid, Victim, Fresh], &[503]);
    traffic.goes_on().await;
    place.to_store.iter().for_each(Line::cut);
    postgres.0.restart().await;
    place.revoke(&traffic.victim).await;
    // Redis returns first, and empty: it has no entries, so no caller passes because of it.
    redis.restart().await;
    traffic.goes_on().await;
    traffic.store_is_away();
    traffic.allow(&[Valid], &[200, 503]);
    traffic.allow(&[Victim], &[401, 503]);
    place.to_store.iter().for_each(Line::pass);
    traffic.heals(&place).await;
    place.redis_is_up().await;
    traffic.finish(&place).await;
}

/// Redis still has the victim as valid, and returns before any gateway can read the revocation.
#[tokio::test]
async fn both_lost_and_redis_back_first_with_old_data() {
    let (postgres, redis) = (Postgres::start_over_tcp().await, Redis::start().await);
    let place = Place::with_both(&postgres, &redis, hurried).await;
    let traffic = Traffic::start(&place, Some(&redis)).await;
    traffic.store_is_away();
    for line in place.to_store.iter().chain(&place.to_redis) {
        line.stall();
    }
    traffic.goes_on().await;
    place.revoke(&traffic.victim).await;
    traffic.allow(&[Valid, Victim], &[200, 503]);
    place.advance(SERVE_KNOWN);
    traffic.allow(&[Valid, Victim, Fresh], &[503]);
    traffic.goes_on().await;
    place.to_redis.iter().for_each(Line::pass);
    traffic.goes_on().await;
    place.redis_is_up().await;
    traffic.goes_on().await;
    traffic.store_is_away();
    traffic.allow(&[Valid], &[200, 503]);
    traffic.allow(&[Victim], &[401, 503]);
    place.to_store.iter().for_each(Line::pass);
    traffic.heals(&place).await;
    traffic.finish(&place).await;
}

/// One gateway is isolated. It cannot learn of a revocation, so the time for which it serves cached callers is limited.
#[tokio::test]
async fn one_gateway_cut_off_from_both() {
    for (on_outage, bound) in [(OnOutage::Refuse, BLIND), (OnOutage::ServeKnown(Duration::from_secs(300)), SERVE_KNOWN)]
    {
        let (postgres, redis) = (Postgres::start_over_tcp().await, Redis::start().await);
        let change = |settings: &mut Settings| {
            hurried(settings);
            settings.store.on_outage = on_outage;
        };
        let place = Place::with_both(&postgres, &redis, change).await;
        let traffic = Traffic::start(&place, Some(&redis)).await;
        traffic.store_is_away_at(0);
        place.to_store[0].cut();
        place.to_redis[0].cut();
        traffic.allow(&[Victim], &[200, 401]);
        traffic.allow_at(0, &[Victim], &[200, 503]);
        place.revoke(&traffic.victim).await;
        for store in &place.fleet.stores[1..] {
            store.changes_are_applied().await;
        }
        for gateway in [1, 2] {
            traffic.allow_at(gateway, &[Victim], &[401]);
        }
        traffic.goes_on().await;
        traffic.allow_at(0, &[Valid], &[200, 503]);
        place.advance(bound);
        traffic.allow_at(0, &[Valid, Victim, Fresh], &[503]);
        traffic.goes_on().await;
        traffic.store_is_away_at(0);
        traffic.allow_at(0, &[Valid], &[200, 503]);
        traffic.allow_at(0, &[Victim], &[401, 503]);
        place.to_store[0].pass();
        place.to_redis[0].pass();
        traffic.heals(&place).await;
        place.redis_is_up().await;
        traffic.finish(&place).await;
    }
}
