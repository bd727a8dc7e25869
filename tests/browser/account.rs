//! The account page: users show, create and revoke their own tokens.

use super::{Browser, PASSWORD, gateway, shown_key, user, with_pages};
use tokengate::store::{Password, TokenRef};
use tokengate::token::TokenId;

use crate::support::gateway::Captured;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually};

async fn act(browser: &mut Browser, gateway: &Gateway, fields: &[(&str, &str)]) -> crate::support::Answer {
    let answer = browser.submit(gateway, "/auth/account/", "/auth/account/", fields).await;
    if answer.status != 303 {
        return answer;
    }
    assert_eq!(answer.fields.get("location"), Some("/auth/account/"));
    browser.get(gateway, "/auth/account/").await
}

async fn counts(gateway: &Gateway, key: &str) -> bool {
    Ask::get("/api/x").token(key).to(gateway).await.status == 200
}

#[tokio::test]
async fn showing_and_resetting_the_login_token_requires_the_password() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let key = gateway.issue("alice").await;
    let page = alice.get(&gateway, "/auth/account/").await;
    assert!(page.text().contains(&key[..8]) && !page.text().contains(&key), "only the hint");
    for action in ["reveal", "reset"] {
        for password in ["nope", ""] {
            let answer = act(&mut alice, &gateway, &[("action", action), ("password", password)]).await;
            assert!(answer.status == 200 && answer.text().contains("Wrong password."), "{answer:?}");
        }
    }
    let shown = shown_key(&act(&mut alice, &gateway, &[("action", "reveal"), ("password", PASSWORD)]).await);
    assert_eq!(shown, key);
    let fresh = shown_key(&act(&mut alice, &gateway, &[("action", "reset"), ("password", PASSWORD)]).await);
    assert_ne!(fresh, key);
    eventually(PATIENCE, "the new one in place of the former", || async {
        counts(&gateway, &fresh).await && !counts(&gateway, &key).await
    })
    .await;
}

#[tokio::test]
async fn named_tokens_are_shown_once_and_revoked() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let name = "<b>\"lap'top\" & so</b>";
    let refused = act(&mut alice, &gateway, &[("action", "create"), ("name", name), ("password", "nope")]).await;
    assert!(refused.text().contains("Wrong password."));
    let empty = act(&mut alice, &gateway, &[("action", "create"), ("name", " "), ("password", PASSWORD)]).await;
    assert!(empty.text().contains("A token name has 1 to 100 characters."), "{}", empty.text());
    let made = act(&mut alice, &gateway, &[("action", "create"), ("name", name), ("password", PASSWORD)]).await;
    let key = shown_key(&made);
    assert!(
        made.text().contains("&#60;b&#62;&#34;lap&#39;top&#34; &#38; so&#60;/b&#62;") && !made.text().contains("<b>")
    );
    eventually(PATIENCE, "it counts", || async { counts(&gateway, &key).await }).await;
    let page = alice.get(&gateway, "/auth/account/").await;
    assert!(!page.text().contains(&key), "shown once");
    let id = page.text().split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // Another user cannot.
    user(&gateway, "mallory").await;
    let mut mallory = Browser::of(&gateway, "mallory").await;
    for token in [id.as_str(), "0", "-1", "x", ""] {
        let answer = act(&mut mallory, &gateway, &[("action", "revoke"), ("token", token)]).await;
        assert!(answer.text().contains("You do not have this token."), "{token}");
    }
    assert!(counts(&gateway, &key).await);
    let answer = act(&mut alice, &gateway, &[("action", "revoke"), ("token", &id)]).await;
    assert!(
        answer.text().contains("The token was revoked and no longer works.")
            && answer.text().contains("You have no tokens yet.")
    );
    eventually(PATIENCE, "it has ended", || async { !counts(&gateway, &key).await }).await;
}

