//! The audit trail: a change and its entry are one transaction.

use std::time::Duration;

use tokengate::config::settings::StoreUrl;
use tokengate::store::{
    Act, Actor, Arrival, AuditEntry, AuditQuery, DetailsChange, End, Import, Issued, NamedToken, NewUser, OnConflict,
    PagePosition, Password, Store, Terms, TokenRef, User, Via,
};
use tokengate::token::{Account, ScopeSet, SubjectId};

use super::for_each_store;
use super::site::{START, Site, key, user};

for_each_store! {
    every_change_of_a_user_or_token_is_recorded
    the_rights_of_a_new_user_are_recorded
    edited_fields_are_recorded
    an_action_without_effect_is_not_recorded
    each_token_of_a_bulk_revocation_has_its_own_entry
    an_exposed_token_is_recorded_once
    name_and_expiry_of_a_token_are_recorded
    a_refused_change_is_not_recorded
    an_entry_outlives_its_user_and_token
    an_unknown_name_is_not_stored
    entries_are_filtered_and_on_exactly_one_page
    entries_are_never_altered_and_are_deleted_after_their_retention
    the_trail_contains_no_key_and_no_password
}

fn root() -> Actor {
    Actor { id: Some(SubjectId(7)), name: "root".to_owned(), via: Via::Admin, from: Some("192.0.2.7".parse().unwrap()) }
}

async fn entries(store: &Store, query: AuditQuery) -> Vec<AuditEntry> {
    let query = AuditQuery { limit: 1_000, ..query };
    store.audit.as_ref().unwrap().entries(&query).await.unwrap().entries
}

/// Action, user and detail of all entries, oldest first.
async fn told(store: &Store) -> Vec<(Act, String, String)> {
    let mut entries = entries(store, AuditQuery::default()).await;
    entries.reverse();
    entries.into_iter().map(|entry| (entry.act, entry.user_name, entry.detail)).collect()
}

async fn every_change_of_a_user_or_token_is_recorded(site: Site) {
    let store = site.open().await.acting_as(root());
    let (accounts, ledger) = (&store.accounts, &store.ledger);
    let alice = user(&store, "alice").await;
    let details = DetailsChange {
        name: Some("ALICE".to_owned()),
        email: Some("a@b.example".to_owned()),
        ..DetailsChange::default()
    };
    accounts.edit(alice, &details).await.unwrap();
    accounts.set_groups(alice, &["sales".to_owned()]).await.unwrap();
    accounts.set_rights(alice, true, false).await.unwrap();
    accounts.deactivate(alice).await.unwrap();
    accounts.activate(alice).await.unwrap();
    accounts.set_password(alice, None).await.unwrap();
    let login = ledger.issue_login(alice).await.unwrap();
    // The token exists already: nothing changes.
    ledger.issue_login(alice).await.unwrap();
    let order = NamedToken {
        name: "ci".to_owned(),
        expires: None,
        scopes: ScopeSet::parse("a:read").unwrap(),
        ..NamedToken::default()
    };
    let named = ledger.issue_named(alice, &order).await.unwrap();
    ledger
        .set_terms(
            named.id,
            &Terms { end: Some(End::At(START)), scopes: Some(ScopeSet::default()), ..Terms::default() },
        )
        .await
        .unwrap();
    ledger.revoke(TokenRef::Id(named.id)).await.unwrap();
    ledger.revoke(TokenRef::Id(named.id)).await.unwrap();
    let reset = ledger.reset_login(alice).await.unwrap();
    ledger.import(alice, key("0123456789abcdef0123456789abcdef01234567"), OnConflict::Replace).await.unwrap();
    ledger.revoke_all(alice).await.unwrap();
    let (login, named, reset) = (login.key.hint(), named.key.hint(), reset.key.hint());
    let of = |act, name: &str, detail: &str| (act, name.to_owned(), detail.to_owned());
    assert_eq!(
        told(&store).await,
        [
            of(Act::UserCreated, "alice", ""),
            of(Act::UserEdited, "ALICE", "name: alice → ALICE; e-mail: none → a@b.example"),
            of(Act::GroupsSet, "ALICE", "none → sales"),
            of(Act::RightsSet, "ALICE", "neither staff nor superuser → staff"),
            of(Act::UserDeactivated, "ALICE", ""),
            of(Act::UserActivated, "ALICE", ""),
            of(Act::PasswordSet, "ALICE", "no password"),
            of(Act::TokenIssued, "ALICE", &format!("login token {login}…")),
            of(Act::TokenIssued, "ALICE", &format!("named token {named}… \"ci\" scopes a:read")),
            of(
                Act::TokenTermsSet,
                "ALICE",
                &format!("named token {named}… \"ci\" expires: never → {START}; scopes: a:read → none")
            ),
            of(Act::TokenRevoked, "ALICE", &format!("named token {named}… \"ci\"")),
            of(Act::TokenRevoked, "ALICE", &format!("login token {login}…")),
            of(Act::TokenIssued, "ALICE", &format!("login token {reset}…")),
            of(Act::TokenRevoked, "ALICE", &format!("login token {reset}…")),
            of(Act::TokenImported, "ALICE", "login token 01234567…"),
            of(Act::TokenRevoked, "ALICE", "login token 01234567… with all tokens of the user"),
            of(Act::TokensRevoked, "ALICE", "1 live token"),
        ]
    );
    for entry in entries(&store, AuditQuery::default()).await {
        assert_eq!((entry.actor, entry.at, entry.user), (root(), START, Some(alice)));
    }
}

