//! `[login]`: issues tokens for passwords.

use std::time::Duration;

use super::defaults::RouteDefaults;
use super::patterns::{PathPattern, plain_path};
use super::reader::Table;
use super::routes::Route;
use crate::token::AuthMethod;
use crate::units::Rate;

/// The login: `POST` username and password, and get the login token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The path, on every host, with and without a trailing slash. Takes precedence over all routes.
    pub path: String,
    /// Whether a login can send its password in `Authorization: Basic`, by GET or POST.
    pub basic: BasicLogin,
    /// The names in the response.
    pub response: LoginResponse,
    /// The path at which a token from a login is revoked; `None`: there is none.
    pub logout_path: Option<String>,
    /// The path at which all tokens from logins of the user are revoked; `None`: there is none.
    pub logout_all_path: Option<String>,
    /// Rate limit of failed attempts per username, in all its spellings; `None`: no limit.
    pub per_user: Option<Rate>,
    /// Rate limit of failed attempts per client; `None`: no limit.
    pub per_address: Option<Rate>,
    /// Maximum size of a request body in bytes.
    pub max_body: u64,
    /// Maximum number of incomplete bodies of logins and forms at once.
    pub max_pending: usize,
    /// Maximum number of these per client.
    pub max_pending_per_client: usize,
    /// Longest pause of the client within a request body.
    pub request_body_timeout: Duration,
    /// Minimum rate of a request body in bytes per second, on average; `None`: no minimum.
    pub body_rate: Option<u64>,
    /// Pages for browsers; `None`: switched off.
    pub browser: Option<Browser>,
}

/// What is at a path of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginPath {
    /// The login itself.
    LogIn,
    /// The caller's token is revoked.
    LogOut,
    /// All tokens from logins of the caller are revoked.
    LogOutAll,
}

/// Whether `Authorization: Basic` is accepted at the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicLogin {
    /// It is ignored.
    Off,
    /// It is accepted. A browser never asks for a password.
    Quiet,
    /// It is accepted. A browser asks for a password.
    Prompt,
}

/// The names in the response to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResponse {
    /// `token`, as Django REST Framework.
    Drf,
    /// `auth_token`, as djoser.
    Djoser,
    /// `key`, as dj-rest-auth.
    DjRestAuth,
    /// `expiry` and `token`, as knox.
    Knox,
    /// `id`, `expires` and `key` with 201, as the provisioning of NetBox.
    Netbox,
}

/// Pages on which users sign in and out in a browser, and sessions as credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    /// The path of the pages, on every host; ends with a slash.
    pub path: String,
    /// Lifetime of a session.
    pub session_ttl: Duration,
}

impl Login {
    /// Its name in logs and metrics, in place of a route's name.
    pub const NAME: &str = "gettoken";

    /// What is at this path (decoded); `None`: nothing of the login.
    pub fn at(&self, path: &str) -> Option<LoginPath> {
        let is_at = |own: &str| bare(own) == bare(path);
        let is_set = |own: &Option<String>| own.as_deref().is_some_and(is_at);
        if is_at(&self.path) {
            Some(LoginPath::LogIn)
        } else if is_set(&self.logout_path) {
            Some(LoginPath::LogOut)
        } else if is_set(&self.logout_all_path) {
            Some(LoginPath::LogOutAll)
        } else {
            None
        }
    }

    /// All its paths.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let more = [&self.logout_path, &self.logout_all_path].into_iter().filter_map(Option::as_deref);
        [self.path.as_str()].into_iter().chain(more)
    }
}

impl Browser {
    /// The name of the pages in logs and metrics, in place of a route's name.
    pub const NAME: &str = "auth";

    /// The last path segments of the pages.
    pub const PAGES: [&str; 3] = ["login", "logout", "account"];

    /// The page at this path (decoded), with or without a trailing slash.
    pub fn page(&self, path: &str) -> Option<&'static str> {
        let last = bare(path.strip_prefix(self.path.as_str())?);
        Browser::PAGES.into_iter().find(|page| *page == last)
    }
}

fn bare(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

impl Default for Login {
    fn default() -> Login {
        Login {
            path: "/gettoken/".to_owned(),
            basic: BasicLogin::Off,
            response: LoginResponse::Drf,
            logout_path: None,
            logout_all_path: None,
            per_user: Some(Rate::per_minute(5)),
            per_address: Some(Rate::per_minute(20)),
            max_body: 64 << 10,
            max_pending: 1_024,
            max_pending_per_client: 128,
            body_rate: Some(50),
            request_body_timeout: Duration::from_secs(30),
            browser: None,
        }
    }
}

impl Default for Browser {
    fn default() -> Browser {
        Browser { path: "/auth/".to_owned(), session_ttl: Duration::from_secs(14 * 86_400) }
    }
}

/// How passwords are hashed and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// Maximum number of concurrent hash computations.
    pub at_once: usize,
    /// A failed comparison responds after this time, or after a multiple of it.
    pub failed_after: Duration,
}

