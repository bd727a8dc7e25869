//! The account page: users show, create and revoke their own tokens.

use super::{Browser, PASSWORD, gateway, shown_key, user, with_pages};
use crate::support::gateway::Captured;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually};

async fn act(browser: &mut Browser, gateway: &Gateway, fields: &[(&str, &str)]) -> crate::support::Answer {
    browser.submit(gateway, "/auth/account/", "/auth/account/", fields).await
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
    assert!(answer.text().contains("You have 1 tokens, the maximum.") && answer.text().contains("zażółć 100%"));
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
