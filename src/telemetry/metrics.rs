//! The fixed lists of outcomes, status classes and histogram buckets.
//!
//! Every label value except the name of a route comes from an enum here. So a worker counts with an index into a
//! preallocated array, and no text of a client can become a label. [`super::Recorder`], the access log and the refusals
//! of the gateway share these codes.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! outcomes { ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
    /// How an exchange ended: one outcome for each kind of refusal, and [`Outcome::Forwarded`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Outcome { $($(#[$doc])* $name,)+ }

    impl Outcome {
        /// All of them, in the order of their indices.
        pub const ALL: &'static [Outcome] = &[$(Outcome::$name,)+];

        /// How many there are.
        pub const COUNT: usize = Outcome::ALL.len();

        /// The stable code in logs and metrics.
        pub const fn code(self) -> &'static str {
            match self { $(Outcome::$name => $code,)+ }
        }
    }
} }

outcomes! {
    /// The upstream's response was sent to the client, whatever its status.
    Forwarded = "forwarded",
    /// The gateway itself answered the request successfully.
    Answered = "answered",
    /// A login succeeded: the password was correct and the user got a token or session.
    LoggedIn = "logged_in",
    /// A login failed: no active user has this name and password.
    LoginFailed = "login_failed",
    /// The password was correct, but the user has no token and the store is read-only.
    NoToken = "no_token",
    /// A login request without a valid username and password.
    LoginInvalid = "login_invalid",
    /// The route needs credentials and the request has none.
    NoCredentials = "no_credentials",
    /// A browser without a valid session was sent to the login page.
    SentToLogin = "sent_to_login",
    /// The `Authorization` header is not valid credentials.
    MalformedCredentials = "malformed_credentials",
    /// The store does not know the token.
    Unknown = "unknown",
    /// The token was revoked.
    Revoked = "revoked",
    /// The token has expired.
    Expired = "expired",
    /// The owner of the token is inactive.
    Inactive = "inactive",
    /// The token was revoked or expired, or its user changed, during the exchange.
    TokenEnded = "token_ended",
    /// A request with a session failed the CSRF check.
    Csrf = "csrf",
    /// The token lacks a scope of the route.
    Scope = "scope",
    /// The user is in none of the groups of the route.
    Group = "group",
    /// The route does not admit the address of the client.
    Address = "address",
    /// The token is read-only, or is not allowed from this address.
    Restricted = "restricted",
    /// A trusted proxy says where the request came from in a header that cannot be read.
    Forwarding = "forwarding",
    /// Two servers could read the target differently.
    TargetAmbiguous = "target_ambiguous",
    /// The host does not belong to this connection (421).
    Misdirected = "misdirected",
    /// No route matches the target.
    NoRoute = "no_route",
    /// The route does not accept this method.
    Method = "method",
    /// The request body is longer than the route allows.
    BodyTooLarge = "body_too_large",
    /// The request head is longer, or has more field lines, than the limit.
    HeadTooLarge = "head_too_large",
    /// The target is longer than the limit.
    TargetTooLong = "target_too_long",
    /// The `Expect` header asks for something other than `100-continue`.
    ExpectationFailed = "expectation_failed",
    /// The client exceeded a rate limit.
    TooManyRequests = "too_many_requests",
    /// Too many logins and forms have begun whose bodies have not arrived (`login.max_pending`).
    TooManyPending = "too_many_pending",
    /// The client did not send its request body in time.
    RequestTimeout = "request_timeout",
    /// The bytes of the request do not say clearly where it ends.
    BadFraming = "bad_framing",
    /// The request was sent unencrypted, which the listener refuses.
    PlaintextRefused = "plaintext_refused",
    /// The request was sent unencrypted and was redirected to `https`.
    PlaintextRedirected = "plaintext_redirected",
    /// No connection to an endpoint could be opened.
    OriginConnect = "origin_connect",
    /// No connection to an endpoint was opened in time.
    OriginConnectTimeout = "origin_connect_timeout",
    /// The TLS handshake with an endpoint failed, or the TLS connection broke.
    OriginTls = "origin_tls",
    /// The endpoint closed the connection before its response was complete.
    OriginReset = "origin_reset",
    /// The endpoint's response is invalid or ambiguous HTTP.
    OriginBadResponse = "origin_bad_response",
    /// The endpoint did not begin its response in time.
    OriginTimeout = "origin_timeout",
    /// The endpoint paused too long within its response.
    OriginBodyTimeout = "origin_body_timeout",
    /// The upstream has no free connection, and the maximum number of requests is waiting.
    OriginOverloaded = "origin_overloaded",
    /// The client uses its whole share of the upstream's connections.
    UpstreamShare = "upstream_share",
    /// The store is unavailable, so the token could not be checked.
    StoreUnavailable = "store_unavailable",
    /// The portal of the route does not answer, or fails.
    PortalUnavailable = "portal_unavailable",
    /// The spool is full, so the request body could not be buffered.
    SpoolFull = "spool_full",
    /// The request body could not be written to the spool folder.
    SpoolFailed = "spool_failed",
    /// An internal error of the gateway.
    Internal = "internal",
    /// The client disconnected before its response was complete.
    ClientGone = "client_gone",
}

