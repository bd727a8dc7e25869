//! The rate at which a client sends a body.
//!
//! Only the time in which the gateway waits for the next piece counts. While the endpoint takes nothing, the client
//! cannot send anything either.

use std::time::Duration;

use tokio::time::Instant;

/// How long a body may stay below the minimum rate.
const GRACE: Duration = Duration::from_secs(15);

/// The rate of one body.
pub(super) struct Pace {
    /// Minimum bytes per second, on average; `None`: no minimum.
    least: Option<u64>,
    taken: u64,
    waited: Duration,
    /// When the current wait for a piece began.
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(least: Option<u64>) -> Pace {
        Pace { least, taken: 0, waited: Duration::ZERO, since: None }
    }

    /// How many bytes have arrived.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Records that a piece has arrived.
    pub(super) fn takes(&mut self, length: u64) {
        self.taken = self.taken.saturating_add(length);
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// Records that the body waits for its next piece. Returns whether it is too slow.
    pub(super) fn waits(&mut self) -> bool {
        let Some(least) = self.least else { return false };
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let waited = self.waited.saturating_add(now.duration_since(since));
        waited > GRACE && self.taken < least.saturating_mul(waited.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    /// Sends `bytes` each second; the endpoint takes them after `pause` seconds.
    async fn is_cut(least: Option<u64>, bytes: u64, pause: u64) -> bool {
        let mut pace = Pace::new(least);
        for _ in 0..600 {
            if pace.waits() {
                return true;
            }
            pass(1).await;
            if pace.waits() {
                return true;
            }
            pace.takes(bytes);
            pass(pause).await;
        }
        false
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_cut_only_below_the_minimum_rate() {
        for (least, bytes, cut) in [
            (Some(50), 100, false),
            (Some(50), 60, false),
            (Some(50), 40, true),
            (Some(500), 400, true),
            (None, 0, false),
        ] {
            assert_eq!(is_cut(least, bytes, 0).await, cut, "{bytes} of {least:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_the_endpoint_takes_does_not_count() {
        assert!(!is_cut(Some(50), 60, 60).await);
        assert!(is_cut(Some(50), 40, 60).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_begin_slowly() {
        let mut pace = Pace::new(Some(50));
        assert!(!pace.waits());
        pass(15).await;
        assert!(!pace.waits());
        pass(1).await;
        assert!(pace.waits());
    }
}
