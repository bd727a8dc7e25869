//! The metrics of one worker.
//!
//! A single thread writes; the control half reads for each scrape. All memory is allocated at creation; counting takes
//! no lock, no text lookup and no allocation. The counters of two workers never share a cache line.

use std::array;
use std::sync::Arc;
use std::time::Duration;

use super::metrics::{Counter, Histogram, Outcome, StatusClass, WATCHED};

/// The index of a route in the list passed to [`Recorder::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteIndex(pub u32);

impl RouteIndex {
    /// For requests that matched no route.
    pub const NONE: RouteIndex = RouteIndex(u32::MAX);
}

/// The counters of one worker.
#[derive(Debug)]
#[repr(align(128))] // 128: adjacent cache lines are fetched in pairs
pub struct Recorder {
    names: Box<[Arc<str>]>,
    routes: Box<[RouteCounters]>,
    unrouted: RouteCounters,
    connections: ConnectionCounters,
    cache_hits: Counter,
    cache_misses: Counter,
    log_lines_dropped: Counter,
}

/// The counters of one route.
#[derive(Debug)]
#[repr(align(128))]
pub struct RouteCounters {
    outcomes: [Counter; Outcome::COUNT],
    statuses: [Counter; StatusClass::ALL.len()],
    watched: [Counter; WATCHED.len()],
    /// Responses of endpoints with a 5xx.
    origin_errors: Counter,
    /// Requests that should have reached an endpoint but got no response from one.
    unanswered: Counter,
    /// From the first byte of the request to the last byte of the response.
    pub total: Histogram,
    /// The time spent waiting for the upstream.
    pub upstream: Histogram,
}

/// The counters of connections.
#[derive(Debug, Default)]
struct ConnectionCounters {
    accepted: Counter,
    closed: Counter,
    handshake_failures: Counter,
}

impl Recorder {
    /// Creates counters for these routes and for requests without one.
    pub fn new(routes: &[Arc<str>]) -> Arc<Recorder> {
        Arc::new(Recorder {
            names: routes.into(),
            routes: routes.iter().map(|_| RouteCounters::default()).collect(),
            unrouted: RouteCounters::default(),
            connections: ConnectionCounters::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            log_lines_dropped: Counter::default(),
        })
    }

    /// Counts a finished request, once, when its response has ended or the client has disconnected.
    ///
    /// `status` is `None` if no response began, `upstream` if no endpoint was contacted. An unknown `route` counts as
    /// none.
    pub fn request(
        &self,
        route: RouteIndex,
        outcome: Outcome,
        status: Option<u16>,
        total: Duration,
        upstream: Option<Duration>,
    ) {
        let index = usize::try_from(route.0).unwrap_or(usize::MAX);
        let counters = self.routes.get(index).unwrap_or(&self.unrouted);
        if let Some(count) = counters.outcomes.get(outcome.index()) {
            count.add(1);
        }
        if let Some(status) = status {
            counters.answered(outcome, status);
        }
        counters.total.observe(total);
        if let Some(upstream) = upstream {
            counters.upstream.observe(upstream);
        } else if outcome.is_origin_failure() {
            counters.unanswered.add(1);
        }
    }

    /// Counts a connection that was accepted.
    pub fn connection_accepted(&self) {
        self.connections.accepted.add(1);
    }

    /// Counts the end of a connection that was accepted.
    pub fn connection_closed(&self) {
        self.connections.closed.add(1);
    }

    /// Counts a TLS handshake that failed or timed out.
    pub fn handshake_failed(&self) {
        self.connections.handshake_failures.add(1);
    }

    /// Counts a cache hit of a token lookup.
    pub fn cache_hit(&self) {
        self.cache_hits.add(1);
    }

    /// Counts a cache miss of a token lookup.
    pub fn cache_miss(&self) {
        self.cache_misses.add(1);
    }

    /// Counts dropped access log lines.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.add(lines);
    }

    /// Each route's name and counters, then those of requests without a route.
    pub fn routes(&self) -> impl Iterator<Item = (Option<&str>, &RouteCounters)> {
        let named = self.names.iter().map(|name| Some(&**name)).zip(&self.routes);
        named.chain([(None, &self.unrouted)])
    }

    /// Open connections. Readers may see an inconsistent moment, which reads as 0.
    pub fn connections_open(&self) -> u64 {
        self.connections.accepted.get().saturating_sub(self.connections.closed.get())
    }

    /// Connections accepted.
    pub fn connections_accepted(&self) -> u64 {
        self.connections.accepted.get()
    }

    /// TLS handshakes that failed.
    pub fn handshake_failures(&self) -> u64 {
        self.connections.handshake_failures.get()
    }

    /// Cache hits of token lookups.
    pub fn cache_hits(&self) -> u64 {
        self.cache_hits.get()
    }

    /// Cache misses of token lookups.
    pub fn cache_misses(&self) -> u64 {
        self.cache_misses.get()
    }

    /// Dropped access log lines.
    pub fn dropped_log_lines(&self) -> u64 {
        self.log_lines_dropped.get()
    }
}

