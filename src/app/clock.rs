//! Watches the machine's clock for steps.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, ClockLook, Step};
use crate::telemetry::ProcessCounters;

/// Checks the clock every second until dropped. Logs each step once, and once more when the gateway adopts the new
/// time.
pub(super) async fn watch(clock: Clock, counts: Arc<ProcessCounters>) {
    let (mut step, mut told) = (Step::default(), None::<i64>);
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        let look = clock.look(&mut step);
        let by = match look {
            ClockLook::Steady => 0,
            ClockLook::Stepped(by) | ClockLook::Followed(by) => by / 1_000_000,
        };
        counts.clock_step.set(if matches!(look, ClockLook::Stepped(_)) { by.unsigned_abs() } else { 0 });
        match look {
            ClockLook::Stepped(_) if told.is_none_or(|told| told.abs_diff(by) > 2) => tracing::error!(
                code = "clock_stepped",
                seconds = by,
                "the system clock was moved; token expiry follows the old time for ten minutes, then the new time; \
                 restart the gateway to follow the new time at once"
            ),
            ClockLook::Followed(_) => {
                tracing::warn!(
                    code = "clock_stepped",
                    seconds = by,
                    "token expiry now follows the changed system clock"
                );
            }
            _ => {}
        }
        told = matches!(look, ClockLook::Stepped(_)).then(|| told.filter(|told| told.abs_diff(by) <= 2).unwrap_or(by));
    }
}
