//! Users: created, found, renamed, deactivated, deleted.

use tokengate::store::{
    AccountError, Actor, DetailsChange, InvalidUser, NamedToken, NewUser, Page, Password, Store, Via,
};
use tokengate::token::{ScopeSet, SubjectId};

use super::for_each_store;
use super::site::{START, Site, found, user};

for_each_store! {
    a_created_user_is_found_with_all_details
    each_new_user_gets_a_login_token_where_configured
    names_are_compared_byte_by_byte
    fields_that_a_change_does_not_name_stay
    a_taken_name_or_id_is_refused
    invalid_users_are_refused
    a_lookup_returns_the_new_name_groups_and_state_of_a_user
    only_the_right_password_of_an_active_user_matches
    a_changed_password_keeps_tokens
    a_changed_password_revokes_tokens_where_configured
    tokens_of_a_deleted_user_are_deleted_and_the_id_is_not_reused
    users_are_listed_in_pages
    an_impossible_name_is_not_found_without_an_error
    changes_of_an_unknown_user_are_refused
    of_two_superusers_who_remove_each_other_one_stays
    the_command_line_can_remove_the_last_superuser
}

fn password(text: &str) -> Password {
    Password::parse(text).unwrap()
}

async fn a_created_user_is_found_with_all_details(site: Site) {
    let store = site.open().await;
    let order = NewUser {
        id: Some(SubjectId(1001)),
        email: "alice@example.com".to_owned(),
        first_name: "Alice".to_owned(),
        last_name: "Żółć".to_owned(),
        staff: true,
        groups: vec!["sales".to_owned(), "a,b".to_owned(), "sales".to_owned()],
        ..NewUser::named("alice")
    };
    let (created, issued) = store.accounts.create(order).await.unwrap();
    assert!(issued.is_none());
    assert_eq!(store.accounts.find("alice").await.unwrap().as_ref(), Some(&created));
    let account = &created.account;
    assert_eq!((account.id, account.name.as_str(), account.active), (SubjectId(1001), "alice", true));
    assert_eq!(
        (account.email.as_str(), &account.groups[..]),
        ("alice@example.com", &["a,b", "sales"].map(str::to_owned)[..])
    );
    assert_eq!((created.first_name.as_str(), created.last_name.as_str()), ("Alice", "Żółć"));
    assert_eq!((created.staff, created.superuser, created.has_password), (true, false, false));
    assert_eq!((created.created, created.last_login), (START, None));
    assert_eq!(user(&store, "bob").await, SubjectId(1002));
}

async fn each_new_user_gets_a_login_token_where_configured(mut site: Site) {
    site.tokens.issue_on_user_create = true;
    let store = site.open().await;
    let (created, issued) = store.accounts.create(NewUser::named("alice")).await.unwrap();
    let issued = issued.unwrap();
    assert_eq!(found(&store, &issued.key).await.owner, created.account);
    assert_eq!(store.ledger.issue_login(created.account.id).await.unwrap().id, issued.id);
}

async fn names_are_compared_byte_by_byte(site: Site) {
    let store = site.open().await;
    let composed = user(&store, "é").await;
    let decomposed = user(&store, "e\u{301}").await;
    let (small, capital) = (user(&store, "alice").await, user(&store, "Alice").await);
    for (name, id) in [("alice", small), ("Alice", capital), ("é", composed), ("e\u{301}", decomposed)] {
        assert_eq!(store.accounts.find(name).await.unwrap().unwrap().account.id, id, "{name}");
    }
    for name in ["ALICE", "alice ", "alic_", "%"] {
        assert_eq!(store.accounts.find(name).await.unwrap(), None, "{name}");
    }
}

async fn a_taken_name_or_id_is_refused(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let again = store.accounts.create(NewUser::named("alice")).await;
    assert!(matches!(again, Err(AccountError::NameTaken(name)) if name == "alice"));
    let same_id = store.accounts.create(NewUser { id: Some(alice), ..NewUser::named("bob") }).await;
    assert!(matches!(same_id, Err(AccountError::IdTaken(id)) if id == alice));
    let bob = user(&store, "bob").await;
    assert!(matches!(store.accounts.rename(bob, "alice").await, Err(AccountError::NameTaken(_))));
    store.accounts.rename(bob, "bob").await.expect("one's own name is free");
}

async fn invalid_users_are_refused(site: Site) {
    let store = site.open().await;
    let bad_name = store.accounts.create(NewUser::named("a\nb")).await;
    assert!(matches!(bad_name, Err(AccountError::Invalid(InvalidUser::Name))));
    let alice = user(&store, "alice").await;
    assert!(matches!(store.accounts.rename(alice, " ").await, Err(AccountError::Invalid(InvalidUser::Name))));
    let groups = ["".to_owned()];
    let bad_group = store.accounts.set_groups(alice, &groups).await;
    assert!(matches!(bad_group, Err(AccountError::Invalid(InvalidUser::Group))));
}

