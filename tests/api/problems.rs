//! Error responses.

use serde_json::json;

use super::*;

on_each_store! {
    a_page_token_belongs_to_its_list
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_same_shape() {
    let api = Api::start().await;
    let alice = api.user("alice").await;
    let user = format!("/users/{alice}");
    let tokens = format!("{user}/tokens");
    let issued = api.done("POST", &tokens, Some(json!({"name": "ci", "expires": "9999-12-31T23:59:59Z"}))).await;
    assert_eq!(issued["expires"], "9999-12-31T23:59:59.000Z");
    let token = format!("/tokens/{}", issued["id"]);
    for (method, path, body, wanted) in [
        ("GET", "/missing", None, (404, "not_found")),
        ("GET", "", None, (404, "not_found")),
        ("GET", "/users/", None, (404, "not_found")),
        ("GET", "/users/99999", None, (404, "not_found")),
        ("GET", "/users/x", None, (404, "not_found")),
        ("GET", "/users/0", None, (404, "not_found")),
        ("GET", "/users/007", None, (404, "not_found")),
        ("GET", "/tokens/99999", None, (404, "not_found")),
        ("POST", "/tokens/99999/revoke", None, (404, "not_found")),
        ("DELETE", "/users", None, (405, "method_not_allowed")),
        ("GET", "/users?limit=201", None, (422, "invalid")),
        ("GET", "/users?limit=0", None, (422, "invalid")),
        ("GET", "/users?limit=x", None, (422, "invalid")),
        ("GET", "/users?colour=red", None, (422, "invalid")),
        ("GET", "/users?active=1", None, (422, "invalid")),
        ("GET", "/users?active=true&active=false", None, (422, "invalid")),
        ("GET", "/users?order=random", None, (422, "invalid")),
        ("GET", "/users?page_token=x", None, (422, "invalid")),
        ("GET", "/audit?since=yesterday", None, (422, "invalid")),
        ("GET", "/audit?user_id=0", None, (422, "invalid")),
        ("GET", "/audit?act=dance", None, (422, "invalid")),
        ("POST", "/users", Some(json!({"name": "alice"})), (409, "conflict")),
        ("POST", "/users", Some(json!({"name": ""})), (422, "invalid")),
        ("POST", "/users", Some(json!({"name": "x", "password": ""})), (422, "invalid")),
        ("POST", "/users", Some(json!({"name": "x", "password": "seven77"})), (422, "invalid")),
        ("PUT", &format!("{user}/password"), Some(json!({"password": "seven77"})), (422, "invalid")),
        ("POST", "/users", Some(json!({"name": "\u{202e}x"})), (422, "invalid")),
        ("PATCH", &user, Some(json!({"name": "a\u{200b}b"})), (422, "invalid")),
        ("POST", "/users", Some(json!([])), (422, "invalid")),
        ("PATCH", &user, Some(json!({"name": null})), (422, "invalid")),
        ("POST", &tokens, Some(json!({"name": "x", "expires": "2020-01-01T00:00:00Z"})), (422, "invalid")),
        ("POST", &tokens, Some(json!({"name": "x", "expires": "9999-12-31T23:59:59-00:01"})), (422, "invalid")),
        ("PATCH", &token, Some(json!({"expires": "2020-01-01T00:00:00Z"})), (422, "invalid")),
        ("PATCH", &token, Some(json!({"expires": "9999-12-31T23:59:59-00:01"})), (422, "invalid")),
        ("POST", &tokens, Some(json!({"name": "x", "scopes": ["No"]})), (422, "invalid")),
    ] {
        let answer = api.ask(method, path, body.clone()).await;
        assert_eq!(problem(&answer), (wanted.0, wanted.1.to_owned()), "{method} {path} {body:?}: {}", answer.text());
    }
    let not_allowed = api.ask("DELETE", "/users", None).await;
    assert!(not_allowed.fields.get("allow").unwrap().contains("POST"), "{not_allowed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_be_json_with_known_fields() {
    let api = Api::start().await;
    let post = |kind: &str, body: &str| {
        let ask = Ask::post("/api/v1/users", body).token(&api.root);
        if kind.is_empty() { ask } else { ask.field("Content-Type", kind) }
    };
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(64 << 10));
    for (kind, body, wanted) in [
        ("application/json", "{", (400, "malformed")),
        ("application/json", "", (400, "malformed")),
        ("application/json", "{\"name\": \"\\ud800\"}", (400, "malformed")),
        ("", "{\"name\": \"x\"}", (415, "unsupported_media_type")),
        ("text/plain", "{\"name\": \"x\"}", (415, "unsupported_media_type")),
        ("application/x-www-form-urlencoded", "name=x", (415, "unsupported_media_type")),
        ("application/json", &large, (413, "too_large")),
        ("application/json", "{\"name\": \"x\", \"name\": \"y\"}", (422, "invalid")),
    ] {
        let answer = api.send(post(kind, body)).await;
        assert_eq!(problem(&answer), (wanted.0, wanted.1.to_owned()), "{kind} {body:.40}");
        let detail = json(&answer)["detail"].as_str().unwrap().to_owned();
        let is_ours = !["Failed to", "target type", "Expected request", " line ", "column", "EOF"]
            .iter()
            .any(|words| detail.contains(words));
        assert!(is_ours && !detail.ends_with(": "), "{detail}");
    }
    for (body, named) in [(r#"{"name": "x", "admin": true}"#, "admin"), (r#"{"name": "x", "staff": "yes"}"#, "staff")] {
        let answer = api.send(post("application/json", body)).await;
        assert_eq!(problem(&answer).0, 422);
        assert!(json(&answer)["detail"].as_str().unwrap().contains(named), "{}", answer.text());
    }
    assert!(api.gateway.store.accounts.find("x").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_valid_is_named_by_a_pointer_and_a_parameter_by_its_name() {
    let api = Api::start().await;
    let alice = api.user("alice").await;
    let (user, tokens) = (format!("/users/{alice}"), format!("/users/{alice}/tokens"));
    let issued = api.done("POST", &tokens, Some(json!({"name": "ci"}))).await;
    let token = format!("/tokens/{}", issued["id"]);
    let long = "x".repeat(300);
    for (method, path, body, named) in [
        ("POST", "/users", json!({"name": ""}), "#/name"),
        ("POST", "/users", json!({"name": "alice"}), "#/name"),
        ("POST", "/users", json!({"name": "x", "email": "a\nb"}), "#/email"),
        ("POST", "/users", json!({"name": "x", "first_name": long}), "#/first_name"),
        ("POST", "/users", json!({"name": "x", "groups": [long]}), "#/groups"),
        ("POST", "/users", json!({"name": "x", "password": "short"}), "#/password"),
        ("POST", "/users", json!({"name": "x", "admin": true}), "#/admin"),
        ("POST", "/users", json!({"name": "x", "staff": "yes"}), "#/staff"),
        ("PATCH", &user, json!({"last_name": long}), "#/last_name"),
        ("PATCH", &user, json!({"name": null}), "#/name"),
        ("PUT", &format!("{user}/password"), json!({"password": "12345678"}), "#/password"),
        ("POST", &tokens, json!({"name": ""}), "#/name"),
        ("POST", &tokens, json!({"name": "x", "scopes": ["read", "No"]}), "#/scopes/1"),
        ("POST", &tokens, json!({"name": "x", "expires": "2020-01-01T00:00:00Z"}), "#/expires"),
        ("POST", &tokens, json!({"name": "x", "expires": "soon"}), "#/expires"),
        ("POST", &tokens, json!({"name": "x", "networks": ["office"]}), "#/networks"),
        ("PATCH", &token, json!({"unused_days": 0}), "#/unused_days"),
        ("PATCH", &token, json!({"note": "n".repeat(1_001)}), "#/note"),
        ("GET", "/users?limit=0", Value::Null, "limit"),
        ("GET", "/users?limit=x", Value::Null, "limit"),
        ("GET", "/users?colour=red", Value::Null, "colour"),
        ("GET", "/users?active=1", Value::Null, "active"),
        ("GET", "/users?order=random", Value::Null, "order"),
        ("GET", "/tokens?view=odd", Value::Null, "view"),
        ("GET", "/audit?since=yesterday", Value::Null, "since"),
        ("GET", "/audit?act=dance", Value::Null, "act"),
        ("GET", "/audit?user_id=0", Value::Null, "user_id"),
    ] {
        let answer = api.ask(method, path, Some(body.clone()).filter(|body| !body.is_null())).await;
        let problem = json(&answer);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{method} {path} {body}: {problem}"));
        let place = if named.starts_with('#') { "pointer" } else { "parameter" };
        assert_eq!((errors.len(), &errors[0][place]), (1, &json!(named)), "{method} {path} {body}: {problem}");
        let detail = errors[0]["detail"].as_str().unwrap();
        let words = ["line ", "column", "expected struct", "invalid type", "variant", "u32", "i64", "Option", "serde"];
        assert!(!detail.is_empty() && !words.iter().any(|word| detail.contains(word)), "{path} {body}: {detail}");
    }
}

async fn a_page_token_belongs_to_its_list(api: Api) {
    api.user("alice").await;
    let by_name = api.done("GET", "/users?limit=1", None).await;
    let token = by_name["next_page_token"].as_str().unwrap();
    for path in ["/users?order=newest&page_token=", "/tokens?page_token=", "/audit?page_token="] {
        assert_eq!(
            problem(&api.ask("GET", &format!("{path}{token}"), None).await),
            (422, "invalid".to_owned()),
            "{path}"
        );
    }
    let alice = api.user("alan").await;
    for name in ["one", "two"] {
        api.done("POST", &format!("/users/{alice}/tokens"), Some(json!({"name": name}))).await;
    }
    let live = api.done("GET", "/tokens?limit=1&view=live", None).await;
    let token = live["next_page_token"].as_str().unwrap();
    assert_eq!(api.ask("GET", &format!("/tokens?view=live&page_token={token}"), None).await.status, 200);
    for view in ["all", "expired", "revoked"] {
        let answer = api.ask("GET", &format!("/tokens?view={view}&page_token={token}"), None).await;
        assert_eq!(problem(&answer), (422, "invalid".to_owned()), "{view}");
    }
    let newest = api.done("GET", "/users?limit=1&order=newest", None).await;
    let token = newest["next_page_token"].as_str().unwrap();
    let answer = api.ask("GET", &format!("/users?page_token={token}"), None).await;
    assert_eq!(problem(&answer), (422, "invalid".to_owned()));
}
