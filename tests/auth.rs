//! Which requests pass, and which responses the others get: `Authorization` as Django REST Framework reads it.

use std::time::Duration;

use tokengate::clock::Clock;
use tokengate::config::settings::Auth;
use tokengate::token::SubjectId;

use crate::support::client::BOTH;
use crate::support::frames::Frames;
use crate::support::gateway::route;
use crate::support::watched::Watched;
use crate::support::{Answer, Ask, Gateway, Http, Origin, Site};

const NOAUTH: &str = "Authentication credentials were not provided.";
const NOCRED: &str = "Invalid token header. No credentials provided.";
const SPACES: &str = "Invalid token header. Token string should not contain spaces.";
const BADCHARS: &str = "Invalid token header. Token string should not contain invalid characters.";
const INVALID: &str = "Invalid token.";
const INACTIVE: &str = "User inactive or deleted.";

/// Replaces `KEY` in `line` by the key.
fn filled(line: &[u8], key: &str) -> Vec<u8> {
    match crate::support::message::find(line, b"KEY") {
        Some(at) => [&line[..at], key.as_bytes(), &line[at + 3..]].concat(),
        None => line.to_vec(),
    }
}

/// Checks every byte of a 401.
fn assert_refused(answer: &Answer, text: &str, what: &str) {
    assert_eq!(answer.status, 401, "{what}");
    assert_eq!(answer.text(), format!("{{\"detail\":\"{text}\"}}"), "{what}");
    let length = answer.body.len().to_string();
    for (name, value) in [
        ("www-authenticate", "Token"),
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.fields.get(name), Some(value), "{what}");
    }
    assert!(answer.fields.has("x-request-id") && !answer.fields.has("allow") && !answer.fields.has("set-cookie"));
}

#[tokio::test]
async fn credentials_are_read_as_drf_reads_them() {
    let (origin, long) = (Origin::answering("hello").await, [b"Token ", [b'a'; 1000].as_slice()].concat());
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let passing: &[&[u8]] = &[b"Token KEY", b"token KEY", b"TOKEN KEY", b"tOkEn KEY", b"Token  KEY", b"Token\tKEY"];
    let refused: [(&str, &[&[u8]]); 5] = [
        (
            NOAUTH,
            &[
                b"",
                b"Token: KEY",
                b"TokenKEY",
                b"KEY",
                b"Token=KEY",
                b"Bearer KEY",
                b"Bearer",
                b"JWT KEY",
                b"Basic dG9rZW46",
                b"Basic !!!",
                b"Digest username=\"a\"",
                b"Foo a b",
                b"Token\xa0KEY",
                b"Token\xc2\xa0KEY",
                b"T\xc3\xb6k\xc3\xa9n KEY",
                b"To\xe2\x84\xaaen KEY",
            ],
        ),
        (NOCRED, &[b"Token", b"token", b"Token   "]),
        (SPACES, &[b"Token a b", b"Token KEY x", b"Token KEY, realm=x", b"Token ' OR '1'='1"]),
        (BADCHARS, &[b"Token \xf6", b"Token \xff\xfe", b"Token KEY\xc3", b"Token \xc0\xaf", b"Token \xed\xa0\x80"]),
        (
            INVALID,
            &[
                b"Token KEY,",
                b"Token \"KEY\"",
                b"Token token=KEY",
                b"Token token=\"KEY\"",
                b"Token a",
                b"Token KEYa",
                b"Token 'OR'1'='1",
                b"Token %",
                b"Token _",
                b"Token \xc3\xb6",
                &long,
            ],
        ),
    ];
    for http in BOTH {
        for line in passing {
            let answer = Ask::get("/api/x").field("Authorization", filled(line, &key)).over(http, &gateway).await;
            assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?} {line:?}");
        }
        let answer = Ask::get("/api/x").over(http, &gateway).await;
        assert_refused(&answer, NOAUTH, "no field");
        for (text, lines) in refused {
            for line in lines {
                let answer = Ask::get("/api/x").field("Authorization", filled(line, &key)).over(http, &gateway).await;
                assert_refused(&answer, text, &format!("{http:?} {}", String::from_utf8_lossy(line)));
            }
        }
        for near in [key.to_uppercase(), key[..39].to_owned(), key[..8].to_owned(), format!("{}0", &key[..39])] {
            if near != key {
                assert_refused(&Ask::get("/api/x").token(&near).over(http, &gateway).await, INVALID, &near);
            }
        }
    }
    assert_eq!(origin.count(), 2 * passing.len());
    let around = Ask::get("/api/x").field("Authorization", format!(" \t Token {key} \t")).to(&gateway).await;
    assert_eq!(around.status, 200);
}

