//! The OpenAPI document, and whether the API conforms to it.

use serde_json::json;

use super::*;
use crate::support::python::{OPENAPI, SCHEMATHESIS, output};

#[tokio::test(flavor = "multi_thread")]
async fn the_document_needs_no_authentication() {
    let api = Api::start().await;
    let answer = api.ask_as(None, "GET", "/openapi.json", None).await;
    let document = json(&answer);
    assert_eq!((answer.status, answer.fields.get("content-type")), (200, Some("application/json")));
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for status in ["400", "401", "403", "422", "429", "503"] {
                let there = operation["responses"][status]["$ref"].is_string();
                assert!(there, "{method} {path} has no {status}");
            }
        }
    }
    assert_eq!(document["servers"][0]["url"], "/", "the host that serves it");
    assert_eq!(document["security"], json!([{"token": []}]));
}

/// As a superuser, who can reach most of the code.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_conforms_to_its_document() {
    let api = Api::start().await;
    // The caller and its token must not be the first ones, which are the likeliest random ids, nor at either end of a
    // list, whatever its filter and order: the test revokes and deletes what it finds.
    let mut key = String::new();
    for number in 0..200 {
        let user = NewUser { superuser: number % 2 == 0, ..NewUser::named(format!("a user {number}")) };
        let user = api.gateway.store.accounts.create(user).await.unwrap().0.account.id;
        api.token(user.0, "").await;
        if number == 137 {
            let caller = NewUser { superuser: true, ..NewUser::named("a user 1370") };
            let caller = api.gateway.store.accounts.create(caller).await.unwrap().0.account.id;
            key = issue(&api.gateway, caller, SCOPE).await;
        }
    }
    let document = format!("https://{}/api/v1/openapi.json", api.gateway.admin_address());
    let authorization = format!("Authorization: Token {key}");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis.toml");
    let folder = tempfile::tempdir().unwrap();
    let mut command = SCHEMATHESIS.command().await;
    command.args(["-m", "schemathesis.cli", "--config-file", config, "run", &document, "--header", &authorization]);
    command.current_dir(folder.path());
    let asked = output(command).await;
    let report = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{report}\n{}", String::from_utf8_lossy(&asked.stderr));
    let still_there = api.ask_as(Some(&key), "GET", "/users", None).await;
    assert_eq!(still_there.status, 200, "its token stayed valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_generated_from_the_document_works() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = OPENAPI.command().await;
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/generated.py"));
    command.arg(format!("https://localhost:{}", api.gateway.admin_address().port()));
    command.arg(api.gateway.authority()).arg(&api.root).arg(folder.path());
    for proxy in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let ran = output(command).await;
    let [out, err] = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(ran.status.success() && out == "done\n", "{out}{err}");
}
