//! The metrics of one worker.
//!
//! A single thread writes; the control half reads for each scrape. A route's counters are found by its name once for
//! each configuration ([`Recorder::route`]); counting takes no lock, no text lookup and no allocation. The counters of
//! two workers never share a cache line.

use std::array;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::metrics::{Counter, Histogram, Outcome, StatusClass, WATCHED};
use super::refusals::LatestRefusals;

/// The counters of one worker.
#[derive(Debug)]
#[repr(align(128))] // 128: adjacent cache lines are fetched in pairs
pub struct Recorder {
    routes: Mutex<BTreeMap<Arc<str>, Arc<RouteCounters>>>,
    unrouted: Arc<RouteCounters>,
    connections: ConnectionCounters,
    cache_hits: Counter,
    cache_misses: Counter,
    log_lines_dropped: Counter,
    refusals: LatestRefusals,
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
    floods: Counter,
}

impl Recorder {
    /// Creates counters without any route.
    pub fn new() -> Arc<Recorder> {
        Arc::new(Recorder {
            routes: Mutex::default(),
            unrouted: Arc::default(),
            connections: ConnectionCounters::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            log_lines_dropped: Counter::default(),
            refusals: LatestRefusals::default(),
        })
    }

    /// Returns the counters of the route with this name, which go on from one configuration to the next.
    pub fn route(&self, name: &Arc<str>) -> Arc<RouteCounters> {
        Arc::clone(self.lock().entry(Arc::clone(name)).or_default())
    }

    /// Returns the counters of requests that matched no route.
    pub fn unrouted(&self) -> &Arc<RouteCounters> {
        &self.unrouted
    }

    /// Drops the counters of routes that nothing uses any more: their configuration was replaced, and their last
    /// request has ended.
    pub fn forget_unused(&self) {
        self.lock().retain(|_, counters| Arc::strong_count(counters) > 1);
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

    /// Counts an HTTP/2 connection that was ended because of a flood of frames.
    pub fn flooded(&self) {
        self.connections.floods.add(1);
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

    /// Returns the latest requests that failed or were refused.
    pub fn refusals(&self) -> &LatestRefusals {
        &self.refusals
    }

    /// Returns each route's name and counters, and those of requests without a route under `None`.
    pub fn routes(&self) -> Vec<(Option<Arc<str>>, Arc<RouteCounters>)> {
        let routes = self.lock();
        let named = routes.iter().map(|(name, counters)| (Some(Arc::clone(name)), Arc::clone(counters)));
        named.chain([(None, Arc::clone(&self.unrouted))]).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<RouteCounters>>> {
        // Entries are added and removed whole, so a panic elsewhere does not corrupt the map.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// HTTP/2 connections that were ended because of a flood of frames.
    pub fn floods(&self) -> u64 {
        self.connections.floods.get()
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
    /// Counts a finished request, once, when its response has ended or the client has disconnected.
    ///
    /// `status` is `None` if no response began, `upstream` if no endpoint was contacted.
    pub fn request(&self, outcome: Outcome, status: Option<u16>, total: Duration, upstream: Option<Duration>) {
        if let Some(count) = self.outcomes.get(outcome.index()) {
            count.add(1);
        }
        if let Some(status) = status {
            self.answered(outcome, status);
        }
        self.total.observe(total);
        if let Some(upstream) = upstream {
            self.upstream.observe(upstream);
        } else if outcome.is_origin_failure() {
            self.unanswered.add(1);
        }
    }

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
        let recorder = Recorder::new();
        let took = Duration::from_millis(3);
        recorder.route(&"orders".into());
        recorder.route(&"public".into()).request(Outcome::Forwarded, Some(200), took, Some(took / 2));
        recorder.unrouted().request(Outcome::ClientGone, None, Duration::ZERO, None);
        let counts = |outcome| recorder.routes().iter().map(|(_, route)| route.outcome(outcome)).collect::<Vec<_>>();
        assert_eq!((counts(Outcome::Forwarded), counts(Outcome::ClientGone)), (vec![0, 1, 0], vec![0, 0, 1]));
        let public = recorder.route(&"public".into());
        assert_eq!(public.status(StatusClass::Successful), 1);
        assert_eq!((public.total.micros(), public.upstream.micros()), (3_000, 1_500));
        assert!(StatusClass::ALL.iter().all(|&class| recorder.unrouted().status(class) == 0));
        assert!(recorder.unrouted().upstream.counts().iter().all(|&count| count == 0));
    }

    #[test]
    fn counters_of_a_name_go_on_while_a_configuration_has_it() {
        let recorder = Recorder::new();
        let (old, gone) = (recorder.route(&"orders".into()), recorder.route(&"gone".into()));
        old.request(Outcome::Forwarded, Some(200), Duration::ZERO, None);
        let new = recorder.route(&"orders".into());
        drop((old, gone));
        recorder.forget_unused();
        assert_eq!(new.outcome(Outcome::Forwarded), 1);
        let names: Vec<_> = recorder.routes().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [Some("orders".into()), None]);
    }

    #[test]
    fn a_watched_status_is_counted_by_itself_and_in_its_class() {
        let orders = RouteCounters::default();
        for status in [200, 400, 401, 401, 403, 404, 429, 502, 503] {
            orders.request(Outcome::Forwarded, Some(status), Duration::ZERO, None);
        }
        assert_eq!(orders.watched(), [2, 1, 1, 1]);
        assert_eq!(StatusClass::ALL.map(|class| orders.status(class)), [0, 1, 0, 6, 2]);
    }

    #[test]
    fn a_5xx_is_an_error_of_the_endpoint_only_if_it_came_from_there() {
        let orders = RouteCounters::default();
        let took = Duration::from_millis(1);
        for (outcome, status, upstream) in [
            (Outcome::Forwarded, 500, Some(took)),
            (Outcome::StoreUnavailable, 503, None),
            (Outcome::OriginConnect, 502, None),
            // The response had begun.
            (Outcome::OriginReset, 200, Some(took)),
        ] {
            orders.request(outcome, Some(status), took, upstream);
        }
        assert_eq!((orders.origin_errors(), orders.unanswered()), (1, 1));
    }

    #[test]
    fn open_connections_are_those_accepted_and_not_closed() {
        let recorder = Recorder::new();
        recorder.connection_accepted();
        recorder.connection_accepted();
        recorder.connection_closed();
        assert_eq!((recorder.connections_open(), recorder.connections_accepted()), (1, 2));
    }
}
