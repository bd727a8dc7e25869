//! A circuit breaker for a server that does not answer.
//!
//! It opens after a few failures in a row. The pause doubles up to a bound; after each pause, one request goes through
//! as a probe. So a dead server costs a few timeouts, not one per request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 3;
/// The first pause.
const MIN_PAUSE: Duration = Duration::from_millis(250);

/// The state of the breaker.
pub(super) struct Breaker {
    longest: Duration,
    state: Mutex<State>,
}

struct State {
    failures: u32,
    pause: Duration,
    /// The end of the pause; `None`: the breaker is closed.
    until: Option<Instant>,
    /// The time of the last success.
    answered: Option<Instant>,
}

/// Permission for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass(Instant);

impl Breaker {
    /// Creates a closed breaker. No pause is longer than `longest`.
    pub(super) fn new(longest: Duration) -> Breaker {
        Breaker { longest, state: Mutex::new(State { failures: 0, pause: MIN_PAUSE, until: None, answered: None }) }
    }

    /// Reports whether a request may be sent now. After a pause, permits one probe.
    pub(super) fn lets_through(&self) -> Option<Pass> {
        let (mut state, now) = (self.state(), Instant::now());
        match state.until {
            None => {}
            Some(until) if until > now => return None,
            // If the probe never reports, the next one is permitted after another pause.
            Some(_) => state.until = Some(now + state.pause),
        }
        Some(Pass(now))
    }

    /// Records a success.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        *state = State { failures: 0, pause: MIN_PAUSE, until: None, answered: Some(Instant::now()) };
    }

    /// Records a failure. A failure of a request that was sent before the last success is ignored: it is out of date.
    pub(super) fn failed(&self, Pass(asked): Pass) {
        let mut state = self.state();
        if state.answered.is_some_and(|answered| asked < answered) {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.until = Some(Instant::now() + state.pause);
            state.pause = (state.pause * 2).min(self.longest);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere does not corrupt the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker) {
        breaker.failed(breaker.lets_through().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_failures_the_breaker_opens_and_then_allows_one_probe() {
        let breaker = Breaker::new(Duration::from_secs(1));
        for _ in 0..3 {
            fail(&breaker);
        }
        assert!(breaker.lets_through().is_none());
        for pause in [250, 500, 1000, 1000] {
            tokio::time::advance(Duration::from_millis(pause - 1)).await;
            assert!(breaker.lets_through().is_none(), "{pause}");
            tokio::time::advance(Duration::from_millis(1)).await;
            let probe = breaker.lets_through().expect("a probe");
            assert!(breaker.lets_through().is_none(), "one probe at a time");
            breaker.failed(probe);
        }
        breaker.succeeded();
        assert!(breaker.lets_through().is_some() && breaker.lets_through().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_from_before_a_success_do_not_count() {
        let breaker = Breaker::new(Duration::from_secs(1));
        let old: Vec<Pass> = (0..10).map(|_| breaker.lets_through().unwrap()).collect();
        tokio::time::advance(Duration::from_millis(1)).await;
        breaker.succeeded();
        for pass in old {
            breaker.failed(pass);
        }
        assert!(breaker.lets_through().is_some());
    }
}
