//! The login: tokens for passwords.

use std::time::Duration;

use crate::units::Rate;

/// The login: `POST` username and password, and get the login token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The path, on every host, with and without a trailing slash. Takes precedence over all routes.
    pub path: String,
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

    /// Whether this path (decoded) is that of the login.
    pub fn takes(&self, path: &str) -> bool {
        bare(&self.path) == bare(path)
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
