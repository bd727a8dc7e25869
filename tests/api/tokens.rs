//! Tokens.

use serde_json::json;
use tokengate::clock::Period;

use super::*;

on_each_store! {
    a_token_is_issued_used_changed_and_revoked
    a_token_has_limits_which_are_set_read_and_removed
    a_login_token_is_created_shown_and_replaced
    all_tokens_of_a_user_are_revoked_at_once
    lists_of_tokens_are_filtered
    what_a_token_has_left_of_its_quotas_is_shown
}

async fn what_a_token_has_left_of_its_quotas_is_shown(api: Api) {
    use tokengate::config::settings::{RateFact, RateKey};
    let rule = |name, fact, period| crate::quotas::quota(name, RateKey(fact, None), 10, period);
    let rules = vec![
        rule("daily", RateFact::Token, Period::Day),
        rule("contract", RateFact::User, Period::Month),
        crate::quotas::quota("each", RateKey(RateFact::Token, Some(RateFact::Route)), 10, Period::Day),
    ];
    let alice = api.user("alice").await;
    let issued = json(&api.ask("POST", &format!("/users/{alice}/tokens"), Some(json!({"name": "ci"}))).await);
    let path = format!("/tokens/{}/quotas", issued["id"]);
    assert_eq!(api.done("GET", &path, None).await, json!({"quotas": []}));
    api.gateway.reload(|settings| crate::quotas::allow(settings, rules)).await.unwrap();
    let ask = Ask::get("/api/x").token(issued["key"].as_str().unwrap());
    for _ in 0..3 {
        assert_eq!(ask.to(&api.gateway).await.status, 200);
    }
    let now = api.gateway.clock().now();
    let until = |period: Period| period.at(now).end.to_string();
    // The site has further routes.
    let all = async |path: &str| {
        let mut all = api.done("GET", path, None).await;
        let known =
            |quota: &Value| ["api", "scoped"].map(Value::from).contains(&quota["route"]) || quota["route"].is_null();
        all["quotas"].as_array_mut().unwrap().retain(known);
        all
    };
    let shown = |daily, contract, on_api| {
        let each = |route: &str, left| {
            json!({"name": "each", "key": "token+route", "route": route, "limit": 10, "remaining": left,
                "until": until(Period::Day)})
        };
        let quotas = [
            json!({"name": "daily", "key": "token", "route": null, "limit": 10, "remaining": daily,
                "until": until(Period::Day)}),
            json!({"name": "contract", "key": "user", "route": null, "limit": 10, "remaining": contract,
                "until": until(Period::Month)}),
            each("api", on_api),
            each("scoped", 10),
        ];
        json!({ "quotas": quotas })
    };
    crate::support::eventually(crate::support::PATIENCE, "the requests are saved", || async {
        all(&path).await == shown(7, 7, 7)
    })
    .await;
    let of_user = all(&format!("/users/{alice}/quotas")).await;
    assert_eq!(of_user, shown(10, 7, 10), "where the key names the token, sessions count for their user");
    assert_eq!(api.ask("GET", "/users/999999/quotas", None).await.status, 404);
    assert_eq!(api.ask("GET", "/tokens/999999/quotas", None).await.status, 404);
}