impl Default for RouteCounters {
    fn default() -> RouteCounters {
        RouteCounters {
            outcomes: array::from_fn(|_| Counter::default()),
            statuses: array::from_fn(|_| Counter::default()),
            watched: array::from_fn(|_| Counter::default()),
            origin_errors: Counter::default(),
            unanswered: Counter::default(),
            total: Histogram::default(),
            upstream: Histogram::default(),
        }
    }
}

impl RouteCounters {
    fn answered(&self, outcome: Outcome, status: u16) {
        if let Some(count) = self.statuses.get(StatusClass::of(status).index()) {
            count.add(1);
        }
        // One comparison usually decides, because most responses are forwarded.
        if status < 400 {
            return;
        }
        if let Some((_, count)) = WATCHED.iter().zip(&self.watched).find(|(watched, _)| **watched == status) {
            count.add(1);
        }
        if outcome == Outcome::Forwarded && status >= 500 {
            self.origin_errors.add(1);
        }
    }

    /// Requests with this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.index()).map_or(0, Counter::get)
    }

    /// Responses with this class of status.
    pub fn status(&self, class: StatusClass) -> u64 {
        self.statuses.get(class.index()).map_or(0, Counter::get)
    }

    /// Responses with each of the statuses of [`WATCHED`].
    pub fn watched(&self) -> [u64; WATCHED.len()] {
        self.watched.each_ref().map(Counter::get)
    }

    /// Responses of endpoints with a 5xx.
    pub fn origin_errors(&self) -> u64 {
        self.origin_errors.get()
    }

    /// Requests that should have reached an endpoint but got no response from one.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_for_its_route_and_no_other() {
        let recorder = Recorder::new(&["orders".into(), "public".into()]);
        let took = Duration::from_millis(3);
        recorder.request(RouteIndex(1), Outcome::Forwarded, Some(200), took, Some(took / 2));
        let counts = |outcome| recorder.routes().map(|(_, route)| route.outcome(outcome)).collect::<Vec<_>>();
        assert_eq!(counts(Outcome::Forwarded), [0, 1, 0]);
        assert_eq!(counts(Outcome::Unknown), [0, 0, 0]);
        let (name, public) = recorder.routes().nth(1).unwrap();
        assert_eq!(name, Some("public"));
        assert_eq!(public.status(StatusClass::Successful), 1);
        assert_eq!((public.total.micros(), public.upstream.micros()), (3_000, 1_500));
    }

    #[test]
    fn a_request_without_a_route_is_counted_apart() {
        let recorder = Recorder::new(&["orders".into()]);
        for route in [RouteIndex::NONE, RouteIndex(1)] {
            recorder.request(route, Outcome::ClientGone, None, Duration::ZERO, None);
        }
        let (name, unrouted) = recorder.routes().last().unwrap();
        assert_eq!((name, unrouted.outcome(Outcome::ClientGone)), (None, 2));
        assert!(StatusClass::ALL.iter().all(|&class| unrouted.status(class) == 0));
        assert!(unrouted.upstream.counts().iter().all(|&count| count == 0));
    }

    #[test]
    fn a_watched_status_is_counted_by_itself_and_in_its_class() {
        let recorder = Recorder::new(&["orders".into()]);
        for status in [200, 400, 401, 401, 403, 404, 429, 502, 503] {
            recorder.request(RouteIndex(0), Outcome::Forwarded, Some(status), Duration::ZERO, None);
        }
        let (_, orders) = recorder.routes().next().unwrap();
        assert_eq!(orders.watched(), [2, 1, 1, 1]);
        assert_eq!(StatusClass::ALL.map(|class| orders.status(class)), [0, 1, 0, 6, 2]);
    }

    #[test]
    fn a_5xx_is_an_error_of_the_endpoint_only_if_it_came_from_there() {
        let recorder = Recorder::new(&["orders".into()]);
        let took = Duration::from_millis(1);
        for (outcome, status, upstream) in [
            (Outcome::Forwarded, 500, Some(took)),
            (Outcome::StoreUnavailable, 503, None),
            (Outcome::OriginConnect, 502, None),
            // The response had begun.
            (Outcome::OriginReset, 200, Some(took)),
        ] {
            recorder.request(RouteIndex(0), outcome, Some(status), took, upstream);
        }
        let (_, orders) = recorder.routes().next().unwrap();
        assert_eq!((orders.origin_errors(), orders.unanswered()), (1, 1));
    }

    #[test]
    fn open_connections_are_those_accepted_and_not_closed() {
        let recorder = Recorder::new(&[]);
        recorder.connection_accepted();
        recorder.connection_accepted();
        recorder.connection_closed();
        assert_eq!((recorder.connections_open(), recorder.connections_accepted()), (1, 2));
    }
}
