//! Tokens: issued, imported, found, revoked, listed.

use std::time::Duration;

use tokengate::clock::Timestamp;
use tokengate::store::{
    End, LedgerError, NamedToken, OnConflict, Page, Revocation, Store, Terms, TokenFilter, TokenKind, TokenRef,
};
use tokengate::token::{ScopeSet, SubjectId, TokenId};

use super::for_each_store;
use super::site::{START, Site, found, key, user};

for_each_store! {
    a_login_token_is_one_and_is_shown_again
    eight_concurrent_logins_return_one_token
    without_recovery_each_login_replaces_the_token
    a_reset_revokes_and_issues
    a_revoked_token_is_found_as_revoked_and_a_login_issues_a_fresh_one
    an_expired_login_token_is_replaced
    a_named_token_is_found_with_its_scopes_and_expiry
    the_maximum_of_live_tokens_also_applies_to_concurrent_requests
    invalid_names_and_scopes_are_refused
    no_token_expires_after_the_year_9999
    an_imported_key_is_the_login_token
    an_import_can_conflict_with_another_login_token
    a_key_is_never_imported_for_two_users_nor_brought_back
    importing_an_expired_key_again_does_not_revive_it
    revocation_is_idempotent_and_says_whether_the_token_was_live
    all_tokens_of_a_user_are_revoked_at_once
    exposure_is_recorded_once_and_may_revoke
    lists_are_filtered_and_paged
    the_last_use_never_moves_backwards
    the_tokens_of_a_user_are_those_that_are_not_revoked
    nothing_is_issued_to_a_user_who_does_not_exist
    a_disabled_login_token_is_neither_shown_nor_replaced_for_its_owner
}

fn named(name: &str) -> NamedToken {
    NamedToken { name: name.to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() }
}

async fn details(store: &Store, token: TokenId) -> tokengate::store::TokenDetails {
    store.ledger.show(TokenRef::Id(token)).await.unwrap().unwrap()
}

async fn a_login_token_is_one_and_is_shown_again(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.issue_login(alice).await.unwrap();
    let second = store.ledger.issue_login(alice).await.unwrap();
    assert!(first.fresh && !second.fresh);
    assert_eq!((first.id, first.key.expose()), (second.id, second.key.expose()));
    let record = found(&store, &first.key).await;
    assert_eq!((record.id, record.owner.id, record.created), (first.id, alice, START));
    assert_eq!(record.owner.name, "alice");
    assert!(store.tokens.find(&key("0000000000000000000000000000000000000000")).await.unwrap().is_none());

    let reopened = site.open().await.ledger.issue_login(alice).await.unwrap();
    assert_eq!(reopened.key.expose(), first.key.expose());
}

async fn eight_concurrent_logins_return_one_token(site: Site) {
    let store = site.open().await;
    let other_process = site.open().await;
    let alice = user(&store, "alice").await;
    let logins: Vec<_> = (0..8)
        .map(|number| {
            let store = if number % 2 == 0 { store.clone() } else { other_process.clone() };
            tokio::spawn(async move { store.ledger.issue_login(alice).await.unwrap() })
        })
        .collect();
    let mut keys = Vec::new();
    let mut fresh = 0;
    for login in logins {
        let issued = login.await.unwrap();
        fresh += usize::from(issued.fresh);
        keys.push(issued.key.expose().to_owned());
    }
    keys.dedup();
    assert_eq!((keys.len(), fresh), (1, 1));
}

async fn without_recovery_each_login_replaces_the_token(mut site: Site) {
    site.tokens.recoverable = false;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.issue_login(alice).await.unwrap();
    let second = store.ledger.issue_login(alice).await.unwrap();
    assert_ne!(first.key.expose(), second.key.expose());
    assert!(found(&store, &first.key).await.revoked.is_some());
    assert!(found(&store, &second.key).await.revoked.is_none());

    site.tokens.recoverable = true;
    let kept = site.open().await.ledger.issue_login(alice).await.unwrap();
    site.tokens.recoverable = false;
    assert!(site.open().await.ledger.issue_login(alice).await.unwrap().fresh, "a stored key is not shown either");
    assert!(found(&store, &kept.key).await.revoked.is_some());
}

async fn a_reset_revokes_and_issues(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.reset_login(alice).await.unwrap();
    let second = store.ledger.reset_login(alice).await.unwrap();
    assert_eq!(found(&store, &first.key).await.revoked, Some(START));
    assert_eq!(found(&store, &second.key).await.revoked, None);
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().id, second.id);
}