#[tokio::test]
async fn a_user_with_the_maximum_of_tokens_gets_an_error() {
    let origin = Origin::answering("hello").await;
    let gateway =
        Site::before(&origin).with(with_pages).with(|settings| settings.tokens.max_per_user = 1).start().await;
    user(&gateway, "zażółć 100%").await;
    let mut browser = Browser::of(&gateway, "zażółć 100%").await;
    let fields = [("action", "create"), ("name", "one"), ("password", PASSWORD)];
    shown_key(&act(&mut browser, &gateway, &fields).await);
    let answer = act(&mut browser, &gateway, &fields).await;
    assert!(answer.text().contains("You have 1 token, the maximum.") && answer.text().contains("zażółć 100%"));
}

#[tokio::test]
async fn without_stored_keys_no_key_is_shown_again() {
    let origin = Origin::answering("hello").await;
    let gateway =
        Site::before(&origin).with(with_pages).with(|settings| settings.tokens.recoverable = false).start().await;
    user(&gateway, "alice").await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let key = gateway.issue("alice").await;
    assert!(!alice.get(&gateway, "/auth/account/").await.text().contains("reveal"));
    let answer = act(&mut alice, &gateway, &[("action", "reveal"), ("password", PASSWORD)]).await;
    assert!(answer.text().contains("Unknown action"));
    assert!(counts(&gateway, &key).await, "and the token stays");
}

#[tokio::test]
async fn browser_secrets_are_in_no_log_and_no_metric() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let page = alice.get(&gateway, "/auth/account/").await;
    let secret = super::secret(&page);
    let key = shown_key(&act(&mut alice, &gateway, &[("action", "reset"), ("password", PASSWORD)]).await);
    alice.with_cookies(Ask::get("/both/x")).to(&gateway).await;
    alice.with_cookies(Ask::post("/both/x", "")).to(&gateway).await;
    gateway.has_counted("both", "csrf", 1).await;
    gateway.has_counted("auth", "logged_in", 1).await;
    let log: &Captured = &gateway.log;
    eventually(PATIENCE, "the lines are written", || async { log.text().contains("outcome=csrf") }).await;
    let said = format!("{}{}", log.text(), gateway.metrics());
    for hidden in [alice.session(), &key, PASSWORD, &secret, &alice.jar["csrftoken"]] {
        assert!(!said.contains(hidden), "{hidden}");
    }
    let line = log
        .text()
        .lines()
        .find(|line| line.contains("route=both") && line.contains("outcome=forwarded"))
        .unwrap()
        .to_owned();
    assert!(line.contains("user=alice") && !line.contains("token_id="), "{line}");
}

#[tokio::test]
async fn a_reload_after_an_act_neither_repeats_it_nor_shows_the_key_again() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let fields = [("action", "create"), ("name", "ci"), ("password", PASSWORD)];
    let done = alice.submit(&gateway, "/auth/account/", "/auth/account/", &fields).await;
    assert_eq!((done.status, done.fields.get("location")), (303, Some("/auth/account/")), "{done:?}");
    let cookies = done.fields.all("set-cookie");
    let cookie = cookies.iter().find(|line| line.starts_with("__Secure-tokengate-shown=")).unwrap();
    for part in ["Path=/auth/account/", "HttpOnly", "Secure", "SameSite=Strict", "Max-Age=60"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let key = shown_key(&alice.get(&gateway, "/auth/account/").await);
    let again = alice.get(&gateway, "/auth/account/").await;
    assert!(!again.text().contains(&key) && !again.text().contains("Copy your new token"), "{}", again.text());
    assert_eq!(again.text().matches("name=\"token\"").count(), 2, "one token, with two forms");
}

