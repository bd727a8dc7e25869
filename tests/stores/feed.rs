//! The feed: changes are pushed.

use tokengate::store::TokenEvent::{self, Changed, Gap, SubjectChanged};
use tokengate::store::{Store, TokenFeed};

use super::for_each_store;
use super::site::{Log, START, Site, user};
use crate::support::soon;

for_each_store! {
    a_feed_begins_with_a_gap_and_reports_each_change
    a_change_without_effect_on_tokens_is_not_reported
    an_event_is_not_lost_when_a_wait_is_cancelled
}

pub async fn next(feed: &mut Box<dyn TokenFeed>) -> TokenEvent {
    soon("an event", feed.next()).await
}

/// The changes that a reader learns from an event; a gap means "read the log".
async fn learned(store: &Store, log: &mut Log, feed: &mut Box<dyn TokenFeed>) -> Vec<TokenEvent> {
    match next(feed).await {
        Gap => log.events(store).await,
        event => vec![event],
    }
}

async fn a_feed_begins_with_a_gap_and_reports_each_change(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let (mut feed, mut other) = (store.tokens.feed().unwrap(), store.tokens.feed().unwrap());
    assert_eq!((next(&mut feed).await, next(&mut other).await), (Gap, Gap));
    let mut log = Log::from_now(&store).await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let event = Changed(issued.key.digest());
    assert_eq!(learned(&store, &mut log, &mut feed).await, [event]);
    store.accounts.rename(alice, "alice2").await.unwrap();
    let told = learned(&store, &mut log, &mut feed).await;
    assert!(told.ends_with(&[SubjectChanged(alice)]), "{told:?}");
    let told = next(&mut other).await;
    assert!(told == Gap || told == event, "{told:?}");
}

async fn a_change_without_effect_on_tokens_is_not_reported(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let mut feed = store.tokens.feed().unwrap();
    assert_eq!(next(&mut feed).await, Gap);
    let mut log = Log::from_now(&store).await;
    store.ledger.mark_used(&[(issued.id, START)]).await.unwrap();
    store.tokens.mark_exposed(issued.key.digest(), [192, 0, 2, 9].into(), START).await.unwrap();
    store.ledger.issue_login(alice).await.unwrap();
    store.accounts.set_password(alice, None).await.unwrap();
    tokio::select! {
        biased;
        event = feed.next() => panic!("nothing has happened: {event:?}"),
        () = tokio::task::yield_now() => {}
    }
    store.accounts.deactivate(alice).await.unwrap();
    // The first event is that of the first change with an effect.
    assert_eq!(learned(&store, &mut log, &mut feed).await, [SubjectChanged(alice)]);
}

async fn an_event_is_not_lost_when_a_wait_is_cancelled(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let mut feed = store.tokens.feed().unwrap();
    assert_eq!(next(&mut feed).await, Gap);
    let mut log = Log::from_now(&store).await;
    for round in 0..20 {
        // Waits while the change is made, each time a little longer.
        tokio::select! {
            biased;
            () = async { for _ in 0..round { tokio::task::yield_now().await } } => {}
            event = feed.next() => panic!("nothing has happened: {event:?}"),
        }
        store.accounts.rename(alice, &format!("alice{round}")).await.unwrap();
        assert_eq!(learned(&store, &mut log, &mut feed).await, [SubjectChanged(alice)], "{round}");
    }
}
