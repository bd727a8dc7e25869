//! The clock of one gateway is an hour off, as after a step that was followed. The other gateways are unaffected.

use std::time::Duration;

use super::place::Place;
use super::traffic::Traffic;
use crate::support::redis::Redis;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn the_clock_of_one_gateway_moved_by_an_hour() {
    for back in [false, true] {
        let redis = Redis::start().await;
        let place = Place::with_redis(&redis).await;
        let traffic = Traffic::start(&place, Some(&redis)).await;
        let moved = &place.fleet.gateways[1];
        let now = moved.clock().now();
        moved.hand.set(if back { now.before(HOUR) } else { now.after(HOUR) });
        traffic.goes_on().await;
        // Its entries in Redis are from the future, or too old, for the others, and theirs for it: the store is
        // queried.
        place.advance(super::place::FORGOTTEN);
        traffic.goes_on().await;
        traffic.revoke_victim(&place).await;
        traffic.goes_on().await;
        moved.hand.set(now.after(super::place::FORGOTTEN));
        traffic.goes_on().await;
        traffic.finish(&place).await;
    }
}
