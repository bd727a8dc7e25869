//! Explained requests, and tests of the configuration file.

mod agree;
mod draw;

use tokengate::app::explain::{Caller, Explainer};
use tokengate::app::{ReloadError, StartError};
use tokengate::cache::StoreUnavailable;
use tokengate::config::Settings;
use tokengate::config::settings::{Auth, Browser, Expected, FileTest, Login, SampleCaller, SampleRequest};
use tokengate::gateway::explanation::End;
use tokengate::token::{AuthMethod, Networks, ScopeSet, TokenKey};

use crate::support::gateway::route;
use crate::support::{Ask, Gateway, Origin};

/// A test of a file, for the plain listener.
pub fn test(name: &str, request: &str, caller: Option<&str>, expected: Expected) -> FileTest {
    let scopes = |scopes| SampleCaller { scopes: ScopeSet::parse(scopes).unwrap(), ..SampleCaller::default() };
    let request = SampleRequest { listener: Some("plain".to_owned()), ..SampleRequest::parse(request).unwrap() };
    FileTest {
        file: "gateway.toml".into(),
        line: 7,
        name: name.to_owned(),
        request,
        caller: caller.map(scopes),
        expected,
    }
}

pub fn status(status: u16) -> Expected {
    Expected { status: Some(status), ..Expected::default() }
}

pub fn upstream(header: &str) -> Expected {
    let headers = if header.is_empty() { Vec::new() } else { vec![header.to_owned()] };
    Expected { upstream: Some("origin".to_owned()), headers, ..Expected::default() }
}

