//! Limits how often one kind of event is logged, for events that can happen a thousand times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two log lines of one kind.
const PAUSE: Duration = Duration::from_secs(60);

/// Decides whether to log one kind of event; remembers the last log line.
#[derive(Default)]
pub struct LogLimiter(Mutex<Option<Instant>>);

impl LogLimiter {
    /// Whether the event may be logged now. If so, records that it was logged.
    pub fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn an_event_is_logged_once_per_period() {
        let (limiter, now) = (LogLimiter::default(), Clock::system().instant());
        let due = [0, 1, 59, 60, 61, 200].map(|seconds| limiter.is_due(now + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
