//! The change log: nothing changes what a token means without an event.

use tokengate::store::TokenEvent::{self, Changed, SubjectChanged};
use tokengate::store::{Cursor, LedgerError, NamedToken, NewUser, OnConflict, Terms, TokenRef};
use tokengate::token::{ScopeSet, TokenKey};

use super::for_each_store;
use super::site::{Log, START, Site, key, user};

for_each_store! {
    every_change_leaves_an_event
    what_changes_no_meaning_leaves_no_event
    a_refused_wish_leaves_no_event
    changes_are_read_in_pages_and_to_the_end
    a_reader_that_knows_more_than_the_store_learns_of_a_gap
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

    let order = NamedToken { name: "ci".to_owned(), expires: None, scopes: ScopeSet::default() };
    let ci = ledger.issue_named(alice, &order).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&ci.key)], "named");

    let terms = Terms { expires: Some(START), scopes: ScopeSet::default() };
    ledger.set_terms(ci.id, &terms).await.unwrap();
    assert_eq!(log.events(&store).await, [changed(&ci.key)], "terms");

    store.tokens.revoke_exposed(ci.key.digest(), START).await.unwrap();
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

async fn what_changes_no_meaning_leaves_no_event(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let mut log = Log::from_now(&store).await;
    store.ledger.issue_login(alice).await.unwrap();
    store.ledger.mark_used(&[(issued.id, START)]).await.unwrap();
    store.tokens.mark_exposed(issued.key.digest(), START).await.unwrap();
    store.accounts.set_password(alice, None).await.unwrap();
    assert_eq!(log.events(&store).await, []);
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap();
    log.events(&store).await;
    store.ledger.revoke(TokenRef::Id(issued.id)).await.unwrap();
    assert_eq!(log.events(&store).await, []);
}

async fn a_refused_wish_leaves_no_event(site: Site) {
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

async fn a_reader_that_knows_more_than_the_store_learns_of_a_gap(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    store.ledger.issue_login(alice).await.unwrap();
    let newest = store.tokens.newest_change().await.unwrap();
    let changes = store.tokens.changes(Cursor(newest.0 + 1)).await.unwrap();
    assert_eq!((&changes.events[..], changes.next), (&[TokenEvent::Gap][..], newest));
}