async fn a_lookup_returns_the_new_name_groups_and_state_of_a_user(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let token = store.ledger.issue_login(alice).await.unwrap().key;
    store.accounts.rename(alice, "alice2").await.unwrap();
    assert_eq!(found(&store, &token).await.owner.name, "alice2");
    store.accounts.set_groups(alice, &["b".to_owned(), "a".to_owned()]).await.unwrap();
    assert_eq!(found(&store, &token).await.owner.groups, ["a", "b"]);
    store.accounts.set_groups(alice, &["c".to_owned()]).await.unwrap();
    assert_eq!(found(&store, &token).await.owner.groups, ["c"]);
    store.accounts.deactivate(alice).await.unwrap();
    assert!(!found(&store, &token).await.owner.active);
    store.accounts.activate(alice).await.unwrap();
    assert!(found(&store, &token).await.owner.active);
}

async fn only_the_right_password_of_an_active_user_matches(site: Site) {
    let store = site.open().await;
    let order = NewUser { password: Some(password("correct horse")), ..NewUser::named("alice") };
    let (alice, _) = store.accounts.create(order).await.unwrap();
    assert!(alice.has_password);
    let verify = async |name, text| store.accounts.verify_password(name, password(text)).await.unwrap();
    assert_eq!(verify("alice", "correct horse").await, Some(alice.clone()));
    assert_eq!(verify("alice", "Correct horse").await, None);
    assert_eq!(verify("bob", "correct horse").await, None);
    store.accounts.deactivate(alice.account.id).await.unwrap();
    assert_eq!(verify("alice", "correct horse").await, None);
    store.accounts.activate(alice.account.id).await.unwrap();
    store.accounts.set_password(alice.account.id, Some(password("new"))).await.unwrap();
    assert_eq!(verify("alice", "correct horse").await, None);
    assert!(verify("alice", "new").await.is_some());
    store.accounts.set_password(alice.account.id, None).await.unwrap();
    assert_eq!(verify("alice", "new").await, None);
    assert!(!store.accounts.find("alice").await.unwrap().unwrap().has_password);
}

async fn a_changed_password_keeps_tokens(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    store.accounts.set_password(alice, Some(password("new"))).await.unwrap();
    assert_eq!(found(&store, &issued.key).await.revoked, None);
    assert_eq!(store.ledger.issue_login(alice).await.unwrap().id, issued.id);
}

async fn a_changed_password_revokes_tokens_where_configured(mut site: Site) {
    site.tokens.revoke_on_password_change = true;
    let store = site.open().await;
    let (alice, bob) = (user(&store, "alice").await, user(&store, "bob").await);
    let order =
        NamedToken { name: "ci".to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() };
    let login = store.ledger.issue_login(alice).await.unwrap().key;
    let named = store.ledger.issue_named(alice, &order).await.unwrap().key;
    let other = store.ledger.issue_login(bob).await.unwrap().key;
    for change in [Some(password("new")), None] {
        let fresh = store.ledger.issue_login(alice).await.unwrap().key;
        store.accounts.set_password(alice, change).await.unwrap();
        for key in [&login, &named, &fresh] {
            assert!(found(&store, key).await.revoked.is_some());
        }
    }
    assert_eq!(found(&store, &other).await.revoked, None);
}

async fn tokens_of_a_deleted_user_are_deleted_and_the_id_is_not_reused(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let issued = store.ledger.issue_login(alice).await.unwrap();
    store.accounts.delete(alice).await.unwrap();
    assert_eq!(store.accounts.find("alice").await.unwrap(), None);
    assert!(store.tokens.find(&issued.key).await.unwrap().is_none());
    let second_alice = user(&store, "alice").await;
    assert!(second_alice > alice);
    assert!(store.ledger.issue_login(second_alice).await.unwrap().id > issued.id);
}

async fn users_are_listed_in_pages(site: Site) {
    let store = site.open().await;
    for name in ["c", "a", "b"] {
        user(&store, name).await;
    }
    let names = async |page| -> Vec<String> {
        store.accounts.list(page).await.unwrap().into_iter().map(|user| user.account.name).collect()
    };
    assert_eq!(names(Page::first(2)).await, ["c", "a"]);
    assert_eq!(names(Page { after: 2, limit: 2 }).await, ["b"]);
}

async fn changes_of_an_unknown_user_are_refused(site: Site) {
    let store = site.open().await;
    let (nobody, accounts) = (SubjectId(999), &store.accounts);
    for refused in [
        accounts.set_password(nobody, None).await,
        accounts.rename(nobody, "x").await,
        accounts.activate(nobody).await.map(drop),
        accounts.deactivate(nobody).await.map(drop),
        accounts.set_groups(nobody, &["x".to_owned()]).await.map(drop),
        accounts.delete(nobody).await,
    ] {
        assert!(matches!(refused, Err(AccountError::UnknownUser(id)) if id == nobody), "{refused:?}");
    }
}

async fn an_impossible_name_is_not_found_without_an_error(site: Site) {
    let store = site.open().await;
    user(&store, "alice").await;
    for name in ["alice\0", "\0", "alice\n", "", "ALICE"] {
        assert_eq!(store.accounts.find(name).await.unwrap(), None, "{name:?}");
        assert_eq!(store.accounts.verify_password(name, password("x")).await.unwrap(), None, "{name:?}");
    }
}

