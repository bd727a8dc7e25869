//! Until when this process knows what was revoked.
//!
//! Whoever has read the change log up to its end a moment ago knows every revocation. With each second without a look,
//! what memory believes is worth less: after `blind_after` an entry has to be asked for again, and while the store is
//! away as well, `on_outage` says how long those who are known may still pass.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::settings::{self, OnOutage};

/// When the change log was last read up to its end, and what follows from that.
pub(super) struct Sight {
    /// Microseconds since the epoch.
    last: AtomicI64,
    blind_after: Duration,
    serve_known_for: Option<Duration>,
}

impl Sight {
    /// Clear at `now`.
    pub(super) fn new(memory: &settings::MemoryCache, store: &settings::Store, now: Timestamp) -> Sight {
        Sight {
            last: AtomicI64::new(now.as_micros()),
            // Two looks may fail, and the third may be late, before anybody is asked more than otherwise.
            blind_after: memory.blind_after.max(store.poll_every * 3),
            serve_known_for: match store.on_outage {
                OnOutage::Refuse => None,
                OnOutage::ServeKnown(span) => Some(span),
            },
        }
    }

    /// Everything that happened before `at` is known.
    pub(super) fn saw(&self, at: Timestamp) {
        self.last.store(at.as_micros(), Ordering::Relaxed);
    }

    /// When that was.
    pub(super) fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// Is what was revoked known?
    pub(super) fn is_clear(&self, now: Timestamp) -> bool {
        now.since(self.last()) <= self.blind_after
    }

    /// May those who are known pass although nobody can be asked?
    pub(super) fn lets_known_pass(&self, now: Timestamp) -> bool {
        self.serve_known_for.is_some_and(|span| now.since(self.last()) <= span)
    }

    /// May what was looked up a moment ago be believed without a look at the change log?
    pub(super) fn believes_the_young(&self) -> bool {
        self.serve_known_for.is_some()
    }
}