#[tokio::test]
async fn users_rename_their_tokens_and_give_them_an_end() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    act(&mut alice, &gateway, &[("action", "create"), ("name", "ci"), ("password", PASSWORD)]).await;
    let page = alice.get(&gateway, "/auth/account/").await;
    let id = page.text().split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let change = |name: &'static str, expires: &'static str, password: &'static str| {
        vec![("action", "change"), ("name", name), ("expires", expires), ("password", password)]
    };
    for (fields, told) in [
        (change("build", "30", "nope"), "Wrong password."),
        (change("", "30", PASSWORD), "A token name has 1 to 100 characters"),
        (change("build", "soon", PASSWORD), "Choose when the token expires."),
        (change("build", "30", PASSWORD), "The token was changed."),
        (change("build", "", PASSWORD), "Nothing was changed."),
    ] {
        let fields = [fields, vec![("token", id.as_str())]].concat();
        let page = act(&mut alice, &gateway, &fields).await;
        assert!(page.text().contains(told), "{fields:?}: {}", page.text());
    }
    let token = gateway.store.ledger.show(TokenRef::Id(TokenId(id.parse().unwrap()))).await.unwrap().unwrap();
    assert!(token.name == "build" && token.record.expires.is_some(), "{token:?}");
    user(&gateway, "mallory").await;
    let mut mallory = Browser::of(&gateway, "mallory").await;
    let fields = [change("mine", "", PASSWORD), vec![("token", id.as_str())]].concat();
    assert!(act(&mut mallory, &gateway, &fields).await.text().contains("You do not have this token."));
}

#[tokio::test]
async fn users_change_their_own_password_and_stay_signed_in() {
    const NEW: &str = "a walk of seven miles";
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let mut elsewhere = Browser::default();
    elsewhere.log_in(&gateway, "alice", PASSWORD).await;
    let change = |old: &'static str, new: &'static str, again: &'static str| {
        [("action", "password"), ("password", old), ("new_password", new), ("new_password_again", again)]
    };
    for (fields, told) in [
        (change("nope", NEW, NEW), "Wrong password."),
        (change(PASSWORD, NEW, "other"), "The new passwords do not match"),
        (change(PASSWORD, "", ""), "Enter a new password."),
        (change(PASSWORD, PASSWORD, PASSWORD), "The new password must differ from the present one."),
        (change(PASSWORD, "seven77", "seven77"), "A password has at least 8 characters."),
        (change(PASSWORD, "password1", "password1"), "This password is too common"),
        (change(PASSWORD, "alice-42x", "alice-42x"), "too similar to the username"),
        (change(PASSWORD, NEW, NEW), "Your password was changed."),
    ] {
        let page = act(&mut alice, &gateway, &fields).await;
        assert!(page.text().contains(told), "{fields:?}: {}", page.text());
    }
    assert_eq!(alice.get(&gateway, "/auth/account/").await.status, 200, "still signed in");
    eventually(PATIENCE, "other sessions end", || async {
        let mut other = Browser { jar: elsewhere.jar.clone() };
        other.get(&gateway, "/auth/account/").await.status == 302
    })
    .await;
    let mut again = Browser::default();
    assert_eq!(again.log_in(&gateway, "alice", PASSWORD).await.status, 200);
    assert_eq!(again.log_in(&gateway, "alice", NEW).await.status, 302);
}

