//! Repeated creations (`Idempotency-Key`).

use serde_json::json;

use super::*;
use crate::support::{PATIENCE, eventually};

on_each_store! {
    a_repeated_request_gets_the_same_response
    many_at_once_create_one
    a_replay_requires_the_current_permissions_of_its_caller
}

/// Issues a token; `id` is the idempotency key.
fn create(key: &str, user: i64, name: &str, id: &str) -> Ask {
    let body = json!({"name": name});
    ask(Some(key), "POST", &format!("/users/{user}/tokens"), Some(body)).field("Idempotency-Key", id)
}

async fn a_repeated_request_gets_the_same_response(api: Api) {
    let alice = api.user("alice").await;
    let first = api.send(create(&api.root, alice, "one", "a")).await;
    let again = api.send(create(&api.root, alice, "one", "a")).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!((json(&first), first.fields.get("location")), (json(&again), again.fields.get("location")));
    let replayed = [&first, &again].map(|answer| answer.fields.get("idempotency-replayed"));
    assert_eq!(replayed, [None, Some("true")]);
    assert_ne!(first.fields.get("x-request-id"), again.fields.get("x-request-id"));
    assert_eq!(api.count(alice).await, 1);

    let reset =
        ask(Some(&api.root), "POST", &format!("/users/{alice}/login-token/reset"), None).field("Idempotency-Key", "r");
    assert_eq!(json(&api.send(reset.clone()).await)["key"], json(&api.send(reset).await)["key"]);
    let user = ask(Some(&api.root), "POST", "/users", Some(json!({"name": "new"}))).field("Idempotency-Key", "u");
    assert_eq!(api.send(user.clone()).await.status, 201);
    assert_eq!(api.send(user).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_or_caller_does_not_get_the_response() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice").await, api.user("bob").await);
    let first = json(&api.send(create(&api.root, alice, "one", "a")).await);
    for other in [create(&api.root, alice, "two", "a"), create(&api.root, bob, "one", "a")] {
        assert_eq!(problem(&api.send(other).await), (409, "key_reused".to_owned()));
    }
    let of_helper = api.send(create(&api.helper, alice, "one", "a")).await;
    assert!(of_helper.status == 201 && json(&of_helper)["key"] != first["key"]);
    let other_key = api.token(70_001, SCOPE).await;
    let of_other_key = api.send(create(&other_key, alice, "one", "a")).await;
    assert!(of_other_key.status == 201 && json(&of_other_key)["key"] != first["key"]);
    assert_eq!(api.ask_as(None, "POST", "/users", None).await.status, 401);
    let nobody = Ask { fields: vec![], ..create(&api.root, alice, "one", "a") };
    let nobody = nobody.field("Idempotency-Key", "a").field("Content-Type", "application/json");
    assert_eq!(api.send(nobody).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_can_be_retried() {
    let api = Api::start().await;
    let alice = api.user("alice").await;
    assert_eq!(api.send(create(&api.root, alice, "", "a")).await.status, 422);
    assert_eq!(api.send(create(&api.root, alice, "one", "a")).await.status, 201);
    for bad in ["", "a b", "ä", &"a".repeat(256)] {
        assert_eq!(problem(&api.send(create(&api.root, alice, "x", bad)).await), (422, "invalid".to_owned()), "{bad}");
    }
    let twice = create(&api.root, alice, "x", "b").field("Idempotency-Key", "c");
    assert_eq!(api.send(twice).await.status, 422);
    assert_eq!(api.count(alice).await, 1);
}

async fn many_at_once_create_one(api: Api) {
    let alice = api.user("alice").await;
    let answers = async {
        let mut wires = Vec::new();
        for _ in 0..8 {
            wires.push(api.connect().await);
        }
        let bytes = create(&api.root, alice, "one", "a").bytes();
        let mut asked = tokio::task::JoinSet::new();
        for mut wire in wires {
            let bytes = bytes.clone();
            asked.spawn(async move { wire.ask(bytes).await });
        }
        asked.join_all().await
    };
    let mut keys = Vec::new();
    for answer in answers.await {
        match answer.status {
            201 => keys.push(json(&answer)["key"].clone()),
            _ => assert_eq!(problem(&answer), (409, "under_way".to_owned())),
        }
    }
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == keys[0]));
    assert_eq!(api.count(alice).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_gets_the_response_on_retry() {
    let api = Api::start().await;
    let alice = api.user("alice").await;
    let mut wire = api.connect().await;
    wire.send(create(&api.root, alice, "one", "a").bytes()).await;
    // The request is running, and its client has disconnected.
    drop(wire);
    eventually(PATIENCE, "the answer is there", || async {
        api.send(create(&api.root, alice, "one", "a")).await.status == 201
    })
    .await;
    assert_eq!(api.count(alice).await, 1);
}

/// A change between a request and its replay, as a request of a superuser. `{actor}` and `{token}` are the caller and
/// its token, `{target}` the affected user, `{made}` the created token.
type Between = (&'static str, &'static str, &'static str);

const NOTHING: Between = ("GET", "/groups", "");
const ACTOR_DEACTIVATED: Between = ("PUT", "/users/{actor}/active", r#"{"active": false}"#);
const ACTOR_DELETED: Between = ("DELETE", "/users/{actor}", "");
const ACTOR_STAFF: Between = ("PUT", "/users/{actor}/rights", r#"{"staff": true, "superuser": false}"#);
const ACTOR_ORDINARY: Between = ("PUT", "/users/{actor}/rights", r#"{"staff": false, "superuser": false}"#);
const ACTOR_SUPERUSER: Between = ("PUT", "/users/{actor}/rights", r#"{"staff": true, "superuser": true}"#);
const SCOPE_LOST: Between = ("PATCH", "/tokens/{token}", r#"{"scopes": ["read"]}"#);
const TOKEN_REVOKED: Between = ("POST", "/tokens/{token}/revoke", "");
const TARGET_STAFF: Between = ("PUT", "/users/{target}/rights", r#"{"staff": true, "superuser": false}"#);
const TARGET_SUPERUSER: Between = ("PUT", "/users/{target}/rights", r#"{"staff": false, "superuser": true}"#);
const TARGET_DELETED: Between = ("DELETE", "/users/{target}", "");
const MADE_REVOKED: Between = ("POST", "/tokens/{made}/revoke", "");
const ALL_REVOKED: Between = ("POST", "/users/{target}/tokens/revoke", "");
const RESET_AGAIN: Between = ("POST", "/users/{target}/login-token/reset", "");

/// Path and body of each operation with an `Idempotency-Key`.
const USER: (&str, &str) = ("/users", r#"{"name": "new {target}"}"#);
const NAMED: (&str, &str) = ("/users/{target}/tokens", r#"{"name": "n"}"#);
const POWERFUL: (&str, &str) = ("/users/{target}/tokens", r#"{"name": "n", "scopes": ["tokengate:admin"]}"#);
const RESET: (&str, &str) = ("/users/{target}/login-token/reset", "");

async fn a_replay_requires_the_current_permissions_of_its_caller(api: Api) {
    let cases = [
        // As a superuser (`true`) or as staff: operation, change, status of the replay.
        (true, USER, NOTHING, 201),
        (true, USER, ACTOR_DEACTIVATED, 401),
        (true, USER, ACTOR_DELETED, 401),
        (true, USER, ACTOR_STAFF, 403),
        (true, USER, ACTOR_ORDINARY, 403),
        (true, USER, SCOPE_LOST, 403),
        (true, USER, TOKEN_REVOKED, 401),
        (true, NAMED, NOTHING, 201),
        (true, NAMED, ACTOR_DEACTIVATED, 401),
        (true, NAMED, ACTOR_STAFF, 201),
        (true, NAMED, ACTOR_ORDINARY, 403),
        (true, NAMED, SCOPE_LOST, 403),
        (true, NAMED, TARGET_SUPERUSER, 201),
        (true, NAMED, TARGET_DELETED, 404),
        (true, NAMED, MADE_REVOKED, 409),
        (true, POWERFUL, NOTHING, 201),
        (true, POWERFUL, ACTOR_STAFF, 403),
        (true, RESET, NOTHING, 201),
        (true, RESET, ACTOR_STAFF, 201),
        (true, RESET, ACTOR_ORDINARY, 403),
        (true, RESET, RESET_AGAIN, 409),
        (true, RESET, TARGET_DELETED, 404),
        (false, NAMED, NOTHING, 201),
        (false, NAMED, ACTOR_SUPERUSER, 201),
        (false, NAMED, ACTOR_DEACTIVATED, 401),
        (false, NAMED, ACTOR_ORDINARY, 403),
        (false, NAMED, TARGET_STAFF, 403),
        (false, NAMED, TARGET_SUPERUSER, 403),
        (false, NAMED, ALL_REVOKED, 409),
        (false, RESET, NOTHING, 201),
        (false, RESET, SCOPE_LOST, 403),
        (false, RESET, TARGET_STAFF, 403),
        (false, RESET, TARGET_SUPERUSER, 403),
        (false, RESET, MADE_REVOKED, 409),
    ];
    for (row, (superuser, (path, body), (method, what, how), wanted)) in cases.into_iter().enumerate() {
        let of = format!("{row}: {path} {body}, then {what} {how}");
        let new = NewUser { staff: true, superuser, ..NewUser::named(format!("actor {row}")) };
        let actor = api.gateway.store.accounts.create(new).await.unwrap().0.account.id.0;
        let (key, target) = (api.token(actor, SCOPE).await, api.user(&format!("target {row}")).await);
        let shown = api.done("POST", "/tokens/lookup", Some(json!({"text": key}))).await["tokens"][0]["id"].clone();
        let filled = |text: &str| {
            let text = text.replace("{actor}", &actor.to_string()).replace("{target}", &target.to_string());
            text.replace("{token}", &shown.to_string())
        };
        let parsed = |text: &str| (!text.is_empty()).then(|| serde_json::from_str(&filled(text)).unwrap());
        let request = ask(Some(&key), "POST", &filled(path), parsed(body)).field("Idempotency-Key", "a");
        let first = api.send(request.clone()).await;
        assert_eq!(first.status, 201, "{of}: {}", first.text());
        let first = json(&first);
        api.done(method, &filled(what).replace("{made}", &first["id"].to_string()), parsed(how)).await;
        let again = api.send(request).await;
        assert_eq!(again.status, wanted, "{of}: {}", again.text());
        if wanted == 201 {
            assert_eq!((json(&again), again.fields.get("idempotency-replayed")), (first, Some("true")), "{of}");
        } else {
            problem(&again);
            assert!(first["key"].as_str().is_none_or(|key| !again.text().contains(key)), "{of}");
        }
    }
}
