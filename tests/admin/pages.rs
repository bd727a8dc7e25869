//! All pages: structure, filters, export.

use tokengate::config::settings::Login;
use tokengate::store::NewUser;
use tokengate::token::TokenKey;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_page_has_a_title_one_heading_landmarks_and_labels() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.issue("alice").await;
    let browser = Browser::of(&gateway, "root").await;
    let user = format!("/users/{}", id_of(&gateway, "alice").await);
    let at = |rest: &str| format!("{user}/{rest}");
    for (path, title, shows) in [
        ("/users".to_owned(), "Users", "alice@example.test"),
        ("/users/add".to_owned(), "Add a user", "Repeat password"),
        (user.clone(), "alice", "History"),
        (at("edit"), "Edit alice", "alice@example.test"),
        (at("groups"), "Groups of alice", "Member of"),
        (at("password"), "Password of alice", "New password"),
        (at("rights"), "Permissions of alice", "Superuser"),
        (at("delete"), "Delete alice", "cannot be undone"),
        (at("tokens/add"), "New token for alice", "Login token"),
        ("/tokens".to_owned(), "Tokens", "Unused for 90 days"),
        ("/tokens/1".to_owned(), "Token ", "Last used"),
        ("/look-up".to_owned(), "Look up a key", "Text from the leak report"),
        ("/traffic".to_owned(), "Traffic", "Requests per second"),
        ("/traffic?route=api&minutes=5".to_owned(), "Traffic", "Route api"),
        ("/status".to_owned(), "Status", "Certificates"),
        ("/audit".to_owned(), "Audit", "Signed in"),
    ] {
        let page = browser.page(&path).await;
        assert!(page.contains(&format!("<title>{title}")) && page.contains(shows), "{path}: {page}");
        let count = |text: &str| page.matches(text).count();
        assert_eq!((count("<h1"), count("<main"), count("<header"), count("href=\"#main\"")), (1, 1, 1, 1), "{path}");
        for field in page
            .split("<input ")
            .chain(page.split("<select "))
            .skip(1)
            .filter(|field| !field.starts_with("type=\"hidden\""))
        {
            let field = field.split('>').next().unwrap();
            let id = field.split("id=\"").nth(1).and_then(|rest| rest.split('"').next());
            let labelled = id.is_some_and(|id| page.contains(&format!("<label for=\"{id}\"")));
            assert!(labelled || field.contains("aria-label=") || !field.contains("name="), "{path}: {field}");
        }
        let tables = count("<table");
        assert!(count("<caption") == tables && count("<thead") == tables, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_filtered_and_exported_without_formulas() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    gateway.store.accounts.create(NewUser::named("=cmd|' /C calc'!A0")).await.unwrap();
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/audit?act=signed_in&actor=root").await;
    assert!(page.contains("Signed in") && !page.contains("User created</td>"), "{page}");
    assert!(browser.page("/audit?until=2001-01-01").await.contains("No matching entries"));
    assert!(browser.page("/audit?user=alice").await.contains("User created"));
    for bad in ["?since=tomorrow", "?act=bogus", "/export?format=csv&act=bogus", "/export?format=xml", "?user=%23x"] {
        assert_eq!(browser.get(&format!("/audit{bad}")).await.status, 400, "{bad}");
    }
    let helper = Browser::of(&gateway, "helper").await;
    assert!(helper.page("/audit?user=alice").await.contains("User created"));
    assert_eq!(helper.get("/audit?user=root").await.status, 403);
    let nobody = helper.get("/audit?user=nobody").await;
    assert!(nobody.status == 400 && nobody.text().contains("No user is called nobody."), "{}", nobody.text());

    let answer = browser.get("/audit/export?format=csv&act=user_created").await;
    assert_eq!(answer.fields.get("content-type"), Some("text/csv; charset=utf-8"));
    assert!(answer.fields.get("content-disposition").unwrap().starts_with("attachment"));
    let text = answer.text();
    assert!(
        text.starts_with("id,at,actor,") && text.contains("\"'=cmd|' /C calc'!A0\"") && !text.contains("\"=cmd"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 5);
    let lines = browser.page("/audit/export?format=jsonl&act=user_created").await;
    let users: Vec<_> =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["user"].clone()).collect();
    assert_eq!(users, ["=cmd|' /C calc'!A0", "alice", "helper", "root"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn message_pages_have_the_navigation_of_the_signed_in_user() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (root, helper) = (Browser::of(&gateway, "root").await, Browser::of(&gateway, "helper").await);
    for (browser, path, status) in [
        (&root, "/nowhere", 404),
        (&root, "/tokens/4711", 404),
        (&root, "/tokens/x", 404),
        (&root, "/audit?since=tomorrow", 400),
        (&helper, "/status", 403),
    ] {
        let answer = browser.get(path).await;
        let text = answer.text();
        assert_eq!(answer.status, status, "{path}");
        assert!(text.contains("aria-label=\"Main\"") && text.contains("Sign out"), "{path}: {text}");
        assert_eq!((text.matches("<h1").count(), text.matches("<main").count()), (1, 1), "{path}");
    }
    let stranger = Browser::new(&gateway).get("/nowhere").await;
    assert!(stranger.status == 404 && !stranger.text().contains("Sign out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_own_paths_and_the_addresses_of_certificates() {
    let origin = Origin::answering("fine").await;
    let site = site(&origin, |_| {}).with(|settings| settings.login = Some(Login::default()));
    let gateway = started(site).await;
    let page = Browser::of(&gateway, "root").await.page("/status").await;
    let login = page.split("gettoken").nth(1).unwrap().split("</tr>").next().unwrap();
    let any = "<span class=\"soft under\">any host</span><code>/gettoken/</code>";
    assert!(page.contains(any) && page.contains("this gateway</span>"), "{login}");
    let hosts = page.split("data-label=\"Hosts\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(hosts.contains("localhost, ") && hosts.contains(", 127.0.0.1, ::1"), "{hosts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_tells_public_logins_from_acts_of_the_gateway_and_has_former_and_new_values() {
    let origin = Origin::answering("fine").await;
    let site = site(&origin, |_| {}).with(|settings| settings.login = Some(Login::default()));
    let gateway = started(site).await;
    let form = [("username", "alice"), ("password", PASSWORD)];
    let login = Ask::post("/gettoken/", encoded(&form)).field("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(login.to(&gateway).await.status, 200);
    let key = gateway.issue_named("alice", "read", None, &gateway.clock()).await;
    let digest = TokenKey::parse(&key).unwrap().digest();
    gateway.store.tokens.mark_exposed(digest, [192, 0, 2, 9].into(), gateway.clock().now()).await.unwrap();
    let browser = Browser::of(&gateway, "root").await;
    let public = browser.page("/audit?via=public").await;
    assert!(public.contains("Token issued</td>") && public.contains(">public pages</span>"), "{public}");
    assert!(!public.contains("exposed</td>"), "{public}");
    let own = browser.page("/audit?via=gateway&act=token_exposed").await;
    assert!(own.contains("exposed</td>") && !own.contains("public pages</span>"), "{own}");

    let token = gateway.store.tokens.find(&TokenKey::parse(&key).unwrap()).await.unwrap().unwrap().id;
    let path = format!("/tokens/{token}/terms");
    for (name, note, scopes) in [("laptop", "of the office", "read"), ("phone", "of the field", "write")] {
        let fields = [("name", name), ("note", note), ("scopes", scopes), ("ends", "30")];
        browser.submit_and_follow(&path, &path, &fields).await;
    }
    let trail = browser.page("/audit?act=token_terms_set").await;
    for told in [
        "name: laptop → phone",
        "note: of the office → of the field",
        "note: none → of the office",
        "scopes: read → write",
    ] {
        assert!(trail.contains(told), "{told}: {trail}");
    }
}