/// `auto`: two if requests still have as many cores for themselves, otherwise one. Hashing threads have a low priority,
/// but a request on their core may still wait for the next scheduler tick.
impl Default for Hashing {
    fn default() -> Hashing {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hashing { at_once: (cores / 2).clamp(1, 2), failed_after: Duration::from_secs(1) }
    }
}

const BASIC: [(&str, BasicLogin); 3] =
    [("off", BasicLogin::Off), ("quiet", BasicLogin::Quiet), ("prompt", BasicLogin::Prompt)];
const RESPONSES: [(&str, LoginResponse); 5] = [
    ("drf", LoginResponse::Drf),
    ("djoser", LoginResponse::Djoser),
    ("dj-rest-auth", LoginResponse::DjRestAuth),
    ("knox", LoginResponse::Knox),
    ("netbox", LoginResponse::Netbox),
];

/// No known machine has more cores.
const MAX_PARALLELISM: u64 = 1_024;
const MIN_SESSION: Duration = Duration::from_secs(60);
/// Browsers keep no cookie for longer.
const MAX_SESSION: Duration = Duration::from_secs(400 * 86_400);

/// Reads `[login]`; without the table users cannot log in. The settings for hashing apply either way: passwords are
/// also hashed when users are created.
pub(super) fn read(root: &Table<'_>, routes: &[Route], defaults: &RouteDefaults) -> (Option<Login>, Hashing) {
    root.switch("login", |table| {
        let (default, hashing) = (Login::default(), Hashing::default());
        let path = table.key("path");
        let (logout, logout_all) = (table.key("logout_path"), table.key("logout_all_path"));
        let (per_user, per_address) = table.table("attempts", |attempts| {
            let rate = |name, default| attempts.key(name).or_word("unlimited").optional_rate(default);
            (rate("per_user", default.per_user), rate("per_address", default.per_address))
        });
        let login = Login {
            path: path.parse_or(default.path, plain_path),
            basic: table.key("basic").choice(&BASIC, default.basic),
            response: table.key("response").choice(&RESPONSES, default.response),
            logout_path: logout.parse(plain_path),
            logout_all_path: logout_all.parse(plain_path),
            per_user,
            per_address,
            max_body: table.key("max_body").bytes(256..=1 << 20, default.max_body),
            max_pending: table.key("max_pending").count(1..=100_000, default.max_pending),
            max_pending_per_client: table
                .key("max_pending_per_client")
                .count(1..=100_000, default.max_pending_per_client),
            request_body_timeout: defaults.request_body_timeout(),
            body_rate: defaults.body_rate(),
            browser: table.switch("browser", read_browser),
        };
        let at_once = table.key("hash_parallelism").or_word("auto").count_or_word(1..=MAX_PARALLELISM);
        let hashing = Hashing {
            at_once: at_once.unwrap_or(hashing.at_once),
            failed_after: table.key("failed_after").duration(hashing.failed_after),
        };
        if login.browser.is_none() {
            refuse_sessions(table, routes);
        }
        if !table.is_set() {
            return (None, hashing);
        }
        for (key, own) in [
            (&path, Some(&login.path)),
            (&logout, login.logout_path.as_ref()),
            (&logout_all, login.logout_all_path.as_ref()),
        ] {
            let Some(own) = own else { continue };
            if own == "/" {
                key.problem("would replace the start page", "write a path of its own, such as \"/gettoken/\"");
            }
            if login.browser.as_ref().is_some_and(|browser| browser.page(own).is_some()) {
                key.problem("is a page of [login.browser]", "give one of them another path");
            }
            if login.paths().filter(|other| bare(other) == bare(own)).count() > 1 {
                key.problem("is the path of the login or of another logout", "give each a path of its own");
            }
        }
        refuse_conflicting_routes(table, &login, routes);
        (Some(login), hashing)
    })
}

/// Reads `[login.browser]`; without the table there are no pages and no sessions.
fn read_browser(table: &Table<'_>) -> Option<Browser> {
    let default = Browser::default();
    let path = table.key("path").parse_or(default.path, plain_path);
    let browser = Browser {
        path: format!("{}/", path.strip_suffix('/').unwrap_or(&path)),
        session_ttl: table.key("session_ttl").duration_within(MIN_SESSION..=MAX_SESSION, default.session_ttl),
    };
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
        if login.at(path).is_some() || is_page {
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
