//! The counts of quotas.

use std::time::Duration;

use tokengate::store::QuotaCount;
use tokengate::token::TokenDigest;

use super::for_each_store;
use super::site::{START, Site};

for_each_store! {
    counts_are_added_to_read_and_pruned
    gateways_that_add_at_once_lose_nothing
}

fn count(id: &str, days_ago: u64) -> QuotaCount {
    let since = START.before(Duration::from_secs(days_ago * 86_400));
    QuotaCount { id: TokenDigest::of(id.as_bytes()), since }
}

async fn counts_are_added_to_read_and_pruned(site: Site) {
    let store = site.open().await.quotas.unwrap();
    let (today, yesterday, other) = (count("a", 0), count("a", 1), count("b", 0));
    assert_eq!(store.used(&[today, other]).await.unwrap(), [0, 0]);
    assert_eq!(store.used(&[]).await.unwrap(), [0; 0]);
    assert_eq!(store.add(&[(other, 5), (today, 2), (yesterday, 7)]).await.unwrap(), [5, 2, 7], "in the same order");
    assert_eq!(store.add(&[(today, 1), (other, -2)]).await.unwrap(), [3, 3]);
    assert_eq!(store.used(&[yesterday, today, count("c", 0), other]).await.unwrap(), [7, 3, 0, 3]);
    assert_eq!(store.prune_quotas(START).await.unwrap(), 1);
    assert_eq!(store.used(&[yesterday, today]).await.unwrap(), [0, 3]);
    let again = site.open().await.quotas.unwrap();
    assert_eq!(again.used(&[today]).await.unwrap(), [3], "over a restart");
}

async fn gateways_that_add_at_once_lose_nothing(site: Site) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = site.open().await.quotas.unwrap();
        all.spawn(async move {
            for _ in 0..20 {
                store.add(&[(count("a", 0), 1), (count("b", 0), 2)]).await.unwrap();
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    let store = site.open().await.quotas.unwrap();
    assert_eq!(store.used(&[count("a", 0), count("b", 0)]).await.unwrap(), [60, 120]);
}
