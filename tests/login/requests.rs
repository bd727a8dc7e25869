//! Which requests are logins, and the errors of invalid ones.

use std::time::Duration;

use tokengate::config::settings::{Auth, ExposedToken, HostPattern, Login, PathPattern, Plaintext, Route};

use super::{PASSWORD, gateway, login, site, token, typed, user};
use crate::support::client::BOTH;
use crate::support::gateway::{plain, route};
use crate::support::{Ask, Origin, Site, Wire};

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

#[tokio::test]
async fn credentials_are_accepted_as_json_urlencoded_or_multipart() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "zażółć").await;
    let json =
        format!(r#"{{"otp":1,"username":"x","username":"  za\u017cółć\u001f","password":"{PASSWORD}","next":[]}}"#);
    let form = "a=1&username=x&username=+za%C5%BCółć%20&pass%77ord=correct+horse%209&next=/";
    let part = |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let parts = part("name=\"password\"", PASSWORD)
        + &part("name=\"avatar\"; filename=\"a.bin\"", "\0\r\n--x")
        + &part("name=username", "zażółć")
        + "--b--\r\n";
    let mut keys = Vec::new();
    for (content_type, body) in [
        ("application/json", json.as_str()),
        ("APPLICATION/JSON; charset=\"UTF-8\"", json.as_str()),
        (FORM, form),
        (MULTIPART, parts.as_str()),
    ] {
        for http in BOTH {
            keys.push(token(&typed(content_type, body).over(http, &gateway).await));
        }
        // A trailer makes the body chunked.
        keys.push(token(&typed(content_type, body).trailer("X-Y", "z").to(&gateway).await));
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[tokio::test]
async fn numbers_are_accepted_as_text() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let password = Some(tokengate::store::Password::parse("987654321").unwrap());
    let user = tokengate::store::NewUser { password, ..tokengate::store::NewUser::named("12345") };
    gateway.store.accounts.create(user).await.unwrap();
    token(&typed("application/json", r#"{"username":12345,"password":987654321}"#).to(&gateway).await);
    let float = typed("application/json", r#"{"username":12345.0,"password":987654321}"#);
    assert_eq!(float.to(&gateway).await.status, 400);
}

#[tokio::test]
async fn errors_of_a_form_have_the_words_of_drf() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let both = r#"{"username":["This field is required."],"password":["This field is required."]}"#;
    for (content_type, body, status, answer) in [
        ("application/json", "{}", 400, both),
        ("application/json", "", 400, both),
        ("text/plain", "", 400, both),
        (FORM, "x", 400, both),
        (FORM, r#"{"username":"a","password":"x"}"#, 400, both),
        (MULTIPART, "--c\r\n\r\n--c--", 400, both),
        (FORM, "username=a", 400, r#"{"password":["This field is required."]}"#),
        (
            FORM,
            "username=+&password=",
            400,
            r#"{"username":["This field may not be blank."],"password":["This field may not be blank."]}"#,
        ),
        (
            "application/json",
            r#"{"username":null,"password":true}"#,
            400,
            r#"{"username":["This field may not be null."],"password":["Not a valid string."]}"#,
        ),
        (
            "application/json",
            r#"{"username":"a\u0000","password":"\udfff"}"#,
            400,
            r#"{"username":["Null characters are not allowed."],"password":["Surrogate characters are not allowed: U+DFFF."]}"#,
        ),
        (
            "application/json",
            "[]",
            400,
            r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}"#,
        ),
        ("application/json", "null", 400, r#"{"non_field_errors":["No data provided"]}"#),
        ("application/json", "{]", 400, r#"{"detail":"JSON parse error - key must be a string at line 1 column 2"}"#),
        (
            "multipart/form-data",
            "x",
            400,
            r#"{"detail":"Multipart form parse error - Invalid boundary in multipart: None"}"#,
        ),
        (
            "text/plain; charset=utf-8",
            "{}",
            415,
            r#"{"detail":"Unsupported media type \"text/plain; charset=utf-8\" in request."}"#,
        ),
        ("*/*", "{}", 415, r#"{"detail":"Unsupported media type \"*/*\" in request."}"#),
        (
            "application/json; charset=utf-16",
            "{}",
            415,
            r#"{"detail":"Unsupported media type \"application/json; charset=utf-16\" in request."}"#,
        ),
    ] {
        let told = typed(content_type, body).to(&gateway).await;
        assert_eq!((told.status, told.text()), (status, answer), "{content_type} {body}");
        assert_eq!(told.fields.get("content-type"), Some("application/json"));
        assert_eq!(told.fields.get("cache-control"), Some("no-store"));
    }
    let untyped = Ask::post("/gettoken/", "{}").to(&gateway).await;
    assert_eq!((untyped.status, untyped.text()), (415, r#"{"detail":"Unsupported media type \"\" in request."}"#));
    let nothing = Ask::new("POST", "/gettoken/?username=alice&password=x").to(&gateway).await;
    assert_eq!((nothing.status, nothing.text()), (400, both));
    // Empty chunks, with a type that is not supported.
    let empty = typed("text/plain", "").trailer("X-Y", "z");
    for http in BOTH {
        let nothing = empty.over(http, &gateway).await;
        assert_eq!((nothing.status, nothing.text()), (400, both), "{http:?}");
    }
    let deep = format!("{{\"username\":\"a\",\"password\":{}", "[".repeat(60_000));
    assert_eq!(typed("application/json", deep).to(&gateway).await.status, 400);
    gateway.has_counted("gettoken", "login_invalid", 22).await;
}

#[tokio::test]
async fn other_methods_are_no_logins() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    for http in BOTH {
        for method in ["GET", "PUT", "PATCH", "DELETE", "FOO"] {
            let answer = Ask::new(method, "/gettoken/").over(http, &gateway).await;
            assert_eq!((answer.status, answer.detail()), (405, format!("Method \"{method}\" not allowed.")));
            assert_eq!(answer.fields.get("allow"), Some("POST, OPTIONS"));
        }
        let head = Ask::new("HEAD", "/gettoken/").over(http, &gateway).await;
        assert_eq!((head.status, head.body.len()), (405, 0));
        let options = Ask::new("OPTIONS", "/gettoken/").over(http, &gateway).await;
        assert_eq!((options.status, options.fields.get("allow")), (200, Some("POST, OPTIONS")));
        let told: serde_json::Value = serde_json::from_slice(&options.body).unwrap();
        assert_eq!(told["name"], "Obtain Auth Token");
        assert_eq!(told["actions"]["POST"]["password"]["required"], true);
    }
    // The unread body is not read as another request.
    let put = Ask { method: "PUT".to_owned(), ..login("alice", PASSWORD) };
    let mut wire = Wire::open(&gateway).await;
    let answer = wire.ask(put.bytes()).await;
    assert_eq!((answer.status, answer.fields.get("connection")), (405, Some("close")));
    wire.ends().await;
}

#[tokio::test]
async fn the_login_has_one_path_on_every_host() {
    let origin = Origin::answering("hello").await;
    let catch_all = Route { host: HostPattern::Exact("one.test".to_owned()), ..route("all", "/", Auth::None) };
    let gateway = site(&origin).with(|settings| settings.routes.push(catch_all)).start().await;
    user(&gateway, "alice").await;
    let body = login("alice", PASSWORD).body.unwrap();
    let ask = |target: &str| Ask::post(target, &body).field("Content-Type", "application/json");
    for target in ["/gettoken/", "/gettoken", "/gettoken/?x=1", "/%67ettoken/", "https://localhost/gettoken/"] {
        token(&ask(target).to(&gateway).await);
    }
    // Also without a trailing slash: a redirect would make clients drop the body.
    let elsewhere = String::from_utf8(ask("/gettoken/").bytes()).unwrap().replace("localhost", "one.test");
    token(&Wire::open(&gateway).await.ask(elsewhere).await);
    for (target, status) in [
        ("/gettoken/x", 404),
        ("/gettoken.json", 404),
        ("/GETTOKEN/", 404),
        ("/gettoken//", 400),
        ("//gettoken/", 400),
        ("/gettoken/;x", 400),
        ("/x/../gettoken/", 400),
    ] {
        assert_eq!(ask(target).to(&gateway).await.status, status, "{target}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_path_that_an_upstream_could_read_as_the_login_is_refused() {
    let origin = Origin::answering("hello").await;
    let all = Route { empty_segments: true, ..route("all", "/", Auth::None) };
    let gateway = site(&origin).with(|settings| settings.routes.push(all)).start().await;
    for target in ["/gettoken//", "//gettoken", "/gettoken/;x", "/gettoken;x", "/gettoken;x/"] {
        assert_eq!(Ask::post(target, "x").to(&gateway).await.status, 400, "{target}");
    }
    assert_eq!(origin.count(), 0);
    assert_eq!(Ask::post("/gettoken/x", "x").to(&gateway).await.status, 200);
}

#[tokio::test]
async fn the_login_is_disabled_by_default() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).start().await;
    user(&gateway, "alice").await;
    assert_eq!(login("alice", PASSWORD).to(&gateway).await.status, 404);

    let only_protected = |settings: &mut tokengate::config::Settings| settings.routes.truncate(1);
    let gateway = Site::before(&origin).with(only_protected).start().await;
    assert_eq!(login("alice", PASSWORD).to(&gateway).await.status, 401);
}

#[tokio::test]
async fn the_path_is_a_setting() {
    let origin = Origin::answering("hello").await;
    let path = PathPattern::Exact("/gettoken/".to_owned());
    let site = site(&origin).with(|settings| {
        settings.login.as_mut().unwrap().path = "/api/token".to_owned();
        settings.routes.push(Route { path, ..route("own", "/", Auth::None) });
    });
    let gateway = site.start().await;
    user(&gateway, "alice").await;
    for target in ["/api/token", "/api/token/"] {
        token(&Ask { target: target.to_owned(), ..login("alice", PASSWORD) }.to(&gateway).await);
    }
    assert_eq!(login("alice", PASSWORD).to(&gateway).await.text(), "hello");
}

#[tokio::test]
async fn a_login_body_beyond_the_limit_is_refused() {
    let origin = Origin::answering("hello").await;
    let site = site(&origin).with(|settings| settings.login.as_mut().unwrap().max_body = 1_000);
    let gateway = site.start().await;
    user(&gateway, "alice").await;
    let padded = |length: usize| {
        let begin = format!(r#"{{"username":"alice","password":"{PASSWORD}","pad":""#);
        let pad = "x".repeat(length - begin.len() - 2);
        typed("application/json", format!("{begin}{pad}\"}}"))
    };
    for http in BOTH {
        token(&padded(1_000).over(http, &gateway).await);
        let answer = padded(1_001).over(http, &gateway).await;
        assert_eq!((answer.status, answer.detail()), (413, "The request body is too large.".to_owned()));
    }
    token(&padded(1_000).trailer("X-Y", "z").to(&gateway).await);
    assert_eq!(padded(1_001).trailer("X-Y", "z").to(&gateway).await.status, 413);
    assert_eq!(typed("text/plain", "x".repeat(2_000)).to(&gateway).await.status, 415, "the type comes first");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_times_out() {
    let origin = Origin::answering("hello").await;
    let silence = Duration::from_millis(20);
    let site = site(&origin).with(|settings| settings.login.as_mut().unwrap().request_body_timeout = silence);
    let gateway = site.start().await;
    let mut wire = Wire::open(&gateway).await;
    let bytes = login("alice", PASSWORD).bytes();
    assert_eq!(wire.ask(&bytes[..bytes.len() - 1]).await.status, 408);
    wire.ends().await;
}

#[tokio::test]
async fn a_client_that_expects_a_100_gets_it() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    let bytes = login("alice", PASSWORD).field("Expect", "100-continue").bytes();
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let mut wire = Wire::open(&gateway).await;
    wire.send(&bytes[..body]).await;
    assert_eq!(wire.next_head().await.unwrap().0, 100);
    token(&wire.ask(&bytes[body..]).await);
}

#[tokio::test]
async fn an_unencrypted_password_is_refused_unread() {
    let origin = Origin::answering("hello").await;
    for (plaintext, exposed) in [(Plaintext::Refuse, ExposedToken::Mark), (Plaintext::Redirect, ExposedToken::Revoke)] {
        let site = site(&origin).with(|settings| settings.listeners[1].role = plain(plaintext, exposed));
        let gateway = site.start().await;
        user(&gateway, "alice").await;
        let answer = Wire::plain(&gateway).await.ask(login("alice", PASSWORD).bytes()).await;
        assert_eq!(answer.status, 403, "{plaintext:?}");
    }
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    token(&Wire::plain(&gateway).await.ask(login("alice", PASSWORD).bytes()).await);
}

#[tokio::test]
async fn logins_are_counted_and_logged_under_a_name_of_their_own() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    token(&login("alice", PASSWORD).to(&gateway).await);
    login("alice", "nope").to(&gateway).await;
    Ask::new("OPTIONS", "/gettoken").to(&gateway).await;
    Ask::get("/gettoken/").to(&gateway).await;
    for outcome in ["logged_in", "login_failed", "answered", "method"] {
        gateway.has_counted(Login::NAME, outcome, 1).await;
    }
    assert_eq!(gateway.outcome("scoped", "logged_in"), 0);
    let log = gateway.log.clone();
    gateway.stop(crate::support::PATIENCE).await;
    let line = log.text().lines().find(|line| line.contains("outcome=logged_in")).unwrap().to_owned();
    assert!(line.contains("method=POST path=/gettoken/ status=200") && line.contains("route=gettoken"), "{line}");
}
