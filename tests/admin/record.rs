//! Access log lines of the admin application.

use super::*;
use crate::support::{PATIENCE, eventually};

/// Waits for the log line of this request.
async fn line(gateway: &Gateway, answer: &Answer) -> String {
    let id = format!("id={} ", answer.fields.get("x-request-id").unwrap());
    eventually(PATIENCE, "the line", || async { gateway.log.text().contains(&id) }).await;
    gateway.log.text().lines().find(|line| line.contains(&id)).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_line_with_the_user_and_without_the_key() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.get("/users?search=alice").await;
    let told = line(&gateway, &page).await;
    for part in ["method=GET", "path=/users?", "status=200", "route=admin", "user=root", "peer=127.0.0.1:"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("alice") && !told.contains("token_id"), "{told}");

    let key = gateway.issue_named("root", "tokengate:admin", None, &gateway.clock()).await;
    let ask =
        |key: &str| format!("GET /api/v1/users HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\r\n\r\n");
    let listed = raw(&gateway, &ask(&key)).await;
    let told = line(&gateway, &listed).await;
    assert!(told.contains("status=200") && told.contains("user=root") && told.contains("token_id="), "{told}");

    let refused = raw(&gateway, &ask("0123456789abcdef")).await;
    let told = line(&gateway, &refused).await;
    assert!(told.contains("status=401") && !told.contains("user="), "{told}");
    assert!(refused.text().contains(refused.fields.get("x-request-id").unwrap()), "{}", refused.text());
    let foreign = raw(&gateway, "GET /users HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert!(line(&gateway, &foreign).await.contains("status=403"));
    let log = gateway.log.text();
    assert!(!log.contains(&key) && !log.contains("0123456789abcdef") && !log.contains(PASSWORD), "{log}");
}