async fn a_token_is_issued_used_changed_and_revoked(api: Api) {
    let alice = api.user("alice").await;
    let order =
        json!({"name": "build", "scopes": ["write", "read", "read"], "expires": "2099-01-02T03:04:05.678+01:00"});
    let answer = api.ask("POST", &format!("/users/{alice}/tokens"), Some(order)).await;
    let issued = json(&answer);
    let path = answer.fields.get("location").unwrap().strip_prefix("/api/v1").unwrap().to_owned();
    assert_eq!((answer.status, &path), (201, &format!("/tokens/{}", issued["id"])));
    let key = issued["key"].as_str().unwrap().to_owned();
    assert_eq!(Ask::get("/api/x").token(&key).to(&api.gateway).await.status, 200);

    let token = api.done("GET", &path, None).await;
    assert_eq!(token["owner"], json!({"id": alice, "name": "alice"}));
    assert_eq!((&token["kind"], &token["name"], &token["state"]), (&json!("named"), &json!("build"), &json!("live")));
    assert_eq!((&token["scopes"], &token["expires"]), (&json!(["read", "write"]), &json!("2099-01-02T02:04:05.678Z")));
    assert_eq!(token["hint"], key[..8]);

    let changed = api.done("PATCH", &path, Some(json!({"scopes": ["read"]}))).await;
    assert_eq!((&changed["scopes"], &changed["expires"]), (&json!(["read"]), &token["expires"]), "the rest stays");
    let changed = api.done("PATCH", &path, Some(json!({"expires": null}))).await;
    assert_eq!((&changed["scopes"], &changed["expires"]), (&json!(["read"]), &json!(null)), "the rest stays");

    let found = api.done("POST", "/tokens/lookup", Some(json!({"text": format!("Authorization: Token {key}")}))).await;
    assert_eq!(found["tokens"][0]["id"], issued["id"]);
    let nothing = api.done("POST", "/tokens/lookup", Some(json!({"text": "nothing"}))).await;
    assert_eq!(nothing, json!({"tokens": [], "others": false, "cut": false}));

    let revoke = format!("{path}/revoke");
    assert_eq!(api.done("POST", &revoke, None).await, json!({"revoked": 1}));
    assert_eq!(api.done("POST", &revoke, None).await, json!({"revoked": 0}));
    assert_eq!(api.done("GET", &path, None).await["state"], "revoked");
    crate::support::eventually(crate::support::PATIENCE, "the token is refused", || async {
        Ask::get("/api/x").token(&key).to(&api.gateway).await.status == 401
    })
    .await;
    for path in ["/tokens", "/audit", &path, &format!("/users/{alice}/tokens")] {
        let answer = api.ask("GET", path, None).await;
        assert!(answer.status == 200 && !answer.text().contains(&key), "{path}");
    }
}

async fn a_token_has_limits_which_are_set_read_and_removed(api: Api) {
    let alice = api.user("alice").await;
    let tokens = format!("/users/{alice}/tokens");
    let limits = json!({"read_only": true, "networks": ["10.0.0.0/8", "::ffff:192.0.2.1"], "unused_days": 30.0, "rate": "60/min burst 5"});
    let mut order = limits.as_object().unwrap().clone();
    order.insert("name".to_owned(), json!("ci"));
    let issued = api.ask("POST", &tokens, Some(order.into())).await;
    let path = format!("/tokens/{}", json(&issued)["id"]);
    let read = async || {
        let token = api.done("GET", &path, None).await;
        json!([token["read_only"], token["networks"], token["unused_days"], token["rate"]])
    };
    assert_eq!(read().await, json!([true, ["10.0.0.0/8", "192.0.2.1/32"], 30, "60/min burst 5"]));
    api.done("PATCH", &path, Some(json!({"note": "x"}))).await;
    assert_eq!(read().await, json!([true, ["10.0.0.0/8", "192.0.2.1/32"], 30, "60/min burst 5"]), "the rest stays");
    let key = json(&issued)["key"].as_str().unwrap().to_owned();
    assert_eq!(Ask::get("/api/x").token(&key).to(&api.gateway).await.status, 403);
    api.done("PATCH", &path, Some(json!({"networks": null}))).await;
    crate::support::eventually(crate::support::PATIENCE, "the networks are gone", || async {
        Ask::get("/api/x").token(&key).to(&api.gateway).await.status == 200
    })
    .await;
    api.done("PATCH", &path, Some(json!({"read_only": false, "unused_days": null, "rate": null}))).await;
    assert_eq!(read().await, json!([false, null, null, null]));
    for wrong in [
        json!({"networks": []}),
        json!({"networks": [""]}),
        json!({"networks": ["10.0.0.0/33"]}),
        json!({"networks": "10.0.0.0/8"}),
        json!({"networks": ["10.0.0.0/8,11.0.0.0/8"]}),
        json!({"networks": vec!["2001:db8:1234:1234::/64"; 60]}),
        json!({"unused_days": 0}),
        json!({"unused_days": 3_651}),
        json!({"unused_days": 1.5}),
        json!({"unused_days": "30"}),
        json!({"read_only": null}),
        json!({"rate": "60"}),
        json!({"rate": "0/min"}),
        json!({"rate": 60}),
        json!({"read_only": "yes"}),
    ] {
        let answer = api.ask("PATCH", &path, Some(wrong.clone())).await;
        assert_eq!(answer.status, 422, "{wrong}: {}", answer.text());
        let mut order = wrong.as_object().unwrap().clone();
        order.insert("name".to_owned(), json!("ci"));
        assert_eq!(api.ask("POST", &tokens, Some(order.into())).await.status, 422, "{wrong}");
    }
    assert_eq!(read().await, json!([false, null, null, null]));
}

