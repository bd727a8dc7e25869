//! Invalid settings of the login, each with all its errors.

use std::time::Duration;

use tokengate::config::settings::{Browser, Hashing};
use tokengate::token::AuthMethod;
use tokengate::units::Rate;

use super::Folder;
use super::refused::{BASE, each_is_refused};

#[test]
fn a_login_that_would_take_requests_from_a_route_is_refused() {
    for (login, route) in [
        ("/gettoken/", "path = \"/gettoken/\""),
        ("/gettoken/", "path = \"/gettoken\""),
        ("/gettoken", "path_prefix = \"/gettoken/\" | host = \"a.test\""),
        ("/gettoken", "path_prefix = \"/gettoken\" | methods = [\"GET\"]"),
    ] {
        let path = route.split('"').nth(1).unwrap();
        each_is_refused(&[(
            &format!("[login] | path = \"{login}\" | [routes.a] | {route} | upstream = \"base\""),
            &format!(
                "1: login: takes requests for `{path}` away from routes.a; give the route another path, or set \
                 another `login.path`"
            ),
        )]);
    }
    each_is_refused(&[
        (
            "[login] | [routes.gettoken] | path = \"/x\" | upstream = \"base\"",
            "1: login: a route is named `gettoken`, which is the name of the login in logs and metrics; rename the route",
        ),
        (
            "[login] | path = \"/\"",
            "2: login.path: would replace the start page; write a path of its own, such as \"/gettoken/\"",
        ),
        (
            "[login] | logout_path = \"/gettoken\" | logout_all_path = \"/\"",
            "1: login.path: is the path of the login or of another logout; give each a path of its own | \
             2: login.logout_path: is the path of the login or of another logout; give each a path of its own | \
             3: login.logout_all_path: would replace the start page; write a path of its own, such as \"/gettoken/\"",
        ),
        (
            "[login] | logout_path = \"/out/\" | [routes.a] | path = \"/out\" | upstream = \"base\"",
            "1: login: takes requests for `/out` away from routes.a; give the route another path, or set another `login.path`",
        ),
        ("[login] | path = \"token\"", "2: login.path: `token` does not begin with `/`; write \"/token\""),
    ]);
}

#[test]
fn invalid_pages_and_sessions_are_refused() {
    each_is_refused(&[
        (
            "[login.browser] | path = \"auth\" | session_ttl = \"30s\" | pth = 1",
            "2: login.browser.path: `auth` does not begin with `/`; write \"/auth\" | \
             3: login.browser.session_ttl: `30s` is out of bounds; write 1m to 400d | \
             4: login.browser.pth: unknown key; did you mean `path`?",
        ),
        (
            "[login.browser] | [routes.a] | path = \"/auth/login\" | upstream = \"base\"",
            "1: login: takes requests for `/auth/login` away from routes.a; give the route another path, or set \
             another `login.path`",
        ),
        (
            "[login.browser] | [routes.auth] | path_prefix = \"/auth/\" | upstream = \"base\"",
            "1: login: a route is named `auth`, which is the name of the login in logs and metrics; rename the route",
        ),
        (
            "[login] | path = \"/x/login\" | browser = { path = \"/x\" }",
            "2: login.path: is a page of [login.browser]; give one of them another path",
        ),
        (
            "[login] | [routes.a] | path = \"/a\" | upstream = \"base\" | credentials = [\"token\", \"session\"]",
            " routes.a.credentials: no user can get a session; add [login.browser], or remove \"session\"",
        ),
        (
            "[login.browser] | [routes.a] | path = \"/a\" | upstream = \"base\" | auth = \"none\" | credentials = [\"sesion\"]",
            "6: routes.a.credentials: this route does not check credentials; use `auth = \"optional\"` or \"required\", or remove it | \
             6: routes.a.credentials: `sesion` is not supported here; did you mean `session`?",
        ),
    ]);
}

#[test]
fn rates_and_sizes_of_a_login_are_checked() {
    each_is_refused(&[
        (
            "[login] | attempts = { per_user = 5, per_address = \"0/min\" }",
            "2: login.attempts.per_user: `5` is not a rate; write a number and one of the units /s, /min, /h and /d, as in \
             \"5/min\", or \"unlimited\" | \
             2: login.attempts.per_address: `0/min` would never allow anything; write a number above zero, or \"unlimited\"",
        ),
        (
            "[limits] | wrong_keys = \"often\"",
            "2: limits.wrong_keys: `often` is not a rate; write a number and one of the units /s, /min, /h and /d, as in \
             \"5/min\", or \"unlimited\"",
        ),
        ("[login] | max_body = \"1B\"", "2: login.max_body: `1B` is out of bounds; write 256B to 1MiB"),
        (
            "[login] | hash_parallelism = 0",
            "2: login.hash_parallelism: `0` is out of bounds; write a whole number from 1 to 1024, or \"auto\"",
        ),
    ]);
}

#[test]
fn login_browser_enables_pages_and_routes_list_their_credentials() {
    let (folder, route) = (Folder::new(), "[routes.a]\npath = \"/a\"\nupstream = \"base\"\n");
    let login = folder.settings(&format!("[login.browser]\n{BASE}")).login.unwrap();
    assert_eq!(login.browser, Some(Browser::default()));
    assert_eq!(folder.settings(&format!("[login]\n{BASE}")).login.unwrap().browser, None);
    let text = format!(
        "[login.browser]\npath = \"/a/b\"\nsession_ttl = \"1h\"\n{route}credentials = [\"session\", \"token\"]\n{BASE}"
    );
    let settings = folder.settings(&text);
    let browser = settings.login.unwrap().browser.unwrap();
    assert_eq!((browser.path.as_str(), browser.session_ttl), ("/a/b/", Duration::from_secs(3_600)));
    assert_eq!(browser.page("/a/b/login"), Some("login"));
    assert_eq!(browser.page("/a/b/login/x"), None);
    let [a, base] = settings.routes.as_slice() else { panic!("not two") };
    assert_eq!(a.credentials, [AuthMethod::Session, AuthMethod::Token]);
    assert_eq!(base.credentials, [AuthMethod::Token]);
}

#[test]
fn the_login_table_enables_the_login() {
    let folder = Folder::new();
    assert!(folder.settings(BASE).login.is_none());
    let settings = folder.settings(&format!("[login]\n{BASE}"));
    let login = settings.login.unwrap();
    assert_eq!((login.path.as_str(), login.max_body), ("/gettoken/", 65_536));
    assert_eq!((login.per_user, login.per_address), (Some(Rate::per_minute(5)), Some(Rate::per_minute(20))));
    let default = Hashing::default();
    assert!((1..=2).contains(&default.at_once));
    assert_eq!(
        (settings.store.hashing.at_once, settings.store.hashing.failed_after),
        (default.at_once, Duration::from_secs(1))
    );
    let auto = folder.settings(&format!("[login]\nhash_parallelism = \"auto\"\n{BASE}"));
    assert_eq!(auto.store.hashing.at_once, default.at_once);

    let text = "[login]\npath = \"/login\"\nfailed_after = \"2s\"\nattempts = { per_user = \"unlimited\" }\nhash_parallelism = 1\n\
                [defaults.timeouts]\nrequest_body = \"7s\"\n";
    let settings = folder.settings(&format!("{text}{BASE}"));
    let login = settings.login.unwrap();
    assert_eq!((login.path.as_str(), login.per_user), ("/login", None));
    assert_eq!(login.request_body_timeout, Duration::from_secs(7));
    assert_eq!((settings.store.hashing.at_once, settings.store.hashing.failed_after), (1, Duration::from_secs(2)));
}