async fn a_revoked_token_is_found_as_revoked_and_a_login_issues_a_fresh_one(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.issue_login(alice).await.unwrap();
    site.hand.advance(Duration::from_secs(1));
    store.ledger.revoke(TokenRef::Digest(first.key.digest())).await.unwrap();
    assert_eq!(found(&store, &first.key).await.revoked, Some(START.after(Duration::from_secs(1))));
    let second = store.ledger.issue_login(alice).await.unwrap();
    assert!(second.fresh);
    assert_ne!(second.id, first.id);
}

async fn an_expired_login_token_is_replaced(mut site: Site) {
    site.tokens.default_ttl = Some(Duration::from_secs(60));
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.issue_login(alice).await.unwrap();
    assert_eq!(first.expires, Some(START.after(Duration::from_secs(60))));
    site.hand.advance(Duration::from_secs(59));
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().id, first.id);
    site.hand.advance(Duration::from_secs(1));
    let second = store.ledger.issue_login(alice).await.unwrap();
    assert_eq!(second.expires, Some(START.after(Duration::from_secs(120))));
    assert_ne!(second.id, first.id);
}

async fn a_named_token_is_found_with_its_scopes_and_expiry(mut site: Site) {
    site.tokens.default_ttl = Some(Duration::from_secs(60));
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let end = START.after(Duration::from_secs(5));
    let scopes = ScopeSet::parse("write read").unwrap();
    let order = NamedToken { name: "ci".to_owned(), expires: Some(end), scopes, ..NamedToken::default() };
    let issued = store.ledger.issue_named(alice, &order).await.unwrap();
    let record = found(&store, &issued.key).await;
    assert_eq!((record.expires, record.scopes.to_string().as_str()), (Some(end), "read write"));
    let shown = details(&store, issued.id).await;
    assert_eq!((shown.name.as_str(), shown.kind, shown.hint), ("ci", TokenKind::Named, issued.key.hint()));

    let terms = Terms { end: Some(End::Never), scopes: Some(ScopeSet::parse("read").unwrap()), ..Terms::default() };
    store.ledger.set_terms(issued.id, &terms).await.unwrap();
    let record = found(&store, &issued.key).await;
    assert_eq!((record.expires, record.scopes.to_string().as_str()), (None, "read"));

    let usual = store.ledger.issue_named(alice, &named("usual")).await.unwrap();
    assert_eq!(usual.expires, Some(START.after(Duration::from_secs(60))));
}

async fn the_maximum_of_live_tokens_also_applies_to_concurrent_requests(mut site: Site) {
    site.tokens.max_per_user = 3;
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    store.ledger.issue_login(alice).await.unwrap();
    let orders: Vec<_> = (0..6)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.ledger.issue_named(alice, &named("ci")).await })
        })
        .collect();
    let mut issued = Vec::new();
    for order in orders {
        match order.await.unwrap() {
            Ok(token) => issued.push(token.id),
            Err(error) => assert!(matches!(error, LedgerError::TooMany { most: 3, .. }), "{error}"),
        }
    }
    assert_eq!(issued.len(), 2);
    store.ledger.revoke(TokenRef::Id(issued[0])).await.unwrap();
    store.ledger.issue_named(alice, &named("ci")).await.unwrap();
    store.ledger.reset_login(alice).await.expect("a login never meets the limit");
}

async fn invalid_names_and_scopes_are_refused(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    for name in ["", " ", "a\nb", &"a".repeat(101)] {
        let refused = store.ledger.issue_named(alice, &named(name)).await;
        assert!(matches!(refused, Err(LedgerError::InvalidName)), "{name:?}");
    }
    let many = (0..20).map(|number| format!("{}{number}", "s".repeat(60))).collect::<Vec<_>>().join(" ");
    let order = NamedToken { scopes: ScopeSet::parse(&many).unwrap(), ..named("ci") };
    assert!(matches!(store.ledger.issue_named(alice, &order).await, Err(LedgerError::ScopesTooLong)));
}

async fn no_token_expires_after_the_year_9999(mut site: Site) {
    site.tokens.default_ttl = Some(Duration::MAX);
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let last = Timestamp::END_OF_YEAR_9999;
    let beyond = last.after(Duration::from_micros(1));
    let order = |end| NamedToken { expires: Some(end), ..named("ci") };
    for end in [beyond, START.after(Duration::MAX)] {
        assert!(matches!(store.ledger.issue_named(alice, &order(end)).await, Err(LedgerError::InvalidEnd)));
    }
    let token = store.ledger.issue_named(alice, &order(last)).await.unwrap();
    assert_eq!(token.expires, Some(last));
    let terms = Terms { end: Some(End::At(beyond)), ..Terms::default() };
    assert!(matches!(store.ledger.set_terms(token.id, &terms).await, Err(LedgerError::InvalidEnd)));
    let usual =
        [store.ledger.issue_login(alice).await.unwrap(), store.ledger.issue_named(alice, &named("ci")).await.unwrap()];
    assert!(
        usual.iter().all(|issued| issued.expires == Some(last)),
        "the expiry is limited to what RFC 3339 can express"
    );
}

