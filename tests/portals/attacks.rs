//! Portals that misbehave, and clients that try to speak for one.

use std::sync::Arc;
use std::time::Duration;

use tokengate::config::settings::{Portal, Settings};

use super::asking;
use crate::support::authority::Authority;
use crate::support::client::BOTH;
use crate::support::origin::Request;
use crate::support::tls_front::TlsFront;
use crate::support::{Answer, Ask, Gateway, Http, Origin, Site, Step};
use crate::upstreams::over_tls_at;

/// The name of the application's header that the portal sets.
const USER: &str = "remote-user";

async fn before(origin: &Origin, portal: &Origin, change: impl FnOnce(&mut Settings)) -> Gateway {
    let site = Site::before(origin).with(|settings| {
        asking(settings, portal.address().port());
        change(settings);
    });
    site.start().await
}

/// The answer to a request, if the portal says this about it; and how many requests reach the application.
async fn said(http: Http, answer: &str) -> (Answer, Vec<Request>, usize) {
    let (origin, portal) =
        (Origin::answering("wiki").await, Origin::doing(vec![Step::Read, Step::Send(answer.into()), Step::Hang]).await);
    let gateway = before(&origin, &portal, shorter).await;
    let answer = Ask::get("/wiki/x").field("Remote-User", "root").over(http, &gateway).await;
    (answer, origin.requests(), portal.count())
}

/// The time for a question.
fn shorter(settings: &mut Settings) {
    for route in &mut settings.routes {
        let shorter = |portal: &Arc<Portal>| Portal { timeout: Duration::from_millis(500), ..Portal::clone(portal) };
        route.portal = route.portal.as_ref().map(|portal| Arc::new(shorter(portal)));
    }
}

