//! A master fails, and the sentinels promote a replica.

use tokengate::store::{Cursor, TokenEvent};

use super::{Fleet, record};
use crate::support::redis::Sentinels;
use crate::support::{PATIENCE, eventually, soon};

#[tokio::test]
async fn a_new_master_is_found_and_fenced_entries_are_not_trusted_there() {
    let (mut servers, fleet) = (Sentinels::start().await, Fleet::new());
    let settings = fleet.restricted(&servers.url());
    let gateway = fleet.connected(&settings).await;
    let mut feed = gateway.cache.feed();
    assert_eq!(soon("a gap", feed.next()).await, TokenEvent::Gap);
    let (kept, revoked, during) = (record("kept"), record("revoked"), record("revoked during the fail-over"));
    for record in [&kept, &revoked, &during] {
        gateway.fill(record).await;
    }
    gateway.change_is_heard(&revoked, 1, &mut feed).await;

    let first = servers.master().await;
    servers.servers[first].kill();
    gateway.cache.changed(during.digest, Cursor(1_000));
    eventually(PATIENCE, "another master", || async { servers.master().await != first }).await;
    eventually(PATIENCE, "it heals", || async {
        gateway.finds_nothing(&during).await && gateway.cache.owed() == 0 && !gateway.cache.is_away()
    })
    .await;
    assert!(gateway.finds_nothing(&revoked).await);
    assert!(gateway.finds_nothing(&during).await);
    gateway.fill(&record("new")).await;
    assert!(gateway.finds(&record("new")).await, "the new master takes entries");
    assert_eq!(soon("a gap", feed.next()).await, TokenEvent::Gap);
    // A gateway that starts now finds the new master as well.
    let other = fleet.connected(&settings).await;
    assert!(other.finds(&record("new")).await);
}
