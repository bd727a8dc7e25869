//! Each program gets a token, uses it, and is refused without one.

use serde_json::{Value, json};

use super::program::{Call, Format, Program};
use super::{PASSWORD, Shop, USER};
use crate::support::Answer;

/// Runs tests with each program.
macro_rules! for_each_program {
    ($($behaviour:ident)+) => {
        for_each_program! { @ curl Curl, "HTTP/1.1" $($behaviour)+ }
        for_each_program! { @ curl_by_http2 CurlHttp2, "HTTP/2" $($behaviour)+ }
        for_each_program! { @ httpie Httpie, "HTTP/1.1" $($behaviour)+ }
        for_each_program! { @ requests Requests, "HTTP/1.1" $($behaviour)+ }
        for_each_program! { @ httpx Httpx, "HTTP/1.1" $($behaviour)+ }
        for_each_program! { @ httpx_by_http2 HttpxHttp2, "HTTP/2" $($behaviour)+ }
    };
    (@ $name:ident $program:ident, $version:literal $($behaviour:ident)+) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    super::$behaviour($crate::clients::program::Program::$program, $version).await;
                }
            )+
        }
    };
}

for_each_program! {
    gets_the_same_token_in_every_encoding_and_uses_it
    gets_a_401_without_a_token
    gets_a_response_although_its_body_is_not_needed
    is_refused_unencrypted_and_not_redirected
    sends_nothing_to_an_untrusted_server
}

const WHOAMI: &str = "/product_api/whoami/";

fn login(shop: &Shop, format: Format, password: &'static str) -> Call<'static> {
    Call::post(shop.https("/gettoken/"), format, &[("username", USER), ("password", password)])
}

fn object(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}

async fn names(shop: &Shop, program: Program, key: &str) -> Vec<String> {
    let (_, list) = Call::get(shop.https("/product_api/")).with(key).by(program, shop).await;
    let name = |product: &Value| product["name"].as_str().unwrap().to_owned();
    object(&list).as_array().unwrap().iter().map(name).collect()
}

async fn gets_the_same_token_in_every_encoding_and_uses_it(program: Program, version: &str) {
    let shop = Shop::open().await;
    let mut keys = Vec::new();
    for format in [Format::Json, Format::Form, Format::Multipart] {
        let (by, answer) = login(&shop, format, PASSWORD).by(program, &shop).await;
        assert_eq!((answer.status, by.as_str()), (200, version), "{format:?}: {answer:?}");
        assert_eq!(answer.fields.get("cache-control"), Some("no-store"));
        keys.push(object(&answer)["token"].as_str().unwrap().to_owned());
    }
    keys.dedup();
    assert_eq!((keys.len(), keys[0].len()), (1, 40), "one token for one user");
    let (_, seen) = Call::get(shop.https(WHOAMI)).with(&keys[0]).by(program, &shop).await;
    let seen = object(&seen);
    assert_eq!((&seen["x-user-name"], &seen["x-auth-method"]), (&json!(USER), &json!("token")));
    assert!(seen["x-user-id"].is_string() && seen["authorization"].is_null(), "{seen}");
    let product = [("name", "Tea é"), ("price", "2.50")];
    let (_, made) =
        Call::post(shop.https("/product_api/"), Format::Json, &product).with(&keys[0]).by(program, &shop).await;
    assert_eq!((made.status, &object(&made)["name"]), (201, &json!("Tea é")));
    assert!(names(&shop, program, &keys[0]).await.contains(&"Tea é".to_owned()));
}

async fn gets_a_401_without_a_token(program: Program, version: &str) {
    let shop = Shop::open().await;
    let (by, stranger) = Call::get(shop.https(WHOAMI)).by(program, &shop).await;
    let (_, wrong) = Call::get(shop.https(WHOAMI)).with("0123456789abcdef").by(program, &shop).await;
    assert_eq!(by, version);
    for (answer, detail) in [(stranger, "Authentication credentials were not provided."), (wrong, "Invalid token.")] {
        assert_eq!((answer.status, answer.fields.get("www-authenticate")), (401, Some("Token")));
        assert_eq!(answer.detail(), detail);
    }
    for format in [Format::Json, Format::Form, Format::Multipart] {
        let (_, refused) = login(&shop, format, "wrong").by(program, &shop).await;
        assert_eq!((refused.status, refused.fields.has("www-authenticate")), (400, false), "{format:?}");
    }
    assert_eq!(shop.gateway.outcome("products", "forwarded"), 0);
}

async fn gets_a_response_although_its_body_is_not_needed(program: Program, version: &str) {
    let shop = Shop::open().await;
    let large = "x".repeat(100_000);
    for value in ["Tea", &large] {
        for format in [Format::Json, Format::Form, Format::Multipart] {
            let (by, answer) =
                Call::post(shop.https("/product_api/"), format, &[("name", value)]).by(program, &shop).await;
            assert_eq!((answer.status, by.as_str()), (401, version), "{format:?}");
            assert_eq!(answer.detail(), "Authentication credentials were not provided.");
        }
    }
    let too_much = Call::post(shop.https("/gettoken/"), Format::Json, &[("username", &large), ("password", "x")]);
    assert_eq!(too_much.by(program, &shop).await.1.status, 413);
    assert_eq!(shop.gateway.outcome("products", "forwarded"), 0);
}

async fn is_refused_unencrypted_and_not_redirected(program: Program, _: &str) {
    let shop = Shop::open().await;
    let key = shop.gateway.issue(USER).await;
    let product = [("name", "In clear"), ("price", "1")];
    for call in [
        Call::get(shop.http(WHOAMI)).with(&key),
        Call::post(shop.http("/product_api/"), Format::Json, &product).with(&key),
        Call::post(shop.http("/gettoken/"), Format::Form, &[("username", USER), ("password", PASSWORD)]),
    ] {
        let (_, answer) = call.by(program, &shop).await;
        assert_eq!((answer.status, answer.fields.has("location")), (403, false), "{call:?}: {answer:?}");
        assert!(!answer.text().contains(&key));
    }
    assert_eq!(shop.gateway.outcome("products", "forwarded"), 0);
    assert!(!names(&shop, program, &key).await.contains(&"In clear".to_owned()));
}

async fn sends_nothing_to_an_untrusted_server(program: Program, _: &str) {
    let shop = Shop::open().await;
    let key = shop.gateway.issue(USER).await;
    let fault = Call::get(shop.https(WHOAMI)).with(&key).attempt(program, None).await.unwrap_err();
    assert!(fault.to_lowercase().contains("certificate"), "{fault}");
    assert!(shop.gateway.log.text().is_empty() && shop.gateway.outcome("products", "forwarded") == 0);
}
