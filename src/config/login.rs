//! `[login]`: tokens for passwords.

use super::reader::Table;
use super::routes::{RouteDefaults, plain_path};
use super::settings::{Hashing, Login, PathPattern, Route};

/// More threads than any machine that we know of has cores.
const MOST_AT_ONCE: u64 = 1_024;

/// `[login]`; without the table nobody can log in. Passwords are hashed either way, when users are made.
pub(super) fn read(root: &Table<'_>, routes: &[Route], defaults: &RouteDefaults) -> (Option<Login>, Hashing) {
    root.table("login", |table| {
        let (default, hashing) = (Login::default(), Hashing::default());
        let path = table.key("path");
        let (per_user, per_address) = table.table("attempts", |attempts| {
            let rate = |name, default| attempts.key(name).or_word("unlimited").optional_rate(default);
            (rate("per_user", default.per_user), rate("per_address", default.per_address))
        });
        let login = Login {
            path: plain_path(&path).unwrap_or(default.path),
            per_user,
            per_address,
            max_body: table.key("max_body").bytes(256..=1 << 20).unwrap_or(default.max_body),
            request_body_timeout: defaults.request_body_timeout(),
        };
        let hashing = Hashing {
            at_once: table.key("hash_parallelism").count(1..=MOST_AT_ONCE).unwrap_or(hashing.at_once),
            failed_after: table.key("failed_after").duration().unwrap_or(hashing.failed_after),
        };
        if !table.is_set() {
            return (None, hashing);
        }
        if login.path == "/" {
            path.problem("would take the place of the start page", "write a path of its own, such as \"/gettoken/\"");
        }
        refuse_rivals(table, &login, routes);
        (Some(login), hashing)
    })
}

/// The login stands above all routes: one with the same path would never get a request, or not those that it is there for.
fn refuse_rivals(table: &Table<'_>, login: &Login, routes: &[Route]) {
    for route in routes {
        let (PathPattern::Exact(path) | PathPattern::Prefix(path)) = &route.path;
        if login.takes(path) {
            table.problem(
                format!("takes the requests for `{path}` from routes.{}", route.name),
                "give the route another path, or log in elsewhere with `path` here",
            );
        }
        if &*route.name == Login::NAME {
            table.problem(
                format!("logs and metrics call the login `{}`, and there is a route of this name", Login::NAME),
                "rename the route",
            );
        }
    }
}
