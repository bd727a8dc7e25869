//! A rate limit for lookups on behalf of clients that sent too many wrong keys.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A rate limiter: N lookups per second, bursts up to N (GCRA: one time stamp, no timer).
pub(super) struct Budget {
    each: Duration,
    /// The time at which the full burst is available again.
    earned: Mutex<Option<Instant>>,
}

impl Budget {
    pub(super) fn new(per_second: u32) -> Budget {
        Budget { each: Duration::from_secs(1) / per_second.max(1), earned: Mutex::new(None) }
    }

    /// Takes one; `false`: the budget is used up.
    pub(super) fn take(&self) -> bool {
        let now = Instant::now();
        let mut earned = self.earned.lock().unwrap_or_else(PoisonError::into_inner);
        let next = earned.map_or(now, |earned| earned.max(now)) + self.each;
        let is_left = next <= now + Duration::from_secs(1);
        if is_left {
            *earned = Some(next);
        }
        is_left
    }

    /// Returns one, because the lookup found a valid token.
    pub(super) fn give_back(&self) {
        let mut earned = self.earned.lock().unwrap_or_else(PoisonError::into_inner);
        *earned = earned.and_then(|earned| earned.checked_sub(self.each));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_spent_and_refilled() {
        let budget = Budget::new(10);
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!((0..100).filter(|_| budget.take()).count(), 2);
        budget.give_back();
        assert!(budget.take());
        assert!(!budget.take());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10, "no more than a second's worth is saved up");
    }
}
