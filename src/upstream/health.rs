//! The health of an endpoint: whether requests are sent to it.
//!
//! One state for all workers, kept over reloads. Two things take an endpoint out: failures of requests (ejection),
//! which end by themselves, and active checks. Changes are rare; a request of a healthy endpoint only reads.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The health of an endpoint.
#[derive(Debug)]
pub struct Health {
    /// The times below are milliseconds since then, plus one; 0 means never.
    begun: Instant,
    failures: AtomicU32,
    ejected_until: AtomicU64,
    returned: AtomicU64,
    checked: AtomicU8,
    ejections: AtomicU64,
}

/// Whether requests are sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They are.
    Available,
    /// Requests to it failed, so that it gets none for a while.
    Ejected,
    /// Its active checks fail.
    Unhealthy,
}

/// The smallest part of its weight that an endpoint has after its return, in percent.
const FIRST_SHARE: u64 = 10;

const UNKNOWN: u8 = 0;
const PASSED: u8 = 1;
const FAILED: u8 = 2;

impl Default for Health {
    fn default() -> Health {
        Health {
            begun: Instant::now(),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            checked: AtomicU8::new(UNKNOWN),
            ejections: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// Whether requests are sent to it now.
    pub fn standing(&self) -> Standing {
        if self.checked.load(Ordering::Relaxed) == FAILED {
            return Standing::Unhealthy;
        }
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => Standing::Available,
            until if self.now() < until => Standing::Ejected,
            _ => Standing::Available,
        }
    }

    /// Ends an ejection whose time is over. Returns whether this call ended it: the caller logs the change.
    #[must_use]
    pub(super) fn return_if_due(&self) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 || self.now() < until {
            return false;
        }
        let ends = self.ejected_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if ends {
            self.returned.store(self.now(), Ordering::Relaxed);
        }
        ends
    }

    /// Records a response of any status.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failed request. Returns how many have failed in a row.
    pub(super) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Sends it no requests for this time. After its return one failure ejects it again.
    pub(super) fn eject(&self, span: Duration, limit: u32) {
        self.failures.store(limit.saturating_sub(1), Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.ejected_until.store(self.now().saturating_add(millis(span)).max(1), Ordering::Relaxed);
    }

    /// Records the result of active checks. Returns whether it has changed: the caller logs the change.
    #[must_use]
    pub fn checked(&self, passed: bool) -> bool {
        let now = if passed { PASSED } else { FAILED };
        let before = self.checked.swap(now, Ordering::Relaxed);
        if before == FAILED && passed {
            self.returned.store(self.now(), Ordering::Relaxed);
        }
        // The first success of an endpoint that was in use is no change.
        before != now && (before, passed) != (UNKNOWN, true)
    }

    /// Forgets active checks: there are none any more.
    pub fn unchecked(&self) {
        self.checked.store(UNKNOWN, Ordering::Relaxed);
    }

    /// The part of its weight that it has now, in percent: it grows after a return, over `slow_start`.
    pub(super) fn share(&self, slow_start: Duration) -> u64 {
        let returned = self.returned.load(Ordering::Relaxed);
        if returned == 0 || slow_start.is_zero() {
            return 100;
        }
        let percent = self.now().saturating_sub(returned).saturating_mul(100) / millis(slow_start).max(1);
        if percent >= 100 {
            self.returned.store(0, Ordering::Relaxed);
        }
        percent.clamp(FIRST_SHARE, 100)
    }

    /// How often it was ejected.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        millis(Instant::now().duration_since(self.begun)).saturating_add(1)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(10);

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejected_endpoint_returns_after_its_time_with_a_growing_share() {
        let health = Health::default();
        assert_eq!((health.failed(), health.failed(), health.failed()), (1, 2, 3));
        health.succeeded();
        assert_eq!(health.failed(), 1);
        health.eject(Duration::from_secs(30), 5);
        assert_eq!((health.standing(), health.return_if_due()), (Standing::Ejected, false));
        pass(29).await;
        assert_eq!(health.standing(), Standing::Ejected);
        pass(1).await;
        assert_eq!(health.standing(), Standing::Available);
        assert!(health.return_if_due() && !health.return_if_due());
        assert_eq!(health.share(SLOW), 10);
        pass(5).await;
        assert_eq!((health.share(SLOW), health.share(Duration::ZERO)), (50, 100));
        pass(5).await;
        assert_eq!(health.share(SLOW), 100);
        assert_eq!((health.failed(), health.ejections()), (5, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn active_checks_take_an_endpoint_out_until_they_succeed() {
        let health = Health::default();
        assert!(!health.checked(true));
        assert!(health.checked(false) && !health.checked(false));
        assert_eq!(health.standing(), Standing::Unhealthy);
        assert!(health.checked(true));
        assert_eq!((health.standing(), health.share(SLOW)), (Standing::Available, 10));
        assert!(health.checked(false));
        health.unchecked();
        assert_eq!(health.standing(), Standing::Available);
    }
}
