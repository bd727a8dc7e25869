//! Creations that are asked for again.

use serde_json::json;

use super::*;
use crate::support::{PATIENCE, eventually};

on_each_store! {
    the_same_request_gets_the_same_answer
    many_at_once_make_one
}

/// Issues a token; `id` names the request.
fn create(key: &str, user: i64, name: &str, id: &str) -> Ask {
    let body = json!({"name": name});
    ask(Some(key), "POST", &format!("/users/{user}/tokens"), Some(body)).field("Idempotency-Key", id)
}

async fn the_same_request_gets_the_same_answer(api: Api) {
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
async fn another_request_or_caller_does_not_get_it() {
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
async fn what_was_refused_may_be_tried_again() {
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

async fn many_at_once_make_one(api: Api) {
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
async fn a_client_that_leaves_finds_what_was_done() {
    let api = Api::start().await;
    let alice = api.user("alice").await;
    let mut wire = api.connect().await;
    wire.send(create(&api.root, alice, "one", "a").bytes()).await;
    // It is begun, and nobody waits for its answer any more.
    drop(wire);
    eventually(PATIENCE, "the answer is there", || async {
        api.send(create(&api.root, alice, "one", "a")).await.status == 201
    })
    .await;
    assert_eq!(api.count(alice).await, 1);
}
