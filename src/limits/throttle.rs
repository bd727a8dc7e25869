//! Keyed rate limiter: N events per period for each key, in bursts of up to N or of another size.
//!
//! The state of a key is one number: the time at which it has fully recovered (generic cell rate algorithm, GCRA). The
//! table has a fixed size. When it has no place for a new key, the key that recovers first is evicted. So a flood of
//! new keys evicts other new keys, and never a key that is over its limit.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::slots::{Slots, State};
use crate::clock::Timestamp;
use crate::units::Rate;

/// Number of keys that a limiter remembers unless it is told otherwise: a table of one megabyte.
const KEYS: usize = 65_536;

/// How often something may happen: the parameters of GCRA, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The recovery time of one event. Rounded up, so that never more than the rate is allowed.
    pub(super) each: i64,
    /// The recovery time of a full burst.
    pub(super) all: i64,
}

/// How several parties count a rate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// The pace of all of them.
    pub pace: Pace,
    /// The share of each.
    pub(super) share: Pace,
    /// Maximum number of events that one of them takes in advance.
    pub(super) largest: u32,
}

/// The largest number of events that a party takes in advance, as a fraction of a burst.
const FRACTION: i64 = 10;

impl Measure {
    /// The measure of a rate that this number of parties share.
    pub fn new(pace: Pace, parties: u32) -> Measure {
        let largest = u32::try_from(pace.all / pace.each / FRACTION).unwrap_or(u32::MAX).max(1);
        Measure { pace, share: pace.share(parties), largest }
    }
}

/// A keyed rate limiter.
pub struct Throttle {
    pace: Pace,
    slots: Slots<Recovery>,
    /// Counts the keys that were evicted before they had recovered.
    forgotten: Arc<AtomicU64>,
}

/// What is left of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Number of events that are allowed now.
    pub events: u64,
    /// The time until one more is allowed; zero if the burst is whole.
    pub more_in: Duration,
}

/// When a key has fully recovered, in nanoseconds since 1970.
#[derive(Clone, Copy, Default)]
pub(super) struct Recovery(i64);

impl State for Recovery {
    fn rank(&self) -> i64 {
        self.0
    }
}

impl Pace {
    /// The pace of a rate, with bursts of this many events.
    pub fn new(rate: Rate, burst: u32) -> Pace {
        let per = i64::try_from(rate.per.as_nanos()).unwrap_or(i64::MAX / 4);
        let each = (per.saturating_add(i64::from(rate.count) - 1) / i64::from(rate.count.max(1))).max(1);
        // A quarter of the range of time leaves room for additions.
        Pace { each, all: each.saturating_mul(i64::from(burst.max(1))).min(i64::MAX / 4) }
    }

    /// The recovery times of one event and of a full burst, in nanoseconds.
    pub fn nanos(self) -> (i64, i64) {
        (self.each, self.all)
    }

    /// The pace of one of several parties that share a rate. Each has at least one event.
    pub fn share(self, parties: u32) -> Pace {
        let parties = i64::from(parties.max(1));
        let each = self.each.saturating_mul(parties);
        Pace { each, all: (self.all / self.each / parties).max(1).saturating_mul(each).min(i64::MAX / 4) }
    }
}

impl Recovery {
    /// Not before now, and at most a full burst away even after the clock was set back.
    fn at(self, pace: Pace, now: i64) -> i64 {
        self.0.clamp(now, now.saturating_add(pace.all))
    }

    /// Counts an event if it is allowed.
    pub(super) fn take(&mut self, pace: Pace, now: i64) -> Result<Left, Duration> {
        let recovered = self.at(pace, now);
        judge(pace, recovered, now)?;
        self.0 = recovered.saturating_add(pace.each);
        Ok(left(pace, self.0, now))
    }

    /// Counts an event that has happened, allowed or not.
    pub(super) fn charge(&mut self, pace: Pace, now: i64) {
        self.0 = (self.at(pace, now).saturating_add(pace.each)).min(now.saturating_add(pace.all));
    }
}

fn judge(pace: Pace, recovered: i64, now: i64) -> Result<(), Duration> {
    let early = recovered.saturating_add(pace.each).saturating_sub(now.saturating_add(pace.all));
    if early <= 0 { Ok(()) } else { Err(Duration::from_nanos(early.unsigned_abs())) }
}

