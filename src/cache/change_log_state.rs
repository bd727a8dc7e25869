//! How current this process's knowledge of revocations is.
//!
//! After reading the change log to its end, a process knows every revocation. The longer the last read is ago, the less
//! the cache is trusted. After `blind_after`, entries must be looked up again. If the store is unreachable as well,
//! `on_outage` decides how long known callers still pass.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::settings::{self, OnOutage};

/// The time at which the change log was last read to its end, and the rules that depend on it.
pub(super) struct ChangeLogState {
    /// Microseconds since the epoch.
    last: AtomicI64,
    blind_after: Duration,
    serve_known_for: Option<Duration>,
}

impl ChangeLogState {
    /// Creates it as if the change log had been read at `now`.
    pub(super) fn new(memory: &settings::MemoryCache, store: &settings::Store, now: Timestamp) -> ChangeLogState {
        ChangeLogState {
            last: AtomicI64::new(now.as_micros()),
            // Two reads may fail, and the third may be late, before entries are looked up more often.
            blind_after: memory.blind_after.max(store.poll_every * 3),
            serve_known_for: match store.on_outage {
                OnOutage::Refuse => None,
                OnOutage::ServeKnown(span) => Some(span),
            },
        }
    }

    /// Records that every change before `at` is known.
    pub(super) fn saw(&self, at: Timestamp) {
        self.last.store(at.as_micros(), Ordering::Relaxed);
    }

    /// The time of the last [`ChangeLogState::saw`].
    pub(super) fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Reports whether all recent revocations are known.
    pub(super) fn is_clear(&self, now: Timestamp) -> bool {
        now.since(self.last()) <= self.blind_after
    }

    /// Reports whether known callers pass although the store is unreachable.
    pub(super) fn lets_known_pass(&self, now: Timestamp) -> bool {
        self.serve_known_for.is_some_and(|span| now.since(self.last()) <= span)
    }

    /// Reports whether a very recent lookup is trusted although the change log cannot be read.
    pub(super) fn trusts_recent(&self) -> bool {
        self.serve_known_for.is_some()
    }
}
