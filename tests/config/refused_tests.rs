//! `[[tests]]`: what they mean, and invalid ones with all their errors.

use tokengate::config::settings::{Expected, SampleCaller};
use tokengate::token::{Networks, ScopeSet};

use super::Folder;
use super::refused::{BASE, each_is_refused};

#[test]
fn a_test_has_a_request_a_caller_and_what_must_happen() {
    let text = format!(
        "{BASE}\n[[tests]]\nname = \"closed\"\nrequest = \"GET https://a.test/base/?x\"\nexpect.status = 401\n\
         [[tests]]\nname = \"open\"\nrequest = \"POST http://a.test:8080/base/\"\nfrom = \"2001:db8::1\"\n\
         listener = \"base\"\nheaders = [\"X-A: b\"]\n\
         as = {{ user = \"alice\", groups = [\"b\", \"a\"], scopes = [\"write\"], session = true, read_only = true, \
         networks = \"10.0.0.0/8\" }}\n\
         expect = {{ route = \"base\", upstream = \"base\", headers = [\"X-User-Name: alice\"] }}\n"
    );
    let folder = Folder::new();
    let tests = folder.settings(&text).tests;
    let [closed, open] = tests.as_slice() else { panic!("{tests:?}") };
    let line = |name: &str| {
        let at = text.lines().position(|line| line == format!("name = \"{name}\"")).unwrap();
        (folder.path("gateway.toml"), at)
    };
    assert_eq!((closed.file.clone(), closed.line), line("closed"));
    assert_eq!((open.file.clone(), open.line), line("open"));
    assert_eq!((&*closed.name, &*closed.request.method, &*closed.request.target), ("closed", "GET", "/base/?x"));
    assert_eq!((closed.caller.clone(), closed.request.from.to_string()), (None, "192.0.2.1".to_owned()));
    assert_eq!(closed.expected, Expected { status: Some(401), ..Expected::default() });
    assert_eq!((open.request.secure, open.request.port), (false, 8080));
    assert_eq!(open.request.from.to_string(), "2001:db8::1");
    assert_eq!(
        (open.request.listener.as_deref(), &*open.request.headers),
        (Some("base"), ["X-A: b".to_owned()].as_slice())
    );
    let caller = SampleCaller {
        user: "alice".to_owned(),
        groups: vec!["a".to_owned(), "b".to_owned()],
        scopes: ScopeSet::parse("write").unwrap(),
        session: true,
        certificate: false,
        read_only: true,
        networks: Networks::parse("10.0.0.0/8").unwrap(),
    };
    assert_eq!(open.caller, Some(caller));
    let name = || Some("base".to_owned());
    let headers = vec!["X-User-Name: alice".to_owned()];
    assert_eq!(open.expected, Expected { status: None, route: name(), upstream: name(), headers });
}

#[test]
fn invalid_tests_are_refused() {
    each_is_refused(&[
        (
            "tests = true",
            "1: tests: must be a list of tables, not true or false; write [[tests]] with its keys below it",
        ),
        (
            "[[tests]]",
            "1: tests.name: missing; add `name = \"…\"`: what this test is about | \
             1: tests.request: missing; add `request = \"GET https://HOST/PATH\"` | \
             1: tests: expects nothing; add `expect = { status = 401 }`, or `route` or `upstream`",
        ),
        (
            "[[tests]] | name = \"a\" | request = \"GET /x\" | expect = { status = 99, route = \"bsae\" } | from = \"x\"",
            "3: tests.request: `GET /x` has no absolute http:// or https:// URL; \
             write one such as \"GET https://api.example.com/path\" | \
             4: tests.expect.status: `99` is out of bounds; write a whole number from 100 to 599 | \
             4: tests.expect.route: `bsae` is not the name of any route in this file; did you mean `base`? | \
             5: tests.from: `x` is not an IP address; write one such as \"192.0.2.7\"",
        ),
        (
            "[[tests]] | name = \"a\" | request = \"GET https://a/\" | expect = {}",
            "4: tests.expect: expects nothing; add `status`, `route` or `upstream`",
        ),
        (
            "[[tests]] | name = \"a\" | request = \"GET https://a/\" | as = { scope = [\"A\"], scopes = [\"A\"] } | \
             headers = [\"a\"] | expect = { status = 401, upstream = \"base\" }",
            "4: tests.as.scopes: `A` is not a valid scope; use 1 to 64 characters of a-z, 0-9, `.`, `_`, `-` and `:` | \
             4: tests.as.scope: unknown key; did you mean `scopes`? | \
             5: tests.headers: `a` is not a header line; write one such as \"Accept: text/html\" | \
             6: tests.expect.status: a forwarded request is answered by its upstream; remove `status` or `upstream`",
        ),
    ]);
}

#[test]
fn errors_about_tests_show_no_credentials() {
    each_is_refused(&[
        (
            "[[tests]] | name = \"a\" | request = \"GET https://a.test/?api_key=hunter2&a=b#x\" | expect = { status = 401 }",
            "3: tests.request: `GET https://a.test/?api_key=***&a=b#x` has a fragment, which clients do not send; remove \
             the part from `#` on",
        ),
        (
            "[[tests]] | name = \"a\" | request = \"GET https://alice:hunter2@a.test/\" | expect = { status = 401 }",
            "3: tests.request: `GET https://***@a.test/` has a user, which clients do not send with the host; remove the \
             part up to `@`; add an `Authorization` header if it is meant",
        ),
        (
            "[[tests]] | name = \"a\" | request = \"GET https://a.test/\" | headers = [\"Authorization Token hunter2\"] | \
             expect = { headers = [\"X-Api-Key: hunter2\\u0001\"] }",
            "4: tests.headers: `***` is not a header line; write one such as \"Accept: text/html\" | \
             5: tests.expect.headers: `X-Api-Key: ***` has a control character; remove it; encode it in the URL if it is \
             meant",
        ),
        (
            "[[tests]] | name = \"a\" | request = \"GET https://a.test/\" | headers = [\"Cookie: hunter2=${A}\"] | \
             expect = { status = 401 }",
            "4: tests.headers: `Cookie: ***` mixes a variable with text; make \"${NAME}\" the whole value",
        ),
    ]);
}