async fn a_login_token_is_created_shown_and_replaced(api: Api) {
    let alice = api.user("alice").await;
    let path = format!("/users/{alice}/login-token");
    let made = api.ask("POST", &path, None).await;
    let shown = api.ask("POST", &path, None).await;
    assert_eq!((made.status, shown.status), (201, 200));
    let (made, shown) = (json(&made), json(&shown));
    assert_eq!((&made["key"], &made["fresh"], &shown["fresh"]), (&shown["key"], &json!(true), &json!(false)));
    let reset = api.ask("POST", &format!("{path}/reset"), None).await;
    assert_eq!(reset.status, 201);
    assert_ne!(json(&reset)["key"], made["key"]);
    let trail = api.done("GET", &format!("/audit?user_id={alice}&act=token_revealed"), None).await;
    assert_eq!(trail["entries"].as_array().unwrap().len(), 1, "the reveal is recorded");
    let hint = &made["key"].as_str().unwrap()[..8];
    assert_eq!(trail["entries"][0]["detail"], format!("login token {hint}…"));
    assert_eq!((&trail["entries"][0]["user_name"], &trail["entries"][0]["token_id"]), (&json!("alice"), &made["id"]));
}

async fn all_tokens_of_a_user_are_revoked_at_once(api: Api) {
    let alice = api.user("alice").await;
    for _ in 0..3 {
        api.token(alice, "").await;
    }
    let path = format!("/users/{alice}/tokens/revoke");
    assert_eq!(api.done("POST", &path, None).await, json!({"revoked": 3}));
    assert_eq!(api.done("POST", &path, None).await, json!({"revoked": 0}));
    let live = api.done("GET", &format!("/users/{alice}/tokens?view=live"), None).await;
    assert_eq!(live["tokens"], json!([]));
    assert_eq!(api.count(alice).await, 3, "they stay in the list");
}

async fn lists_of_tokens_are_filtered(api: Api) {
    let (alice, bob) = (api.user("alice").await, api.user("bob").await);
    let key = api.token(alice, "").await;
    api.token(bob, "").await;
    api.gateway.issue("bob").await;
    for (filter, wanted) in [
        ("owner_name=ALI".to_owned(), 1),
        (format!("hint={}", &key[..8]), 1),
        ("kind=login".to_owned(), 1),
        ("kind=named".to_owned(), 4),
        ("view=revoked".to_owned(), 0),
        ("view=unused".to_owned(), 0),
        ("view=live".to_owned(), 5),
    ] {
        let list = api.done("GET", &format!("/tokens?{filter}"), None).await;
        assert_eq!(list["tokens"].as_array().unwrap().len(), wanted, "{filter}");
    }
}
