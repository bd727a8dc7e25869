//! How sessions end, on every gateway, and what ends with them.

use std::sync::Arc;
use std::time::Duration;

use super::{Browser, PASSWORD, SESSION, gateway, user, with_pages};
use crate::support::fleet::Fleet;
use crate::support::{Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually};
use tokengate::config::Settings;
use tokengate::store::{Password, StoreError};
use tokengate::token::TokenKey;
use tokengate::units::Rate;

async fn status(gateway: &Gateway, browser: &Browser) -> u16 {
    browser.with_cookies(Ask::get("/both/x")).to(gateway).await.status
}

#[tokio::test]
async fn sessions_end_on_each_gateway_of_a_fleet() {
    let fleet = Fleet::over_sqlite(2, with_pages).await;
    let store = &fleet.first().store;
    user(fleet.first(), "witness").await;
    let witness = Browser::of(fleet.first(), "witness").await;
    for way in ["log out", "password", "no password", "deactivate", "delete", "rename"] {
        let id = user(fleet.first(), way).await;
        let mut browser = Browser::of(fleet.first(), way).await;
        let second = Browser::of(&fleet.gateways[1], way).await;
        for gateway in &fleet.gateways {
            for browser in [&browser, &second, &witness] {
                assert_eq!(status(gateway, browser).await, 200, "{way}");
            }
        }
        match way {
            "log out" => drop(browser.submit(&fleet.gateways[1], "/auth/account/", "/auth/logout/", &[]).await),
            "password" => {
                let new = Password::parse("another pass 1").unwrap();
                store.accounts.set_password(id, Some(new)).await.unwrap();
            }
            "no password" => store.accounts.set_password(id, None).await.unwrap(),
            "deactivate" => drop(store.accounts.deactivate(id).await.unwrap()),
            "rename" => store.accounts.rename(id, "another name").await.unwrap(),
            _ => store.accounts.delete(id).await.unwrap(),
        }
        fleet.changes_are_applied().await;
        // A session belongs to its user, even under a new name.
        let expected = if way == "rename" { 200 } else { 401 };
        for gateway in &fleet.gateways {
            let mut gone = browser.clone();
            if way == "log out" {
                gone.jar = second.jar.clone();
                assert_eq!(status(gateway, &gone).await, 200, "the other browser stays");
            } else {
                assert_eq!(status(gateway, &gone).await, expected, "{way}");
                assert_eq!(status(gateway, &second).await, expected, "{way}");
            }
            assert_eq!(status(gateway, &witness).await, 200, "{way}");
        }
        if way == "deactivate" {
            store.accounts.activate(id).await.unwrap();
            fleet.changes_are_applied().await;
            assert_eq!(status(fleet.first(), &browser).await, 401, "it does not come back");
        }
    }
}

#[tokio::test]
async fn a_copy_of_the_cookie_is_invalid_after_the_sign_out() {
    let fleet = Fleet::over_sqlite(2, with_pages).await;
    user(fleet.first(), "alice").await;
    let mut alice = Browser::of(fleet.first(), "alice").await;
    let copy = alice.clone();
    for gateway in &fleet.gateways {
        assert_eq!(status(gateway, &copy).await, 200);
    }
    let answer = alice.submit(fleet.first(), "/auth/account/", "/auth/logout/", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(alice.jar.is_empty(), "both cookies are taken back: {:?}", alice.jar);
    fleet.changes_are_applied().await;
    for gateway in &fleet.gateways {
        assert_eq!(status(gateway, &copy).await, 401);
    }
}

#[tokio::test]
async fn a_session_expires() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let alice = Browser::of(&gateway, "alice").await;
    assert_eq!(status(&gateway, &alice).await, 200);
    gateway.hand.advance(Duration::from_secs(14 * 86_400 - 10));
    assert_eq!(status(&gateway, &alice).await, 200);
    gateway.hand.advance(Duration::from_secs(11));
    assert_eq!(status(&gateway, &alice).await, 401);
}

