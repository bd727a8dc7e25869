//! Quotas of a configuration that changes.

use std::sync::atomic::Ordering;

use tokengate::clock::Period;
use tokengate::config::settings::{QuotaRule, RateFact};

use super::{allow, daily, fragile, left, passing, quota};
use crate::rates::one;
use crate::support::{Ask, Origin, PATIENCE, Site, eventually};

#[tokio::test]
async fn a_quota_that_gets_another_period_begins_with_zero_also_on_the_first_day_of_a_month() {
    let origin = Origin::answering("ok").await;
    let gateway = Site::before(&origin).with(|settings| allow(settings, daily(5))).start().await;
    let now = gateway.clock().now();
    gateway.hand.advance(Period::Month.at(now).end.since(now));
    let now = gateway.clock().now();
    let key = gateway.issue("alice").await;
    let ask = Ask::get("/api/x").token(&key);
    for period in [Period::Day, Period::Month, Period::Day] {
        let rules = vec![quota("daily", one(RateFact::Token), 5, period)];
        gateway.reload(|settings| allow(settings, rules.clone())).await.unwrap();
        let before = left(&gateway.store, &rules, &key, now).await;
        assert_eq!(ask.to(&gateway).await.status, 200);
        eventually(PATIENCE, "the request is saved in the count of this period", || async {
            left(&gateway.store, &rules, &key, now).await == before - 1
        })
        .await;
    }
    assert_eq!(passing(&gateway, &key, 20).await, 3, "the day has counted two requests, and the month one");
}

#[tokio::test]
async fn a_reload_that_changes_the_size_or_removes_a_quota_loses_no_count() {
    let origin = Origin::answering("ok").await;
    let sized = |keys| vec![QuotaRule { max_keys: keys, ..daily(10).remove(0) }];
    let site = Site::before(&origin).with(|settings| allow(settings, sized(1_000)));
    let (gateway, fragile) = fragile(site).await;
    let key = gateway.issue("alice").await;
    assert_eq!(passing(&gateway, &key, 1).await, 1);
    fragile.away.store(true, Ordering::Release);
    // The new tables know what is not saved.
    for keys in [5_000, 1_000, 2_000] {
        assert_eq!(passing(&gateway, &key, 2).await, 2);
        gateway.reload(|settings| allow(settings, sized(keys))).await.unwrap();
    }
    assert_eq!(passing(&gateway, &key, 20).await, 3);
    gateway.reload(|settings| allow(settings, Vec::new())).await.unwrap();
    fragile.away.store(false, Ordering::Release);
    let now = gateway.clock().now();
    eventually(PATIENCE, "the counts of all tables are saved", || async {
        left(&gateway.store, &daily(10), &key, now).await == 0
    })
    .await;
    gateway.reload(|settings| allow(settings, daily(12))).await.unwrap();
    assert_eq!(passing(&gateway, &key, 20).await, 2);
}
