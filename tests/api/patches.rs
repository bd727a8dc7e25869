//! A change leaves fields that it does not name, even under concurrent changes.

use serde_json::json;

use super::*;

on_each_store! {
    no_concurrent_change_of_a_user_is_lost
    no_concurrent_change_of_a_token_is_lost
}

/// Number of concurrent pairs: about half of them lost a change when each change wrote all fields.
const PAIRS: u32 = 40;

async fn no_concurrent_change_of_a_user_is_lost(api: Api) {
    let path = format!("/users/{}", api.user("alice").await);
    for round in 0..PAIRS {
        let (first, last) = (format!("first {round}"), format!("last {round}"));
        tokio::join!(
            api.done("PATCH", &path, Some(json!({ "first_name": first }))),
            api.done("PATCH", &path, Some(json!({ "last_name": last }))),
        );
        let user = api.done("GET", &path, None).await;
        assert_eq!((&user["first_name"], &user["last_name"]), (&json!(first), &json!(last)));
    }
}

async fn no_concurrent_change_of_a_token_is_lost(api: Api) {
    let alice = api.user("alice").await;
    let order = json!({"name": "build", "scopes": ["read", "write"]});
    let issued = api.done("POST", &format!("/users/{alice}/tokens"), Some(order)).await;
    let path = format!("/tokens/{}", issued["id"]);
    for round in 0..PAIRS {
        api.done("PATCH", &path, Some(json!({"scopes": ["read", "write"], "expires": null}))).await;
        let end = format!("2099-01-01T00:00:{round:02}.000Z");
        tokio::join!(
            api.done("PATCH", &path, Some(json!({"scopes": ["read"]}))),
            api.done("PATCH", &path, Some(json!({ "expires": end }))),
        );
        let token = api.done("GET", &path, None).await;
        assert_eq!((&token["scopes"], &token["expires"]), (&json!(["read"]), &json!(end)));
    }
}