fn left(pace: Pace, recovered: i64, now: i64) -> Left {
    let free = now.saturating_add(pace.all).saturating_sub(recovered).max(0);
    let events = free.checked_div(pace.each).unwrap_or(0);
    let more_in = if recovered <= now { 0 } else { pace.each.saturating_sub(free.saturating_sub(events * pace.each)) };
    Left { events: events.unsigned_abs(), more_in: Duration::from_nanos(more_in.unsigned_abs()) }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(now: Timestamp) -> i64 {
    now.as_micros().saturating_mul(1_000)
}

impl Throttle {
    /// Creates a limiter without any events, with bursts of a whole period.
    pub fn new(rate: Rate) -> Throttle {
        Throttle::with(Pace::new(rate, rate.count), KEYS, Arc::default())
    }

    /// Creates a limiter that remembers at least this number of keys. `forgotten` counts the keys that are evicted
    /// before they have recovered, because the table is full.
    pub fn with(pace: Pace, keys: usize, forgotten: Arc<AtomicU64>) -> Throttle {
        Throttle { pace, slots: Slots::new(keys), forgotten }
    }

    /// Checks whether an event for `key` is allowed, and changes nothing.
    ///
    /// # Errors
    /// The time until it is.
    pub fn check(&self, key: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        let now = nanos(now);
        let judged = self.slots.known(key, |state| judge(self.pace, state.at(self.pace, now), now));
        judged.unwrap_or(Ok(()))
    }

    /// As [`Throttle::take_at`], but counts nothing.
    ///
    /// # Errors
    /// The time until an event is allowed.
    pub fn look_at(&self, pace: Pace, key: &impl Hash, now: Timestamp) -> Result<Left, Duration> {
        let now = nanos(now);
        let looked = self.slots.known(key, |state| {
            let recovered = state.at(pace, now);
            judge(pace, recovered, now).map(|()| left(pace, recovered, now))
        });
        looked.unwrap_or_else(|| Ok(left(pace, now, now)))
    }

    /// Counts an event for `key` if it is allowed. Returns what is left of the burst.
    ///
    /// # Errors
    /// The time until it is allowed; then the event is not counted.
    pub fn take(&self, key: &impl Hash, now: Timestamp) -> Result<Left, Duration> {
        self.take_at(self.pace, key, now)
    }

    /// As [`Throttle::take`], at another pace. Each key may have its own.
    ///
    /// # Errors
    /// The time until it is allowed; then the event is not counted.
    pub fn take_at(&self, pace: Pace, key: &impl Hash, now: Timestamp) -> Result<Left, Duration> {
        let now = nanos(now);
        let whole = Left { events: 0, more_in: Duration::ZERO };
        self.change(key, now, |state| state.take(pace, now)).unwrap_or(Ok(whole))
    }

    /// Counts an event that has happened, allowed or not.
    pub fn charge(&self, key: &impl Hash, now: Timestamp) {
        let now = nanos(now);
        let charged: Option<Result<(), Infallible>> = self.change(key, now, |state| {
            state.charge(self.pace, now);
            Ok(())
        });
        let (Some(Ok(())) | None) = charged;
    }

    /// Refunds an event that was counted.
    pub fn give_back(&self, key: &impl Hash, now: Timestamp) {
        self.give_back_at(self.pace, key, now);
    }

    /// As [`Throttle::give_back`], at another pace.
    pub fn give_back_at(&self, pace: Pace, key: &impl Hash, now: Timestamp) {
        let now = nanos(now);
        self.slots.known(key, |state| state.0 = state.at(pace, now).saturating_sub(pace.each));
    }

    fn change<T, E>(
        &self,
        key: &impl Hash,
        now: i64,
        change: impl FnOnce(&mut Recovery) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        self.slots.change(key, change, |evicted| {
            if evicted.0 > now {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn passes(throttle: &Throttle, key: &str, now: Timestamp) -> usize {
        (0..1_000_000).take_while(|_| throttle.take(&key, now).is_ok()).count()
    }

    #[test]
    fn a_full_burst_is_allowed_and_then_one_event_after_the_other() {
        let throttle = Throttle::new(Rate::per_minute(5));
        for left in (0..5).rev() {
            assert_eq!(throttle.check(&"alice", at(0)), Ok(()));
            assert_eq!(throttle.take(&"alice", at(0)), Ok(Left { events: left, more_in: seconds(12) }));
        }
        for _ in 0..3 {
            assert_eq!(throttle.take(&"alice", at(0)), Err(seconds(12)), "a refusal costs nothing");
        }
        assert!(throttle.take(&"bob", at(0)).is_ok(), "keys are independent");
        assert_eq!(throttle.check(&"alice", at(11)), Err(seconds(1)));
        assert_eq!(throttle.take(&"alice", at(12)), Ok(Left { events: 0, more_in: seconds(12) }));
        assert_eq!(throttle.take(&"alice", at(12)), Err(seconds(12)));
        assert_eq!(passes(&throttle, "alice", at(1_000)), 5, "unused events do not accumulate");
    }

    #[test]
    fn a_burst_can_be_smaller_or_larger_than_the_events_of_a_period() {
        for (rate, burst, first, in_a_minute) in [
            ("60/min", 1, 1, 60),
            ("60/min", 10, 10, 60),
            ("5/min", 100, 100, 5),
            ("7/s", 7, 7, 419),
            ("3/s", 1, 1, 179),
        ] {
            let rate: Rate = rate.parse().unwrap();
            let throttle = Throttle::with(Pace::new(rate, burst), 8, Arc::default());
            assert_eq!(passes(&throttle, "alice", at(0)), first, "{rate:?} {burst}");
            let rest: usize = (1..=60_000_i64)
                .map(|millis| passes(&throttle, "alice", Timestamp::from_micros(at(0).as_micros() + millis * 1_000)))
                .sum();
            assert_eq!(rest, in_a_minute, "{rate:?} {burst}");
        }
        let fast = Throttle::with(Pace::new("700000/s".parse().unwrap(), 700_000), 8, Arc::default());
        assert_eq!(passes(&fast, "alice", at(0)), 700_000);
    }

    #[test]
    fn a_share_is_a_part_of_the_rate_and_of_the_burst() {
        let pace = Pace::new(Rate::per_minute(60), 10);
        for (parties, burst, wait) in [(1, 10, 1), (3, 3, 3), (20, 1, 20)] {
            let throttle = Throttle::with(pace.share(parties), 8, Arc::default());
            assert_eq!(passes(&throttle, "alice", at(0)), burst, "{parties}");
            assert_eq!(throttle.take(&"alice", at(0)).err(), Some(seconds(wait)), "{parties}");
        }
    }

    #[test]
    fn a_refunded_event_can_be_taken_again() {
        let throttle = Throttle::new(Rate::per_minute(1));
        for _ in 0..10 {
            assert!(throttle.take(&1, at(0)).is_ok());
            throttle.give_back(&1, at(0));
        }
        throttle.give_back(&1, at(0));
        assert!(throttle.take(&1, at(0)).is_ok());
        assert!(throttle.take(&1, at(0)).is_err(), "a refund is limited to what was taken");
    }

    #[test]
    fn recovery_never_takes_longer_than_one_period() {
        let throttle = Throttle::new(Rate::per_minute(2));
        for _ in 0..1_000 {
            throttle.charge(&1, at(0));
        }
        assert_eq!(throttle.check(&1, at(0)), Err(seconds(30)));
        assert_eq!(throttle.check(&1, at(-86_400)), Err(seconds(30)), "the clock was set back");
        assert_eq!(throttle.check(&1, at(30)), Ok(()));
    }

    #[test]
    fn a_flood_of_new_keys_does_not_evict_keys_over_their_limit() {
        let throttle = Throttle::new(Rate::per_minute(2));
        throttle.charge(&"held back", at(0));
        throttle.charge(&"held back", at(0));
        for n in 0..200_000_u32 {
            throttle.charge(&n, at(0));
        }
        assert!(throttle.check(&"held back", at(0)).is_err());
        assert!(throttle.forgotten.load(Ordering::Relaxed) > 100_000, "keys that had not recovered were evicted");
    }

    #[test]
    fn a_full_table_evicts_keys_that_have_recovered_without_counting_them() {
        let throttle = Throttle::with(Pace::new(Rate::per_minute(60), 1), 8, Arc::default());
        for n in 0..1_000_i64 {
            assert!(throttle.take(&n, at(n)).is_ok());
        }
        assert_eq!(throttle.forgotten.load(Ordering::Relaxed), 0);
    }
}