async fn the_rights_of_a_new_user_are_recorded(site: Site) {
    let store = site.open().await;
    let groups = || vec!["ops".to_owned(), "a,b".to_owned(), "ops".to_owned()];
    for (new, told) in [
        (NewUser::named("plain"), ""),
        (
            NewUser { superuser: true, staff: true, groups: groups(), active: false, ..NewUser::named("a") },
            "superuser, inactive, groups \"a,b\", ops",
        ),
        (NewUser { staff: true, ..NewUser::named("b") }, "staff"),
        (NewUser { groups: groups(), ..NewUser::named("c") }, "groups \"a,b\", ops"),
    ] {
        let user = store.accounts.create(new).await.unwrap().0;
        let arrival = |id, name: String| {
            let account = Account { id: SubjectId(id), name, ..user.account.clone() };
            Arrival { user: User { account, ..user.clone() }, password: "!".to_owned().into(), tokens: Vec::new() }
        };
        let name = user.account.name.clone();
        let import = Import { source: "elsewhere".to_owned(), ..Import::default() };
        let too = arrival(user.account.id.0 + 1_000, format!("{name} too"));
        store.accounts.take_in(&too, &import).await.unwrap();
        let [imported, created] = &entries(&store, AuditQuery { limit: 2, ..AuditQuery::default() }).await[..2] else {
            panic!()
        };
        assert_eq!((created.act, created.detail.as_str()), (Act::UserCreated, told), "{name}");
        assert_eq!((imported.act, imported.detail.as_str()), (Act::UserImported, told), "{name}");
    }
}

async fn edited_fields_are_recorded(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let edit = |name: Option<&str>, email: Option<&str>, first: Option<&str>, last: Option<&str>| {
        let [name, email, first_name, last_name] = [name, email, first, last].map(|text| text.map(str::to_owned));
        DetailsChange { name, email, first_name, last_name, rate: None }
    };
    for (change, detail) in [
        (edit(Some("alicia"), None, None, None), "name: alice → alicia"),
        (
            edit(Some("alice"), Some("a@b.example"), Some("A"), Some("B")),
            "name: alicia → alice; e-mail: none → a@b.example; first name: none → A; last name: none → B",
        ),
        (
            edit(Some("alice"), Some("c@d.example"), Some("A"), Some("C")),
            "e-mail: a@b.example → c@d.example; last name: B → C",
        ),
        (edit(None, Some(""), None, None), "e-mail: c@d.example → none"),
        (edit(None, Some("\"x; y\"@d.example"), None, None), "e-mail: none → \"\\\"x; y\\\"@d.example\""),
        (edit(Some("a, b"), None, None, None), "name: alice → \"a, b\""),
        (edit(Some("alice"), None, None, None), "name: \"a, b\" → alice"),
    ] {
        store.accounts.edit(alice, &change).await.unwrap();
        let last = told(&store).await.pop().unwrap();
        assert_eq!((last.0, last.2.as_str()), (Act::UserEdited, detail));
    }
}

