//! Tokens: found, issued, shown once, revoked.

use std::time::Duration;

use tokengate::token::TokenKey;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_on_no_other_page() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let user = format!("/users/{}", id_of(&gateway, "alice").await);
    let add = format!("{user}/tokens/add");
    let fields = [("name", "laptop"), ("own_password", PASSWORD)];
    let answer = browser.submit(&add, &add, &fields).await;
    let token = answer.fields.get("location").unwrap().to_owned();
    let key = shown_key(&browser.page(&token).await).unwrap();
    assert_eq!(Ask::get("/api/").token(&key).to(&gateway).await.status, 200);
    let look_up = browser.submit("/look-up", "/look-up", &[("pasted", &key)]).await;
    for (path, page) in [
        (token.as_str(), browser.page(&token).await),
        (&user, browser.page(&user).await),
        ("/tokens", browser.page("/tokens").await),
        ("/tokens?hint=", browser.page(&format!("/tokens?hint={key}")).await),
        ("/audit", browser.page("/audit").await),
        ("/audit/export", browser.page("/audit/export?format=jsonl").await),
        ("/look-up", look_up.text().to_owned()),
    ] {
        assert!(page.contains("alice") && !page.contains(&key[8..]), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_token_and_of_its_user_show_what_is_left_of_its_quotas() {
    use tokengate::config::settings::{RateFact, RateKey};
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let rule =
        |name, fact, limit| crate::quotas::quota(name, RateKey(fact, None), limit, tokengate::clock::Period::Day);
    let rules = vec![rule("daily", RateFact::Token, 10), rule("contract", RateFact::User, 20)];
    gateway.reload(|settings| crate::quotas::allow(settings, rules)).await.unwrap();
    let issued = gateway.store.ledger.issue_login(gateway.user("alice").await).await.unwrap();
    assert_eq!(Ask::get("/api/").token(issued.key.expose()).to(&gateway).await.status, 200);
    let browser = Browser::of(&gateway, "root").await;
    crate::support::eventually(crate::support::PATIENCE, "the request is saved", || async {
        let page = browser.page(&format!("/tokens/{}", issued.id)).await;
        page.contains("Quota daily") && page.contains("9 of 10 requests left")
    })
    .await;
    let user = format!("/users/{}", gateway.user("alice").await);
    crate::support::eventually(crate::support::PATIENCE, "the request of the user is saved", || async {
        let page = browser.page(&user).await;
        page.contains("Quota contract") && page.contains("19 of 20 requests left")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_command_names_the_ca_file_where_one_is_known() {
    let origin = Origin::answering("fine").await;
    for (file, told) in [
        (None, "curl -H &#39;"),
        (Some("/tmp/ca.pem"), "curl --cacert /tmp/ca.pem -H &#39;"),
        (Some("/tmp/it's here/ca.pem"), "curl --cacert &#39;/tmp/it&#39;\\&#39;&#39;s here/ca.pem&#39; -H &#39;"),
    ] {
        let gateway = gateway_with(&origin, |admin| admin.authority = file.map(Into::into)).await;
        let browser = Browser::of(&gateway, "root").await;
        let add = format!("/users/{}/tokens/add", id_of(&gateway, "alice").await);
        let page = browser.submit_and_follow(&add, &add, &[("name", "x"), ("own_password", PASSWORD)]).await;
        let line = page.split("id=\"curl\">").nth(1).unwrap().split("</code>").next().unwrap();
        assert!(line.starts_with(told), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn showing_and_resetting_the_login_token_requires_the_callers_password() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "helper").await;
    let key = gateway.issue("alice").await;
    let user = format!("/users/{}", id_of(&gateway, "alice").await);
    let (from, to) = (format!("{user}/tokens/add"), format!("{user}/login-token"));
    gateway.hand.advance(std::time::Duration::from_secs(301));
    for (fields, why) in [
        (&[("action", "show")][..], "Enter your own password"),
        (&[("action", "reset"), ("own_password", "wrong")], "Your password was wrong"),
    ] {
        let answer = browser.submit(&from, &to, fields).await;
        assert!(answer.status == 403 && answer.text().contains(why) && !answer.text().contains(&key));
    }
    let page = browser.submit_and_follow(&from, &to, &[("action", "show"), ("own_password", PASSWORD)]).await;
    assert_eq!(shown_key(&page).as_deref(), Some(key.as_str()));
    let page = browser.submit_and_follow(&from, &to, &[("action", "reset"), ("own_password", PASSWORD)]).await;
    let fresh = shown_key(&page).unwrap();
    assert_ne!(fresh, key);
    let root = Browser::of(&gateway, "root").await;
    let trail = root.page("/audit?actor=helper").await;
    assert!(trail.contains("Token shown") && trail.contains("Token issued") && !trail.contains(&fresh), "{trail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_expiry_is_refused_with_the_allowed_range() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "helper").await;
    let path = format!("/users/{}/tokens/add", id_of(&gateway, "alice").await);
    for days in ["2920000", "99999999999999"] {
        let fields = [("name", "laptop"), ("ends", days), ("own_password", PASSWORD)];
        let answer = browser.submit(&path, &path, &fields).await;
        assert!(answer.status == 400 && answer.text().contains("in the year 9999 at the latest"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_expiry_and_scopes_requires_the_callers_password() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "helper").await;
    let key = gateway.issue_named("alice", "read", Some(DAY), &gateway.clock()).await;
    let find = async || gateway.store.tokens.find(&TokenKey::parse(&key).unwrap()).await.unwrap().unwrap();
    let before = find().await;
    let token = format!("/tokens/{}", before.id);
    let path = format!("{token}/terms");
    assert!(browser.page(&token).await.contains(&format!("href=\"{path}\"")));
    assert!(browser.page(&path).await.contains("value=\"read\""));
    gateway.hand.advance(std::time::Duration::from_secs(301));
    for (fields, status, why) in [
        (&[("scopes", "write"), ("ends", "30")][..], 403, "Enter your own password"),
        (&[("scopes", "a b \""), ("own_password", PASSWORD)], 400, "role=\"alert\""),
        (&[("scopes", "write"), ("ends", "soon"), ("own_password", PASSWORD)], 400, "not a number of days"),
        (&[("scopes", "tokengate:admin"), ("own_password", PASSWORD)], 403, "only superusers can grant"),
    ] {
        let answer = browser.submit(&path, &path, fields).await;
        let text = answer.text().to_lowercase();
        assert!(answer.status == status && text.contains(&why.to_lowercase()), "{why}: {text}");
        let now = find().await;
        assert_eq!((now.expires, now.scopes), (before.expires, before.scopes.clone()));
    }
    let fields = [("scopes", "write"), ("ends", "30"), ("own_password", PASSWORD)];
    let page = browser.submit_and_follow(&path, &path, &fields).await;
    assert!(page.contains("The token was changed.") && page.contains("Token changed"), "{page}");
    let changed = find().await;
    assert!(changed.expires > before.expires && changed.scopes.to_string() == "write");
    let page =
        browser.submit_and_follow(&path, &path, &[("scopes", ""), ("ends", "never"), ("own_password", PASSWORD)]).await;
    assert!(page.contains("The token was changed."), "{page}");
    assert!(find().await.expires.is_none() && find().await.scopes.is_empty());
    // Staff cannot see tokens of a superuser.
    let roots = gateway.issue("root").await;
    let roots = gateway.store.tokens.find(&TokenKey::parse(&roots).unwrap()).await.unwrap().unwrap().id;
    assert_eq!(browser.get(&format!("/tokens/{roots}/terms")).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_all_tokens_of_a_user_requires_the_callers_password() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "helper").await;
    let clock = gateway.clock();
    let keys = [gateway.issue("alice").await, gateway.issue_named("alice", "", None, &clock).await];
    let user = format!("/users/{}", id_of(&gateway, "alice").await);
    let path = format!("{user}/tokens/revoke");
    let answer = browser.submit(&user, &path, &[("own_password", "wrong")]).await;
    let page = answer.text();
    assert!(answer.status == 403 && page.contains("Your password was wrong") && page.contains("Revoke all"));
    assert_eq!(Ask::get("/api/").token(&keys[0]).to(&gateway).await.status, 200);
    let page = browser.submit_and_follow(&user, &path, &[("own_password", PASSWORD)]).await;
    assert!(page.contains("2 tokens were revoked.") && !page.contains("Revoke all"), "{page}");
    for key in &keys {
        assert_eq!(Ask::get("/api/").token(key).to(&gateway).await.status, 401);
    }
    let root = format!("/users/{}", id_of(&gateway, "root").await);
    let answer = browser.submit(&user, &format!("{root}/tokens/revoke"), &[("own_password", PASSWORD)]).await;
    assert_eq!(answer.status, 403, "staff cannot revoke tokens of a superuser");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_or_many_are_revoked() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "helper").await;
    let clock = gateway.clock();
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(gateway.issue_named("alice", "", None, &clock).await);
    }
    let roots = gateway.issue("root").await;
    let mut ids = Vec::new();
    for key in keys.iter().chain([&roots]) {
        ids.push(gateway.store.tokens.find(&TokenKey::parse(key).unwrap()).await.unwrap().unwrap().id.to_string());
    }
    let one = format!("/tokens/{}", ids[0]);
    assert!(
        browser
            .submit_and_follow(&one, &format!("{one}/revoke"), &[])
            .await
            .contains("The token was revoked and no longer works.")
    );
    let page = browser.submit_and_follow("/tokens", "/tokens/revoke", &[("own_password", PASSWORD)]).await;
    assert!(page.contains("No token was selected."));
    let fields = [("token", ids[1].as_str()), ("token", &ids[2]), ("token", &ids[3])];
    let answer = browser.submit("/tokens", "/tokens/revoke", &fields).await;
    assert!(answer.status == 403 && answer.text().contains("Enter your own password."), "{}", answer.text());
    let fields: Vec<_> = fields.into_iter().chain([("own_password", PASSWORD)]).collect();
    let page = browser.submit_and_follow("/tokens", "/tokens/revoke", &fields).await;
    assert!(page.contains("2 tokens were revoked."), "{page}");
    for key in &keys {
        assert_eq!(Ask::get("/api/").token(key).to(&gateway).await.status, 401);
    }
    assert_eq!(
        Ask::get("/api/").token(&roots).to(&gateway).await.status,
        200,
        "staff cannot revoke tokens of a superuser"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_password_keeps_the_page_and_the_ticked_boxes() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let clock = gateway.clock();
    for _ in 0..60 {
        gateway.issue_named("alice", "", None, &clock).await;
    }
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/tokens?view=live").await;
    let next = page.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let page = browser.page(&next).await;
    let [one, other] = [1, 2].map(|tick| {
        let rest = page.split("name=\"token\" value=\"").nth(tick).unwrap();
        rest.split('"').next().unwrap().to_owned()
    });
    let back = page.split("name=\"back\" value=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let fields = [("token", one.as_str()), ("token", &other), ("back", &back)];
    let answer = browser.submit(&next, "/tokens/revoke", &[&fields[..], &[("own_password", "wrong")]].concat()).await;
    let text = answer.text();
    assert!(answer.status == 403 && text.contains("Your password was wrong"), "{text}");
    for id in [&one, &other] {
        assert!(text.contains(&format!("value=\"{id}\" checked")), "{text}");
    }
    let shown = |text: &str| text.matches("<th scope=\"row\">").count();
    assert!(text.matches(" checked").count() == 2 && text.contains("bulk\" open") && shown(text) == 10, "{text}");
    // From there it continues, on the same page.
    let back = text.split("name=\"back\" value=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let fields = [("token", one.as_str()), ("token", &other), ("back", &back), ("own_password", PASSWORD)];
    let done = browser.submit_and_follow(&next, "/tokens/revoke", &fields).await;
    assert!(done.contains("2 tokens were revoked.") && done.contains("First page") && shown(&done) == 8, "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_link_is_valid_for_its_view_only() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let clock = gateway.clock();
    for _ in 0..51 {
        gateway.issue_named("alice", "", None, &clock).await;
    }
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/tokens?view=live").await;
    let place = page.split("page=").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(browser.get(&format!("/tokens?view=live&page={place}")).await.status, 200);
    for path in ["/tokens?view=expired&page=", "/tokens?page=", "/users?page=", "/audit?page="] {
        assert_eq!(browser.get(&format!("{path}{place}")).await.status, 400, "{path}");
    }
    assert_eq!(browser.get("/tokens/1").await.status, 200);
    for other in ["/tokens/01", "/tokens/+1", "/tokens/-1", "/tokens/0", "/users/01", "/users/03/edit"] {
        assert_eq!(browser.get(other).await.status, 404, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_and_deactivating_need_a_confirmation() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.issue("alice").await;
    let browser = Browser::of(&gateway, "root").await;
    let user = format!("/users/{}", id_of(&gateway, "alice").await);
    for (page, path, button) in [
        ("/tokens/1", "/tokens/1/revoke", "Revoke permanently"),
        (&user, &*format!("{user}/active"), "Deactivate the user"),
    ] {
        let text = browser.page(page).await;
        // The form is inside a `details` element, so the first click only opens it.
        let before = text.split(&format!("action=\"{path}\"")).next().unwrap();
        let asks = before.rfind("<details class=\"ask\">") > before.rfind("</details>");
        assert!(asks && before.contains("<summary") && text.contains(button), "{page}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_found_key_is_named_and_revoked() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let key = gateway.issue("alice").await;
    for pasted in [
        key.clone(),
        format!("curl -H \"Authorization: Token {key}\" https://gateway.example/x"),
        format!("https://gateway.example/?token={key}&x=1"),
        format!("one line\r\nand `{key}` on another."),
    ] {
        let answer = browser.submit("/look-up", "/look-up", &[("pasted", &pasted)]).await;
        assert!(answer.text().contains("Token of") && answer.text().contains("alice"), "{}", answer.text());
        assert!(answer.text().contains("<dt>Expires</dt>") && !answer.text().contains(&key));
    }
    let answer = browser.submit("/look-up", "/look-up", &[("pasted", "no such thing as this")]).await;
    assert!(answer.text().contains("No token of this gateway was found") && !answer.text().contains("no such thing"));

    let roots = gateway.issue("root").await;
    let both = format!("{key} {roots}");
    let answer = browser.submit("/look-up", "/look-up", &[("pasted", &both)]).await;
    assert_eq!(answer.text().matches("Token of").count(), 2);
    let helper = Browser::of(&gateway, "helper").await;
    let answer = helper.submit("/look-up", "/look-up", &[("pasted", &roots)]).await;
    assert!(answer.status == 403 && answer.text().contains("ell a superuser at once"), "{}", answer.text());
    let answer = helper.submit("/look-up", "/look-up", &[("pasted", &both)]).await;
    assert!(answer.text().contains("Token of") && answer.text().contains("ell a superuser at once"));
    // A text that is too long never gets the all-clear.
    let much: String = (0..60).map(|number| format!("word{number} ")).collect();
    let answer = browser.submit("/look-up", "/look-up", &[("pasted", &much)]).await;
    assert!(
        answer.text().contains("only the 50 likeliest words were checked")
            && !answer.text().contains("No token of this gateway")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_views_and_is_searched() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let clock = gateway.clock();
    let day = std::time::Duration::from_secs(86_400);
    gateway.issue_named("alice", "read", Some(day), &clock).await;
    let revoked = gateway.issue_named("alice", "", None, &clock).await;
    gateway.revoke(&revoked).await;
    gateway.issue("bob").await;
    let exposed = gateway.issue_named("bob", "", None, &clock).await;
    gateway
        .store
        .tokens
        .mark_exposed(TokenKey::parse(&exposed).unwrap().digest(), [192, 0, 2, 9].into(), clock.now())
        .await
        .unwrap();
    let browser = Browser::of(&gateway, "root").await;
    let count = |page: String| page.matches("<th scope=\"row\">").count();
    for (query, tokens) in [
        ("", 4),
        ("view=live", 3),
        ("view=ending", 1),
        ("view=revoked", 1),
        ("view=exposed", 1),
        ("view=expired", 0),
        ("view=unused", 0),
        ("kind=login", 1),
        ("kind=named", 3),
        ("owner=ALI", 2),
        ("owner=nobody", 0),
        (&format!("hint={}", &revoked[..8]), 1),
    ] {
        assert_eq!(count(browser.page(&format!("/tokens?{query}")).await), tokens, "{query}");
    }
    gateway.hand.advance(91 * day);
    let browser = Browser::of(&gateway, "root").await;
    for (query, tokens) in [("view=expired", 1), ("view=unused", 2)] {
        assert_eq!(count(browser.page(&format!("/tokens?{query}")).await), tokens, "{query}");
    }
    let helper = Browser::of(&gateway, "helper").await;
    gateway.issue("root").await;
    assert_eq!(count(helper.page("/tokens").await), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_token_are_set_on_its_pages() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let add = format!("/users/{}/tokens/add", id_of(&gateway, "alice").await);
    let limits =
        [("read_only", "on"), ("networks", "10.0.0.0/8 2001:db8::/32"), ("unused_days", "30"), ("rate", "1/d")];
    let with = |limits: &[(&'static str, &'static str)]| {
        [&[("name", "ci"), ("own_password", PASSWORD), ("limits", "yes")], limits].concat()
    };
    for wrong in
        [("networks", "office"), ("unused_days", "0"), ("unused_days", "many"), ("unused_days", "4000"), ("rate", "60")]
    {
        let answer = browser.submit(&add, &add, &with(&[wrong])).await;
        assert_eq!(answer.status, 400, "{wrong:?}");
        assert!(answer.text().contains(&format!("value=\"{}\"", wrong.1)), "what was typed stays: {wrong:?}");
    }
    let token = browser.submit(&add, &add, &with(&limits)).await.fields.get("location").unwrap().to_owned();
    let page = browser.page(&token).await;
    for told in ["Read-only", "<code class=\"chip\">10.0.0.0/8</code>", "30 days: <time"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    // A rate is counted for the page.
    let key = shown_key(&page).unwrap();
    let gone = [("name", "ci"), ("own_password", PASSWORD), ("limits", "yes"), ("rate", "1/d")];
    let terms = format!("{token}/terms");
    browser.submit(&terms, &terms, &gone).await;
    for status in [200, 429, 429] {
        crate::support::eventually(crate::support::PATIENCE, "the limits are gone", || async {
            Ask::get("/api/").token(&key).to(&gateway).await.status == status
        })
        .await;
    }
    let counted = browser.page(&token).await;
    assert!(counted.contains("2 requests, last"), "{counted}");
    browser.submit(&terms, &terms, &with(&limits)).await;
    let form = browser.page(&terms).await;
    for told in ["value=\"10.0.0.0/8, 2001:db8::/32\"", "value=\"30\"", "type=\"checkbox\" checked"] {
        assert!(form.contains(told), "{told}: {form}");
    }
    // A form from before an update has no limits, and leaves them as they are.
    browser.submit(&terms, &terms, &[("name", "x"), ("own_password", PASSWORD)]).await;
    assert!(browser.page(&token).await.contains("Read-only"));
    browser.submit(&terms, &terms, &with(&[])).await;
    let page = browser.page(&token).await;
    assert!(page.contains("all methods") && page.contains(">any<") && !page.contains("30 days: <time"), "{page}");
}
