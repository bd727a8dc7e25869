//! Identity headers for upstreams, and forged ones from clients.

mod authorization;
mod foreign;
mod prefix;

use http::HeaderValue;
use tokengate::config::settings::{ForwardAuthorization, HostHeader};
use tokengate::store::NewUser;

use crate::support::client::BOTH;
use crate::support::origin::{Request, ok};
use crate::support::{Ask, Gateway, Http, Origin, Site, Step, Wire};

/// Forged headers: identity, metadata and framing, in all spellings that some server accepts for them.
const FORGED: [(&str, &str); 34] = [
    ("X-User-Id", "1"),
    ("X-User-Id", "2"),
    ("x-USER-id", "1"),
    ("X_User_Id", "1"),
    ("X.User.Id", "1"),
    ("X-User_Id", "1"),
    ("XUserId", "1"),
    ("X-User-Id-", "1"),
    ("X-User-Name", "root"),
    ("X-User-Email", "root@x"),
    ("X-User-Groups", "wheel"),
    ("X-Token-Id", "1"),
    ("X-Token-Scopes", "admin"),
    ("X-Auth-Method", "token"),
    ("Remote-User", "root"),
    ("Remote_User", "root"),
    ("X-Forwarded-User", "root"),
    ("X-Auth-Request-User", "root"),
    ("X-Consumer-Username", "root"),
    ("X-Tokengate-Assertion", "eyJ"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("X_Forwarded_For", "10.0.0.1"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Prefix", "/admin"),
    ("X-Forwarded-Uri", "/admin"),
    ("Forwarded", "for=10.0.0.1"),
    ("X-Real-IP", "10.0.0.1"),
    ("True-Client-IP", "10.0.0.1"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Request-Id", "mine"),
    ("HTTP_X_USER_ID", "1"),
];

/// Names of the field lines that the endpoint got, in alphabetical order.
fn names(seen: &Request) -> Vec<String> {
    let mut names: Vec<String> = seen.fields.0.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names
}

/// Headers of every request.
const ALWAYS: [&str; 7] =
    ["host", "x-auth-method", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id"];
/// Headers of a request whose caller has neither e-mail address nor scopes.
const CALLER: [&str; 3] = ["x-token-id", "x-user-id", "x-user-name"];

#[tokio::test]
async fn invariant_2_identity_headers_at_the_endpoint_are_always_ours_in_every_spelling() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (key, user) = (gateway.issue("alice").await, gateway.user("alice").await.to_string());
    for http in BOTH {
        for (path, with_token) in
            [("/api/x", true), ("/optional/x", true), ("/optional/x", false), ("/public/x", false)]
        {
            let mut ask = Ask::get(path);
            for (name, value) in FORGED {
                ask = ask.field(name, value);
            }
            if with_token {
                ask = ask.token(&key);
            }
            assert_eq!(ask.over(http, &gateway).await.status, 200, "{http:?} {path}");
            let seen = origin.last();
            let mut expected = ALWAYS.to_vec();
            if with_token {
                expected.extend(CALLER);
                expected.sort_unstable();
                assert_eq!(seen.fields.get("x-user-id"), Some(user.as_str()));
                assert_eq!(seen.fields.get("x-user-name"), Some("alice"));
            }
            assert_eq!(names(&seen), expected, "{http:?} {path}");
            let method = if with_token { "token" } else { "anonymous" };
            assert_eq!(seen.fields.get("x-auth-method"), Some(method), "{http:?} {path}");
        }
    }
}

#[tokio::test]
async fn forged_trailers_do_not_arrive() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for http in BOTH {
        for path in ["/api/x", "/public/x"] {
            let ask = Ask::post(path, "body").token(&key).trailer("x-user-id", "1").trailer("x_user_id", "1");
            let ask = ask.trailer("authorization", "Token x").trailer("x-other", "1");
            assert_eq!(ask.over(http, &gateway).await.status, 200, "{http:?} {path}");
            let seen = origin.last();
            assert_eq!((seen.body.as_slice(), seen.complete), (b"body".as_slice(), true));
            assert!(seen.trailers.0.is_empty(), "{http:?} {:?}", seen.trailers);
        }
    }
    assert!(origin.stray().is_empty());
}

#[tokio::test]
async fn a_header_name_with_a_space_is_refused() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for line in ["X User Id: 1", "X-User-Id : 1", "X-User-Id\t: 1", "X(User): 1", "X\"User: 1"] {
        let mut wire = Wire::open(&gateway).await;
        let answer = wire.ask(format!("GET /public/x HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n")).await;
        assert_eq!(answer.status, 400, "{line}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn the_connection_header_cannot_remove_headers_of_the_gateway() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for line in [
        "close, X-User-Id",
        "x-user-id, x-real-ip, authorization",
        "authorization",
        "host",
        "content-length",
        "transfer-encoding",
        "x_user_id",
        "x-auth-method",
        "x-forwarded-for",
        "x-request-id",
    ] {
        let answer = Ask::get("/api/x").token(&key).field("Connection", line).to(&gateway).await;
        assert_eq!(answer.status, 400, "{line}");
        assert_eq!(answer.detail(), "Connection names a header that it may not remove.");
    }
    let answer = Ask::get("/api/x").field("Connection", "authorization").token(&key).to(&gateway).await;
    assert_eq!(answer.status, 400, "the order of the lines does not matter");
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_gateway() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let ask = Ask::get("/api/x").token(&key);
    let ask = ask.field("Connection", "X-Hop, keep-alive").field("X-Hop", "1").field("Connection", "x-second");
    let ask =
        ask.field("X-Second", "1").field("Keep-Alive", "timeout=5").field("TE", "trailers").field("Upgrade", "h2c");
    let ask = ask.field("Proxy-Authorization", "Basic eDp5").field("Proxy-Connection", "x").field("X-Kept", "1");
    let ask =
        ask.field("HTTP2-Settings", "AAMAAABk").field("Trailer", "x").field("Accept", "*/*").field("Cookie", "a=b");
    assert_eq!(ask.to(&gateway).await.status, 200);
    let mut expected = [ALWAYS.as_slice(), &CALLER, &["accept", "cookie", "x-kept"]].concat();
    expected.sort_unstable();
    assert_eq!(names(&origin.last()), expected);
}

#[tokio::test]
async fn an_upstream_gets_the_origin_of_a_request() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut plain = Wire::plain(&gateway).await;
    for http in ["HTTP/1.1", "HTTP/2", "clear"] {
        let (answer, proto) = match http {
            "HTTP/1.1" => (Ask::get("/public/x").over(Http::One, &gateway).await, "https"),
            "HTTP/2" => (Ask::get("/public/x").over(Http::Two, &gateway).await, "https"),
            _ => (plain.ask(Ask::get("/public/x").bytes()).await, "http"),
        };
        assert_eq!(answer.status, 200);
        let seen = origin.last();
        for (name, value) in [
            ("host", "localhost"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", proto),
            ("x-forwarded-host", "localhost"),
        ] {
            assert_eq!(seen.fields.get(name), Some(value), "{http}");
        }
        assert!(seen.head.starts_with(b"GET /public/x HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_the_upstream_saw_the_same() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut ids = Vec::new();
    for http in BOTH {
        for (ask, status) in [
            (Ask::get("/public/x"), 200),
            (Ask::get("/public/x").field("X-Request-Id", "mine"), 200),
            (Ask::get("/api/x"), 401),
            (Ask::get("/nope"), 404),
            (Ask::get("/public/%00"), 400),
        ] {
            let answer = ask.over(http, &gateway).await;
            assert_eq!(answer.status, status);
            let id = answer.fields.get("x-request-id").unwrap().to_owned();
            if status == 200 {
                assert_eq!(origin.last().fields.get("x-request-id"), Some(id.as_str()));
            }
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    assert!(!ids.contains(&"mine".to_owned()));
}

#[tokio::test]
async fn names_are_percent_encoded_and_absent_values_stay_absent() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let odd = NewUser { email: "z@ó.test".to_owned(), ..NewUser::named("zażółć a%b,c") };
    gateway.store.accounts.create(odd).await.unwrap();
    let (odd, plain) = (gateway.issue("zażółć a%b,c").await, gateway.issue("alice").await);
    for http in BOTH {
        assert_eq!(Ask::get("/api/x").token(&odd).over(http, &gateway).await.status, 200);
        assert_eq!(origin.last().fields.get("x-user-name"), Some("za%C5%BC%C3%B3%C5%82%C4%87%20a%25b,c"));
        assert_eq!(origin.last().fields.get("x-user-email"), Some("z@%C3%B3.test"));
        let forged = Ask::get("/api/x").token(&plain).field("X-User-Email", "root@x");
        assert_eq!(forged.over(http, &gateway).await.status, 200);
        assert!(!origin.last().fields.has("x-user-email"));
    }
}

#[tokio::test]
async fn credentials_are_forwarded_only_where_the_settings_say_so() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    Ask::get("/api/x").token(&key).to(&gateway).await;
    assert!(!origin.last().fields.has("authorization"));
    let forwarding =
        Site::before(&origin).with(|s| s.routes[0].forward_authorization = ForwardAuthorization::Always).start().await;
    let key = forwarding.issue("alice").await;
    Ask::get("/api/x").token(&key).to(&forwarding).await;
    assert_eq!(origin.last().fields.get("authorization"), Some(format!("Token {key}").as_str()));
    assert_eq!(origin.last().fields.get("x-user-name"), Some("alice"));
}

#[tokio::test]
async fn all_response_headers_pass_except_hop_by_hop_ones() {
    let text = "HTTP/1.1 201 Made\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=1\r\n\
        Set-Cookie: b=2\r\nX-Request-Id: theirs\r\nWWW-Authenticate: Basic\r\nProxy-Authenticate: Basic\r\n\
        Strict-Transport-Security: max-age=0\r\nUpgrade: h2c\r\nServer: x\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::doing(vec![Step::Read, Step::Send(text.as_bytes().to_vec())]).await;
    let gateway = Gateway::before(&origin).await;
    for http in BOTH {
        let answer = Ask::get("/public/x").over(http, &gateway).await;
        assert_eq!((answer.status, answer.text()), (201, "ok"));
        assert_eq!(answer.fields.all("set-cookie"), ["a=1", "b=2"]);
        for (name, value) in
            [("www-authenticate", "Basic"), ("server", "x"), ("strict-transport-security", "max-age=600")]
        {
            assert_eq!(answer.fields.get(name), Some(value), "{http:?}");
        }
        for name in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade", "connection"] {
            assert!(!answer.fields.has(name), "{http:?} {name}");
        }
        assert_ne!(answer.fields.get("x-request-id"), Some("theirs"));
    }
}

#[tokio::test]
async fn a_route_can_send_the_endpoints_own_host_or_another() {
    let origin = Origin::doing(vec![Step::Read, Step::Send(ok(""))]).await;
    let other = HeaderValue::from_static("app.internal:81");
    for (header, host) in
        [(HostHeader::Upstream, origin.address().to_string()), (HostHeader::Name(other), "app.internal:81".to_owned())]
    {
        let gateway = Site::before(&origin).with(|s| s.routes[1].host_header = header).start().await;
        for http in BOTH {
            Ask::get("/public/x").over(http, &gateway).await;
            assert_eq!(origin.last().fields.get("host"), Some(host.as_str()));
            assert_eq!(origin.last().fields.get("x-forwarded-host"), Some("localhost"));
        }
    }
}
