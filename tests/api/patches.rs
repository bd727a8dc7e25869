//! A change leaves what it does not name, also what somebody else changes in the same moment.

use serde_json::json;

use super::*;

on_each_store! {
    simultaneous_changes_of_a_user_lose_nothing
    simultaneous_changes_of_a_token_lose_nothing
}

/// Pairs of changes: about half of them were lost one by one when each wrote all that it had read.
const PAIRS: u32 = 40;

async fn simultaneous_changes_of_a_user_lose_nothing(api: Api) {
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

async fn simultaneous_changes_of_a_token_lose_nothing(api: Api) {
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
