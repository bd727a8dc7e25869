//! The traffic of the last hour.
//!
//! Every [`SLOT`] the control half sums the recorders and stores the difference to the previous sum
//! ([`History::sample`]). Pages request a [`Window`]. Workers are not involved.
//!
//! Memory is bounded: the totals take less than 1 MiB, and the details per route at most 32 MiB ([`MAX_BYTES`]). That
//! is an hour of about 500 permanently busy routes. Beyond it, the oldest details are dropped.

mod counts;
mod packed;
mod saved;
mod window;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::recorder::Recorder;
use crate::clock::Timestamp;
pub use counts::{Counts, Durations, float};
pub use saved::FILE_KIND;
pub use window::{Point, Reach, Window, per_second};

/// The sampling interval.
pub const SLOT: Duration = Duration::from_secs(2);

/// The longest interval that is stored. After a longer one (suspend, a clock change, a stalled process), the times of
/// its requests are unknown, so it is a gap.
const MAX_INTERVAL: Duration = Duration::from_secs(20);

/// Maximum number of slots: an hour.
const SLOTS: u64 = 1_800;

/// Maximum number of route names, unless more are configured at once.
const MAX_NAMES: usize = 4_096;

/// Maximum memory for the details per route.
pub const MAX_BYTES: usize = 32 << 20;

/// The traffic of the last hour. One task writes it; pages read it.
pub struct History {
    most_bytes: usize,
    /// The last sums of the recorders.
    last: Mutex<Reading>,
    kept: Mutex<Kept>,
}

/// The sums of all recorders at one time.
struct Reading {
    at: Timestamp,
    /// By name; `None` for requests without a route.
    routes: BTreeMap<RouteName, Counts>,
    hits: u64,
    misses: u64,
    connections: u64,
}

/// The name of a route; `None` stands for requests that matched none.
pub type RouteName = Option<Arc<str>>;

#[derive(Default)]
struct Kept {
    /// The names of routes; their places are their numbers in the slots.
    names: Arc<Vec<RouteName>>,
    numbers: HashMap<RouteName, usize>,
    /// The number of the newest step, stored or not.
    number: u64,
    slots: VecDeque<Slot>,
    /// The bytes used by the details per route in all slots.
    bytes: usize,
}

/// The traffic of one step.
#[derive(Clone)]
struct Slot {
    /// Ascending; a missed or too long step leaves its number out.
    number: u64,
    sums: Arc<Sums>,
    /// Details per route with requests; `None` after they were dropped to free memory.
    routes: Option<Arc<[u8]>>,
}

/// The totals of all routes.
struct Sums {
    span: Duration,
    counts: Counts,
    hits: u64,
    misses: u64,
    /// Open connections at the end.
    connections: u64,
}

// Heap allocations have headers.
const _: () = assert!((size_of::<Slot>() + size_of::<Sums>() + 64) * 1_800 <= 1 << 20);

impl History {
    /// Creates an empty history, for recorders that were created at `now`.
    pub fn new(now: Timestamp) -> History {
        History::within(now, MAX_BYTES)
    }

    /// Like [`History::new`], with another memory bound.
    fn within(now: Timestamp, most_bytes: usize) -> History {
        let nothing = Reading { at: now, routes: BTreeMap::new(), hits: 0, misses: 0, connections: 0 };
        History { most_bytes, last: Mutex::new(nothing), kept: Mutex::default() }
    }

    /// Stores the traffic since the last call, unless that was too long ago. Call it every [`SLOT`]; a missed call
    /// leaves a gap.
    pub fn sample(&self, recorders: &[Arc<Recorder>], now: Timestamp) {
        // Held to the end, so that concurrent calls do not interleave.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = Reading::of(recorders, now);
        let elapsed = now.since(last.at);
        let nothing = Counts::default();
        let added =
            reading.routes.iter().map(|(name, counts)| (name, counts.since(last.routes.get(name).unwrap_or(&nothing))));
        let added: Vec<(&RouteName, Counts)> = added.collect();
        let mut counts = Counts::default();
        added.iter().for_each(|(_, route)| counts += route);
        let sums = Sums {
            // A test clock, or a clock that was set back, may not have advanced.
            span: if elapsed.is_zero() { SLOT } else { elapsed },
            counts,
            hits: reading.hits.saturating_sub(last.hits),
            misses: reading.misses.saturating_sub(last.misses),
            connections: reading.connections,
        };
        let mut kept = self.kept();
        kept.go_on(steps(elapsed));
        if elapsed <= MAX_INTERVAL {
            let numbered = kept.numbered(added);
            kept.push(sums, packed::pack(&numbered).into(), self.most_bytes);
        }
        drop(kept);
        *last = reading;
    }