#[tokio::test]
async fn an_ended_session_does_not_count_as_a_wrong_key() {
    let origin = Origin::answering("hello").await;
    let few = |settings: &mut Settings| {
        with_pages(settings);
        settings.limits.wrong_keys = Some(Rate { count: 2, per: Duration::from_secs(86_400) });
    };
    let gateway = Site::before(&origin).with(few).start().await;
    user(&gateway, "alice").await;
    let (known, fresh) = (gateway.issue("bob").await, gateway.issue("carol").await);
    let dead = [0, 1, 2, 3].map(|n| Browser { jar: [(SESSION.to_owned(), format!("{n:040}"))].into() });
    let live = Browser::of(&gateway, "alice").await;
    for browser in [&dead[0], &dead[0], &dead[0], &dead[1], &dead[2], &dead[3], &dead[0]] {
        assert_eq!(status(&gateway, browser).await, 401);
        let page = browser.clone().get(&gateway, "/auth/account/").await;
        assert_eq!((page.status, page.fields.get("location")), (302, Some("/auth/login/?next=/auth/account/")));
    }
    for path in ["/both/x", "/first/x"] {
        for key in [&known, &fresh] {
            let both = dead[0].with_cookies(Ask::get(path).token(key));
            assert_eq!(both.to(&gateway).await.status, 200, "{path}");
        }
    }
    // Wrong keys block neither a session, nor a token that is sent with an ended session.
    for n in 0..4 {
        Ask::get("/both/x").token(&format!("{n:040}")).to(&gateway).await;
    }
    assert_eq!(Ask::get("/both/x").token("wrong").to(&gateway).await.status, 429);
    gateway.memory().forget_all();
    assert_eq!(status(&gateway, &live).await, 200);
    assert_eq!(status(&gateway, &dead[0]).await, 401);
    let both = dead[0].with_cookies(Ask::get("/first/x").token(&known));
    assert_eq!(both.to(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let gate = Gate::closed();
    let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec();
    let origin = Origin::doing(vec![Step::Read, Step::Send(begin), Step::Wait(Arc::clone(&gate)), Step::Hang]).await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(alice.with_cookies(Ask::get("/live/x")).bytes()).await;
    assert_eq!(wire.next_head().await.unwrap().0, 200);
    alice.submit(&gateway, "/auth/account/", "/auth/logout/", &[]).await;
    let rest = wire.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it was cut");
    gateway.has_counted("live", "token_ended", 1).await;
}

#[tokio::test]
async fn a_password_that_changes_during_a_login_opens_no_session() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let sessions = gateway.store.sessions.clone().unwrap();
    let id = gateway.user("alice").await;
    let ttl = Duration::from_secs(60);
    // In either order: a session that was opened with the old password ends when the new one is set.
    for round in 0..6 {
        let old =
            Password::parse(if round == 0 { PASSWORD.to_owned() } else { format!("pass {}", round - 1) }).unwrap();
        let new = Password::parse(format!("pass {round}")).unwrap();
        let (opened, set) =
            tokio::join!(sessions.open("alice", old, ttl), gateway.store.accounts.set_password(id, Some(new)));
        set.unwrap();
        if let Some(key) = opened.unwrap() {
            let found: Result<_, StoreError> = gateway.store.tokens.find(&key).await;
            assert!(found.unwrap().is_none(), "round {round}");
        }
    }
}

#[tokio::test]
async fn the_sessions_of_a_user_are_limited_and_ended_ones_are_deleted() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let sessions = gateway.store.sessions.clone().unwrap();
    let open = |ttl| {
        let sessions = Arc::clone(&sessions);
        async move { sessions.open("alice", Password::parse(PASSWORD).unwrap(), ttl).await.unwrap().unwrap() }
    };
    let mut keys: Vec<TokenKey> = Vec::new();
    for _ in 0..51 {
        keys.push(open(Duration::from_secs(60)).await);
    }
    let id = gateway.user("alice").await;
    assert_eq!(gateway.store.tokens.tokens_of(id).await.unwrap().len(), 50);
    assert!(gateway.store.tokens.find(&keys[0]).await.unwrap().is_none(), "the oldest was removed");
    assert!(gateway.store.tokens.find(&keys[1]).await.unwrap().is_some());
    gateway.hand.advance(Duration::from_secs(61));
    open(Duration::from_secs(60)).await;
    assert_eq!(gateway.store.tokens.tokens_of(id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_outage_of_the_store_ends_no_session_and_is_reported() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    assert_eq!(status(&gateway, &alice).await, 200);
    let secret = super::secret(&alice.get(&gateway, "/auth/account/").await);
    let away = gateway.database.with_extension("away");
    std::fs::rename(&gateway.database, &away).unwrap();
    let answer = alice.post(&gateway, "/auth/logout/", &[("csrfmiddlewaretoken", &secret)]).await;
    assert_eq!((answer.status, answer.fields.get("retry-after")), (503, Some("1")));
    assert!(alice.jar.contains_key(SESSION));
    assert_eq!(Browser::default().log_in(&gateway, "alice", PASSWORD).await.status, 503);
    std::fs::rename(&away, &gateway.database).unwrap();
    eventually(PATIENCE, "the session works on", || async { status(&gateway, &alice).await == 200 }).await;
}
