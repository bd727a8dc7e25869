//! The fixed list of what is counted.
//!
//! Every label value but the route's name comes from an enum here, so that a worker counts by a small index into a
//! preallocated array, and so that nothing a client sends can become a label. Used by [`super::Recorder`], by the
//! access log and by the refusals of the gateway, which share the codes.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! outcomes { ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
    /// How a request ended: one for each kind of refusal, and [`Outcome::Forwarded`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Outcome { $($(#[$doc])* $name,)+ }

    impl Outcome {
        /// All of them, in the order of their indices.
        pub const ALL: &'static [Outcome] = &[$(Outcome::$name,)+];

        /// How many there are.
        pub const COUNT: usize = Outcome::ALL.len();

        /// The stable word for it in logs and metrics.
        pub const fn code(self) -> &'static str {
            match self { $(Outcome::$name => $code,)+ }
        }
    }
} }

outcomes! {
    /// The upstream's answer went to the client, whatever its status.
    Forwarded = "forwarded",
    /// The gateway itself answered, as it was asked to.
    Answered = "answered",
    /// A password was right and its user got a token.
    LoggedIn = "logged_in",
    /// There is no active user with this name and password.
    LoginFailed = "login_failed",
    /// A password was right, and its user has no token and gets none, since the store is only read.
    NoToken = "no_token",
    /// A login that does not say who wants to log in.
    LoginInvalid = "login_invalid",
    /// The route needs a token and none was shown.
    NoCredentials = "no_credentials",
    /// The `Authorization` field cannot be read as credentials.
    MalformedCredentials = "malformed_credentials",
    /// No store knows the token.
    Unknown = "unknown",
    /// The token was withdrawn.
    Revoked = "revoked",
    /// The token's time is over.
    Expired = "expired",
    /// The token's owner is switched off.
    Inactive = "inactive",
    /// The token ceased to count, or now means somebody else, while the request was under way.
    TokenEnded = "token_ended",
    /// A request with a session that another page may have sent.
    Csrf = "csrf",
    /// The token lacks a scope of the route.
    Scope = "scope",
    /// The token may only be used to read, or not from this address.
    Restricted = "restricted",
    /// Two servers could read the target differently.
    TargetAmbiguous = "target_ambiguous",
    /// The authority is not one that this connection may ask for.
    Misdirected = "misdirected",
    /// No route takes this target.
    NoRoute = "no_route",
    /// The route does not take this method.
    Method = "method",
    /// The request body is longer than the route allows.
    BodyTooLarge = "body_too_large",
    /// The request head is longer, or has more field lines, than the limit.
    HeadTooLarge = "head_too_large",
    /// The target is longer than the limit.
    TargetTooLong = "target_too_long",
    /// An `Expect` field asks for something other than `100-continue`.
    ExpectationFailed = "expectation_failed",
    /// The client asks too often.
    TooManyRequests = "too_many_requests",
    /// Too many logins and forms have begun whose bodies have not come.
    TooManyPending = "too_many_pending",
    /// The client did not send its request in time.
    RequestTimeout = "request_timeout",
    /// The bytes of the request do not say clearly where it ends.
    BadFraming = "bad_framing",
    /// The request came in clear where that is not allowed.
    PlaintextRefused = "plaintext_refused",
    /// The request came in clear and was sent to the same target on `https`.
    PlaintextRedirected = "plaintext_redirected",
    /// No connection to an endpoint could be made.
    OriginConnect = "origin_connect",
    /// The endpoint closed the connection before its answer was complete.
    OriginReset = "origin_reset",
    /// The endpoint's answer is not HTTP that we may pass on.
    OriginBadResponse = "origin_bad_response",
    /// The endpoint did not answer in time.
    OriginTimeout = "origin_timeout",
    /// As many requests as allowed wait for the upstream already.
    OriginOverloaded = "origin_overloaded",
    /// The client holds its share of the upstream's connections.
    UpstreamShare = "upstream_share",
    /// Whether the token counts could not be found out.
    StoreUnavailable = "store_unavailable",
    /// There was no room for a request body that had to be gathered.
    SpoolFull = "spool_full",
    /// The disk failed on which a request body was gathered.
    SpoolFailed = "spool_failed",
    /// A defect of the gateway.
    Internal = "internal",
    /// The client went away before its answer was complete.
    ClientGone = "client_gone",
}

impl Outcome {
    /// Its place in [`Outcome::ALL`].
    #[expect(clippy::as_conversions, reason = "the discriminant of an enum without fields, counted from 0")]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Did an endpoint fail, or could none be asked?
    pub const fn is_origin_failure(self) -> bool {
        matches!(
            self,
            Outcome::OriginConnect
                | Outcome::OriginReset
                | Outcome::OriginBadResponse
                | Outcome::OriginTimeout
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
    /// 5xx, and what is no status at all.
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

    /// How metrics write it.
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

/// Statuses that are counted by themselves, beside their class.
pub const WATCHED: [u16; 4] = [401, 403, 429, 503];

/// A number that one thread counts up and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. For the one thread that writes; a second writer would lose counts.
    pub fn add(&self, amount: u64) {
        // A load and a store, no atomic addition: with a single writer nothing can come between, and it costs no bus
        // lock.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of a [`Histogram`]: microseconds, and seconds as metrics write them.
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

/// How long things took, in fixed buckets from 0.1 ms to a minute, and one for what took longer.
#[derive(Debug)]
pub struct Histogram {
    /// One for each of [`BUCKETS`], not cumulative, and a last one for the rest.
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

    /// The count of each bucket, not cumulative; the last is for what took longer than all bounds.
    pub fn counts(&self) -> [u64; BUCKETS.len() + 1] {
        array::from_fn(|bucket| self.counts.get(bucket).map_or(0, Counter::get))
    }

    /// All durations together, in microseconds.
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
    fn a_duration_is_counted_in_the_first_bucket_whose_bound_it_does_not_pass() {
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