#[tokio::test]
async fn invariant_1_nothing_reaches_an_endpoint_of_a_token_route_without_a_valid_token() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let bad = [None, Some("Token"), Some("Token a b"), Some("Token 0000"), Some("Bearer 0000"), Some("Basic 0000")];
    for http in BOTH {
        for path in ["/api/x", "/api/", "/scoped/x", "/%61pi/x"] {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                for credentials in bad {
                    let mut ask = Ask::new(method, path);
                    if let Some(credentials) = credentials {
                        ask = ask.field("Authorization", credentials);
                    }
                    assert_eq!(ask.over(http, &gateway).await.status, 401, "{http:?} {ask:?}");
                }
            }
        }
    }
    assert_eq!((origin.count(), origin.connections()), (0, 0));
    let key = gateway.issue("alice").await;
    assert_eq!(Ask::get("/api/x").token(&key).to(&gateway).await.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn two_authorization_lines_are_refused() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let good = format!("Token {}", gateway.issue("alice").await);
    for http in BOTH {
        for other in ["Token bad", "Basic eDp5", "", good.as_str()] {
            for (first, second) in [(good.as_str(), other), (other, good.as_str())] {
                let ask = Ask::get("/api/x").field("Authorization", first).field("authorization", second);
                let answer = ask.over(http, &gateway).await;
                assert_eq!(answer.status, 400, "{http:?} {other}");
                assert!(answer.detail().contains("Authorization"), "{answer:?}");
            }
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_key_outside_of_authorization_is_not_read() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    let line = format!("Token {key}");
    for http in BOTH {
        for name in ["HTTP_AUTHORIZATION", "Proxy-Authorization", "X-Authorization", "X-Auth-Token", "Author-ization"] {
            assert_refused(&Ask::get("/api/x").field(name, &line).over(http, &gateway).await, NOAUTH, name);
        }
        let cookie = Ask::get("/api/x").field("Cookie", format!("token={key}")).over(http, &gateway).await;
        assert_refused(&cookie, NOAUTH, "cookie");
        for query in ["token", "api_key", "access_token"] {
            let answer = Ask::get(&format!("/api/x?{query}={key}")).over(http, &gateway).await;
            assert_refused(&answer, NOAUTH, query);
        }
        for agent in ["GoogleHC/1.0", "kube-probe/1.30"] {
            let answer = Ask::get("/api/x").field("User-Agent", agent).over(http, &gateway).await;
            assert_refused(&answer, NOAUTH, agent);
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn without_a_public_route_a_request_without_a_token_always_gets_401() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| {
        let mut api = route("api", "/api/", Auth::Required);
        api.methods = vec![http::Method::GET];
        settings.routes = vec![api];
    });
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    for http in BOTH {
        for (method, path, status) in [("GET", "/nope", 404), ("GET", "/", 404), ("POST", "/api/x", 405)] {
            assert_refused(&Ask::new(method, path).over(http, &gateway).await, NOAUTH, path);
            let wrong = Ask::new(method, path).token("wrong").over(http, &gateway).await;
            assert_refused(&wrong, INVALID, path);
            let known = Ask::new(method, path).token(&key).over(http, &gateway).await;
            assert_eq!(known.status, status);
            assert!(!known.fields.has("www-authenticate"));
            assert_eq!(known.fields.get("allow"), (status == 405).then_some("GET"));
            let detail = if status == 405 { "Method \"POST\" not allowed." } else { "Not found." };
            assert_eq!(known.detail(), detail);
        }
    }
    assert_eq!(origin.count(), 0);
    let open = Gateway::before(&origin).await;
    let answer = Ask::get("/nope").to(&open).await;
    assert_eq!((answer.status, answer.detail()), (404, "Not found.".to_owned()));
}

#[tokio::test]
async fn an_optional_route_is_anonymous_without_credentials_and_refuses_invalid_ones() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for (asked, http) in BOTH.into_iter().enumerate() {
        assert_eq!(Ask::get("/optional/x").over(http, &gateway).await.status, 200);
        assert_eq!(origin.last().fields.get("x-auth-method"), Some("anonymous"));
        assert_eq!(origin.last().fields.get("x-user-id"), None);
        let other = Ask::get("/optional/x").field("Authorization", "Basic eDp5").over(http, &gateway).await;
        assert_eq!(other.status, 200);
        assert_eq!(origin.last().fields.get("x-auth-method"), Some("anonymous"));
        assert_eq!(Ask::get("/optional/x").token(&key).over(http, &gateway).await.status, 200);
        assert_eq!(origin.last().fields.get("x-auth-method"), Some("token"));
        assert_eq!(origin.last().fields.get("x-user-name"), Some("alice"));
        for (line, text) in [("Token wrong", INVALID), ("Token", NOCRED), ("Token a b", SPACES)] {
            let answer = Ask::get("/optional/x").field("Authorization", line).over(http, &gateway).await;
            assert_refused(&answer, text, line);
        }
        assert_eq!(origin.count(), 3 * (asked + 1));
    }
}

#[tokio::test]
async fn a_public_route_ignores_credentials_and_does_not_forward_tokens() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue("alice").await;
    for http in BOTH {
        for line in [format!("Token {key}"), "Token wrong".to_owned(), "Token a b".to_owned(), "Basic !!!".to_owned()] {
            let answer = Ask::get("/public/x").field("Authorization", &line).over(http, &gateway).await;
            assert_eq!(answer.status, 200, "{line}");
            let seen = origin.last();
            // Credentials with another scheme belong to the application.
            assert_eq!(seen.fields.get("authorization"), Some(line.as_str()).filter(|line| line.starts_with("Basic")));
            assert_eq!(seen.fields.get("x-auth-method"), Some("anonymous"));
            assert!(!seen.fields.has("x-user-id") && !seen.fields.has("x-user-name"));
        }
    }
    assert_eq!(gateway.metric("tokengate_cache_misses_total"), 0, "no token was looked up");
}

#[tokio::test]
async fn a_token_without_the_scope_gets_403() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (plain, admin) =
        (gateway.issue("alice").await, gateway.issue_named("root", "admin", None, &Clock::system()).await);
    for http in BOTH {
        // Its identity is cached after this; scopes are checked for every request.
        assert_eq!(Ask::get("/api/x").token(&plain).over(http, &gateway).await.status, 200);
        let answer = Ask::get("/scoped/x").token(&plain).over(http, &gateway).await;
        assert_eq!((answer.status, answer.detail()), (403, "This token lacks the scope admin.".to_owned()));
        assert!(!answer.fields.has("www-authenticate"));
        assert_eq!(Ask::get("/scoped/x").token(&admin).over(http, &gateway).await.status, 200);
        assert_eq!(origin.last().fields.get("x-token-scopes"), Some("admin"));
    }
    assert_eq!(origin.count(), 4);
}

