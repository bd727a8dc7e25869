//! The demo's product service, over a real socket.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokengate::demo::products::{self, RunningProducts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Service {
    products: RunningProducts,
    dir: TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

const FREE: &str = "127.0.0.1:0";

impl Service {
    async fn start() -> Service {
        let dir = tempfile::tempdir().unwrap();
        let products = products::start(dir.path(), FREE.parse().unwrap()).await.unwrap();
        Service { products, dir }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_with(method, path, "Content-Type: application/json\r\n", &body.to_string()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask_with("GET", path, "", "").await
    }

    async fn ask_with(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        ask(self.products.address(), method, path, fields, body).await
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    Answer { status, head: head.to_ascii_lowercase(), body }
}

fn detail(text: &str) -> Value {
    json!({"detail": text})
}

#[tokio::test]
async fn a_product_is_created_read_changed_and_deleted() {
    let service = Service::start().await;
    let created = service.ask("POST", "/product_api/", &json!({"name": "Teapot", "price": 24.5, "stock": 3})).await;
    let mut teapot = json!({"id": 4, "name": "Teapot", "price": "24.50", "stock": 3, "description": ""});
    assert_eq!((created.status, &created.body), (201, &teapot));
    assert_eq!(service.get("/product_api/4/").await.body, teapot);

    let patched = service.ask("PATCH", "/product_api/4/", &json!({"stock": 2})).await;
    teapot["stock"] = json!(2);
    assert_eq!((patched.status, &patched.body), (200, &teapot));
    let put = service.ask("PUT", "/product_api/4/", &json!({"name": "Pot", "price": "20"})).await;
    teapot["name"] = json!("Pot");
    teapot["price"] = json!("20.00");
    assert_eq!((put.status, &put.body), (200, &teapot));

    let deleted = service.ask_with("DELETE", "/product_api/4/", "", "").await;
    assert_eq!((deleted.status, deleted.body), (204, Value::Null));
    let gone = service.get("/product_api/4/").await;
    assert_eq!((gone.status, gone.body), (404, detail("No Product matches the given query.")));
    let next = service.ask("POST", "/product_api/", &json!({"name": "Cup", "price": 1})).await;
    assert_eq!(next.body["id"], 5);
}

#[tokio::test]
async fn the_list_has_three_products_at_both_paths_and_can_be_searched() {
    let service = Service::start().await;
    for path in ["/product_api/", "/porduct_api/"] {
        let list = service.get(path).await;
        let names: Vec<_> = list.body.as_array().unwrap().iter().map(|product| &product["name"]).collect();
        assert_eq!(list.status, 200);
        assert_eq!(names, ["Tea, green", "Coffee beans", "Mug"]);
    }
    let found = service.get("/product_api/?search=COFFEE").await;
    assert_eq!(found.body.as_array().unwrap().len(), 1);
    assert_eq!(found.body[0]["price"], "12.90");
}

#[tokio::test]
async fn wrong_input_is_answered_as_drf_does() {
    let service = Service::start().await;
    let required = service.ask("POST", "/product_api/", &json!({"price": "1"})).await;
    assert_eq!((required.status, required.body), (400, json!({"name": ["This field is required."]})));
    let partial = service.ask("PATCH", "/product_api/1/", &json!({"stock": -1})).await;
    let negative = json!({"stock": ["Ensure this value is greater than or equal to 0."]});
    assert_eq!((partial.status, partial.body), (400, negative));
    let text = service.ask_with("POST", "/product_api/", "Content-Type: text/plain\r\n", "x").await;
    assert_eq!((text.status, text.body), (415, detail("Unsupported media type \"text/plain\" in request.")));
    let absent = service.ask("PUT", "/product_api/99/", &json!({})).await;
    assert_eq!(absent.status, 404);
}

#[tokio::test]
async fn paths_and_methods_are_those_of_a_django_project() {
    let service = Service::start().await;
    let put = service.ask("PUT", "/product_api/", &json!({})).await;
    assert_eq!((put.status, put.body), (405, detail("Method \"PUT\" not allowed.")));
    assert!(put.head.contains("\r\nallow: get, head, post"));
    let post = service.ask("POST", "/product_api/1/", &json!({})).await;
    assert_eq!((post.status, post.body), (405, detail("Method \"POST\" not allowed.")));
    let slashless = service.get("/product_api?search=x").await;
    assert_eq!(slashless.status, 301);
    assert!(slashless.head.contains("\r\nlocation: /product_api/?search=x"));
    for path in ["/", "/nope", "/nope/", "/product_apix/", "/product_api/x/"] {
        let missing = service.get(path).await;
        assert_eq!((missing.status, missing.body), (404, detail("Not found.")), "{path}");
    }
}

#[tokio::test]
async fn whoami_shows_identity_headers_in_every_spelling_and_no_others() {
    let service = Service::start().await;
    let fields = "X-User-Id: 7\r\nx_user_name: eve\r\nX-Auth-Method: token\r\nX-Auth-Method: forged\r\nAccept: a/b\r\n";
    let seen = service.ask_with("GET", "/product_api/whoami/", fields, "").await;
    let expected = json!({"x-user-id": "7", "x_user_name": "eve", "x-auth-method": "token, forged"});
    assert_eq!((seen.status, seen.body), (200, expected));
}

#[tokio::test]
async fn products_outlive_the_service_and_its_seeds_do_not_come_back() {
    let service = Service::start().await;
    assert_eq!(service.ask_with("DELETE", "/product_api/1/", "", "").await.status, 204);
    let Service { products, dir } = service;
    let address = products.address();
    products.stop().await;
    assert!(TcpStream::connect(address).await.is_err());

    let service = Service { products: products::start(dir.path(), FREE.parse().unwrap()).await.unwrap(), dir };
    let list = service.get("/product_api/").await;
    let ids: Vec<_> = list.body.as_array().unwrap().iter().map(|product| &product["id"]).collect();
    assert_eq!(ids, [2, 3]);
}
