//! Logs an outage once at its beginning and once at its end, however many attempts fail meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A dependency that keeps failing and recovering is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The state of one dependency, and what was logged about it. All workers share one `Outage`, so that an outage is one
/// log line and not one per worker. The caller writes the line when a method says so.
#[derive(Debug, Default)]
pub struct Outage {
    /// Avoids the lock while nothing fails.
    failing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the outage began, if there is one.
    since: Option<Instant>,
    /// Failed attempts since the last logged end.
    failures: u64,
    /// Whether the beginning of this outage was logged.
    told: bool,
    /// When the last end was logged.
    ended: Option<Instant>,
}

/// A logged outage that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Number of failed attempts since the last logged end.
    pub failures: u64,
    /// How long it lasted.
    pub lasted: Duration,
}

impl Outage {
    /// Records a failed attempt. Returns `true` if the caller should log it: the outage is new, and the end of the last
    /// one was not logged within [`LOG_INTERVAL`].
    #[must_use]
    pub fn failed(&self) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        self.failing.store(true, Ordering::Relaxed);
        state.since.get_or_insert(now);
        state.failures = state.failures.saturating_add(1);
        let is_quiet = state.ended.is_some_and(|ended| now.duration_since(ended) < LOG_INTERVAL);
        let tells = !state.told && !is_quiet;
        state.told |= tells;
        tells
    }

    /// Records a successful attempt. Returns what the caller should log if this ended a logged outage.
    #[must_use]
    pub fn succeeded(&self) -> Option<Ended> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let (mut state, now) = (self.state(), Instant::now());
        self.failing.store(false, Ordering::Relaxed);
        let since = state.since.take()?;
        if !std::mem::take(&mut state.told) {
            return None;
        }
        state.ended = Some(now);
        Some(Ended { failures: std::mem::take(&mut state.failures), lasted: now.duration_since(since) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete, so a panic elsewhere does not corrupt the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended {
    /// The duration for the log, in milliseconds.
    pub fn lasted_ms(self) -> u64 {
        u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_logged_once_at_its_beginning_and_once_at_its_end() {
        let outage = Outage::default();
        assert_eq!(outage.succeeded(), None, "nothing had failed");
        let told: Vec<bool> = (0..1_000).map(|_| outage.failed()).collect();
        assert!(told[0] && told[1..].iter().all(|told| !told));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!outage.failed());
        assert_eq!(outage.succeeded(), Some(Ended { failures: 1_001, lasted: Duration::from_secs(60) }));
        assert_eq!(outage.succeeded(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_keeps_failing_and_recovering_is_logged_rarely() {
        let outage = Outage::default();
        let (mut began, mut ended, mut failures) = (0, 0, 0);
        for _ in 0..1_000 {
            began += u32::from(outage.failed());
            tokio::time::advance(Duration::from_millis(50)).await;
            if let Some(end) = outage.succeeded() {
                ended += 1;
                failures += end.failures;
            }
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        // 100 seconds.
        assert!((9..=11).contains(&began) && began == ended, "{began} {ended}");
        assert!(failures > 900, "{failures}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_begins_in_the_quiet_time_is_logged_after_it() {
        let outage = Outage::default();
        assert!(outage.failed());
        assert!(outage.succeeded().is_some());
        assert!(!outage.failed());
        tokio::time::advance(LOG_INTERVAL).await;
        assert!(outage.failed());
        assert_eq!(outage.succeeded(), Some(Ended { failures: 2, lasted: LOG_INTERVAL }));
    }
}