/// The problems of these tests.
pub async fn problems(gateway: &Gateway, tests: Vec<FileTest>) -> Vec<String> {
    let reloaded = gateway.reload(|settings: &mut Settings| settings.tests = tests).await;
    match reloaded {
        Ok(_) => Vec::new(),
        Err(ReloadError::Start(StartError::Tests(failed))) => failed.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn tests_of_a_file_run_on_every_reload_and_a_failing_one_changes_nothing() {
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let good = vec![
        test("closed", "GET http://a.test/api/x", None, status(401)),
        test("open", "POST http://a.test/api/x", Some(""), upstream("X-User-Name: ")),
        test("scoped", "GET http://a.test/scoped/", Some("read"), status(403)),
        test("admins", "GET http://a.test/scoped/", Some("admin read"), upstream("x-token-scopes: admin read")),
        test("nowhere", "GET http://a.test/else", None, status(404)),
        test("route", "BREW http://a.test/public/", None, status(405)),
    ];
    let mut good = good;
    good[1].expected.headers = vec!["X-User-Name: ".to_owned()];
    good[1].caller.as_mut().unwrap().user = "alice".to_owned();
    good[1].expected.headers = vec!["X-User-Name: alice".to_owned(), "x-auth-method: token".to_owned()];
    assert_eq!(problems(&gateway, good.clone()).await, [""; 0]);
    // Nothing changed but the tests, which is enough for them to run.
    let failing = test("it's open", "GET http://a.test/api/x", None, upstream("X-User-Id: 1"));
    let said = problems(&gateway, [good, vec![failing.clone()]].concat()).await;
    assert_eq!(
        said,
        [
            "gateway.toml:7: tests: the test `it's open` fails: expected upstream `origin` and the header `X-User-Id: 1` for \
          the upstream, but the gateway answers 401 (no_credentials: Authentication credentials were not provided.; route \
          `api`); to see why: tokengate explain --test 'it'\\''s open'"
        ]
    );
    let reloaded = gateway
        .reload(|settings| {
            settings.routes.push(route("new", "/new/", Auth::None));
            settings.tests = vec![failing];
        })
        .await;
    assert!(matches!(reloaded, Err(ReloadError::Start(StartError::Tests(_)))));
    assert_eq!(Ask::get("/new/x").to(&gateway).await.status, 404);
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_failed_test_says_what_happened() {
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let route_of = |route: &str| Expected { route: Some(route.to_owned()), ..Expected::default() };
    let mut elsewhere = test("x", "GET http://a.test/public/", None, status(404));
    elsewhere.request.listener = None;
    let mut unknown = test("x", "GET http://a.test/public/", None, status(404));
    unknown.request.listener = Some("plian".to_owned());
    let mut tls = test("x", "GET https://a.test/public/", None, status(404));
    tls.request.listener = Some("plain".to_owned());
    for (test, said) in [
        (
            test("x", "GET http://a.test/public/", None, status(401)),
            "expected status 401, but the request is forwarded to upstream `origin` by route `public`",
        ),
        (
            test("x", "GET http://a.test/else", None, route_of("api")),
            "expected route `api`, but the gateway answers 404 (no_route: Not found.; no route)",
        ),
        (
            test("x", "GET http://a.test/api/../x", None, status(404)),
            "expected status 404, but the gateway answers 400 (target_ambiguous: The path has a dot segment.; no route)",
        ),
        (
            elsewhere,
            "no listener has port 80; name the one that takes the request with `listener`: public (127.0.0.1:0), plain (127.0.0.1:0)",
        ),
        (unknown, "no listener for requests is called `plian`"),
        (tls, "the listener `plain` speaks HTTP without TLS"),
    ] {
        let problems = problems(&gateway, vec![test]).await;
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.contains(&format!("the test `x` fails: {said}; to see why")), "{problem}");
    }
}

#[tokio::test]
async fn a_made_up_token_of_a_user_means_what_a_real_one_means() {
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let key = gateway.issue_named("zażółć", "admin read", None, &gateway.clock()).await;
    let id = gateway.user("zażółć").await;
    gateway.store.accounts.set_groups(id, &["sales".to_owned(), "a,b".to_owned()]).await.unwrap();
    let mut settings = None;
    gateway.reload(|next| settings = Some(next.clone())).await.unwrap();
    let explainer = Explainer::new(settings.as_ref().unwrap(), gateway.clock().now()).unwrap();
    let sample = SampleCaller { scopes: ScopeSet::parse("read admin").unwrap(), ..SampleCaller::default() };
    let account = gateway.store.accounts.find("zażółć").await.unwrap().unwrap().account;
    let made_up = Caller::of_user(account, &sample, gateway.clock().now());
    let request = test("x", "GET http://localhost/scoped/x", None, status(200)).request;
    let look_up = async |key: &TokenKey| gateway.store.tokens.find(key).await.map_err(|_| StoreUnavailable);
    let mut told = Vec::new();
    for caller in [made_up, Caller::Key(TokenKey::parse(&key).unwrap())] {
        let explained = explainer.explain(&request, &caller, look_up).await.unwrap();
        let End::Forwarded(forwarded) = explained.explanation.end else { panic!("refused") };
        let fields = forwarded.request.headers();
        let of_caller = |name: &str| fields.get(name).map(|value| value.to_str().unwrap().to_owned());
        told.push(["x-user-id", "x-user-name", "x-user-groups", "x-token-scopes", "x-auth-method"].map(of_caller));
    }
    assert_eq!(told[0], told[1]);
    Ask::get("/scoped/x").token(&key).to(&gateway).await;
    let seen = origin.last().fields;
    assert_eq!(told[0][0].as_deref(), seen.get("x-user-id"));
    assert_eq!((told[0][1].as_deref(), told[0][3].as_deref()), (seen.get("x-user-name"), seen.get("x-token-scopes")));
    // A store that does not answer is told as such.
    let away = async |_: &TokenKey| Err(StoreUnavailable);
    let explained = explainer.explain(&request, &Caller::Key(TokenKey::parse(&key).unwrap()), away).await.unwrap();
    assert!(matches!(explained.explanation.end, End::Refused(refused) if refused.status == 503));
}

#[tokio::test]
async fn sessions_and_restricted_tokens_are_made_up_too() {
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let both = vec![AuthMethod::Token, AuthMethod::Session];
    gateway
        .reload(|settings| {
            settings.login = Some(Login { browser: Some(Browser::default()), ..Login::default() });
            settings.routes[0].credentials = both;
        })
        .await
        .unwrap();
    let session = |mut test: FileTest| {
        test.caller.as_mut().unwrap().session = true;
        test
    };
    let read_only = |mut test: FileTest| {
        test.caller.as_mut().unwrap().read_only = true;
        test
    };
    let from = |mut test: FileTest, address: &str| {
        test.caller.as_mut().unwrap().networks = Networks::parse("10.0.0.0/8").unwrap();
        test.request.from = address.parse().unwrap();
        test
    };
    let header = |mut test: FileTest, line: &str| {
        test.request.headers.push(line.to_owned());
        test
    };
    let (get, post) = ("GET http://a.test/api/x", "POST http://a.test/api/x");
    let tests = vec![
        session(test("a", get, Some(""), upstream("X-Auth-Method: session"))),
        session(test("b", post, Some(""), status(403))),
        header(session(test("c", get, Some(""), upstream(""))), "Origin: http://a.test"),
        read_only(test("d", get, Some(""), upstream(""))),
        read_only(test("e", post, Some(""), status(403))),
        from(test("f", get, Some(""), upstream("")), "10.1.2.3"),
        from(test("g", get, Some(""), status(403)), "192.0.2.1"),
        header(test("h", get, Some(""), upstream("X-Real-Ip: 192.0.2.1")), "X-Real-Ip: 10.0.0.1"),
        header(test("i", get, None, status(401)), "Authorization: Token 0123456789012345678901234567890123456789"),
        // Two lines, as an attacker may send them.
        header(test("j", get, Some(""), status(400)), "Authorization: Basic YTpi"),
        test("k", "POST http://a.test/gettoken/", None, Expected { route: Some("gettoken".to_owned()), ..status(401) }),
    ];
    let said = problems(&gateway, tests).await;
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        said[0].contains("expected status 401, but the gateway answers the request itself (route `gettoken`)"),
        "{said:#?}"
    );
}

#[tokio::test]
async fn the_message_of_a_failing_test_shows_no_credentials() {
    let origin = Origin::answering("ok").await;
    let gateway = Gateway::before(&origin).await;
    let headers = ["Authorization: Bearer secret", "X-Api-Key:secret", "X-Token-Scopes: write"];
    let expected = Expected { headers: headers.map(str::to_owned).into(), ..Expected::default() };
    let said = problems(&gateway, vec![test("keys", "GET http://a.test/api/x", Some("read"), expected)]).await;
    let [said] = said.as_slice() else { panic!("{said:?}") };
    for part in ["`Authorization: ***`", "`X-Api-Key: ***`", "`X-Token-Scopes: write`"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
}
