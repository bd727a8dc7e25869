//! Leaves somebody who does not answer alone for a while.
//!
//! After a few failures in a row nobody is asked for a short time, which doubles up to a bound; then one question goes
//! through as a probe. A dead server so costs few of its time limits, not one for each request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// The first pause.
const SHORTEST: Duration = Duration::from_millis(250);

/// Whether somebody may be asked.
pub(super) struct Breaker {
    longest: Duration,
    state: Mutex<State>,
}

struct State {
    failures: u32,
    pause: Duration,
    /// Nobody asks before; `None`: closed.
    until: Option<Instant>,
}

impl Breaker {
    /// Closed. No pause is longer than `longest`.
    pub(super) fn new(longest: Duration) -> Breaker {
        Breaker { longest, state: Mutex::new(State { failures: 0, pause: SHORTEST, until: None }) }
    }

    /// May a question be asked now? After a pause, yes for one.
    pub(super) fn lets_through(&self) -> bool {
        let mut state = self.state();
        match state.until {
            None => true,
            Some(until) if until > Instant::now() => false,
            Some(_) => {
                // If the probe never reports, the next one goes after another pause.
                state.until = Some(Instant::now() + state.pause);
                true
            }
        }
    }

    /// A question was answered.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        *state = State { failures: 0, pause: SHORTEST, until: None };
    }

    /// A question was not answered.
    pub(super) fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.until = Some(Instant::now() + state.pause);
            state.pause = (state.pause * 2).min(self.longest);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere leaves nothing half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_fails_three_times_is_left_alone_then_probed_once() {
        let breaker = Breaker::new(Duration::from_secs(1));
        breaker.failed();
        breaker.failed();
        assert!(breaker.lets_through());
        breaker.failed();
        assert!(!breaker.lets_through());
        for pause in [250, 500, 1000, 1000] {
            tokio::time::advance(Duration::from_millis(pause - 1)).await;
            assert!(!breaker.lets_through(), "{pause}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(breaker.lets_through(), "{pause}");
            assert!(!breaker.lets_through(), "one probe at a time");
            breaker.failed();
        }
        breaker.succeeded();
        assert!(breaker.lets_through() && breaker.lets_through());
    }
}
