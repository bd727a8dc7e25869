//! The OpenAPI document, and whether the API does what it says.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_there_for_everybody() {
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
    assert_eq!(document["security"], json!([{"token": []}]));
}