impl Outcome {
    /// Its place in [`Outcome::ALL`].
    #[expect(clippy::as_conversions, reason = "the discriminant of an enum without fields, counted from 0")]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether an endpoint failed or could not be reached.
    pub const fn is_origin_failure(self) -> bool {
        matches!(
            self,
            Outcome::OriginConnect
                | Outcome::OriginConnectTimeout
                | Outcome::OriginTls
                | Outcome::OriginReset
                | Outcome::OriginBadResponse
                | Outcome::OriginTimeout
                | Outcome::OriginBodyTimeout
                | Outcome::OriginOverloaded
        )
    }
}

/// The first digit of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// 1xx.
    Informational,
    /// 2xx.
    Successful,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx, and any number that is not a status.
    ServerError,
}

impl StatusClass {
    /// All of them, in the order of their indices.
    pub const ALL: [StatusClass; 5] = [
        StatusClass::Informational,
        StatusClass::Successful,
        StatusClass::Redirection,
        StatusClass::ClientError,
        StatusClass::ServerError,
    ];

    /// The class of a status code.
    pub const fn of(status: u16) -> StatusClass {
        match status {
            100..=199 => StatusClass::Informational,
            200..=299 => StatusClass::Successful,
            300..=399 => StatusClass::Redirection,
            400..=499 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        }
    }

    /// The label value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            StatusClass::Informational => "1xx",
            StatusClass::Successful => "2xx",
            StatusClass::Redirection => "3xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
        }
    }

    /// Its place in [`StatusClass::ALL`].
    #[expect(clippy::as_conversions, reason = "the discriminant of an enum without fields, counted from 0")]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Statuses that have a counter of their own, in addition to that of their class.
pub const WATCHED: [u16; 4] = [401, 403, 429, 503];

/// A counter that one thread increments and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the one writing thread may call this; a second writer would lose counts.
    pub fn add(&self, amount: u64) {
        // A load and a store instead of an atomic addition: there is a single writer, and this needs no bus lock.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of a [`Histogram`]: in microseconds, and as text in seconds for metrics.
pub const BUCKETS: [(u64, &str); 18] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
];

/// A histogram of durations with fixed buckets from 0.1 ms to a minute, and one bucket for longer durations.
#[derive(Debug)]
pub struct Histogram {
    /// One counter for each of [`BUCKETS`], not cumulative, and a last one for longer durations.
    counts: [Counter; BUCKETS.len() + 1],
    micros: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: array::from_fn(|_| Counter::default()), micros: Counter::default() }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|&(bound, _)| bound < micros);
        if let Some(count) = self.counts.get(bucket) {
            count.add(1);
        }
        self.micros.add(micros);
    }

    /// The counter of each bucket, not cumulative; the last one counts longer durations.
    pub fn counts(&self) -> [u64; BUCKETS.len() + 1] {
        array::from_fn(|bucket| self.counts.get(bucket).map_or(0, Counter::get))
    }

    /// The sum of all durations, in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_index_and_its_own_code() {
        let mut codes = std::collections::HashSet::new();
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.index(), index);
            let code = outcome.code();
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
            assert!(codes.insert(code), "{code} twice");
        }
    }

    #[test]
    fn a_status_belongs_to_the_class_of_its_first_digit() {
        for (status, label) in [(101, "1xx"), (200, "2xx"), (308, "3xx"), (499, "4xx"), (500, "5xx"), (999, "5xx")] {
            assert_eq!(StatusClass::of(status).label(), label);
        }
        assert!(StatusClass::ALL.iter().enumerate().all(|(index, class)| class.index() == index));
    }

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let table = [(0, 0), (100, 0), (101, 1), (1_000, 3), (1_001, 4), (60_000_000, 17), (60_000_001, 18)];
        for (micros, bucket) in table {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_micros(micros));
            assert_eq!(histogram.counts().iter().position(|&count| count == 1), Some(bucket), "{micros}");
            assert_eq!(histogram.micros(), micros);
        }
    }

    #[test]
    fn bounds_rise_and_are_written_in_seconds() {
        assert!(BUCKETS.is_sorted_by(|a, b| a.0 < b.0));
        for (micros, text) in BUCKETS {
            assert_eq!(Duration::from_micros(micros).as_secs_f64().to_string(), text);
        }
    }
}
