//! The traffic of the last hour.
//!
//! Every [`SLOT`] the control half sums the recorders and keeps what was added since the last time
//! ([`History::sample`]); pages ask for a [`Window`]. Workers do nothing for it and are not waited for.
//!
//! Memory is bounded: the sums of all routes take less than 1 MiB; what is kept of each route takes 32 MiB at most
//! ([`MOST_BYTES`]), which is an hour of about 500 routes that are busy all the time. Beyond it the oldest of that
//! goes.

mod counts;
mod packed;
mod window;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::recorder::Recorder;
use crate::clock::Timestamp;
pub use counts::{Counts, Durations, float};
pub use window::{Point, Reach, Window, per_second};

/// How often the recorders are read.
pub const SLOT: Duration = Duration::from_secs(2);

/// The longest time between two readings that is kept. After a longer one (the machine was suspended, its clock was
/// set, the process stood still) nobody can say when in it the requests came: it is a gap.
const LONGEST: Duration = Duration::from_secs(20);

/// Most slots: an hour of them.
const SLOTS: u64 = 1_800;

/// Most bytes for what is kept of each route.
pub const MOST_BYTES: usize = 32 << 20;

/// The traffic of the last hour. One task writes it, pages read it.
pub struct History {
    routes: usize,
    most_bytes: usize,
    /// What the recorders said last.
    last: Mutex<Reading>,
    kept: Mutex<Kept>,
}

/// All of the recorders at one time.
struct Reading {
    at: Timestamp,
    /// By route; the last is for requests without one.
    routes: Vec<Counts>,
    hits: u64,
    misses: u64,
    connections: u64,
}

#[derive(Default)]
struct Kept {
    /// Of the newest step, whether or not it was kept.
    number: u64,
    slots: VecDeque<Slot>,
    /// Of all slots together, for their routes.
    bytes: usize,
}

/// What happened in one step.
#[derive(Clone)]
struct Slot {
    /// Counts up; a step that was missed or too long leaves its number out.
    number: u64,
    sums: Arc<Sums>,
    /// Of each route that had requests; `None` if the room was needed.
    routes: Option<Arc<[u8]>>,
}

/// The same, all routes together.
struct Sums {
    span: Duration,
    counts: Counts,
    hits: u64,
    misses: u64,
    /// Open at the end.
    connections: u64,
}

// Two allocations have heads of their own.
const _: () = assert!((size_of::<Slot>() + size_of::<Sums>() + 64) * 1_800 <= 1 << 20);

impl History {
    /// Nothing yet, for recorders of so many routes that were made at `now`.
    pub fn new(routes: usize, now: Timestamp) -> History {
        History::within(routes, now, MOST_BYTES)
    }

    /// As [`History::new`], with another bound for what is kept of each route.
    fn within(routes: usize, now: Timestamp, most_bytes: usize) -> History {
        let nothing =
            Reading { at: now, routes: vec![Counts::default(); routes + 1], hits: 0, misses: 0, connections: 0 };
        History { routes, most_bytes, last: Mutex::new(nothing), kept: Mutex::default() }
    }

    /// Keeps what happened since the last time, unless that was long ago. To be called every [`SLOT`]; a time that was
    /// left out is a gap.
    pub fn sample(&self, recorders: &[Arc<Recorder>], now: Timestamp) {
        // Held to the end, so that no two read and keep crosswise.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = Reading::of(recorders, self.routes, now);
        let elapsed = now.since(last.at);
        let added: Vec<Counts> =
            reading.routes.iter().zip(&last.routes).map(|(now, before)| now.since(before)).collect();
        let mut counts = Counts::default();
        added.iter().for_each(|route| counts += route);
        let sums = Sums {
            // The clock of a test, or of a machine whose time was set back, may stand.
            span: if elapsed.is_zero() { SLOT } else { elapsed },
            counts,
            hits: reading.hits.saturating_sub(last.hits),
            misses: reading.misses.saturating_sub(last.misses),
            connections: reading.connections,
        };
        *last = reading;
        let mut kept = self.kept();
        kept.go_on(steps(elapsed));
        if elapsed <= LONGEST {
            kept.push(sums, packed::pack(&added).into(), self.most_bytes);
        }
    }

    /// When the recorders were last read.
    pub fn last_read(&self) -> Timestamp {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    /// What was kept of the last time.
    pub fn window(&self, reach: Reach) -> Window {
        let kept = self.kept();
        Window::new(reach, self.routes, kept.number, kept.slots.iter().cloned().collect())
    }

    /// Changes with every sample.
    pub fn version(&self) -> u64 {
        self.kept().number
    }

    /// Bytes that are used for what is kept of each route.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A slot is pushed whole, so a panic elsewhere leaves nothing half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn of(recorders: &[Arc<Recorder>], routes: usize, at: Timestamp) -> Reading {
        let mut reading =
            Reading { at, routes: vec![Counts::default(); routes + 1], hits: 0, misses: 0, connections: 0 };
        for recorder in recorders {
            for (sum, (_, counters)) in reading.routes.iter_mut().zip(recorder.routes()) {
                *sum += &Counts::of(counters);
            }
            reading.hits = reading.hits.saturating_add(recorder.cache_hits());
            reading.misses = reading.misses.saturating_add(recorder.cache_misses());
            reading.connections = reading.connections.saturating_add(recorder.connections_open());
        }
        reading
    }
}

impl Kept {
    /// So many steps later; what is older than an hour goes.
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

/// How many steps are over after so long: at least one, since this is one.
fn steps(elapsed: Duration) -> u64 {
    let half = SLOT / 2;
    let steps = (elapsed + half).as_millis() / SLOT.as_millis().max(1);
    u64::try_from(steps).unwrap_or(u64::MAX).max(1)
}

/// The share of some in all; `None` of none.
pub fn share(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| float(some) / float(all))
}

#[cfg(test)]
mod tests;