async fn an_action_without_effect_is_not_recorded(site: Site) {
    let store = site.open().await;
    let (accounts, ledger) = (&store.accounts, &store.ledger);
    let new = NewUser { staff: true, groups: vec!["a".to_owned(), "b".to_owned()], ..NewUser::named("alice") };
    let alice = accounts.create(new).await.unwrap().0.account.id;
    let order = NamedToken {
        name: "ci".to_owned(),
        expires: None,
        scopes: ScopeSet::parse("read").unwrap(),
        ..NamedToken::default()
    };
    let token = ledger.issue_named(alice, &order).await.unwrap().id;
    let before = told(&store).await;
    let same = DetailsChange { name: Some("alice".to_owned()), email: Some(String::new()), ..DetailsChange::default() };
    accounts.edit(alice, &same).await.unwrap();
    accounts.edit(alice, &DetailsChange::default()).await.unwrap();
    accounts.set_groups(alice, &["b".to_owned(), "a".to_owned(), "b".to_owned()]).await.unwrap();
    accounts.set_rights(alice, true, false).await.unwrap();
    accounts.activate(alice).await.unwrap();
    ledger
        .set_terms(token, &Terms { end: Some(End::Never), scopes: Some(order.scopes), ..Terms::default() })
        .await
        .unwrap();
    ledger.set_terms(token, &Terms::default()).await.unwrap();
    assert_eq!(told(&store).await, before);
    accounts.deactivate(alice).await.unwrap();
    ledger.revoke_all(alice).await.unwrap();
    let before = told(&store).await;
    accounts.deactivate(alice).await.unwrap();
    ledger.revoke_all(alice).await.unwrap();
    assert_eq!(told(&store).await, before);
}

async fn each_token_of_a_bulk_revocation_has_its_own_entry(site: Site) {
    let store = site.open().await;
    let ledger = &store.ledger;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let soon = START.after(Duration::from_secs(1));
    let order =
        |expires| NamedToken { name: "ci".to_owned(), expires, scopes: ScopeSet::default(), ..NamedToken::default() };
    let mut tokens = Vec::new();
    for owner in [alice, bob] {
        let login = ledger.issue_login(owner).await.unwrap();
        let short = ledger.issue_named(owner, &order(Some(soon))).await.unwrap();
        let revoked = ledger.issue_named(owner, &order(None)).await.unwrap();
        ledger.revoke(TokenRef::Id(revoked.id)).await.unwrap();
        tokens.push([login, short, revoked]);
    }
    site.hand.advance(Duration::from_secs(1));
    let before = told(&store).await.len();
    ledger.revoke_all(alice).await.unwrap();
    store.accounts.delete(bob).await.unwrap();
    let [of_alice, of_bob] = &tokens[..] else { panic!() };
    let hint = |token: &Issued| token.key.hint().as_str().to_owned();
    let of = |act, name: &str, detail: String| (act, name.to_owned(), detail);
    assert_eq!(
        told(&store).await[before..],
        [
            of(Act::TokenRevoked, "alice", format!("login token {}… with all tokens of the user", hint(&of_alice[0]))),
            of(
                Act::TokenRevoked,
                "alice",
                format!("named token {}… \"ci\" with all tokens of the user", hint(&of_alice[1]))
            ),
            of(Act::TokensRevoked, "alice", "2 tokens, 1 of them live".to_owned()),
            of(Act::TokenRevoked, "bob", format!("login token {}… deleted with the user", hint(&of_bob[0]))),
            of(Act::TokenRevoked, "bob", format!("named token {}… \"ci\" deleted with the user", hint(&of_bob[1]))),
            of(Act::UserDeleted, "bob", "with 2 tokens, 1 of them live".to_owned()),
        ]
    );
    for token in tokens.iter().flatten() {
        let trail = entries(&store, AuditQuery { token: Some(token.id), ..AuditQuery::default() }).await;
        let acts: Vec<_> = trail.iter().map(|entry| entry.act).collect();
        assert_eq!(acts, [Act::TokenRevoked, Act::TokenIssued]);
    }
}

