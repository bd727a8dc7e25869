//! Tokens for passwords.

use std::time::Duration;

use crate::units::Rate;

/// Tokens for passwords: `POST` user name and password, and get the login token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Where, on every host. Taken with and without the slash at its end; above all routes.
    pub path: String,
    /// Failed attempts with one user name, however it is spelt; `None`: no bound.
    pub per_user: Option<Rate>,
    /// Failed attempts from one address; `None`: no bound.
    pub per_address: Option<Rate>,
    /// Longest request body in bytes.
    pub max_body: u64,
    /// Most bodies of logins and forms at once that have not come whole.
    pub max_pending: usize,
    /// Most of those of one client.
    pub max_pending_per_client: usize,
    /// Longest silence of the client within a request body.
    pub request_body_timeout: Duration,
    /// Least bytes a second of a request body, on average; `None`: no bound.
    pub body_rate: Option<u64>,
    /// Pages for browsers; `None`: switched off.
    pub browser: Option<Browser>,
}

/// Pages on which a browser logs in and out, and sessions as credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    /// Where the pages are, on every host; ends with a slash.
    pub path: String,
    /// How long a session lives.
    pub session_ttl: Duration,
}

impl Login {
    /// The word for it in logs and metrics, where routes have their names.
    pub const NAME: &str = "gettoken";

    /// Does it take this path (decoded)?
    pub fn takes(&self, path: &str) -> bool {
        bare(&self.path) == bare(path)
    }
}

impl Browser {
    /// The word for the pages in logs and metrics, where routes have their names.
    pub const NAME: &str = "auth";

    /// The last segments of the pages.
    pub const PAGES: [&str; 3] = ["login", "logout", "account"];

    /// The page that this path (decoded) is for, with or without a slash at its end.
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

/// How passwords are hashed and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// How many at once.
    pub at_once: usize,
    /// A comparison that fails is told after so long, or after a multiple of it.
    pub failed_after: Duration,
}

/// `auto`: two where requests still have as many cores for themselves, otherwise one. A thread that hashes stands back, and
/// yet a request that arrives on its core may have to wait for the next tick of the scheduler.
impl Default for Hashing {
    fn default() -> Hashing {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Hashing { at_once: (cores / 2).clamp(1, 2), failed_after: Duration::from_secs(1) }
    }
}
