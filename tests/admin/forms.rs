//! Forms: sign-ins that end before a form is sent, errors at their fields, the own password, several at a time.

use std::time::Duration;

use tokengate::store::{NewUser, TokenRef};
use tokengate::token::TokenKey;

use super::*;

/// After this time a sign-in has ended.
const SESSION: Duration = Duration::from_secs(8 * 3_600 + 1);

/// The values of the hidden fields that a page keeps.
fn kept(page: &str) -> Vec<(String, String)> {
    let fields = page.split("<input type=\"hidden\" name=\"").skip(1);
    let pair = |field: &str| {
        let (name, rest) = field.split_once("\" value=\"").unwrap();
        (name.to_owned(), rest.split('"').next().unwrap().replace("&#34;", "\"").replace("&#38;", "&"))
    };
    fields.map(pair).collect()
}

/// A form that asks for a new sign-in, as the browser that got it fills it in and sends it.
async fn fill_in(browser: &Browser<'_>, path: &str, page: &Answer, typed: &[(&str, &str)]) -> Answer {
    let fields = kept(page.text());
    let kept = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = encoded(&kept.chain(typed.iter().copied()).collect::<Vec<_>>());
    let cookies = format!("{}; {}", browser.cookie, cookie(page));
    Browser { gateway: browser.gateway, cookie: cookies }.send(browser.form(path, body)).await
}