#[tokio::test]
async fn what_a_portal_says_in_odd_ways_lets_no_user_in_under_a_wrong_name() {
    let long = "x".repeat(200_000);
    for (answer, status, user) in [
        // Several lines are one only if they are equal.
        (
            "HTTP/1.1 200 OK\r\nRemote-User: alice\r\nRemote-User: alice\r\nContent-Length: 0\r\n\r\n",
            200,
            Some("alice"),
        ),
        ("HTTP/1.1 200 OK\r\nRemote-User: alice\r\nRemote-User: bob\r\nContent-Length: 0\r\n\r\n", 200, None),
        // Another spelling is another header.
        ("HTTP/1.1 200 OK\r\nRemote_User: alice\r\nContent-Length: 0\r\n\r\n", 200, None),
        // A header of the connection is not for the application.
        ("HTTP/1.1 200 OK\r\nRemote-User: alice\r\nConnection: Remote-User\r\nContent-Length: 0\r\n\r\n", 200, None),
        (
            "HTTP/1.1 200 OK\r\nRemote-User: alice\r\nTransfer-Encoding: chunked\r\nTrailer: Remote-User\r\n\r\n0\r\nRemote-User: bob\r\n\r\n",
            200,
            Some("alice"),
        ),
        ("HTTP/1.0 200 OK\r\nRemote-User: alice\r\n\r\n", 200, Some("alice")),
        (
            "HTTP/1.1 103 Early Hints\r\nRemote-User: bob\r\n\r\nHTTP/1.1 200 OK\r\nRemote-User: alice\r\nContent-Length: 0\r\n\r\n",
            200,
            Some("alice"),
        ),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401, None),
        // RFC 9112 §5.1: the blank is no part of the name.
        ("HTTP/1.1 200 OK\r\nRemote-User : alice\r\nContent-Length: 0\r\n\r\n", 200, Some("alice")),
        // The body of a consent is not awaited for long, whatever its length.
        ("HTTP/1.1 200 OK\r\nRemote-User: alice\r\nContent-Length: 10\r\n\r\nxx", 200, Some("alice")),
        // What cannot be read is a portal that has failed.
        ("HTTP/1.1 200 OK\r\nRemote-User: a\rb\r\nContent-Length: 0\r\n\r\n", 503, None),
        ("HTTP/1.1 200 OK\r\n Remote-User: alice\r\nContent-Length: 0\r\n\r\n", 503, None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 503, None),
        ("HTTP/1.1 2000 OK\r\n\r\n", 503, None),
        ("HTTP/1.1 200 OK\r\nRemote-User: alice", 503, None),
        (&format!("HTTP/1.1 200 OK\r\nRemote-User: {long}\r\nContent-Length: 0\r\n\r\n"), 503, None),
        ("+OK alice\r\n\r\n", 503, None),
    ] {
        for http in BOTH {
            let (told, seen, _) = said(http, answer).await;
            let what = &answer[..answer.len().min(120)];
            assert_eq!((told.status, seen.len()), (status, usize::from(status == 200)), "{http:?} {what}");
            if let Some(request) = seen.first() {
                assert_eq!(request.fields.get(USER), user, "{http:?} {what}");
                assert_eq!(request.fields.get("x-auth-method"), Some("portal"));
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_portal_goes_to_the_client_without_headers_of_its_connection() {
    let refusal = "HTTP/1.1 302 Found\r\nLocation: https://sso.elsewhere.test/?rd=x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\n\
                   Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Accel-Redirect: /internal\r\nUpgrade: h2c\r\n\
                   Content-Length: 5\r\n\r\nlogin";
    for http in BOTH {
        let (answer, seen, asked) = said(http, refusal).await;
        assert_eq!((answer.status, answer.text(), seen.len(), asked), (302, "login", 0, 1));
        assert_eq!(answer.fields.get("location"), Some("https://sso.elsewhere.test/?rd=x"));
        assert_eq!(answer.fields.all("set-cookie"), ["a=1", "b=2; Path=/"]);
        for name in ["x-hop", "keep-alive", "x-accel-redirect", "upgrade"] {
            assert!(!answer.fields.has(name), "{http:?} {name}");
        }
    }
}

#[tokio::test]
async fn no_client_describes_its_request_to_a_portal() {
    let (origin, portal) = (Origin::answering("wiki").await, super::portal().await);
    let gateway = before(&origin, &portal, |_| {}).await;
    for http in BOTH {
        let mut ask = Ask::post("/wiki/x?y", "body").field("Cookie", "sso=alice");
        for name in ["Uri", "Method", "Host", "Proto", "For", "Prefix", "User", "Groups", "Port", "Server"] {
            for value in ["/public/x", "GET"] {
                ask = ask.field(&format!("X-Forwarded-{name}"), value).field(&format!("X_Forwarded_{name}"), value);
            }
        }
        for name in ["URL", "URI", "Method", "Host"] {
            ask =
                ask.field(&format!("X-Original-{name}"), "/public/x").field(&format!("X-Rewrite-{name}"), "/public/x");
        }
        let ask = ask
            .field("X-HTTP-Method-Override", "GET")
            .field("Forwarded", "for=10.0.0.1;host=evil.test")
            .field("X-Auth-Request-Redirect", "https://evil.test/")
            .field("Expect", "100-continue")
            .field("If-None-Match", "*")
            .field("Range", "bytes=0-1");
        assert_eq!(ask.over(http, &gateway).await.status, 200, "{http:?}");
        let question = portal.last();
        for (name, value) in [
            ("x-forwarded-uri", Some("/wiki/x?y")),
            ("x-forwarded-method", Some("POST")),
            ("x-forwarded-proto", Some("https")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-user", None),
            ("x-forwarded-groups", None),
            ("x-forwarded-prefix", None),
            ("x-forwarded-server", None),
            ("x-original-url", None),
            ("x-original-uri", None),
            ("x-original-method", None),
            ("x-original-host", None),
            ("x-rewrite-url", None),
            ("x-http-method-override", None),
            ("x-auth-request-redirect", None),
            ("forwarded", None),
            ("expect", None),
            ("if-none-match", None),
            ("range", None),
        ] {
            assert_eq!(question.fields.get(name), value, "{http:?} {name}");
        }
        assert!(!question.head.contains(&b'_'), "{}", String::from_utf8_lossy(&question.head));
    }
}

#[tokio::test]
async fn a_portal_may_close_a_connection_at_any_time_between_two_answers() {
    let origin = Origin::answering("wiki").await;
    let first = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    // It closes the connection at the moment at which the second question arrives.
    let portal = Origin::scripted(move |request: &Request| match first.lock().unwrap().insert(request.connection) {
        true => vec![Step::Read, Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())],
        false => vec![Step::Close],
    });
    let portal = portal.await;
    let gateway = before(&origin, &portal, |_| {}).await;
    for http in BOTH {
        for _ in 0..4 {
            assert_eq!(Ask::get("/wiki/x").over(http, &gateway).await.status, 200, "{http:?}");
        }
    }
    assert_eq!(gateway.outcome("wiki", "portal_unavailable"), 0);
}

#[tokio::test]
async fn a_portal_whose_certificate_is_not_trusted_is_not_asked() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (certificate, status) in [
        (authority.issue("good", &["localhost"]), 200),
        (authority.issue("elsewhere", &["elsewhere.test"]), 503),
        (authority.issue_until("expired", &["localhost"], 2021), 503),
        (other.issue("foreign", &["localhost"]), 503),
    ] {
        let (origin, portal) = (Origin::answering("wiki").await, super::portal().await);
        let front = TlsFront::before(portal.address(), &certificate.read()).await;
        let gateway = before(&origin, &portal, |settings| {
            let upstream = settings.upstreams.last_mut().unwrap();
            over_tls_at(upstream, &[front.address()], &authority.trusted());
        });
        let gateway = gateway.await;
        let answer = Ask::get("/wiki/x").field("Cookie", "sso=alice").to(&gateway).await;
        assert_eq!((answer.status, portal.count()), (status, usize::from(status == 200)));
        let key = gateway.issue("alice").await;
        assert_eq!(Ask::get("/wiki/x").token(&key).to(&gateway).await.status, 200);
    }
}