/// How a superuser loses access.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Demoted,
    SwitchedOff,
    Deleted,
    LeftWithoutPassword,
}

impl Exit {
    const ALL: [Exit; 4] = [Exit::Demoted, Exit::SwitchedOff, Exit::Deleted, Exit::LeftWithoutPassword];

    async fn of(self, user: SubjectId, store: &Store) -> Result<(), AccountError> {
        match self {
            Exit::Demoted => store.accounts.set_rights(user, true, false).await.map(drop),
            Exit::SwitchedOff => store.accounts.deactivate(user).await.map(drop),
            Exit::Deleted => store.accounts.delete(user).await,
            Exit::LeftWithoutPassword => store.accounts.set_password(user, None).await,
        }
    }
}

async fn superuser(store: &Store, name: &str) -> SubjectId {
    let new = NewUser { superuser: true, password: Some(password("known")), ..NewUser::named(name) };
    store.accounts.create(new).await.unwrap().0.account.id
}

async fn of_two_superusers_who_remove_each_other_one_stays(site: Site) {
    let store = site.open().await;
    // Neither of these could sign in.
    let off = NewUser { superuser: true, active: false, password: Some(password("known")), ..NewUser::named("off") };
    store.accounts.create(off).await.unwrap();
    let mute = NewUser { superuser: true, ..NewUser::named("mute") };
    store.accounts.create(mute).await.unwrap();
    let by = |id, via| store.acting_as(Actor { id: Some(id), name: "somebody".to_owned(), via, from: None });
    for one_exit in Exit::ALL {
        for other_exit in Exit::ALL {
            let (one, other) = (superuser(&store, "one").await, superuser(&store, "other").await);
            let (by_one, by_other) = (by(one, Via::Admin), by(other, Via::Api));
            let outcomes = tokio::join!(one_exit.of(other, &by_one), other_exit.of(one, &by_other));
            let (left, left_by) = match &outcomes {
                (Ok(()), Err(AccountError::LastSuperuser)) => (one, by_one),
                (Err(AccountError::LastSuperuser), Ok(())) => (other, by_other),
                outcomes => panic!("{one_exit:?} {other_exit:?}: {outcomes:?}"),
            };
            // Another superuser can be removed; a removed one can return.
            left_by.accounts.activate(left).await.unwrap();
            left_by.accounts.set_rights(left, false, true).await.unwrap();
            for name in ["one", "other"] {
                if let Some(user) = store.accounts.find(name).await.unwrap() {
                    let known = store.accounts.verify_password(name, password("known")).await.unwrap();
                    let comes_in = known.is_some_and(|user| user.superuser);
                    assert_eq!(comes_in, user.account.id == left, "{name}");
                    store.accounts.delete(user.account.id).await.unwrap();
                }
            }
        }
    }
}

async fn the_command_line_can_remove_the_last_superuser(site: Site) {
    let store = site.open().await.acting_as(Actor::command_line());
    for exit in Exit::ALL {
        let root = superuser(&store, &format!("{exit:?}")).await;
        exit.of(root, &store).await.unwrap();
    }
}

async fn fields_that_a_change_does_not_name_stay(site: Site) {
    let store = site.open().await;
    let alice = user(&store, "alice").await;
    let change = |name: Option<&str>, email: Option<&str>, first: Option<&str>, last: Option<&str>| {
        let [name, email, first_name, last_name] = [name, email, first, last].map(|text| text.map(str::to_owned));
        DetailsChange { name, email, first_name, last_name, rate: None }
    };
    let parts = [
        change(None, Some("a@b.example"), None, None),
        change(None, None, Some("Alice"), None),
        change(None, None, None, Some("Żółć")),
        change(Some("alicia"), None, None, None),
        DetailsChange::default(),
    ];
    for part in &parts {
        store.accounts.edit(alice, part).await.unwrap();
    }
    let alicia = store.accounts.find("alicia").await.unwrap().unwrap();
    assert_eq!(
        (alicia.account.email.as_str(), alicia.first_name.as_str(), alicia.last_name.as_str()),
        ("a@b.example", "Alice", "Żółć")
    );
    let emptied = change(None, Some(""), Some(""), None);
    store.accounts.edit(alice, &emptied).await.unwrap();
    let alicia = store.accounts.find("alicia").await.unwrap().unwrap();
    assert_eq!(
        (alicia.account.email.as_str(), alicia.first_name.as_str(), alicia.last_name.as_str()),
        ("", "", "Żółć")
    );
    for (bad, wrong) in [
        (change(Some(" "), None, None, None), InvalidUser::Name),
        (change(None, Some("a\nb"), None, None), InvalidUser::Email),
        (change(None, None, Some("a\0"), None), InvalidUser::FirstName),
        (change(None, None, None, Some("\u{7}")), InvalidUser::LastName),
    ] {
        let refused = store.accounts.edit(alice, &bad).await;
        assert!(matches!(&refused, Err(AccountError::Invalid(invalid)) if *invalid == wrong), "{refused:?}");
    }
}
