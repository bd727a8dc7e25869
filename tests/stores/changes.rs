//! The change log: every change that affects a token leaves an event.

use std::time::Duration;

use tokengate::clock::{Clock, Timestamp};
use tokengate::store::TokenEvent::{self, Changed, SubjectChanged};
use tokengate::store::{Cursor, End, LedgerError, NamedToken, NewUser, OnConflict, Terms, TokenRef};
use tokengate::token::{ScopeSet, TokenKey};

use super::for_each_store;
use super::site::{Log, START, Site, key, user};
use crate::support::{PATIENCE, eventually};

for_each_store! {
    every_change_leaves_an_event
    a_change_without_effect_on_tokens_leaves_no_event
    a_refused_change_leaves_no_event
    changes_are_read_in_pages_and_to_the_end
    a_reader_ahead_of_the_store_gets_a_gap
    a_cursor_is_found_by_time
    deleted_events_are_a_gap_for_readers_that_missed_them
    a_long_log_is_deleted_up_to_its_newest_entry
}

fn changed(key: &TokenKey) -> TokenEvent {
    Changed(key.digest())
}

async fn every_change_leaves_an_event(mut site: Site) {
    site.tokens.issue_on_user_create = true;
    let store = site.open().await;
    let (ledger, accounts) = (&store.ledger, &store.accounts);
    let mut log = Log::from_now(&store).await;

    let (alice, first) = accounts.create(NewUser::named("alice")).await.unwrap();
    let (alice, first) = (alice.account.id, first.unwrap().key);
    assert_eq!(log.events(&store).await, [changed(&first)], "create");

    let second = ledger.reset_login(alice).await.unwrap().key;
    assert_eq!(log.events(&store).await, [changed(&first), changed(&second)], "reset");

    ledger.revoke(TokenRef::Digest(second.digest())).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&second)], "revoke");

    let third = ledger.issue_login(alice).await.unwrap().key;
    assert_eq!(log.events(&store).await, [changed(&third)], "issue");

    ledger.import(alice, key("imported"), OnConflict::Replace).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&third), changed(&key("imported"))], "import");

    let order =
        NamedToken { name: "ci".to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() };
    let ci = ledger.issue_named(alice, &order).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&ci.key)], "named");

    let terms = Terms { end: Some(End::At(START)), ..Terms::default() };
    ledger.set_terms(ci.id, &terms).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&ci.key)], "terms");

    store.tokens.revoke_exposed(ci.key.digest(), [192, 0, 2, 9].into(), START).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&ci.key)], "exposed");

    accounts.rename(alice, "alice2").await.unwrap();
    assert_eq!(log.events(&store).await, [SubjectChanged(alice)], "rename");

    accounts.deactivate(alice).await.unwrap();
    assert_eq!(log.events(&store).await, [SubjectChanged(alice)], "deactivate");

    accounts.activate(alice).await.unwrap();
    assert_eq!(log.events(&store).await, [SubjectChanged(alice)], "activate");

    accounts.set_groups(alice, &["sales".to_owned()]).await.unwrap();
    assert_eq!(log.events(&store).await, [SubjectChanged(alice)], "groups");

    accounts.set_groups(alice, &[]).await.unwrap();
    assert_eq!(log.events(&store).await, [SubjectChanged(alice)], "no groups");

    ledger.revoke_all(alice).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&key("imported"))], "revoke all");

    accounts.delete(alice).await.unwrap();
    let events = log.events(&store).await;
    for event in [SubjectChanged(alice), changed(&first), changed(&ci.key), changed(&key("imported"))] {
        assert!(events.contains(&event), "delete: {event:?} is missing in {events:?}");
    }
}

async fn a_change_without_effect_on_tokens_leaves_no_event(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let mut log = Log::from_now(&store).await;
    store.ledger.issue_login(alice).await.unwrap();
    store.ledger.mark_used(&[(issued.id, START)]).await.unwrap();
    store.tokens.mark_exposed(issued.key.digest(), [192, 0, 2, 9].into(), START).await.unwrap();
    store.accounts.set_password(alice, None).await.unwrap();
    assert_eq!(log.events(&store).await, []);
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap();
    log.events(&store).await;
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap();
    assert_eq!(log.events(&store).await, []);
}

async fn a_refused_change_leaves_no_event(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    store.ledger.issue_login(alice).await.unwrap();
    let mut log = Log::from_now(&store).await;
    let refused = store.ledger.import(alice, key("imported"), OnConflict::Refuse).await;
    assert!(matches!(refused, Err(LedgerError::LoginExists(_))));
    store.accounts.create(NewUser::named("alice")).await.unwrap_err();
    assert_eq!(log.events(&store).await, []);
}