async fn an_imported_key_is_the_login_token(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let old = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
    let imported = store.ledger.import(alice, key(old), OnConflict::Refuse).await.unwrap();
    let again = store.ledger.import(alice, key(old), OnConflict::Refuse).await.unwrap();
    assert!(imported.fresh && !again.fresh);
    assert_eq!(imported.id, again.id);
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().key.expose(), old);
    assert_eq!(found(&store, &key(old)).await.owner.id, alice);
}

async fn an_import_can_conflict_with_another_login_token(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let first = store.ledger.issue_login(alice).await.unwrap();
    let refused = store.ledger.import(alice, key("imported"), OnConflict::Refuse).await;
    assert!(matches!(refused, Err(LedgerError::LoginExists(owner)) if owner == alice));
    assert!(found(&store, &first.key).await.revoked.is_none());
    store.ledger.import(alice, key("imported"), OnConflict::Replace).await.unwrap();
    assert!(found(&store, &first.key).await.revoked.is_some());
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().key.expose(), "imported");
}

async fn a_key_is_never_imported_for_two_users_nor_brought_back(site: Site) {
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    store.ledger.import(alice, key("imported"), OnConflict::Refuse).await.unwrap();
    for conflict in [OnConflict::Refuse, OnConflict::Replace] {
        let refused = store.ledger.import(bob, key("imported"), conflict).await;
        assert!(matches!(refused, Err(LedgerError::KeyTaken)));
    }
    let ci = store.ledger.issue_named(alice, &named("ci")).await.unwrap();
    let refused = store.ledger.import(alice, ci.key, OnConflict::Replace).await;
    assert!(matches!(refused, Err(LedgerError::KeyTaken)));
    store.ledger.revoke_all(alice).await.unwrap();
    let refused = store.ledger.import(alice, key("imported"), OnConflict::Replace).await;
    assert!(matches!(refused, Err(LedgerError::KeySpent)));
}

async fn importing_an_expired_key_again_does_not_revive_it(mut site: Site) {
    site.tokens.default_ttl = Some(Duration::from_secs(60));
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let imported = store.ledger.import(alice, key("imported"), OnConflict::Refuse).await.unwrap();
    assert_eq!(imported.expires, Some(START.after(Duration::from_secs(60))));
    site.hand.advance(Duration::from_secs(60));
    let refused = store.ledger.import(alice, key("imported"), OnConflict::Replace).await;
    assert!(matches!(refused, Err(LedgerError::KeySpent)));
}

async fn revocation_is_idempotent_and_says_whether_the_token_was_live(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let by_id = TokenRef::Id(issued.id);
    let revoke = async |token| store.ledger.revoke(token).await;
    assert_eq!(revoke(by_id).await.unwrap(), Revocation { id: issued.id, was_live: true });
    site.hand.advance(Duration::from_secs(1));
    let by_digest = TokenRef::Digest(issued.key.digest());
    assert_eq!(revoke(by_digest).await.unwrap(), Revocation { id: issued.id, was_live: false });
    assert_eq!(found(&store, &issued.key).await.revoked, Some(START), "the first time stays");
    assert!(matches!(revoke(TokenRef::Id(TokenId(999))).await, Err(LedgerError::UnknownToken)));
    let unknown = TokenRef::Digest(key("unknown").digest());
    assert!(matches!(revoke(unknown).await, Err(LedgerError::UnknownToken)));

    let order = NamedToken { expires: Some(START.after(Duration::from_secs(2))), ..named("short") };
    let short = store.ledger.issue_named(alice, &order).await.unwrap();
    site.hand.advance(Duration::from_secs(1));
    assert!(!revoke(TokenRef::Id(short.id)).await.unwrap().was_live, "it had expired");
}

async fn all_tokens_of_a_user_are_revoked_at_once(site: Site) {
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let of_alice = store.ledger.issue_login(alice).await.unwrap();
    let of_bob = store.ledger.issue_login(bob).await.unwrap();
    store.ledger.issue_named(alice, &named("ci")).await.unwrap();
    assert_eq!(store.ledger.revoke_all(alice).await.unwrap(), 2);
    assert_eq!(store.ledger.revoke_all(alice).await.unwrap(), 0);
    assert!(found(&store, &of_alice.key).await.revoked.is_some());
    assert!(found(&store, &of_bob.key).await.revoked.is_none());
}

