//! How fast a client sends a body.
//!
//! Only the time counts in which its next piece is waited for. While the endpoint takes nothing, the client can send
//! nothing either.

use std::time::Duration;

use tokio::time::Instant;

/// How long a body may be slower than the least rate.
const GRACE: Duration = Duration::from_secs(15);

/// The pace of one body.
pub(super) struct Pace {
    /// Bytes a second, on average; `None`: any will do.
    least: Option<u64>,
    taken: u64,
    waited: Duration,
    /// When the wait began that is not over.
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(least: Option<u64>) -> Pace {
        Pace { least, taken: 0, waited: Duration::ZERO, since: None }
    }

    /// How many bytes have come.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// A piece has come.
    pub(super) fn takes(&mut self, length: u64) {
        self.taken = self.taken.saturating_add(length);
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// The next piece is waited for, from now on or still. Does it take too long?
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

    /// Sends so many bytes each second, which the endpoint takes after `pause` seconds.
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
    async fn a_body_is_cut_below_the_least_rate_alone() {
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
    async fn the_time_of_the_endpoint_does_not_count() {
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