async fn changes_are_read_in_pages_and_to_the_end(site: Site) {
    let store = site.open().await;
    assert_eq!(store.tokens.newest_change().await.unwrap(), Cursor(0));
    let alice = user(&store, "alice").await;
    let groups: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for _ in 0..10 {
        store.accounts.set_groups(alice, &groups).await.unwrap();
        store.accounts.set_groups(alice, &[]).await.unwrap();
    }
    let first = store.tokens.changes(Cursor(0)).await.unwrap();
    let second = store.tokens.changes(first.next).await.unwrap();
    assert_eq!((first.events.len(), second.events.len()), (1000, 200));
    assert_eq!(second.next, store.tokens.newest_change().await.unwrap());
    let end = store.tokens.changes(second.next).await.unwrap();
    assert_eq!((end.events.len(), end.next), (0, second.next));
}

async fn a_reader_ahead_of_the_store_gets_a_gap(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    store.ledger.issue_login(alice).await.unwrap();
    let newest = store.tokens.newest_change().await.unwrap();
    let changes = store.tokens.changes(Cursor(newest.0 + 1)).await.unwrap();
    assert_eq!((&changes.events[..], changes.next), (&[TokenEvent::Gap][..], newest));
}

/// A time after everything that was written so far, by the clock of the machine; waits until then.
async fn after_all() -> Timestamp {
    // SQLite's clock counts milliseconds.
    let now = Clock::system().now().after(Duration::from_millis(2));
    eventually(PATIENCE, "the clock moves", || async { Clock::system().now() > now.after(Duration::from_millis(2)) })
        .await;
    now
}

async fn a_cursor_is_found_by_time(site: Site) {
    let store = site.open().await;
    let cursor_at = async |at| store.tokens.cursor_at(at).await.unwrap();
    let begin = after_all().await;
    assert_eq!(cursor_at(begin).await, Cursor(0));
    let alice = user(&store, "alice").await;
    store.accounts.rename(alice, "alice2").await.unwrap();
    let first = store.tokens.newest_change().await.unwrap();
    let between = after_all().await;
    store.accounts.rename(alice, "alice3").await.unwrap();
    assert_eq!(cursor_at(between).await, first);
    let all = store.tokens.changes(cursor_at(begin).await).await.unwrap();
    assert_eq!(all.events, [SubjectChanged(alice), SubjectChanged(alice)]);
    assert_eq!(cursor_at(after_all().await).await, all.next, "nothing has happened since");
}

async fn deleted_events_are_a_gap_for_readers_that_missed_them(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let begin = store.tokens.newest_change().await.unwrap();
    let mut cursors = Vec::new();
    for name in ["a", "b"] {
        store.accounts.rename(alice, name).await.unwrap();
        cursors.push(store.tokens.newest_change().await.unwrap());
    }
    let between = after_all().await;
    for name in ["c", "d"] {
        store.accounts.rename(alice, name).await.unwrap();
    }
    let newest = store.tokens.newest_change().await.unwrap();
    assert_eq!(store.tokens.prune_changes(between).await.unwrap(), 2);
    assert_eq!(store.tokens.prune_changes(between).await.unwrap(), 0);
    for missed in [begin, cursors[0]] {
        let changes = store.tokens.changes(missed).await.unwrap();
        assert_eq!((&changes.events[..], changes.next), (&[TokenEvent::Gap][..], newest));
    }
    let changes = store.tokens.changes(cursors[1]).await.unwrap();
    assert_eq!(changes.events, [SubjectChanged(alice), SubjectChanged(alice)], "this reader has missed nothing");
    assert_eq!(store.tokens.changes(store.tokens.cursor_at(between).await.unwrap()).await.unwrap().events.len(), 2);

    assert_eq!(store.tokens.prune_changes(after_all().await).await.unwrap(), 1, "the newest stays");
    assert_eq!(store.tokens.newest_change().await.unwrap(), newest);
    assert_eq!(store.tokens.changes(newest).await.unwrap().events, []);
    assert_eq!(store.tokens.changes(cursors[1]).await.unwrap().events, [TokenEvent::Gap]);
    store.accounts.rename(alice, "e").await.unwrap();
    assert_eq!(store.tokens.changes(newest).await.unwrap().events, [SubjectChanged(alice)]);
}

async fn a_long_log_is_deleted_up_to_its_newest_entry(site: Site) {
    let store = site.open().await;
    assert_eq!(store.tokens.prune_changes(after_all().await).await.unwrap(), 0, "nothing is there yet");
    let alice = user(&store, "alice").await;
    let groups: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    for _ in 0..21 {
        store.accounts.set_groups(alice, &groups).await.unwrap();
        store.accounts.set_groups(alice, &[]).await.unwrap();
    }
    let newest = store.tokens.newest_change().await.unwrap();
    assert_eq!(store.tokens.prune_changes(after_all().await).await.unwrap(), 21 * 500 - 1);
    assert_eq!(store.tokens.newest_change().await.unwrap(), newest);
}