async fn exposure_is_recorded_once_and_may_revoke(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let later = START.after(Duration::from_secs(9));
    store.tokens.mark_exposed(issued.key.digest(), [192, 0, 2, 9].into(), START).await.unwrap();
    store.tokens.mark_exposed(issued.key.digest(), [192, 0, 2, 9].into(), later).await.unwrap();
    assert_eq!(details(&store, issued.id).await.exposed, Some(START));
    assert_eq!(details(&store, issued.id).await.record.revoked, None);
    store.tokens.revoke_exposed(issued.key.digest(), [192, 0, 2, 9].into(), later).await.unwrap();
    let shown = details(&store, issued.id).await;
    assert_eq!((shown.exposed, shown.record.revoked), (Some(START), Some(later)));
    store.tokens.mark_exposed(key("unknown").digest(), [192, 0, 2, 9].into(), START).await.unwrap();
    store.tokens.revoke_exposed(key("unknown").digest(), [192, 0, 2, 9].into(), START).await.unwrap();
}

async fn lists_are_filtered_and_paged(site: Site) {
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let mut ids = Vec::new();
    for owner in [alice, bob, alice, alice] {
        ids.push(store.ledger.issue_named(owner, &named("ci")).await.unwrap().id);
    }
    store.ledger.revoke(TokenRef::Id(ids[2])).await.unwrap();
    let list = async |owner: Option<SubjectId>, live, page| -> Vec<TokenId> {
        let tokens = store.ledger.list(TokenFilter { owner, live }, page).await.unwrap();
        tokens.iter().map(|token| token.record.id).collect()
    };
    assert_eq!(list(None, false, Page::first(10)).await, ids);
    assert_eq!(list(Some(alice), false, Page::first(10)).await, [ids[0], ids[2], ids[3]]);
    assert_eq!(list(Some(alice), true, Page::first(10)).await, [ids[0], ids[3]]);
    assert_eq!(list(None, false, Page::first(2)).await, ids[..2]);
    assert_eq!(list(None, false, Page { after: ids[1].0, limit: 2 }).await, ids[2..]);
}

async fn the_last_use_never_moves_backwards(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let id = store.ledger.issue_login(alice).await.unwrap().id;
    let later = START.after(Duration::from_secs(9));
    store.ledger.mark_used(&[(id, later), (id, START), (TokenId(999), START)]).await.unwrap();
    assert_eq!(details(&store, id).await.last_used, Some(later));
}

async fn nothing_is_issued_to_a_user_who_does_not_exist(site: Site) {
    let store = site.open().await;
    let nobody = SubjectId(999);
    let ledger = &store.ledger;
    assert!(matches!(ledger.issue_login(nobody).await, Err(LedgerError::UnknownUser(id)) if id == nobody));
    assert!(matches!(ledger.reset_login(nobody).await, Err(LedgerError::UnknownUser(_))));
    assert!(matches!(ledger.issue_named(nobody, &named("ci")).await, Err(LedgerError::UnknownUser(_))));
    assert!(matches!(ledger.import(nobody, key("k"), OnConflict::Refuse).await, Err(LedgerError::UnknownUser(_))));
    assert!(matches!(ledger.revoke_all(nobody).await, Err(LedgerError::UnknownUser(_))));
}

async fn the_tokens_of_a_user_are_those_that_are_not_revoked(site: Site) {
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let login = store.ledger.issue_login(alice).await.unwrap();
    let short = NamedToken { expires: Some(START), ..named("short") };
    let expired = store.ledger.issue_named(alice, &short).await.unwrap();
    let revoked = store.ledger.issue_named(alice, &named("ci")).await.unwrap();
    store.ledger.issue_login(bob).await.unwrap();
    store.ledger.revoke(TokenRef::Id(revoked.id)).await.unwrap();
    let digests = [login.key.digest(), expired.key.digest()];
    assert_eq!(store.tokens.tokens_of(alice).await.unwrap(), digests);
    assert_eq!(store.tokens.tokens_of(SubjectId(999)).await.unwrap(), []);
}

async fn a_disabled_login_token_is_neither_shown_nor_replaced_for_its_owner(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    let disabled = |disabled| Terms { disabled: Some(disabled), ..Terms::default() };
    assert!(store.ledger.set_terms(issued.id, &disabled(true)).await.unwrap());
    for again in [store.ledger.issue_login(alice).await, store.ledger.reset_login(alice).await] {
        assert!(matches!(again, Err(LedgerError::NoValidToken(owner)) if owner == alice), "{:?}", again.is_ok());
    }
    assert!(store.ledger.set_terms(issued.id, &disabled(false)).await.unwrap());
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().key.expose(), issued.key.expose());
}
