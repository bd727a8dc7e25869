//! Invalid routes, each with all its errors.

use super::Folder;
use super::refused::{BASE, each_is_refused};

#[test]
fn routes_that_never_match_or_permit_too_much_are_refused() {
    let paths = [
        ("orders", "does not begin with `/`; write \"/orders\""),
        ("/a%20b", "contains `%`; write the path decoded; requests are compared decoded"),
        ("/a//b", "contains an empty segment; write one `/`"),
        ("/a/../b", "contains a `.` or `..` segment; write the path without them"),
        ("/a/.", "contains a `.` or `..` segment; write the path without them"),
        (
            "/a?b",
            "contains a character that a path cannot contain; leave out `?`, `#`, `\\`, `*` and control characters",
        ),
    ];
    for (path, what) in paths {
        let fragment = format!("[routes.a] | path_prefix = \"{path}\" | upstream = \"base\"");
        each_is_refused(&[(&fragment, &format!("2: routes.a.path_prefix: `{path}` {what}"))]);
    }
    each_is_refused(&[
        (
            "[routes.a] | upstream = \"base\"",
            "1: routes.a: this route has no path; add `path_prefix = \"/\"` for a whole tree or \
             `path` for exactly one",
        ),
        (
            "[routes.a] | path = \"/a\" | path_prefix = \"/a\" | upstream = \"base\"",
            "3: routes.a.path_prefix: `path` and `path_prefix` cannot be combined; remove one",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"bsae\" | strip_prefix = true",
            "3: routes.a.upstream: `bsae` is not the name of any upstream in this file; did you mean `base`? | \
             4: routes.a.strip_prefix: there is no prefix to strip; use `path_prefix`, or remove it",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | streaming = true | [routes.a.timeouts] | \
             response_headers = \"5s\" | total = \"5s\" | response_body = \"5s\"",
            "6: routes.a.timeouts.response_headers: a `streaming` route does not have this timeout; remove it; `total` bounds the \
             whole exchange | 8: routes.a.timeouts.response_body: a `streaming` route does not have this timeout; remove it; \
             `total` bounds the whole exchange",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"orders\"",
            "3: routes.a.upstream: `orders` is not the name of any upstream in this file; add [upstreams.orders]",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | auth = \"optional\" | scopes = [\"read\"]",
            "5: routes.a.scopes: scopes need a required token; use `auth = \"required\"`, or remove the scopes",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | auth = \"none\" | token_parameter = true",
            "5: routes.a.token_parameter: this route accepts no tokens; use it where `auth` and `credentials` accept tokens, or remove it",
        ),
        (
            "[login.browser] | [routes.a] | path = \"/a\" | upstream = \"base\" | credentials = [\"session\"] | \
             token_parameter = true",
            "6: routes.a.token_parameter: this route accepts no tokens; use it where `auth` and `credentials` accept tokens, or remove it",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | scopes = [\"Read\"]",
            "4: routes.a.scopes: `Read` is not a valid scope; use 1 to 64 characters of a-z, 0-9, `.`, `_`, `-` and `:`",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | methods = [\"get\", \"TRACE\", \"G T\"]",
            "4: routes.a.methods: `get` is not in capitals; write \"GET\" | \
             4: routes.a.methods: `TRACE` is never forwarded; remove it | \
             4: routes.a.methods: `G T` is not a valid method; write a method such as \"GET\"",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | forward_authorization = \"some\" | encoded_slashes = true",
            "4: routes.a.forward_authorization: `some` is not supported here; write \"never\" or \"foreign\" or \"always\" | \
             5: routes.a.encoded_slashes: must not be true or false; write a text in quotes",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | limits.body_rate = \"50B\"",
            "4: routes.a.limits.body_rate: `50B` is not a size per second; write one such as \"50B/s\", or \"off\"",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | streaming = true | limits.body_rate = \"50B/s\"",
            "5: routes.a.limits.body_rate: a `streaming` route has no minimum rate; remove it",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | host = \"a.example:443\"",
            "4: routes.a.host: `a.example:443` is not a valid host; write a name without port, such as \"api.example.com\" or \
             \"*.example.com\"",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | request_body = \"buffer\" | limits.body = \
             \"unlimited\"",
            "4: routes.a.request_body: `buffer` needs a limit of the body; add `limits = { body = \"10MiB\" }`",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | request_body = \"buffer\" | limits.body = \"3GiB\"",
            " spool.max_size: a request body of routes.a may be 3GiB long, which does not fit in; write at least \"3GiB\", or \
             lower routes.a.limits.body",
        ),
        (
            "[spool] | max_size = \"2MiB\" | folder = \"missing\" | [routes.a] | path = \"/a\" | upstream = \"base\" | \
             request_body = \"buffer\"",
            "2: spool.max_size: a request body of routes.a may be 10MiB long, which does not fit in; write at least \
             \"10MiB\", or lower routes.a.limits.body | \
             3: spool.folder: the folder does not exist; create it for the user that runs the gateway",
        ),
    ]);
}

#[test]
fn pass_headers_cannot_name_headers_of_the_gateway() {
    for name in [
        "X-User-Id",
        "x_user_id",
        "X-Auth-Method",
        "X-Request-Id",
        "X-Forwarded-For",
        "x-forwarded-prefix",
        "Forwarded",
        "X-Real-IP",
        "X-Tokengate-Assertion",
        "Authorization",
        "Proxy-Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Expect",
    ] {
        let fragment =
            format!("[routes.a] | path = \"/a\" | upstream = \"base\" | pass_headers = [\"Proxy\", \"{name}\"]");
        let what = "is set or read by the gateway itself; remove it; the gateway always removes a client's copy";
        each_is_refused(&[(&fragment, &format!("4: routes.a.pass_headers: `{name}` {what}"))]);
    }
    each_is_refused(&[
        (
            "[identity.headers] | user_name = \"Remote-User\" | [routes.a] | path = \"/a\" | upstream = \"base\" | \
             pass_headers = [\"REMOTE_USER\"]",
            "6: routes.a.pass_headers: `REMOTE_USER` is set or read by the gateway itself; remove it; the gateway \
             always removes a client's copy",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | pass_headers = [\"X Y\"]",
            "4: routes.a.pass_headers: `X Y` is not a valid header name; write one name, such as \"X-Original-User\"",
        ),
    ]);
}

#[test]
fn two_routes_with_equal_precedence_are_refused() {
    let folder = Folder::new();
    let two = |one: &str, other: &str| {
        let route = |name: &str, rest: &str| format!("[routes.{name}]\nupstream = \"base\"\n{rest}\n");
        folder.errors(&format!("{}{}{BASE}", route("z", one), route("a", other)))
    };
    let refused = ["gateway.toml:4: routes.a: overlaps with routes.z; give them different hosts, \
     paths or methods"];
    let some = "path = \"/\" \nmethods = [\"GET\", \"POST\"]";
    assert_eq!(two("path = \"/\" \n", "path = \"/\"").len(), 1);
    assert_eq!(two("path = \"/\"\nhost = \"A.example\"", "path = \"/\"\nhost = \"a.example\"").len(), 1);
    assert_eq!(two(some, "path = \"/\"\nmethods = [\"POST\"]").len(), 1);
    assert_eq!(two("path_prefix = \"/\"", "path_prefix = \"/\""), refused);
    for other in [
        "path = \"/\"\nmethods = [\"PUT\"]",
        "path = \"/\"",
        "path_prefix = \"/\"\nmethods = [\"GET\"]",
        "path = \"/\"\nmethods = [\"GET\"]\nhost = \"a.example\"",
    ] {
        assert_eq!(two(some, other), [""; 0], "{other}");
    }
    for (one, other) in [
        ("path_prefix = \"/a\"", "path_prefix = \"/a/\""),
        ("path_prefix = \"/a\"", "path = \"/a\""),
        ("path = \"/a\"\nhost = \"*.a.example\"", "path = \"/a\"\nhost = \"a.example\""),
    ] {
        assert_eq!(two(one, other), [""; 0], "{one} {other}");
    }
}