    /// The time of the last sample.
    pub fn last_read(&self) -> Timestamp {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    /// Returns the recent traffic that this window covers.
    pub fn window(&self, reach: Reach) -> Window {
        let kept = self.kept();
        Window::new(reach, Arc::clone(&kept.names), kept.number, kept.slots.iter().cloned().collect())
    }

    /// Changes with every sample.
    pub fn version(&self) -> u64 {
        self.kept().number
    }

    /// The memory used by the details per route.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A slot is pushed whole, so a panic elsewhere does not corrupt the list.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn of(recorders: &[Arc<Recorder>], at: Timestamp) -> Reading {
        let mut reading = Reading { at, routes: BTreeMap::new(), hits: 0, misses: 0, connections: 0 };
        for recorder in recorders {
            for (name, counters) in recorder.routes() {
                *reading.routes.entry(name).or_default() += &Counts::of(&counters);
            }
            reading.hits = reading.hits.saturating_add(recorder.cache_hits());
            reading.misses = reading.misses.saturating_add(recorder.cache_misses());
            reading.connections = reading.connections.saturating_add(recorder.connections_open());
        }
        reading
    }
}

impl Kept {
    /// Numbers the routes that had requests, in ascending order.
    fn numbered(&mut self, added: Vec<(&RouteName, Counts)>) -> Vec<(usize, Counts)> {
        let most = MAX_NAMES.max(2 * added.len());
        let added = added.into_iter().filter(|(_, counts)| *counts != Counts::default());
        let mut numbered: Vec<_> = added.map(|(name, counts)| (self.number_of(name, most), counts)).collect();
        numbered.sort_unstable_by_key(|(number, _)| *number);
        numbered
    }

    /// Returns the number of a name: a new one for a new name.
    fn number_of(&mut self, name: &RouteName, most: usize) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.names.len() >= most {
            // Reloads that use new names each time must not fill the memory. The totals stay.
            self.slots.iter_mut().for_each(|slot| slot.routes = None);
            (self.names, self.numbers, self.bytes) = (Arc::default(), HashMap::new(), 0);
        }
        let number = self.names.len();
        Arc::make_mut(&mut self.names).push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    /// Advances by several steps; drops slots older than an hour.
    fn go_on(&mut self, steps: u64) {
        self.number = self.number.saturating_add(steps);
        while self.slots.front().is_some_and(|slot| slot.number.saturating_add(SLOTS) <= self.number) {
            let gone = self.slots.pop_front().and_then(|slot| slot.routes);
            self.bytes = self.bytes.saturating_sub(gone.map_or(0, |routes| routes.len()));
        }
    }

    fn push(&mut self, sums: Sums, routes: Arc<[u8]>, most_bytes: usize) {
        self.bytes = self.bytes.saturating_add(routes.len());
        self.slots.push_back(Slot { number: self.number, sums: Arc::new(sums), routes: Some(routes) });
        for slot in &mut self.slots {
            if self.bytes <= most_bytes {
                break;
            }
            self.bytes = self.bytes.saturating_sub(slot.routes.take().map_or(0, |routes| routes.len()));
        }
    }
}

/// The number of steps in this interval: at least one.
fn steps(elapsed: Duration) -> u64 {
    let half = SLOT / 2;
    let steps = (elapsed + half).as_millis() / SLOT.as_millis().max(1);
    u64::try_from(steps).unwrap_or(u64::MAX).max(1)
}

/// Returns a share of a total; `None` if the total is zero.
pub fn share(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| float(some) / float(all))
}

#[cfg(test)]
mod tests;
