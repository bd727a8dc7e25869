//! The counters of a set of requests in an interval.

use std::ops::AddAssign;

use crate::telemetry::metrics::{BUCKETS, Outcome, StatusClass, WATCHED};
use crate::telemetry::recorder::RouteCounters;

/// The counters of a set of requests in an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Responses by class, in the order of [`StatusClass::ALL`].
    pub statuses: [u64; StatusClass::ALL.len()],
    /// Responses with each of the statuses of [`WATCHED`].
    pub watched: [u64; WATCHED.len()],
    /// Requests whose endpoint failed: none was reachable, or its response broke off or was a 5xx.
    pub origin_failures: u64,
    /// Those of them without any response from an endpoint.
    pub unanswered: u64,
    /// Request durations, from the first byte to the last byte of the response.
    pub total: Durations,
    /// Times to first byte of endpoints.
    pub upstream: Durations,
}

/// A histogram of durations: one count per bucket of [`BUCKETS`], and one for longer ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations(pub [u64; BUCKETS.len() + 1]);

impl Counts {
    /// The number of counters.
    pub(super) const FIELDS: usize = StatusClass::ALL.len() + WATCHED.len() + 2 + 2 * (BUCKETS.len() + 1);

    /// The totals of a route since the start, in one worker.
    pub(super) fn of(route: &RouteCounters) -> Counts {
        let failures = Outcome::ALL.iter().filter(|outcome| outcome.is_origin_failure());
        let failures: u64 = failures.map(|outcome| route.outcome(*outcome)).sum();
        Counts {
            statuses: StatusClass::ALL.map(|class| route.status(class)),
            watched: route.watched(),
            origin_failures: failures.saturating_add(route.origin_errors()),
            unanswered: route.unanswered(),
            total: Durations(route.total.counts()),
            upstream: Durations(route.upstream.counts()),
        }
    }

    /// Returns the difference to `before`; zero for a counter that decreased, which cannot happen.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        let mut difference = self.clone();
        for (number, before) in difference.fields_mut().zip(before.fields()) {
            *number = number.saturating_sub(before);
        }
        difference
    }

    /// All counters in a fixed order.
    pub(super) fn fields(&self) -> impl Iterator<Item = u64> {
        let statuses = self.statuses.iter().chain(&self.watched).chain([&self.origin_failures, &self.unanswered]);
        statuses.chain(&self.total.0).chain(&self.upstream.0).copied()
    }

    /// All counters in the same order, mutable.
    pub(super) fn fields_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let statuses =
            self.statuses.iter_mut().chain(&mut self.watched).chain([&mut self.origin_failures, &mut self.unanswered]);
        statuses.chain(&mut self.total.0).chain(&mut self.upstream.0)
    }

    /// Requests that ended.
    pub fn requests(&self) -> u64 {
        self.total.count()
    }

    /// Requests that were sent to an endpoint, or should have been.
    pub fn asked(&self) -> u64 {
        self.upstream.count().saturating_add(self.unanswered)
    }

    /// Responses of this class.
    pub fn status(&self, class: StatusClass) -> u64 {
        self.statuses.get(class.index()).copied().unwrap_or(0)
    }

    /// Responses with this status, which must be one of [`WATCHED`]; 0 for others.
    pub fn watched(&self, status: u16) -> u64 {
        WATCHED.iter().zip(self.watched).find(|(watched, _)| **watched == status).map_or(0, |(_, count)| count)
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, more: &Counts) {
        for (number, more) in self.fields_mut().zip(more.fields()) {
            *number = number.saturating_add(more);
        }
    }
}

impl Durations {
    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the quantile in seconds; `None` without durations. `share` is from 0 to 1.
    ///
    /// An estimate: assumes an even distribution within each bucket. Durations above the last bound count as that
    /// bound.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let wanted = float(all) * share;
        let (mut below, mut lower) = (0.0, 0.0);
        for (count, (upper, _)) in self.0.iter().zip(BUCKETS) {
            let (count, upper) = (float(*count), float(upper) / 1e6);
            if count > 0.0 && below + count >= wanted {
                return Some(lower + (upper - lower) * ((wanted - below) / count).clamp(0.0, 1.0));
            }
            (below, lower) = (below + count, upper);
        }
        Some(lower)
    }
}

/// Converts to the nearest float.
pub fn float(number: u64) -> f64 {
    let half = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    half(number >> 32) * 4_294_967_296.0 + half(number & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_field_once() {
        let mut counts = Counts::default();
        for (index, number) in (1..).zip(counts.fields_mut()) {
            *number = index;
        }
        assert!(counts.fields().eq(1..=u64::try_from(Counts::FIELDS).unwrap()));
        assert_eq!(counts.watched(401), 6);
        assert_eq!(counts.status(StatusClass::ServerError), 5);
    }

    #[test]
    fn a_counter_that_went_back_adds_nothing() {
        let (before, mut after) = (Counts { origin_failures: 7, ..Counts::default() }, Counts::default());
        after.statuses[1] = 3;
        assert_eq!(after.since(&before), after);
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(0.5), None);
        // 90 of up to 1 ms, 10 of up to 2.5 ms.
        (durations.0[3], durations.0[4]) = (90, 10);
        let near = |share, seconds: f64| (durations.percentile(share).unwrap() - seconds).abs() < 1e-9;
        assert!(
            near(0.0, 0.0005) && near(0.45, 0.00075) && near(0.9, 0.001) && near(0.95, 0.00175) && near(1.0, 0.0025)
        );
        let late = Durations(std::array::from_fn(|bucket| u64::from(bucket == BUCKETS.len())));
        assert_eq!(late.percentile(0.5), Some(60.0));
    }

    #[test]
    fn numbers_become_floats() {
        for (number, text) in [(0, "0"), (1, "1"), (1 << 32, "4294967296"), (9_007_199_254_740_991, "9007199254740991")]
        {
            assert_eq!(float(number).to_string(), text);
        }
    }
}
