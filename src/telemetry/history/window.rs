//! A window of the recent traffic, as points of a chart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::packed::unpack;
use super::{RouteName, SLOT, Slot, share};

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// 5 minutes in points of 2 s.
    Minutes5,
    /// 15 minutes in points of 6 s.
    Minutes15,
    /// An hour in points of 20 s.
    Hour,
}

/// A window of the recent traffic.
///
/// A copy: reading it blocks no writer.
pub struct Window {
    reach: Reach,
    /// The names of the routes; their places are their numbers in the slots.
    names: Arc<Vec<RouteName>>,
    /// The number of the newest step.
    number: u64,
    /// In ascending order of their numbers.
    slots: Vec<Slot>,
}

/// The traffic in the time of one point.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// The length of that time.
    pub span: Duration,
    /// Finished requests.
    pub counts: Counts,
    /// Cache hits of token lookups.
    pub hits: u64,
    /// Cache misses of token lookups.
    pub misses: u64,
    /// Open connections at its end.
    pub connections: u64,
}

impl Reach {
    /// All lengths, shortest first.
    pub const ALL: [Reach; 3] = [Reach::Minutes5, Reach::Minutes15, Reach::Hour];

    /// The length in minutes.
    pub const fn minutes(self) -> u64 {
        match self {
            Reach::Minutes5 => 5,
            Reach::Minutes15 => 15,
            Reach::Hour => 60,
        }
    }

    /// The length of a point in seconds.
    pub const fn seconds_per_point(self) -> u64 {
        self.slots() * SLOT.as_secs()
    }

    /// The number of slots in a point.
    const fn slots(self) -> u64 {
        match self {
            Reach::Minutes5 => 1,
            Reach::Minutes15 => 3,
            Reach::Hour => 10,
        }
    }

    /// The number of points.
    const fn points(self) -> u64 {
        self.minutes() * 60 / SLOT.as_secs() / self.slots()
    }
}

impl Window {
    pub(super) fn new(reach: Reach, names: Arc<Vec<RouteName>>, number: u64, mut slots: Vec<Slot>) -> Window {
        let first = (number / reach.slots()).saturating_sub(reach.points() - 1);
        slots.retain(|slot| slot.number / reach.slots() >= first);
        Window { reach, names, number, slots }
    }

    /// Returns all requests per point, oldest first. `None`: a gap.
    pub fn all(&self) -> Vec<Option<Point>> {
        self.points(|slot| Some(slot.sums.counts.clone()))
    }

    /// Returns the requests of the routes whose names `is_meant` accepts; `None` is the name of requests without a route.
    pub fn of(&self, is_meant: impl Fn(Option<&str>) -> bool) -> Vec<Option<Point>> {
        let meant: Vec<bool> = self.names.iter().map(|name| is_meant(name.as_deref())).collect();
        self.points(|slot| {
            let mut sum = Counts::default();
            unpack(slot.routes.as_deref()?, |route, counts| {
                if meant.get(route) == Some(&true) {
                    sum += counts;
                }
            });
            Some(sum)
        })
    }

    /// Returns the sums of each route that had requests, and the time that they cover.
    pub fn by_route(&self) -> (BTreeMap<RouteName, Counts>, Duration) {
        let (mut sums, mut span) = (BTreeMap::<RouteName, Counts>::new(), Duration::ZERO);
        for slot in &self.slots {
            let Some(routes) = slot.routes.as_deref() else { continue };
            span += slot.sums.span;
            unpack(routes, |route, counts| {
                if let Some(name) = self.names.get(route) {
                    *sums.entry(name.clone()).or_default() += counts;
                }
            });
        }
        (sums, span)
    }

    fn points(&self, counts: impl Fn(&Slot) -> Option<Counts>) -> Vec<Option<Point>> {
        let per_point = self.reach.slots();
        let last = self.number / per_point;
        let mut points = vec![None; usize::try_from(self.reach.points()).unwrap_or(0)];
        for slot in &self.slots {
            // Counted from the newest step, so that a young process has its gap on the left.
            let age = usize::try_from(last.saturating_sub(slot.number / per_point)).unwrap_or(usize::MAX);
            let place = points.len().checked_sub(age.saturating_add(1));
            let (Some(place), Some(counts)) = (place.and_then(|place| points.get_mut(place)), counts(slot)) else {
                continue;
            };
            let point = place.get_or_insert_with(Point::default);
            point.span += slot.sums.span;
            point.counts += &counts;
            point.hits = point.hits.saturating_add(slot.sums.hits);
            point.misses = point.misses.saturating_add(slot.sums.misses);
            point.connections = slot.sums.connections;
        }
        points
    }
}

impl Point {
    /// Converts a count into a rate per second.
    pub fn per_second(&self, count: u64) -> f64 {
        per_second(count, self.span)
    }

    /// The cache hit rate of token lookups; `None` without lookups.
    pub fn hit_rate(&self) -> Option<f64> {
        share(self.hits, self.hits.saturating_add(self.misses))
    }
}

/// Converts a count into a rate per second; 0 for an empty span.
pub fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { super::float(count) / span.as_secs_f64() }
}