#[tokio::test]
async fn a_password_that_has_to_be_changed_works_for_nothing_else() {
    const GIVEN: &str = "given by an administrator";
    const NEW: &str = "a walk of seven miles";
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let id = gateway.store.accounts.find("alice").await.unwrap().unwrap().account.id;
    gateway.store.accounts.set_temporary_password(id, Password::parse(GIVEN).unwrap()).await.unwrap();
    let login = serde_json::json!({"username": "alice", "password": GIVEN}).to_string();
    let answer = Ask::post("/gettoken/", login).field("Content-Type", "application/json").to(&gateway).await;
    assert!(answer.status == 403 && answer.text().contains("has to be changed"), "{answer:?}");
    alice.jar.clear();
    let page = alice.log_in(&gateway, "alice", "nope").await;
    assert!(!page.text().contains("new_password"), "a wrong password tells nothing: {}", page.text());
    let page = alice.log_in(&gateway, "alice", GIVEN).await;
    assert!(page.status == 200 && page.text().contains("Choose a new password."), "{}", page.text());
    let same = [("username", "alice"), ("password", GIVEN), ("new_password", GIVEN), ("new_password_again", GIVEN)];
    let page = alice.submit(&gateway, "/auth/login/", "/auth/login/", &same).await;
    assert!(page.status == 200 && page.text().contains("must differ from the present one"), "{}", page.text());
    let submit = [("username", "alice"), ("password", GIVEN), ("new_password", NEW), ("new_password_again", NEW)];
    let done = alice.submit(&gateway, "/auth/login/", "/auth/login/", &submit).await;
    assert_eq!((done.status, done.fields.get("location")), (302, Some("/auth/account/")), "{done:?}");
    assert_eq!(Browser::default().log_in(&gateway, "alice", NEW).await.status, 302);
}

#[tokio::test]
async fn a_sign_in_page_says_why_it_is_shown() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::default();
    let sent = browser.get(&gateway, "/auth/account/").await;
    let page = browser.get(&gateway, sent.fields.get("location").unwrap()).await;
    assert!(page.text().contains("Sign in to continue."), "{}", page.text());
    assert!(!browser.get(&gateway, "/auth/login/").await.text().contains("Sign in to continue."));
}

#[tokio::test]
async fn the_name_of_a_new_token_survives_an_error_and_the_end_of_the_session() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let (name, shown) = ("lap \"& töp", "id=\"token-name\" name=\"name\"");
    let field = |page: &crate::support::Answer| {
        let rest = page.text().split(shown).nth(1).unwrap_or_else(|| panic!("{}", page.text()));
        rest.split('>').next().unwrap().to_owned()
    };
    let create = [("action", "create"), ("name", name), ("password", "nope")];
    let answer = act(&mut alice, &gateway, &create).await;
    let kept = " value=\"lap &#34;&#38; töp\"";
    assert!(answer.text().contains("Wrong password.") && field(&answer).ends_with(kept), "{}", answer.text());
    assert!(field(&alice.get(&gateway, "/auth/account/").await).ends_with(" value=\"\""));

    let secret = super::secret(&alice.get(&gateway, "/auth/account/").await);
    let fields = [&[("csrfmiddlewaretoken", secret.as_str())][..], &create].concat();
    gateway.hand.advance(std::time::Duration::from_secs(30 * 86_400));
    let answer = alice.post(&gateway, "/auth/account/", &fields).await;
    let to = answer.fields.get("location").unwrap().to_owned();
    assert!(answer.status == 302 && to.starts_with("/auth/login/?next=/auth/account/%3Fname%3D"), "{answer:?}");
    // A browser has dropped the cookie of the session by then.
    alice.jar.remove(super::SESSION);
    let answer = alice.post(&gateway, "/auth/account/", &fields).await;
    assert_eq!((answer.status, answer.fields.get("location")), (302, Some(to.as_str())));
    // Or all cookies, and the secret of its forms with them.
    alice.jar.clear();
    let answer = alice.post(&gateway, "/auth/account/", &fields).await;
    assert!(answer.status == 403 && answer.text().contains(&to), "{}", answer.text());
    let form = [("username", "alice"), ("password", PASSWORD)];
    let page = alice.get(&gateway, &to).await;
    let next = page.text().split("name=\"next\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let secret = super::secret(&page);
    let fields = [&[("csrfmiddlewaretoken", secret.as_str()), ("next", &next)][..], &form].concat();
    let answer = alice.post(&gateway, "/auth/login/", &fields).await;
    let page = alice.get(&gateway, answer.fields.get("location").unwrap()).await;
    assert!(field(&page).ends_with(kept), "{}", page.text());
}