const AGAIN: [(&str, &str); 2] = [("again_username", "root"), ("again_password", PASSWORD)];

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_arrives_after_the_sign_in_has_ended_is_kept_and_goes_on() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let alice = id_of(&gateway, "alice").await;
    let user = format!("/users/{alice}");
    let ended = Browser::of(&gateway, "root").await;
    let secret = csrf(&ended.page("/users").await);
    gateway.hand.advance(SESSION);
    let signed_out = Browser::of(&gateway, "root").await;
    let other_secret = csrf(&signed_out.page("/users").await);
    signed_out.submit("/users", "/sign-out", &[]).await;
    let two_tabs = Browser::of(&gateway, "root").await;
    for (number, (browser, secret, name)) in
        [(&ended, &secret, ""), (&signed_out, &other_secret, ""), (&two_tabs, &other_secret, "root")]
            .into_iter()
            .enumerate()
    {
        let email = format!("\"a&{number}\"@b.test");
        let fields = [("csrf", secret.as_str()), ("username", "alice"), ("email", &email), ("first_name", "Alice")];
        let path = format!("{user}/edit");
        let page = browser.send(browser.form(&path, encoded(&fields))).await;
        assert_eq!(page.status, 403, "{}", page.text());
        assert!(page.text().contains("Your session ended before the form arrived."), "{}", page.text());
        assert!(page.text().contains(&format!("name=\"again_username\" type=\"text\" value=\"{name}\"")));
        assert!(!page.text().contains(secret.as_str()));
        let wrong = fill_in(browser, &path, &page, &[("again_username", "root"), ("again_password", "wrong")]).await;
        assert!(wrong.status == 403 && wrong.text().contains("active staff account"), "{}", wrong.text());
        let email_of = async || gateway.store.accounts.find("alice").await.unwrap().unwrap().account.email;
        assert_ne!(email_of().await, email);
        let done = fill_in(browser, &path, &wrong, &AGAIN).await;
        assert_eq!((done.status, done.fields.get("location")), (303, Some(user.as_str())), "{}", done.text());
        assert_eq!(email_of().await, email);
        let new = Browser { gateway: &gateway, cookie: cookie(&done) };
        assert!(new.page(&user).await.contains("The details were changed."));
        assert_eq!(browser.get("/users").await.status, 303, "the former sign-in has ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_kept_has_no_password_and_asks_for_a_new_one_again() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let secret = csrf(&browser.page("/users/add").await);
    gateway.hand.advance(SESSION);
    let typed = "a typed secret";
    let body = encoded(&[
        ("csrf", &secret),
        ("username", "bob"),
        ("groups", "red\nblue"),
        ("active", "on"),
        ("password", typed),
        ("password_again", typed),
        ("own_password", PASSWORD),
    ]);
    let page = browser.send(browser.form("/users/add", body)).await;
    let text = page.text();
    assert!(page.status == 403 && !text.contains(typed) && !text.contains(PASSWORD), "{text}");
    assert!(text.contains("name=\"password\" type=\"password\"") && text.contains("name=\"password_again\""), "{text}");
    let bob = [&AGAIN[..], &[("password", typed), ("password_again", typed)]].concat();
    let done = fill_in(&browser, "/users/add", &page, &bob).await;
    assert_eq!(done.status, 303, "{}", done.text());
    let bob = gateway.store.accounts.find("bob").await.unwrap().unwrap();
    assert!(bob.has_password && bob.account.active && bob.account.groups == ["blue", "red"], "{bob:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_browser_or_site_cannot_send_a_form_that_is_kept() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let path = format!("/users/{}/active", id_of(&gateway, "alice").await);
    let browser = Browser::new(&gateway);
    let ask = || browser.form(&path, encoded(&[("active", "no")]));
    let (page, other) = (browser.send(ask()).await, browser.send(ask()).await);
    let secret = |page: &Answer| kept(page.text()).into_iter().find(|(name, _)| name == "again_csrf").unwrap().1;
    for (secret, kept) in [
        (String::new(), cookie(&page)),
        (secret(&page), String::new()),
        (secret(&other), cookie(&page)),
        (secret(&page), cookie(&other)),
    ] {
        let body = encoded(&[&AGAIN[..], &[("active", "no"), ("again_csrf", &secret)]].concat());
        let sender = Browser { gateway: &gateway, cookie: kept };
        let answer = sender.send(sender.form(&path, body)).await;
        assert!(answer.status == 403 && answer.text().contains("This form has expired."), "{}", answer.text());
    }
    let body = encoded(&[&AGAIN[..], &[("active", "no"), ("again_csrf", &secret(&page))]].concat());
    let foreign = Ask::post(&path, body).field("Content-Type", "application/x-www-form-urlencoded");
    let sender = Browser { gateway: &gateway, cookie: cookie(&page) };
    assert_eq!(sender.send(foreign.field("Origin", "https://evil.example")).await.status, 403);
    assert!(gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active);
    // A user of the public pages cannot go on with a form of the staff.
    let ordinary = [("again_username", "alice"), ("again_password", PASSWORD)];
    assert_eq!(fill_in(&sender, &path, &page, &ordinary).await.status, 403);
    // Staff may not do what the form asks for.
    let staff = [("again_username", "helper"), ("again_password", PASSWORD)];
    let answer = fill_in(&sender, &path, &page, &staff).await;
    assert!(answer.status == 403 && answer.text().contains("Only superusers"), "{}", answer.text());
    assert!(gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_stands_at_its_field_which_has_the_focus_and_what_was_typed_stays() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let key = gateway.issue_named("alice", "read", None, &gateway.clock()).await;
    let token =
        gateway.store.ledger.show(TokenRef::Digest(TokenKey::parse(&key).unwrap().digest())).await.unwrap().unwrap();
    let user = |rest: &str| format!("/users/{}/{rest}", token.record.owner.id);
    let of_token = |rest: &str| format!("/tokens/{}/{rest}", token.record.id);
    let own = ("own_password", PASSWORD);
    let long = "x".repeat(151);
    let note = "n".repeat(1_001);
    gateway.hand.advance(Duration::from_secs(301));
    for (path, fields, id, field, stays) in [
        (
            "/users/add".to_owned(),
            vec![("username", "alice"), ("email", "a@b.test"), own],
            "username",
            "name",
            "a@b.test",
        ),
        (
            "/users/add".to_owned(),
            vec![("username", "a\u{200b}"), ("email", "a@b.test"), own],
            "username",
            "name",
            "a@b.test",
        ),
        ("/users/add".to_owned(), vec![("username", "x"), ("last_name", &long), own], "last_name", "last_name", "x"),
        (
            "/users/add".to_owned(),
            vec![("username", "x"), ("password", "12"), ("password_again", "12"), own],
            "password",
            "password",
            "x",
        ),
        (
            "/users/add".to_owned(),
            vec![("username", "x"), ("groups", "g\nh"), ("own_password", "no")],
            "own",
            "own",
            "g\nh",
        ),
        (user("edit"), vec![("username", "root"), ("email", "a@b.test")], "username", "name", "a@b.test"),
        (
            user("edit"),
            vec![("username", "alice"), ("email", "a@b.test"), ("first_name", &long)],
            "first_name",
            "first_name",
            "a@b.test",
        ),
        (
            user("groups"),
            vec![("group", "red"), ("more", &long)],
            "more",
            "groups",
            "value=\"red\" type=\"checkbox\" checked",
        ),
        (
            user("password"),
            vec![("password", "12"), ("password_again", "12"), ("must_change", "on"), own],
            "password",
            "password",
            "id=\"must_change\" name=\"must_change\" type=\"checkbox\" checked",
        ),
        (user("password"), vec![own], "password", "password", "Enter a new password"),
        (user("rights"), vec![("staff", "on")], "own", "own", "id=\"staff\" name=\"staff\" type=\"checkbox\" checked"),
        (user("delete"), vec![("own_password", "no")], "own", "own", "cannot be undone"),
        (user("tokens/revoke"), vec![("own_password", "no")], "own", "own", "<details class=\"ask\" open>"),
        (user("tokens/add"), vec![("name", "laptop"), ("scopes", "a \""), own], "scopes", "scopes", "laptop"),
        (user("tokens/add"), vec![("name", &long), ("scopes", "read"), own], "name", "name", "value=\"read\""),
        (user("tokens/add"), vec![("name", "laptop"), ("ends", "soon"), own], "ends", "expires", "laptop"),
        (
            user("login-token"),
            vec![("action", "reset"), ("own_password", "no")],
            "own-login",
            "own-login",
            "Login token",
        ),
        (of_token("terms"), vec![("name", ""), ("scopes", "write"), own], "name", "name", "value=\"write\""),
        (
            of_token("terms"),
            vec![("name", "a"), ("note", &note), ("scopes", "write"), own],
            "note",
            "note",
            "value=\"write\"",
        ),
        (of_token("rotate"), vec![("overlap", "3"), own], "overlap", "overlap", "Rotate token"),
        (
            "/password".to_owned(),
            vec![("password", "12"), ("password_again", "12"), own],
            "password",
            "password",
            "Change your password",
        ),
    ] {
        gateway.hand.advance(Duration::from_secs(301));
        let answer = browser.submit("/users", &path, &fields).await;
        let text = answer.text();
        assert!((400..500).contains(&answer.status), "{path} {fields:?}: {}", answer.status);
        let input = text.split(&format!("id=\"{id}\"")).nth(1).and_then(|rest| rest.split('>').next());
        let input = input.unwrap_or_else(|| panic!("{path}: no field {id}: {text}"));
        let marked = format!(" aria-invalid=\"true\" aria-describedby=\"{field}-wrong");
        assert!(input.contains(&marked) && input.ends_with(" autofocus"), "{path} {fields:?}: {input}");
        assert_eq!(text.matches(&format!("class=\"wrong\" id=\"{field}-wrong\"")).count(), 1, "{path}");
        assert_eq!(text.matches(" autofocus").count(), 1, "{path}");
        assert!(text.contains(stays), "{path} {fields:?}: {stays}: {text}");
        assert!(!text.contains(PASSWORD) && !text.contains("value=\"12\""), "{path}");
    }
    let alice = gateway.store.accounts.find("alice").await.unwrap().unwrap();
    assert!(alice.account.email == "alice@example.test" && !alice.staff);
    assert_eq!(Ask::get("/api/").token(&key).to(&gateway).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_password_is_asked_once_in_five_minutes_for_tokens_and_each_time_for_the_rest() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let user = format!("/users/{}", id_of(&gateway, "alice").await);
    let add = format!("{user}/tokens/add");
    let asks = async |path: &str| browser.page(path).await.contains("name=\"own_password\"");
    let issue = async |name: &str, own: &[(&str, &str)]| {
        browser.submit(&add, &add, &[&[("name", name)][..], own].concat()).await.status
    };
    // The sign-in is less than five minutes old.
    assert!(!asks(&add).await && asks(&format!("{user}/delete")).await && asks("/users/add").await);
    assert_eq!(issue("one", &[]).await, 303);
    assert_eq!(issue("two", &[("own_password", "wrong")]).await, 403, "a wrong one is never accepted");
    gateway.hand.advance(Duration::from_secs(301));
    assert!(asks(&add).await);
    assert_eq!(issue("three", &[]).await, 403);
    assert_eq!(issue("three", &[("own_password", PASSWORD)]).await, 303);
    gateway.hand.advance(Duration::from_secs(299));
    assert!(!asks(&add).await);
    let other = Browser::of(&gateway, "root").await;
    gateway.hand.advance(Duration::from_secs(2));
    assert!(asks(&add).await && !other.page(&add).await.contains("name=\"own_password\""), "each sign-in has its own");
    for (path, fields) in [("rights", &[("superuser", "on")][..]), ("delete", &[]), ("tokens/revoke", &[])] {
        let answer = other.submit("/users", &format!("{user}/{path}"), fields).await;
        assert_eq!(answer.status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_users_are_added_one_after_another() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    for name in ["bob", "carol"] {
        let fields = [("username", name), ("own_password", PASSWORD), ("then", "another"), ("active", "on")];
        let answer = browser.submit("/users/add", "/users/add", &fields).await;
        assert_eq!((answer.status, answer.fields.get("location")), (303, Some("/users/add")));
        let page = browser.page("/users/add").await;
        assert!(
            page.contains(&format!("User {name} was created. Add the next one.")) && !page.contains("value=\"bob\"")
        );
        assert!(gateway.store.accounts.find(name).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tokens_is_a_file_with_the_same_filter_and_no_key() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let key = gateway.issue("alice").await;
    gateway.store.accounts.create(NewUser::named("=bob")).await.unwrap();
    let others = [gateway.issue("=bob").await, gateway.issue("root").await];
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/tokens?owner=alice").await;
    assert!(page.contains("href=\"/tokens/export?owner=alice&#38;format=csv\""), "{page}");
    let answer = browser.get("/tokens/export?owner=alice&format=csv").await;
    assert_eq!(answer.fields.get("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(answer.fields.get("content-disposition"), Some("attachment; filename=\"tokens.csv\""));
    let lines: Vec<_> = answer.text().lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("id,hint,user,user_id,kind,name,scopes,state,created,"),
        "{lines:?}"
    );
    assert!(lines[1].contains(&format!("\"{}\",\"alice\"", &key[..8])) && lines[1].contains("\"live\""), "{lines:?}");
    let all = browser.page("/tokens/export").await;
    assert!(all.lines().count() == 4 && all.contains("\"'=bob\""), "{all}");
    assert!([&key, &others[0], &others[1]].iter().all(|key| !all.contains(key.as_str())));
    let lines = browser.page("/tokens/export?format=jsonl&view=live").await;
    let users: Vec<_> =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["user"].clone()).collect();
    assert_eq!(users, ["root", "=bob", "alice"]);
    // Staff exports what staff sees.
    let staff = Browser::of(&gateway, "helper").await.page("/tokens/export").await;
    assert!(staff.lines().count() == 3 && !staff.contains("root"), "{staff}");
    assert_eq!(browser.get("/tokens/export?format=xml").await.status, 400);
    assert_eq!(Browser::new(&gateway).get("/tokens/export").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_token_is_shown_and_reset_on_its_own_page() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (key, named) =
        (gateway.issue("alice").await, gateway.issue_named("alice", "read", None, &gateway.clock()).await);
    let browser = Browser::of(&gateway, "helper").await;
    let page_of = async |key: &str| {
        let token =
            gateway.store.ledger.show(TokenRef::Digest(TokenKey::parse(key).unwrap().digest())).await.unwrap().unwrap();
        format!("/tokens/{}", token.record.id)
    };
    let (login, named) = (page_of(&key).await, page_of(&named).await);
    assert!(browser.page(&login).await.contains(&format!("action=\"{login}/login\"")));
    assert!(!browser.page(&named).await.contains("/login\""));
    gateway.hand.advance(Duration::from_secs(301));
    let refused =
        browser.submit(&login, &format!("{login}/login"), &[("action", "show"), ("own_password", "no")]).await;
    assert!(refused.status == 403 && refused.text().contains("<details class=\"ask\" open>"), "{}", refused.text());
    let own = ("own_password", PASSWORD);
    let page = browser.submit_and_follow(&login, &format!("{login}/login"), &[("action", "show"), own]).await;
    assert_eq!(shown_key(&page).as_deref(), Some(key.as_str()));
    let page = browser.submit_and_follow(&login, &format!("{login}/login"), &[("action", "reset"), own]).await;
    let fresh = shown_key(&page).unwrap();
    assert_eq!(Ask::get("/api/").token(&fresh).to(&gateway).await.status, 200);
    for path in [&login, &named] {
        let answer = browser.submit("/tokens", &format!("{path}/login"), &[("action", "reset"), own]).await;
        assert!(answer.status == 409 && answer.text().contains("live login token"), "{path}: {}", answer.text());
    }
    let root = Browser::of(&gateway, "root").await;
    let roots = page_of(&gateway.issue("root").await).await;
    assert_eq!(browser.submit("/tokens", &format!("{roots}/login"), &[("action", "show"), own]).await.status, 403);
    assert_eq!(root.get(&roots).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_users_are_changed_together_and_refusals_are_named() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.store.accounts.create(NewUser::named("bob")).await.unwrap();
    let keys = [gateway.issue("alice").await, gateway.issue("bob").await];
    let ids = [id_of(&gateway, "alice").await, id_of(&gateway, "bob").await].map(|id| id.to_string());
    let root_id = id_of(&gateway, "root").await.to_string();
    let browser = Browser::of(&gateway, "root").await;
    let both = [("user", ids[0].as_str()), ("user", &ids[1])];
    let own = ("own_password", PASSWORD);
    let act = async |action: &str, more: &[(&str, &str)]| {
        let fields = [&both[..], &[("action", action), ("back", "active=yes&")], more].concat();
        browser.submit("/users", "/users/act", &fields).await
    };
    let asked = act("deactivate", &[("own_password", "no")]).await;
    assert!(asked.status == 403 && asked.text().matches(" checked").count() == 2, "{}", asked.text());
    assert!(asked.text().contains("<details class=\"card bulk\" open>"), "{}", asked.text());
    let answer = act("deactivate", &[own]).await;
    assert_eq!((answer.status, answer.fields.get("location")), (303, Some("/users?active=yes&")));
    assert!(browser.page("/users").await.contains("2 users were deactivated."));
    for key in &keys {
        assert_eq!(Ask::get("/api/").token(key).to(&gateway).await.status, 401);
    }
    act("deactivate", &[own]).await;
    assert!(browser.page("/users").await.contains("0 users were deactivated."), "no change is not told as one");
    act("activate", &[own]).await;
    assert!(browser.page("/users").await.contains("2 users were activated."));
    let answer = act("deactivate", &[("user", &root_id), own]).await;
    assert_eq!(answer.status, 303);
    let page = browser.page("/users").await;
    assert!(page.contains("2 users were deactivated.") && page.contains("cannot deactivate yourself"), "{page}");
    act("activate", &[own]).await;
    act("revoke", &[own]).await;
    assert!(browser.page("/users").await.contains("2 users were left without tokens."));
    for key in &keys {
        assert_eq!(Ask::get("/api/").token(key).to(&gateway).await.status, 401);
    }
    for (fields, told) in
        [(vec![own], "No user was selected."), (vec![both[0], ("action", "sing"), own], "Unknown action.")]
    {
        browser.submit("/users", "/users/act", &fields).await;
        assert!(browser.page("/users").await.contains(told));
    }
    // Staff revokes tokens, and neither activates nor deactivates.
    let staff = Browser::of(&gateway, "helper").await;
    assert!(!staff.page("/users").await.contains("value=\"deactivate\""));
    let fields = [both[0], ("action", "deactivate"), own];
    staff.submit("/users", "/users/act", &fields).await;
    assert!(staff.page("/users").await.contains("0 users were deactivated. User"));
    assert!(gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_is_named_in_lists_and_files_and_the_others_are_shown() {
    use sqlx::ConnectOptions;
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (alice, root) = (gateway.issue("alice").await, gateway.issue("root").await);
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(&gateway.database);
    let mut store = file.busy_timeout(Duration::from_secs(30)).connect().await.unwrap();
    let harm = "UPDATE tokens SET scopes = 'a \"' WHERE user_id = (SELECT id FROM users WHERE name = 'alice')";
    sqlx::raw_sql(harm).execute(&mut store).await.unwrap();
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/tokens").await;
    assert!(page.contains("the row cannot be read") && page.contains(&root[..8]), "{page}");
    assert!(!page.contains(&alice[..8]), "{page}");
    let csv = browser.page("/tokens/export").await;
    assert!(csv.lines().count() == 3 && csv.contains("\"cannot be read: "), "{csv}");
    let lines = browser.page("/tokens/export?format=jsonl").await;
    assert!(lines.contains("\"unreadable\":"), "{lines}");
}