async fn name_and_expiry_of_a_token_are_recorded(mut site: Site) {
    site.tokens.default_ttl = Some(Duration::from_secs(60));
    let store = site.open().await;
    let (ledger, audit) = (&store.ledger, store.audit.as_ref().unwrap());
    let alice = user(&store, "alice").await;
    let login = ledger.issue_login(alice).await.unwrap();
    audit.note_revealed(login.id).await.unwrap();
    let scopes = ScopeSet::parse("read write").unwrap();
    let order = NamedToken { name: r#"a\"b" scopes all"#.to_owned(), expires: None, scopes, ..NamedToken::default() };
    let named = ledger.issue_named(alice, &order).await.unwrap();
    ledger.import(alice, key("0123456789abcdef0123456789abcdef01234567"), OnConflict::Replace).await.unwrap();
    let (login, named) = (login.key.hint(), named.key.hint());
    let end = START.after(Duration::from_secs(60));
    let of = |act, detail: String| (act, "alice".to_owned(), detail);
    assert_eq!(
        told(&store).await[1..],
        [
            of(Act::TokenIssued, format!("login token {login}… expires {end}")),
            of(Act::TokenRevealed, format!("login token {login}…")),
            of(
                Act::TokenIssued,
                format!(r#"named token {named}… "a\\\"b\" scopes all" expires {end} scopes read write"#)
            ),
            of(Act::TokenRevoked, format!("login token {login}…")),
            of(Act::TokenImported, format!("login token 01234567… expires {end}")),
        ]
    );
}

async fn an_exposed_token_is_recorded_once(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let (marked, revoked) = (
        store.ledger.issue_login(alice).await.unwrap(),
        store
            .ledger
            .issue_named(
                alice,
                &NamedToken {
                    name: "ci".to_owned(),
                    expires: None,
                    scopes: ScopeSet::default(),
                    ..NamedToken::default()
                },
            )
            .await
            .unwrap(),
    );
    let before = entries(&store, AuditQuery::default()).await.len();
    for from in [[192, 0, 2, 8], [192, 0, 2, 9]] {
        // Whichever actor is set: the gateway received it, from a client.
        let tokens = store.acting_as(root()).tokens;
        tokens.mark_exposed(marked.key.digest(), from.into(), START).await.unwrap();
        tokens.revoke_exposed(revoked.key.digest(), from.into(), START).await.unwrap();
        tokens.mark_exposed(key("unknown").digest(), from.into(), START).await.unwrap();
    }
    let trail = entries(&store, AuditQuery::default()).await;
    assert_eq!(trail.len(), before + 2);
    let by = Actor { from: Some([192, 0, 2, 8].into()), ..Actor::gateway() };
    for (entry, act, token, detail) in [
        (&trail[1], Act::TokenExposed, &marked, format!("login token {}…", marked.key.hint())),
        (
            &trail[0],
            Act::TokenRevoked,
            &revoked,
            format!("named token {}… \"ci\" sent unencrypted", revoked.key.hint()),
        ),
    ] {
        assert_eq!((entry.act, &entry.actor, entry.user, entry.token), (act, &by, Some(alice), Some(token.id)));
        assert_eq!(entry.detail, detail);
    }
}

async fn a_refused_change_is_not_recorded(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    user(&store, "bob").await;
    let before = told(&store).await;
    store.accounts.rename(alice, "bob").await.unwrap_err();
    store.accounts.delete(SubjectId(99)).await.unwrap_err();
    store.accounts.create(NewUser::named("bob")).await.unwrap_err();
    store.ledger.issue_login(SubjectId(99)).await.unwrap_err();
    store.ledger.revoke(TokenRef::Digest(key("unknown").digest())).await.unwrap_err();
    assert_eq!(told(&store).await, before);
}

async fn an_entry_outlives_its_user_and_token(site: Site) {
    let store = site.open().await.acting_as(root());
    let alice = user(&store, "alice").await;
    let token = store.ledger.issue_login(alice).await.unwrap().id;
    store.accounts.delete(alice).await.unwrap();
    let of_user = entries(&store, AuditQuery { user: Some(alice), ..AuditQuery::default() }).await;
    let acts: Vec<_> = of_user.iter().map(|entry| entry.act).collect();
    assert_eq!(acts, [Act::UserDeleted, Act::TokenRevoked, Act::TokenIssued, Act::UserCreated]);
    let of_token = entries(&store, AuditQuery { token: Some(token), ..AuditQuery::default() }).await;
    assert_eq!(of_token.len(), 2);
    assert!(of_token.iter().all(|entry| entry.user_name == "alice"));
}

async fn an_unknown_name_is_not_stored(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let audit = store.audit.as_ref().unwrap();
    for name in ["alice", "hunter2", "a\0b", ""] {
        audit.note(Act::LoginFailed, name).await.unwrap();
    }
    let failed = entries(&store, AuditQuery { act: Some(Act::LoginFailed), ..AuditQuery::default() }).await;
    let users: Vec<_> = failed.iter().rev().map(|entry| (entry.user, entry.user_name.as_str())).collect();
    assert_eq!(users, [(Some(alice), "alice"), (None, ""), (None, ""), (None, "")]);
}

async fn entries_are_filtered_and_on_exactly_one_page(site: Site) {
    let store = site.open().await;
    let theirs = store.acting_as(root());
    for number in 0..4 {
        user(if number % 2 == 0 { &store } else { &theirs }, &format!("user{number}")).await;
        site.hand.advance(Duration::from_secs(60));
    }
    let names = async |query| entries(&store, query).await.into_iter().map(|entry| entry.user_name).collect::<Vec<_>>();
    let actor = Some("root".to_owned());
    assert_eq!(names(AuditQuery { actor, ..AuditQuery::default() }).await, ["user3", "user1"]);
    let (since, until) = (Some(START.after(Duration::from_secs(60))), Some(START.after(Duration::from_secs(180))));
    assert_eq!(names(AuditQuery { since, until, ..AuditQuery::default() }).await, ["user2", "user1"]);
    assert_eq!(names(AuditQuery { act: Some(Act::UserDeleted), ..AuditQuery::default() }).await, [""; 0]);
    let mut query = AuditQuery { limit: 3, ..AuditQuery::default() };
    let audit = store.audit.as_ref().unwrap();
    let first = audit.entries(&query).await.unwrap();
    query.position = first.next;
    let second = audit.entries(&query).await.unwrap();
    assert_eq!((first.entries.len(), second.entries.len(), &second.next), (3, 1, &PagePosition::Start));
    assert_eq!(second.entries[0].user_name, "user0");
    query.position = second.previous;
    let back = audit.entries(&query).await.unwrap();
    assert_eq!((back.entries, back.previous), (first.entries, PagePosition::Start));
}

async fn entries_are_never_altered_and_are_deleted_after_their_retention(site: Site) {
    let store = site.open().await;
    user(&store, "alice").await;
    site.hand.advance(Duration::from_secs(60));
    user(&store, "bob").await;
    let statement = sqlx::raw_sql("UPDATE audit SET actor = 'somebody else'");
    let altered = match site.store.url {
        StoreUrl::Sqlite(_) => statement.execute(&mut site.intruder().await).await.map(drop),
        StoreUrl::Postgres(_) => statement.execute(&mut site.session().await).await.map(drop),
        StoreUrl::Django(_) => unreachable!("no such header exists"),
    };
    assert!(altered.unwrap_err().to_string().contains("never altered"));
    let audit = store.audit.as_ref().unwrap();
    assert_eq!(audit.prune_audit(START.after(Duration::from_secs(30))).await.unwrap(), 1);
    assert_eq!(told(&store).await, [(Act::UserCreated, "bob".to_owned(), String::new())]);
}

async fn the_trail_contains_no_key_and_no_password(site: Site) {
    let store = site.open().await;
    let password = || Some(Password::parse("wonderland".to_owned()).unwrap());
    let (alice, _) = store.accounts.create(NewUser { password: password(), ..NewUser::named("alice") }).await.unwrap();
    store.accounts.set_password(alice.account.id, password()).await.unwrap();
    let key = store.ledger.issue_login(alice.account.id).await.unwrap().key;
    let trail = format!("{:?}", entries(&store, AuditQuery::default()).await);
    assert!(trail.contains(key.hint().as_str()));
    for secret in ["wonderland", "argon2", key.expose(), &key.expose()[..9]] {
        assert!(!trail.contains(secret), "{secret}");
    }
}
