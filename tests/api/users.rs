//! Users and groups.

use serde_json::json;

use super::*;

on_each_store! {
    a_user_is_created_changed_and_deleted
    a_list_is_read_page_by_page
    lists_are_filtered
}

async fn a_user_is_created_changed_and_deleted(api: Api) {
    let new = json!({"name": "zoë", "email": "zoe@example.test", "groups": ["b", "a"], "password": "correct horse"});
    let answer = api.ask("POST", "/users", Some(new)).await;
    let created = json(&answer);
    assert_eq!((answer.status, &created["token"]), (201, &json!(null)));
    let path = answer.fields.get("location").unwrap().strip_prefix("/api/v1").unwrap().to_owned();
    let user = &created["user"];
    assert_eq!(path, format!("/users/{}", user["id"]));
    assert_eq!(
        (&user["groups"], &user["has_password"], &user["last_login"]),
        (&json!(["a", "b"]), &json!(true), &json!(null))
    );
    assert_eq!((&user["active"], &user["staff"], &user["superuser"]), (&json!(true), &json!(false), &json!(false)));
    user["created"].as_str().unwrap().parse::<tokengate::clock::Timestamp>().unwrap();
    assert_eq!(&api.done("GET", &path, None).await, user);

    let edited = api.done("PATCH", &path, Some(json!({"first_name": "Zoë"}))).await;
    assert_eq!(
        (&edited["first_name"], &edited["email"]),
        (&json!("Zoë"), &json!("zoe@example.test")),
        "the rest stays"
    );
    for (part, body, changed) in [
        ("active", json!({"active": false}), json!({"active": false})),
        ("rights", json!({"staff": true, "superuser": false}), json!({"staff": true, "superuser": false})),
        ("groups", json!({"groups": []}), json!({"groups": []})),
        ("password", json!({"password": null}), json!({"has_password": false})),
    ] {
        let user = api.done("PUT", &format!("{path}/{part}"), Some(body)).await;
        for (name, value) in changed.as_object().unwrap() {
            assert_eq!(&user[name], value, "{part}");
        }
    }
    assert_eq!(api.done("GET", "/groups", None).await, json!({"groups": ["a", "b"]}));
    assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
    assert_eq!(api.ask("GET", &path, None).await.status, 404);

    let trail = api.done("GET", "/audit?actor=root", None).await;
    let acts: Vec<_> =
        trail["entries"].as_array().unwrap().iter().map(|entry| entry["act"].as_str().unwrap()).collect();
    let wanted =
        ["user_deleted", "password_set", "groups_set", "rights_set", "user_deactivated", "user_edited", "user_created"];
    assert_eq!(acts, wanted);
    for entry in trail["entries"].as_array().unwrap() {
        assert_eq!((&entry["actor"]["via"], &entry["actor"]["from"]), (&json!("api"), &json!("127.0.0.1")));
    }
}

async fn a_list_is_read_page_by_page(api: Api) {
    for number in 0..7 {
        api.user(&format!("user {number}")).await;
    }
    let mut names = Vec::new();
    let mut path = "/users?search=USER&limit=3".to_owned();
    let mut parts = 0;
    loop {
        let part = api.done("GET", &path, None).await;
        parts += 1;
        names.extend(part["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()));
        let Some(next) = part["next_page_token"].as_str() else { break };
        path = format!("/users?search=USER&limit=3&page_token={next}");
    }
    assert_eq!(parts, 3);
    let last = api.done("GET", &path, None).await;
    let back = last["previous_page_token"].as_str().unwrap();
    let second = api.done("GET", &format!("/users?search=USER&limit=3&page_token={back}"), None).await;
    assert_eq!(second["users"][0]["name"], "user 3");
    assert_eq!(api.done("GET", "/users?search=USER&limit=3", None).await["previous_page_token"], json!(null));
    assert_eq!(names, (0..7).map(|number| format!("user {number}")).collect::<Vec<_>>());
}

async fn lists_are_filtered(api: Api) {
    let alice = api.user("alice").await;
    api.user("bob").await;
    api.done("PUT", &format!("/users/{alice}/groups"), Some(json!({"groups": ["shop & co"]}))).await;
    api.done("PUT", &format!("/users/{alice}/active"), Some(json!({"active": false}))).await;
    for (filter, wanted) in [
        ("active=false", vec!["alice"]),
        ("group=shop%20%26%20co", vec!["alice"]),
        ("staff=true", vec!["helper", "root"]),
        ("search=bo", vec!["bob"]),
        ("username=bob", vec!["bob"]),
        ("username=bo", vec![]),
        ("username=BOB", vec![]),
        ("email=alice%40example.test", vec![]),
        ("order=newest&staff=false", vec!["bob", "alice"]),
    ] {
        let users = api.done("GET", &format!("/users?{filter}"), None).await;
        let names: Vec<_> =
            users["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{filter}");
    }
}
