//! `[login]`: issues tokens for passwords.

use std::time::Duration;

use super::reader::Table;
use super::routes::{RouteDefaults, plain_path};
use super::settings::{Browser, Hashing, Login, PathPattern, Route};
use crate::token::AuthMethod;
use crate::units::HumanDuration;

/// No known machine has more cores.
const MOST_AT_ONCE: u64 = 1_024;
const SHORTEST_SESSION: Duration = Duration::from_secs(60);
/// Browsers keep no cookie for longer.
const LONGEST_SESSION: Duration = Duration::from_secs(400 * 86_400);

/// Reads `[login]`; without the table users cannot log in. The settings for hashing apply either way: passwords are
/// also hashed when users are created.
pub(super) fn read(root: &Table<'_>, routes: &[Route], defaults: &RouteDefaults) -> (Option<Login>, Hashing) {
    root.table("login", |table| {
        let (default, hashing) = (Login::default(), Hashing::default());
        let path = table.key("path");
        let (per_user, per_address) = table.table("attempts", |attempts| {
            let rate = |name, default| attempts.key(name).or_word("unlimited").optional_rate(default);
            (rate("per_user", default.per_user), rate("per_address", default.per_address))
        });
        let share = table.key("max_pending_per_client").count(1..=100_000);
        let login = Login {
            path: plain_path(&path).unwrap_or(default.path),
            per_user,
            per_address,
            max_body: table.key("max_body").bytes(256..=1 << 20).unwrap_or(default.max_body),
            max_pending: table.key("max_pending").count(1..=100_000).unwrap_or(default.max_pending),
            max_pending_per_client: share.unwrap_or(default.max_pending_per_client),
            request_body_timeout: defaults.request_body_timeout(),
            body_rate: defaults.body_rate(),
            browser: table.table("browser", read_browser),
        };
        let at_once = table.key("hash_parallelism").or_word("auto");
        let written = if at_once.is_word() { None } else { at_once.count(1..=MOST_AT_ONCE) };
        let hashing = Hashing {
            at_once: written.unwrap_or(hashing.at_once),
            failed_after: table.key("failed_after").duration().unwrap_or(hashing.failed_after),
        };
        if login.browser.is_none() {
            refuse_sessions(table, routes);
        }
        if !table.is_set() {
            return (None, hashing);
        }
        if login.path == "/" {
            path.problem("would replace the start page", "write a path of its own, such as \"/gettoken/\"");
        }
        if login.browser.as_ref().is_some_and(|browser| browser.page(&login.path).is_some()) {
            path.problem("is a page of [login.browser]", "give one of them another path");
        }
        refuse_conflicting_routes(table, &login, routes);
        (Some(login), hashing)
    })
}

/// Reads `[login.browser]`; without the table there are no pages and no sessions.
fn read_browser(table: &Table<'_>) -> Option<Browser> {
    let (default, ttl) = (Browser::default(), table.key("session_ttl"));
    let path = plain_path(&table.key("path")).unwrap_or(default.path);
    let browser = Browser {
        path: format!("{}/", path.strip_suffix('/').unwrap_or(&path)),
        session_ttl: ttl.duration().unwrap_or(default.session_ttl),
    };
    if browser.session_ttl < SHORTEST_SESSION || browser.session_ttl > LONGEST_SESSION {
        ttl.problem(format!("`{}` is out of bounds", HumanDuration(browser.session_ttl)), "write 1m to 400d");
    }
    table.is_set().then_some(browser)
}

/// Reports routes that accept only sessions when no page creates sessions.
fn refuse_sessions(table: &Table<'_>, routes: &[Route]) {
    for route in routes.iter().filter(|route| route.credentials.contains(&AuthMethod::Session)) {
        let key = format!("routes.{}.credentials", route.name);
        let mend = Some("add [login.browser], or remove \"session\"".to_owned());
        table.document().problem(None, Some(&key), "no user can get a session".to_owned(), mend);
    }
}

/// Reports routes with the path of the login. The login takes precedence over all routes, so such a route would never
/// get these requests.
fn refuse_conflicting_routes(table: &Table<'_>, login: &Login, routes: &[Route]) {
    for route in routes {
        let (PathPattern::Exact(path) | PathPattern::Prefix(path)) = &route.path;
        let is_page = login.browser.as_ref().is_some_and(|browser| browser.page(path).is_some());
        if login.takes(path) || is_page {
            table.problem(
                format!("takes requests for `{path}` away from routes.{}", route.name),
                "give the route another path, or set another `login.path`",
            );
        }
        let names = [Some(Login::NAME), login.browser.as_ref().map(|_| Browser::NAME)];
        if let Some(name) = names.into_iter().flatten().find(|name| *name == &*route.name) {
            table.problem(
                format!("a route is named `{name}`, which is the name of the login in logs and metrics"),
                "rename the route",
            );
        }
    }
}
