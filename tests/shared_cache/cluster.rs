//! A cluster of six nodes.

use tokengate::cache::Looked;
use tokengate::store::TokenEvent;

use super::{Fleet, record};
use crate::support::redis::Cluster;
use crate::support::{PATIENCE, eventually, soon};

#[tokio::test]
async fn a_cluster_works_also_after_a_master_is_killed() {
    let (mut cluster, fleet) = (Cluster::start().await, Fleet::new());
    let settings = fleet.restricted(&cluster.url());
    let (one, other) = (fleet.connected(&settings).await, fleet.connected(&settings).await);
    let mut feed = other.cache.feed();
    assert_eq!(soon("a gap", feed.next()).await, TokenEvent::Gap);
    // Enough to have some on every node.
    let all: Vec<_> = (0..60).map(|number| record(&format!("key {number}"))).collect();
    for record in &all {
        one.fill(record).await;
        assert!(other.finds(record).await);
    }
    for (record, number) in all.iter().zip(1..).take(20) {
        one.change_is_heard(record, number, &mut feed).await;
        assert!(other.finds_nothing(record).await);
    }
    assert_eq!((one.counted(|c| &c.errors), other.counted(|c| &c.errors)), (0, 0));

    let dead = cluster.a_master().await;
    cluster.nodes[dead].kill();
    for gateway in [&one, &other] {
        eventually(PATIENCE, "every key is served again", || async {
            for record in &all[20..] {
                if matches!(gateway.cache.look(record.digest).await, Looked::Away) {
                    return false;
                }
            }
            true
        })
        .await;
    }
    for (record, number) in all.iter().zip(100..) {
        one.change(record, number).await;
        assert!(one.finds_nothing(record).await && other.finds_nothing(record).await);
    }
    let new = record("new");
    one.fill(&new).await;
    assert!(other.finds(&new).await);
}
