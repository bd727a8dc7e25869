//! Wall time without jumps.
//!
//! Expiry depends on wall time, and wall time can be wrong: set by hand, by a faulty time server, or at boot. An hour
//! back revives expired tokens; an hour ahead expires valid ones. So this clock follows the monotonic clock, suspend
//! included, and small corrections of the wall clock. It follows a step only after a delay, so that an operator can
//! react to the alarm.

use std::sync::atomic::{AtomicI64, Ordering};

/// Corrections up to this, in microseconds, are followed at once: time servers adjust clocks in small steps, and leap
/// seconds happen.
const MAX_CORRECTION: i64 = 1_000_000;
/// A step that lasts this long, in microseconds, is followed: ten minutes.
const FOLLOW_AFTER: i64 = 600 * 1_000_000;

/// The offset from the monotonic clock to the wall time used for expiry.
#[derive(Debug)]
pub(super) struct Steady {
    offset: AtomicI64,
}

/// The result of comparing the system's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockLook {
    /// The clocks agree.
    Steady,
    /// The wall clock was moved by this many microseconds; the step is not followed.
    Stepped(i64),
    /// The step has lasted ten minutes and is followed from now on.
    Followed(i64),
}

/// A step that is not followed yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step(Option<(i64, i64)>);

impl Steady {
    /// Creates it from the current readings of both clocks, in microseconds.
    pub(super) fn new(wall: i64, monotonic: i64) -> Steady {
        Steady { offset: AtomicI64::new(wall.saturating_sub(monotonic)) }
    }

    /// The wall time used for expiry.
    pub(super) fn at(&self, monotonic: i64) -> i64 {
        monotonic.saturating_add(self.offset.load(Ordering::Relaxed))
    }

    /// Compares both clocks. One caller calls it about once a second and keeps `step`.
    pub(super) fn look(&self, wall: i64, monotonic: i64, step: &mut Step) -> ClockLook {
        let (offset, seen) = (self.offset.load(Ordering::Relaxed), wall.saturating_sub(monotonic));
        let by = seen.saturating_sub(offset);
        if by.abs() <= MAX_CORRECTION {
            *step = Step(None);
            self.offset.store(seen, Ordering::Relaxed);
            return ClockLook::Steady;
        }
        match step.0 {
            Some((to, since)) if seen.saturating_sub(to).abs() <= MAX_CORRECTION => {
                if monotonic.saturating_sub(since) < FOLLOW_AFTER {
                    return ClockLook::Stepped(by);
                }
                *step = Step(None);
                self.offset.store(seen, Ordering::Relaxed);
                ClockLook::Followed(by)
            }
            _ => {
                *step = Step(Some((seen, monotonic)));
                ClockLook::Stepped(by)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3_600 * SECOND;

    #[test]
    fn small_corrections_are_followed() {
        let (clock, mut step) = (Steady::new(1_000 * SECOND, 0), Step::default());
        assert_eq!(clock.look(1_010 * SECOND + 400_000, 10 * SECOND, &mut step), ClockLook::Steady);
        assert_eq!(clock.at(20 * SECOND), 1_020 * SECOND + 400_000);
    }

    #[test]
    fn a_step_is_reported_and_followed_only_after_ten_minutes() {
        for by in [HOUR, -HOUR] {
            let (clock, mut step) = (Steady::new(0, 0), Step::default());
            for second in 1..600 {
                let at = second * SECOND;
                assert_eq!(clock.look(at + by, at, &mut step), ClockLook::Stepped(by), "{second}");
                assert_eq!(clock.at(at), at, "time continues without a jump");
            }
            assert_eq!(clock.look(601 * SECOND + by, 601 * SECOND, &mut step), ClockLook::Followed(by));
            assert_eq!(clock.at(602 * SECOND), 602 * SECOND + by);
        }
    }

    #[test]
    fn a_reverted_step_has_no_effect() {
        let (clock, mut step) = (Steady::new(0, 0), Step::default());
        assert_eq!(clock.look(HOUR, SECOND, &mut step), ClockLook::Stepped(HOUR - SECOND));
        assert_eq!(clock.look(2 * SECOND, 2 * SECOND, &mut step), ClockLook::Steady);
        // The ten minutes start with the current step, not with an earlier one.
        assert_eq!(clock.look(700 * SECOND + HOUR, 700 * SECOND, &mut step), ClockLook::Stepped(HOUR));
        assert_eq!(clock.at(700 * SECOND), 700 * SECOND);
    }
}