#[tokio::test]
async fn a_refusal_of_head_has_a_length_and_no_body() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for http in BOTH {
        let answer = Ask::new("HEAD", "/api/x").over(http, &gateway).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0), "{http:?}");
        assert_eq!(answer.fields.get("content-length"), Some("58"), "{http:?}");
    }
    // An HTTP library would hide a forbidden body, and curl aborts.
    for (method, length) in [("HEAD", 0), ("GET", 58)] {
        let fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", "/api/x")];
        assert_eq!(Frames::open(&gateway).await.body(&fields).await.len(), length, "{method}");
    }
}

#[tokio::test]
async fn an_expired_token_and_one_of_an_inactive_owner_are_refused() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let ends_soon = gateway.issue_named("bob", "", Some(Duration::from_secs(30)), &gateway.clock()).await;
    let alice = gateway.issue("alice").await;
    for key in [&ends_soon, &alice] {
        assert_eq!(Ask::get("/api/x").token(key).to(&gateway).await.status, 200);
    }
    // The cache entry is still fresh at this time.
    gateway.hand.advance(Duration::from_secs(31));
    let expired = Ask::get("/api/x").token(&ends_soon).to(&gateway).await;
    assert_refused(&expired, INVALID, "expired");
    let owner: SubjectId = gateway.user("carol").await;
    let carol = gateway.issue("carol").await;
    gateway.store.accounts.deactivate(owner).await.unwrap();
    for http in BOTH {
        assert_refused(&Ask::get("/api/x").token(&carol).over(http, &gateway).await, INACTIVE, "inactive");
    }
    assert_eq!(origin.count(), 2);
    assert_eq!(Ask::get("/api/x").token(&alice).to(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_token_is_looked_up_once_and_then_cached() {
    let origin = Origin::answering("hello").await;
    let (gateway, store) = Watched::start(Site::before(&origin)).await;
    let key = gateway.issue("alice").await;
    // The issue itself is a change, which evicts the entry.
    store.changes_are_applied().await;
    for _ in 0..5 {
        assert_eq!(Ask::get("/api/x").token(&key).over(Http::Two, &gateway).await.status, 200);
    }
    assert_eq!(gateway.metric("tokengate_cache_misses_total"), 1);
    assert_eq!(gateway.metric("tokengate_cache_hits_total"), 4);
    gateway.has_counted("api", "forwarded", 5).await;
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn every_configured_scheme_is_accepted_and_the_first_one_is_the_challenge() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|s| s.tokens.schemes = vec!["Bearer".to_owned(), "Token".to_owned()]);
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    for scheme in ["Bearer", "bearer", "Token"] {
        let answer = Ask::get("/api/x").field("Authorization", format!("{scheme} {key}")).to(&gateway).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
    assert_eq!(Ask::get("/api/x").to(&gateway).await.fields.get("www-authenticate"), Some("Bearer"));
}
