//! Users: found, created, changed, deleted, with permission checks.

use tokengate::token::TokenKey;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_creates_a_user_whose_token_works() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let fields = [
        ("username", "<b>bob</b>"),
        ("email", "bob@example.test"),
        ("groups", "editors\r\nauthors"),
        ("password", "secret words"),
        ("password_again", "secret words"),
        ("active", "on"),
        ("own_password", PASSWORD),
    ];
    let page = browser.submit_and_follow("/users/add", "/users/add", &fields).await;
    assert!(page.contains("User &#60;b&#62;bob&#60;/b&#62; was created."), "{page}");
    let bob = gateway.store.accounts.find("<b>bob</b>").await.unwrap().unwrap();
    assert_eq!((bob.account.groups.join(" "), bob.staff, bob.superuser), ("authors editors".to_owned(), false, false));
    assert!(!browser.page("/users").await.contains("<b>bob"));

    let path = format!("/users/{}", bob.account.id);
    let fields = [("name", "laptop"), ("scopes", "admin"), ("ends", "30"), ("own_password", PASSWORD)];
    let page = browser.submit_and_follow(&path, &format!("{path}/tokens/add"), &fields).await;
    let key = shown_key(&page).unwrap();
    assert!(page.contains(&format!("curl -H &#39;Authorization: Token {key}&#39; https://")), "{page}");
    assert_eq!(Ask::get("/scoped/").token(&key).to(&gateway).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_new_user_gets_an_error_and_the_form_keeps_its_values() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    for (fields, status, told) in [
        (vec![("username", "alice"), ("email", "a@b.test"), ("own_password", PASSWORD)], 409, "exists"),
        (
            vec![
                ("username", "x"),
                ("email", "a@b.test"),
                ("password", "a"),
                ("password_again", "b"),
                ("own_password", PASSWORD),
            ],
            400,
            "passwords do not match",
        ),
        (
            vec![
                ("username", "x"),
                ("email", "a@b.test"),
                ("password", "seven77"),
                ("password_again", "seven77"),
                ("own_password", PASSWORD),
            ],
            400,
            "at least 8 characters",
        ),
        (
            vec![("username", "x\u{200b}"), ("email", "a@b.test"), ("own_password", PASSWORD)],
            400,
            "no invisible characters",
        ),
        (vec![("username", "x"), ("email", "a@b.test"), ("own_password", "wrong")], 403, "password was wrong"),
        (vec![("username", "x"), ("email", "a@b.test")], 403, "Enter your own password"),
    ] {
        let answer = browser.submit("/users/add", "/users/add", &fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(answer.text().contains(told) && answer.text().contains("value=\"a@b.test\""), "{}", answer.text());
        assert!(!answer.text().contains(PASSWORD));
    }
    assert!(gateway.store.accounts.find("x").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_edited_grouped_promoted_deactivated_and_deleted() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let key = gateway.issue("alice").await;
    let path = format!("/users/{}", id_of(&gateway, "alice").await);
    let at = |rest: &str| format!("{path}/{rest}");

    let page = browser
        .submit_and_follow(&at("edit"), &at("edit"), &[("username", "alicia"), ("email", ""), ("first_name", "A")])
        .await;
    assert!(page.contains("The details were changed.") && page.contains("<title>alicia"), "{page}");
    browser.submit_and_follow(&at("groups"), &at("groups"), &[("more", "one\r\ntwo"), ("group", "three")]).await;
    browser.submit_and_follow(&at("rights"), &at("rights"), &[("staff", "on"), ("own_password", PASSWORD)]).await;
    let alice = gateway.store.accounts.find("alicia").await.unwrap().unwrap();
    assert_eq!((alice.account.groups.join(" "), alice.staff), ("one three two".to_owned(), true));

    let off = browser.submit_and_follow(&path, &at("active"), &[("active", "no")]).await;
    assert!(off.contains("Inactive") && !gateway.store.accounts.find("alicia").await.unwrap().unwrap().account.active);
    browser.submit_and_follow(&path, &at("active"), &[("active", "yes")]).await;

    assert!(browser.page(&at("delete")).await.contains("<strong>1 live token</strong>"));
    let refused = browser.submit(&at("delete"), &at("delete"), &[("own_password", "wrong")]).await;
    assert!(refused.text().contains("Your password was wrong. Nothing was changed."));
    let page = browser.submit_and_follow(&at("delete"), &at("delete"), &[("own_password", PASSWORD)]).await;
    assert!(page.contains("User alicia and all their tokens were deleted."), "{page}");
    let gone = browser.get(&path).await;
    let at = gone.fields.get("location").unwrap();
    assert!(gone.status == 303 && at.starts_with("/audit?user=%23"), "{at}");
    let trail = browser.page(at).await;
    assert!(
        trail.contains("was deleted.") && trail.contains("User deleted</td>") && !trail.contains("Signed in</td>"),
        "{trail}"
    );
    for former in ["alicia", "alice"] {
        assert!(
            browser.page(&format!("/audit?user={former}")).await.contains("User created</td>") == (former == "alice")
        );
        assert!(
            browser.page(&format!("/audit?user={former}")).await.contains("Permissions changed</td>")
                == (former == "alicia")
        );
    }
    assert_eq!(browser.get("/users/4711").await.status, 404);
    assert!(gateway.store.tokens.find(&TokenKey::parse(&key).unwrap()).await.unwrap().is_none());
    let trail = browser.page("/audit").await;
    for act in [
        "User edited",
        "Groups changed",
        "Permissions changed",
        "User deactivated",
        "User activated",
        "User deleted",
        "Signed in",
    ] {
        assert!(trail.contains(act), "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_or_removing_a_password_requires_the_callers_password() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let path = format!("/users/{}/password", id_of(&gateway, "alice").await);
    let accounts = &gateway.store.accounts;
    let fits = |text: &'static str| async move {
        accounts.verify_password("alice", Password::parse(text).unwrap()).await.unwrap().is_some()
    };
    for fields in [
        &[("password", "new words"), ("password_again", "new words")][..],
        &[("password", "new words"), ("password_again", "other"), ("own_password", PASSWORD)],
        &[("own_password", PASSWORD)],
        &[("password", "seven77"), ("password_again", "seven77"), ("own_password", PASSWORD)],
    ] {
        let status = browser.submit(&path, &path, fields).await.status;
        assert!(matches!(status, 400 | 403) && fits(PASSWORD).await, "{fields:?}");
    }
    let fields = [("password", "new words"), ("password_again", "new words"), ("own_password", PASSWORD)];
    assert!(browser.submit_and_follow(&path, &path, &fields).await.contains("The password was set."));
    assert!(fits("new words").await);
    browser.submit_and_follow(&path, &path, &[("none", "on"), ("own_password", PASSWORD)]).await;
    assert!(!gateway.store.accounts.find("alice").await.unwrap().unwrap().has_password);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_cannot_lock_themselves_out() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let path = format!("/users/{}", id_of(&gateway, "root").await);
    let page = browser.page(&path).await;
    assert!(!page.contains("Deactivate") && !page.contains("/delete") && !page.contains("/rights"));
    for (rest, fields) in [
        ("active", &[("active", "no")][..]),
        ("rights", &[("own_password", PASSWORD)]),
        ("delete", &[("own_password", PASSWORD)]),
    ] {
        assert_eq!(browser.submit(&path, &format!("{path}/{rest}"), fields).await.status, 403, "{rest}");
    }
    let root = gateway.store.accounts.find("root").await.unwrap().unwrap();
    assert!(root.superuser && root.account.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_sees_only_ordinary_users_and_changes_none() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "helper").await;
    let (root, alice) = (id_of(&gateway, "root").await, id_of(&gateway, "alice").await);
    let list = browser.page("/users").await;
    assert!(
        list.contains("alice")
            && !list.contains(">root<")
            && !list.contains("/users/add")
            && !list.contains("/audit\"")
    );
    for path in [
        format!("/users/{root}"),
        format!("/users/{root}/tokens/add"),
        format!("/tokens?user={root}"),
        "/users/add".to_owned(),
        format!("/users/{alice}/edit"),
        format!("/users/{alice}/password"),
        format!("/users/{alice}/rights"),
        format!("/users/{alice}/delete"),
        "/audit".to_owned(),
        "/audit/export".to_owned(),
        format!("/audit?user=%23{root}"),
    ] {
        let answer = browser.get(&path).await;
        assert_eq!(answer.status, 403, "{path}");
    }
    let page = browser.page(&format!("/users/{alice}")).await;
    assert!(page.contains("New token") && !page.contains("/delete") && !page.contains("Deactivate"));
    for (path, fields) in [
        ("/users/add".to_owned(), &[("username", "eve"), ("superuser", "on")][..]),
        (format!("/users/{alice}/active"), &[("active", "no")]),
        (format!("/users/{alice}/edit"), &[("username", "eve")]),
        (format!("/users/{alice}/groups"), &[("more", "eve")]),
        (format!("/users/{alice}/password"), &[("none", "on")]),
        (format!("/users/{alice}/rights"), &[("superuser", "on")]),
        (format!("/users/{alice}/delete"), &[]),
        (format!("/users/{root}/login-token"), &[("action", "show")]),
        (format!("/users/{root}/tokens/add"), &[("name", "x")]),
    ] {
        // Refused with and without the own password: no password is asked for in vain.
        for own in [&[][..], &[("own_password", PASSWORD)]] {
            let answer = browser.submit("/users", &path, &[fields, own].concat()).await;
            assert!(answer.status == 403 && !answer.text().contains("Your password"), "{path}: {}", answer.text());
        }
    }
    assert!(gateway.store.accounts.find("eve").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_searched_filtered_and_paged() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    for number in 0..60 {
        let groups = if number % 2 == 0 { vec!["even".to_owned()] } else { Vec::new() };
        let active = number != 7;
        gateway
            .store
            .accounts
            .create(NewUser { groups, active, ..NewUser::named(format!("user{number:02}")) })
            .await
            .unwrap();
    }
    let browser = Browser::of(&gateway, "root").await;
    let names = |page: &str| page.matches("<th scope=\"row\">").count();
    let first = browser.page("/users?q=USER").await;
    assert_eq!(names(&first), 50);
    let next = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let second = browser.page(&next).await;
    assert!(
        names(&second) == 10
            && second.contains("user59")
            && second.contains("First page")
            && !second.contains("Next page")
    );
    let previous =
        second.split("rel=\"prev\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let back = browser.page(&previous).await;
    assert!(
        names(&back) == 50 && back.contains("user00") && back.contains("Next page") && !back.contains("First page")
    );
    assert_eq!(names(&browser.page("/users?group=even").await), 30);
    let inactive = browser.page("/users?active=no").await;
    assert!(names(&inactive) == 1 && inactive.contains("user07"));
    assert_eq!(names(&browser.page("/users?role=staff").await), 2);
    assert!(browser.page("/users?q=zz").await.contains("No user matches your search."));
    assert_eq!(browser.get("/users?page=!").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn privileged_and_irreversible_actions_require_the_callers_password() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let key = gateway.issue("alice").await;
    let alice = gateway.store.accounts.find("alice").await.unwrap().unwrap();
    let token = gateway.store.tokens.find(&TokenKey::parse(&key).unwrap()).await.unwrap().unwrap().id.to_string();
    let at = |rest: &str| format!("/users/{}/{rest}", alice.account.id);
    for (path, fields) in [
        ("/users/add".to_owned(), &[("username", "eve")][..]),
        (at("password"), &[("none", "on")]),
        (at("rights"), &[("superuser", "on")]),
        (at("delete"), &[]),
        (at("tokens/add"), &[("name", "x")]),
        (at("login-token"), &[("action", "show")]),
        (at("login-token"), &[("action", "reset")]),
        ("/tokens/revoke".to_owned(), &[("token", &token)]),
    ] {
        for own in [&[][..], &[("own_password", "")], &[("own_password", "wrong")]] {
            gateway.hand.advance(std::time::Duration::from_secs(60));
            let answer = browser.submit("/users", &path, &[fields, own].concat()).await;
            let (told, wrong) = (answer.text(), own.iter().any(|(_, typed)| !typed.is_empty()));
            let why = if wrong { "Your password was wrong." } else { "Enter your own password." };
            assert_eq!(answer.status, 403, "{path}");
            assert!(told.contains(&format!("{why} Nothing was changed.")), "{path} {own:?}: {told}");
        }
    }
    assert_eq!(gateway.store.accounts.find("alice").await.unwrap(), Some(alice));
    assert!(gateway.store.accounts.find("eve").await.unwrap().is_none());
    assert_eq!(Ask::get("/api/").token(&key).to(&gateway).await.status, 200);
}
