//! Permissions of callers.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokengate::units::Rate;

use super::*;

on_each_store! {
    each_endpoint_checks_the_permissions_of_its_caller
    staff_sees_only_ordinary_users
    only_a_valid_token_gives_access
}

/// Callers, in the order of the columns below.
const CALLERS: [&str; 7] = [
    "nobody",
    "a token without the scope",
    "the scope, of an ordinary user",
    "staff, about an ordinary user",
    "staff, about another of staff",
    "a superuser, about an ordinary user",
    "a superuser, about staff",
];

/// Method, path, body, and the status for each caller. `{user}` and `{token}` are the target of the request.
const TABLE: [(&str, &str, &str, [u16; 7]); 28] = [
    ("GET", "/users", "", [401, 403, 403, 200, 200, 200, 200]),
    ("POST", "/users", r#"{"name": "new {user}"}"#, [401, 403, 403, 403, 403, 201, 201]),
    ("GET", "/users/{user}", "", [401, 403, 403, 200, 403, 200, 200]),
    ("PATCH", "/users/{user}", r#"{"email": "a@example.test"}"#, [401, 403, 403, 403, 403, 200, 200]),
    ("DELETE", "/users/{user}", "", [401, 403, 403, 403, 403, 204, 204]),
    ("PUT", "/users/{user}/active", r#"{"active": false}"#, [401, 403, 403, 403, 403, 200, 200]),
    ("PUT", "/users/{user}/rights", r#"{"staff": true, "superuser": true}"#, [401, 403, 403, 403, 403, 200, 200]),
    ("PUT", "/users/{user}/groups", r#"{"groups": ["g"]}"#, [401, 403, 403, 403, 403, 200, 200]),
    ("PUT", "/users/{user}/password", r#"{"password": null}"#, [401, 403, 403, 403, 403, 200, 200]),
    ("GET", "/groups", "", [401, 403, 403, 200, 200, 200, 200]),
    ("GET", "/users/{user}/tokens", "", [401, 403, 403, 200, 403, 200, 200]),
    ("POST", "/users/{user}/tokens", r#"{"name": "n"}"#, [401, 403, 403, 201, 403, 201, 201]),
    ("POST", "/users/{user}/tokens/revoke", "", [401, 403, 403, 200, 403, 200, 200]),
    ("POST", "/users/{user}/login-token", "", [401, 403, 403, 201, 403, 201, 201]),
    ("POST", "/users/{user}/login-token/reset", "", [401, 403, 403, 201, 403, 201, 201]),
    ("GET", "/tokens", "", [401, 403, 403, 200, 200, 200, 200]),
    ("POST", "/tokens/lookup", r#"{"text": "{key}"}"#, [401, 403, 403, 200, 403, 200, 200]),
    ("GET", "/tokens/{token}", "", [401, 403, 403, 200, 403, 200, 200]),
    ("GET", "/tokens/{token}/quotas", "", [401, 403, 403, 200, 403, 200, 200]),
    ("GET", "/users/{user}/quotas", "", [401, 403, 403, 200, 403, 200, 200]),
    ("PATCH", "/tokens/{token}", r#"{"expires": null}"#, [401, 403, 403, 200, 403, 200, 200]),
    ("POST", "/tokens/{token}/rotate", "{}", [401, 403, 403, 201, 403, 201, 201]),
    ("POST", "/tokens/{token}/revoke", "", [401, 403, 403, 200, 403, 200, 200]),
    ("GET", "/audit?user_id={user}", "", [401, 403, 403, 200, 403, 200, 200]),
    ("GET", "/audit/export?format=csv&user_id={user}", "", [401, 403, 403, 200, 403, 200, 200]),
    ("GET", "/traffic", "", [401, 403, 403, 200, 200, 200, 200]),
    ("GET", "/status", "", [401, 403, 403, 403, 403, 200, 200]),
    // This gateway was not started from a file.
    ("POST", "/reload", "", [401, 403, 403, 403, 403, 409, 409]),
];

async fn each_endpoint_checks_the_permissions_of_its_caller(api: Api) {
    let eve = api.user("eve").await;
    let (plain, scoped) = (api.token(eve, "").await, api.token(eve, SCOPE).await);
    let keys = [None, Some(plain), Some(scoped)]
        .into_iter()
        .chain([&api.helper, &api.helper, &api.root, &api.root].map(|key| Some(key.clone())));
    for (column, (caller, key)) in CALLERS.iter().zip(keys).enumerate() {
        for (row, (method, path, body, wanted)) in TABLE.iter().enumerate() {
            let staff = column == 4 || column == 6;
            let target = NewUser { staff, ..NewUser::named(format!("target {column} {row}")) };
            let user = api.gateway.store.accounts.create(target).await.unwrap().0.account.id.0;
            let target_key = api.token(user, "").await;
            let listed = api.done("GET", &format!("/users/{user}/tokens"), None).await;
            let filled = |text: &str| {
                text.replace("{user}", &user.to_string())
                    .replace("{token}", &listed["tokens"][0]["id"].to_string())
                    .replace("{key}", &target_key)
            };
            let body = (!body.is_empty()).then(|| serde_json::from_str(&filled(body)).unwrap());
            let answer = api.ask_as(key.as_deref(), method, &filled(path), body).await;
            assert_eq!(answer.status, wanted[column], "{method} {path}, {caller}: {}", answer.text());
            if answer.status >= 400 {
                problem(&answer);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_every_operation_of_the_document() {
    let api = Api::start().await;
    let document = json(&api.ask_as(None, "GET", "/openapi.json", None).await);
    let mut documented: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| !["parameters", "summary"].contains(&key.as_str()));
        documented.extend(methods.map(|method| (method.to_uppercase(), path.replace("/api/v1", ""))));
    }
    let plain =
        |path: &str| path.replace("{user}", "{id}").replace("{token}", "{id}").split('?').next().unwrap().to_owned();
    let mut tested: Vec<(String, String)> =
        TABLE.iter().map(|(method, path, _, _)| ((*method).to_owned(), plain(path))).collect();
    documented.sort();
    tested.sort();
    assert_eq!(documented, tested);
}

async fn staff_sees_only_ordinary_users(api: Api) {
    let alice = api.user("alice").await;
    api.token(alice, "").await;
    let as_helper = async |path: &str| json(&api.ask_as(Some(&api.helper), "GET", path, None).await);
    let users = as_helper("/users").await;
    let names: Vec<_> = users["users"].as_array().unwrap().iter().map(|user| user["name"].clone()).collect();
    assert_eq!(names, ["alice"]);
    assert_eq!(as_helper("/users?staff=true").await["users"], json!([]));
    let tokens = as_helper("/tokens").await;
    assert!(tokens["tokens"].as_array().unwrap().iter().all(|token| token["owner"]["name"] == "alice"), "{tokens}");
    for whole in ["/audit", "/audit/export?format=jsonl"] {
        let answer = api.ask_as(Some(&api.helper), "GET", whole, None).await;
        assert_eq!(problem(&answer), (403, "not_allowed".to_owned()), "{whole}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_deactivate_demote_or_delete_themselves() {
    let api = Api::start().await;
    for (method, path, body) in [
        ("DELETE", "/users/70001", None),
        ("PUT", "/users/70001/active", Some(json!({"active": false}))),
        ("PUT", "/users/70001/rights", Some(json!({"staff": true, "superuser": false}))),
    ] {
        assert_eq!(problem(&api.ask(method, path, body).await), (403, "not_allowed".to_owned()), "{method} {path}");
    }
}

async fn only_a_valid_token_gives_access(api: Api) {
    let owner = |name: &str| NewUser { superuser: true, ..NewUser::named(name) };
    let accounts = &api.gateway.store.accounts;
    let one = accounts.create(owner("one")).await.unwrap().0.account.id;
    let (revoked, kept) = (api.token(one.0, SCOPE).await, api.token(one.0, SCOPE).await);
    api.gateway.revoke(&revoked).await;
    let clock = api.gateway.clock();
    let expiring = api.gateway.issue_named("one", SCOPE, Some(Duration::from_secs(60)), &clock).await;

    let status = async |line: &str| {
        let answer = api.send(Ask::get("/api/v1/users").field("Authorization", line)).await;
        if answer.status == 401 {
            assert_eq!(answer.fields.get("www-authenticate"), Some("Token"));
            assert_eq!(problem(&answer).1, "unauthenticated");
        }
        answer.status
    };
    for line in ["Token KEY", "token KEY", "Bearer KEY"] {
        assert_eq!(status(&line.replace("KEY", &kept)).await, 200, "{line}");
    }
    assert_eq!(status(&format!("Token {expiring}")).await, 200);
    api.gateway.hand.advance(Duration::from_secs(60));
    for key in [&revoked, &expiring, &"0".repeat(40), &"0".repeat(41), &String::new()] {
        assert_eq!(status(&format!("Token {key}")).await, 401, "{key}");
    }
    for line in [format!("Basic {kept}"), format!("Token {kept} {kept}"), kept.clone()] {
        assert_eq!(status(&line).await, 401, "{line}");
    }
    let twice = Ask::get("/api/v1/users").token(&kept).token(&kept);
    assert_eq!(problem(&api.send(twice).await), (400, "malformed".to_owned()));

    // Takes effect at once: the API uses no cache.
    accounts.set_rights(one, false, false).await.unwrap();
    assert_eq!(status(&format!("Token {kept}")).await, 403);
    accounts.set_rights(one, true, false).await.unwrap();
    assert_eq!(status(&format!("Token {kept}")).await, 200);
    accounts.deactivate(one).await.unwrap();
    assert_eq!(status(&format!("Token {kept}")).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_superuser_needs_the_scope_as_well() {
    let api = Api::start().await;
    let login = api.gateway.issue("root").await;
    let mut keys = vec![(login, "that of a login".to_owned())];
    for scopes in ["", "admin", "tokengate:admin2", "tokengate", "tokengate:admin:read other"] {
        keys.push((api.token(70_001, scopes).await, scopes.to_owned()));
    }
    for (key, scopes) in keys {
        let answer = api.ask_as(Some(&key), "GET", "/users", None).await;
        assert_eq!(problem(&answer), (403, "not_allowed".to_owned()), "{scopes:?}");
        assert!(answer.text().contains("tokengate:admin"), "{}", answer.text());
    }
    let among_others = api.token(70_001, "a tokengate:admin z").await;
    assert_eq!(api.ask_as(Some(&among_others), "GET", "/users", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_cookie_is_ignored() {
    let api = Api::start().await;
    let password = tokengate::store::Password::parse("correct horse").ok();
    api.gateway.store.accounts.set_password(SubjectId(70_001), password).await.unwrap();
    let own = format!("https://localhost:{}", api.gateway.admin_address().port());
    let page = api.send(Ask::get("/sign-in")).await;
    let kept = page.fields.get("set-cookie").unwrap().split(';').next().unwrap();
    let secret = page.text().split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = Ask::post("/sign-in", format!("username=root&password=correct%20horse&next=/&csrf={secret}"))
        .field("Content-Type", "application/x-www-form-urlencoded")
        .field("Cookie", kept)
        .field("Origin", &own);
    let text = String::from_utf8(form.bytes()).unwrap();
    let text = text.replacen("Host: localhost", &format!("Host: {}", own.trim_start_matches("https://")), 1);
    let signed_in = api.connect().await.ask(text).await;
    let cookie = signed_in.fields.get("set-cookie").unwrap().split(';').next().unwrap();
    let page = api.send(Ask::get("/users").field("Cookie", cookie)).await;
    assert_eq!(page.status, 200, "the cookie is good: {}", page.text());
    let answer = api.send(Ask::get("/api/v1/users").field("Cookie", cookie)).await;
    assert_eq!(problem(&answer), (401, "unauthenticated".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_and_other_hosts_are_refused() {
    let api = Api::start().await;
    for fields in [
        [("Origin", "https://evil.example")].as_slice(),
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors")],
    ] {
        let ask = ask(Some(&api.root), "GET", "/users", None);
        let answer = api.send(fields.iter().fold(ask, |ask, (name, value)| ask.field(name, value))).await;
        assert_eq!(problem(&answer), (403, "not_allowed".to_owned()), "{fields:?}");
        assert!(!answer.fields.has("access-control-allow-origin"));
    }
    let rebound =
        format!("GET /api/v1/users HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Token {}\r\n\r\n", api.root);
    assert_eq!(problem(&api.connect().await.ask(rebound).await), (403, "not_allowed".to_owned()));
    let preflight = ask(None, "OPTIONS", "/users", None).field("Origin", "https://evil.example");
    assert_eq!(api.send(preflight).await.status, 403);
    for path in ["//users", "/users/", "/./users", "/tokens/..", "/tokens/%2e%2e", "/tokens%2F1"] {
        let answer = api.ask("GET", path, None).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_api_on_the_public_listener() {
    let api = Api::start().await;
    let answer = ask(Some(&api.root), "GET", "/users", None).to(&api.gateway).await;
    assert_eq!((answer.status, answer.text()), (200, "fine"), "it is a path of the upstream like any other");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_counted_and_then_not_looked_up() {
    let api = Api::with(|settings| settings.limits.wrong_keys = Some(Rate::per_minute(3))).await;
    for _ in 0..3 {
        let answer = api.ask_as(Some("wrong"), "GET", "/users", None).await;
        assert_eq!(problem(&answer), (401, "unauthenticated".to_owned()));
    }
    let answer = api.ask("GET", "/users", None).await;
    assert_eq!(problem(&answer), (429, "throttled".to_owned()));
    assert_eq!(answer.fields.get("retry-after"), Some("20"));
    api.gateway.hand.advance(Duration::from_secs(20));
    assert_eq!(api.ask("GET", "/users", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_is_503_and_never_401() {
    let api = Api::start().await;
    fs::rename(&api.gateway.database, api.gateway.database.with_extension("away")).unwrap();
    for key in [api.root.as_str(), "wrong"] {
        let answer = api.ask_as(Some(key), "GET", "/users", None).await;
        assert_eq!(problem(&answer), (503, "unavailable".to_owned()));
        assert!(answer.fields.has("retry-after") && !answer.fields.has("www-authenticate"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_of_the_api_are_uses_of_its_token() {
    let api = Api::start().await;
    api.ask("GET", "/users", None).await;
    crate::support::eventually(crate::support::PATIENCE, "the use is written", || async {
        let tokens = api.done("GET", "/users/70001/tokens", None).await;
        tokens["tokens"][0]["last_used"].is_string()
    })
    .await;
}
