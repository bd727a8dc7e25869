//! Signing in and out, and what ends a sign-in.

use std::time::Duration;

use tokengate::store::{Act, AuditQuery};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_requires_a_sign_in() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::new(&gateway);
    for path in
        ["/", "/users", "/users/1", "/users/1/delete", "/tokens", "/tokens/1", "/look-up", "/audit", "/audit/export"]
    {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.fields.get("location").unwrap().starts_with("/sign-in") && answer.body.is_empty());
    }
    assert_eq!(
        browser.get("/audit?act=signed_in").await.fields.get("location"),
        Some("/sign-in?next=%2Faudit%3Fact%3Dsigned_in")
    );
    let answer = browser.send(browser.form("/users/1/delete", encoded(&[("own_password", PASSWORD)]))).await;
    assert!(answer.status == 403 && answer.text().contains("Sign in again") && !answer.text().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_for_this_host_over_tls_and_hidden_from_scripts() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::new(&gateway);
    let answer = browser.sign_in("root", PASSWORD).await;
    let (pair, rest) = answer.fields.get("set-cookie").unwrap().split_once("; ").unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    assert_eq!((name, value.len()), ("__Host-tokengate-admin", 40));
    assert_eq!(rest, "Max-Age=28800; Path=/; Secure; HttpOnly; SameSite=Strict");
    assert!(browser.page("/users").await.contains("alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_can_sign_in_and_all_failures_look_the_same() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.store.accounts.deactivate(id_of(&gateway, "helper").await).await.unwrap();
    let mut bodies = Vec::new();
    for (user, password) in
        [("root", "wrong"), ("alice", PASSWORD), ("helper", PASSWORD), ("nobody", PASSWORD), ("root", "")]
    {
        let answer = Browser::new(&gateway).sign_in(user, password).await;
        assert!(answer.status == 403 && cookie(&answer).starts_with("__Host-tokengate-admin-form="), "{user}");
        bodies.push(answer.text().replace(user, "NAME").replace(&csrf(answer.text()), "SECRET"));
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    assert!(bodies[0].contains("active staff account"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sign_in_form_needs_the_secret_of_its_own_browser() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let nobody = Browser::new(&gateway);
    let page = nobody.get("/sign-in").await;
    let rest = page.fields.get("set-cookie").unwrap().split_once("; ").unwrap().1;
    assert_eq!(rest, "Path=/; Secure; HttpOnly; SameSite=Strict");
    let (secret, kept) = sign_in_form(&page);
    let (stolen, planted) = sign_in_form(&nobody.get("/sign-in").await);
    let send = async |secret: &str, kept: &str| {
        let browser = Browser { gateway: &gateway, cookie: kept.to_owned() };
        let body = encoded(&[("username", "root"), ("password", PASSWORD), ("csrf", secret)]);
        browser.send(browser.form("/sign-in", body)).await
    };
    let mut again = page;
    for (secret, kept) in [
        ("", kept.as_str()),
        ("x", &kept),
        (&stolen, &kept),
        (&secret, &planted),
        (&secret, ""),
        ("", "__Host-tokengate-admin-form="),
    ] {
        again = send(secret, kept).await;
        assert!(again.status == 403 && again.text().contains("Please sign in again"), "{}", again.text());
        assert!(cookie(&again).starts_with("__Host-tokengate-admin-form="), "no sign-in was created");
    }
    // No failed attempt was counted, and the error page has a valid form.
    let (fresh, cookie) = sign_in_form(&again);
    for (secret, kept) in [(&secret, &kept), (&fresh, &cookie)] {
        assert_eq!(send(secret, kept).await.status, 303);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded_and_the_public_side_cannot_use_them_up() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::new(&gateway);
    for _ in 0..5 {
        assert_eq!(browser.sign_in("root", "wrong").await.status, 403);
    }
    let answer = browser.sign_in("Root", PASSWORD).await;
    assert!(answer.status == 429 && answer.text().contains("Too many attempts"), "{}", answer.text());
    let wait = answer.fields.get("retry-after").unwrap();
    assert!(answer.text().contains(&format!("try again in {wait} s.")), "{wait}: {}", answer.text());
    assert_eq!(browser.sign_in("root", PASSWORD).await.status, 429);
    gateway.hand.advance(Duration::from_secs(60));
    assert_eq!(browser.sign_in("root", PASSWORD).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_cookie_is_invalid_after_sign_out() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let path = format!("/users/{}/active", id_of(&gateway, "alice").await);
    let body = encoded(&[("csrf", &csrf(&browser.page("/users").await)), ("active", "no")]);
    let answer = browser.submit("/users", "/sign-out", &[]).await;
    assert_eq!((answer.status, answer.fields.get("location")), (303, Some("/sign-in")));
    assert_eq!(
        answer.fields.get("set-cookie"),
        Some("__Host-tokengate-admin=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict")
    );
    let answer = browser.get("/users").await;
    assert!(answer.status == 303 && answer.fields.get("location").unwrap().starts_with("/sign-in"), "{answer:?}");
    let answer = browser.send(browser.form(&path, body)).await;
    assert!(answer.status == 403 && answer.text().contains("Sign in again"), "{answer:?}");
    assert!(gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_with_its_time_a_new_password_and_lost_rights() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let accounts = &gateway.store.accounts;
    let (root, helper) = (id_of(&gateway, "root").await, id_of(&gateway, "helper").await);

    let browser = Browser::of(&gateway, "helper").await;
    assert_eq!(browser.get("/users").await.status, 200);
    accounts.set_rights(helper, false, false).await.unwrap();
    assert_eq!(browser.get("/users").await.status, 303);
    accounts.set_rights(helper, true, false).await.unwrap();
    assert_eq!(browser.get("/users").await.status, 303, "it does not come back");

    let browser = Browser::of(&gateway, "helper").await;
    accounts.deactivate(helper).await.unwrap();
    assert_eq!(browser.get("/users").await.status, 303);

    let (one, other) = (Browser::of(&gateway, "root").await, Browser::of(&gateway, "root").await);
    accounts.set_password(root, Password::parse(PASSWORD).ok()).await.unwrap();
    assert_eq!((one.get("/users").await.status, other.get("/users").await.status), (303, 303));

    let browser = Browser::of(&gateway, "root").await;
    gateway.hand.advance(Duration::from_secs(8 * 3_600 - 1));
    assert_eq!(browser.get("/users").await.status, 200);
    gateway.hand.advance(Duration::from_secs(1));
    assert_eq!(browser.get("/users").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sign_in_ends_the_previous_one_of_the_browser() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::of(&gateway, "root").await;
    let former = Browser { gateway: &gateway, cookie: browser.cookie.clone() };
    browser.sign_in("helper", PASSWORD).await;
    assert_eq!((browser.get("/users").await.status, former.get("/users").await.status), (200, 303));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_sign_outs_and_failures_are_in_the_trail_without_typed_texts() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    browser.submit("/users", "/sign-out", &[]).await;
    Browser::new(&gateway).sign_in("root", "hunter2").await;
    Browser::new(&gateway).sign_in("hunter2", "x").await;
    let audit = gateway.store.audit.clone().unwrap();
    let entries = audit.entries(&AuditQuery { limit: 4, ..AuditQuery::default() }).await.unwrap().entries;
    let told: Vec<_> =
        entries.iter().map(|entry| (entry.act.as_str(), entry.user_name.as_str(), entry.actor.via.as_str())).collect();
    assert_eq!(
        told,
        [
            ("login_failed", "", "admin"),
            ("login_failed", "root", "admin"),
            ("signed_out", "root", "admin"),
            ("signed_in", "root", "admin")
        ]
    );
    assert!(entries.iter().all(|entry| entry.actor.from.unwrap().is_loopback()));
    assert!(!format!("{entries:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_successful_sign_in_sets_the_last_login() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let last = async || gateway.store.accounts.find("root").await.unwrap().unwrap().last_login;
    assert_eq!(Browser::new(&gateway).sign_in("root", "wrong").await.status, 403);
    assert_eq!(last().await, None);
    let browser = Browser::of(&gateway, "root").await;
    let at = gateway.clock().now();
    assert_eq!(last().await, Some(at));
    gateway.hand.advance(Duration::from_secs(60));
    let path = format!("/users/{}/password", id_of(&gateway, "alice").await);
    let page = browser.submit_and_follow(&path, &path, &[("none", "on"), ("own_password", PASSWORD)]).await;
    assert!(page.contains("The password was removed."), "{page}");
    assert_eq!(last().await, Some(at));
    let query = AuditQuery { act: Some(Act::SignedIn), limit: 9, ..AuditQuery::default() };
    let told = gateway.store.audit.as_ref().unwrap().entries(&query).await.unwrap().entries;
    let by: Vec<_> = told.iter().map(|entry| (entry.actor.name.as_str(), entry.user_name.as_str())).collect();
    assert_eq!(by, [("root", "root")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_compared_as_it_was_typed() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::new(&gateway);
    assert_eq!(browser.sign_in("root ", PASSWORD).await.status, 403);
    assert_eq!(browser.sign_in("root", PASSWORD).await.status, 303);
}
