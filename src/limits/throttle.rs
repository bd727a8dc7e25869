//! Keyed rate limiter: N events per period for each key, in bursts of up to N.
//!
//! The state of a key is one number: the time at which it has fully recovered (generic cell rate algorithm, GCRA). The
//! table has a fixed size and stores no keys, only their hashes under a secret of this process. When a set of the table
//! is full, the key that recovers first is evicted. So a flood of new keys evicts other new keys, and never a key that
//! is over its limit.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::units::Rate;

/// Number of keys in a set: they share a lock, and evict one another.
const WAYS: usize = 8;
/// Number of sets: 65,536 keys in one megabyte.
const SETS: usize = 8_192;

/// A keyed rate limiter.
pub struct Throttle {
    /// The recovery time of one event.
    each: i64,
    /// The recovery time of a full burst.
    all: i64,
    sets: Box<[Mutex<[Slot; WAYS]>]>,
    secret: RandomState,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    /// When the key has fully recovered, in microseconds since 1970.
    recovered: i64,
}

impl Throttle {
    /// Creates a limiter without any events.
    pub fn new(rate: Rate) -> Throttle {
        let all = i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX / 4);
        Throttle {
            each: (all / i64::from(rate.count.max(1))).max(1),
            all,
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            secret: RandomState::new(),
        }
    }

    /// Checks whether an event for `key` is allowed, and changes nothing.
    ///
    /// # Errors
    /// The time until it is.
    pub fn check(&self, key: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        let (key, mut set) = self.find(key);
        let slot = set.iter_mut().flat_map(|set| set.iter_mut()).find(|slot| slot.key == key);
        slot.map_or(Ok(()), |slot| self.judge(slot.recovered_from(now, self.all), now))
    }

    /// Counts an event for `key` if it is allowed.
    ///
    /// # Errors
    /// The time until it is; then the event is not counted.
    pub fn take(&self, key: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        self.change(key, now, |recovered| self.judge(recovered, now).map(|()| recovered + self.each))
    }

    /// Counts an event that has happened, allowed or not.
    pub fn charge(&self, key: &impl Hash, now: Timestamp) {
        let most = now.as_micros().saturating_add(self.all);
        let charged: Result<(), Infallible> = self.change(key, now, |recovered| Ok((recovered + self.each).min(most)));
        let Ok(()) = charged;
    }

    /// Refunds an event that was counted.
    pub fn give_back(&self, key: &impl Hash, now: Timestamp) {
        let returned: Result<(), Infallible> = self.change(key, now, |recovered| Ok(recovered - self.each));
        let Ok(()) = returned;
    }

    fn judge(&self, recovered: i64, now: Timestamp) -> Result<(), Duration> {
        let early = recovered + self.each - now.as_micros().saturating_add(self.all);
        if early <= 0 { Ok(()) } else { Err(Duration::from_micros(early.unsigned_abs())) }
    }

    fn change<E>(&self, key: &impl Hash, now: Timestamp, change: impl FnOnce(i64) -> Result<i64, E>) -> Result<(), E> {
        let (key, mut set) = self.find(key);
        // Uses the key's own slot, otherwise evicts the key that recovers first.
        let slots = set.iter_mut().flat_map(|set| set.iter_mut());
        let Some(slot) = slots.min_by_key(|slot| (slot.key != key, slot.recovered)) else { return Ok(()) };
        let recovered = if slot.key == key { slot.recovered_from(now, self.all) } else { now.as_micros() };
        *slot = Slot { key, recovered: change(recovered)? };
        Ok(())
    }

    fn find(&self, key: &impl Hash) -> (u64, Option<MutexGuard<'_, [Slot; WAYS]>>) {
        let key = self.secret.hash_one(key);
        let place = usize::try_from(key).unwrap_or(usize::MAX) % SETS;
        // Each change of a slot is complete, so a panic elsewhere does not corrupt it.
        (key, self.sets.get(place).map(|set| set.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Slot {
    /// When the key has fully recovered: not before now, and within one period even after the clock was set back.
    fn recovered_from(&self, now: Timestamp, all: i64) -> i64 {
        self.recovered.clamp(now.as_micros(), now.as_micros().saturating_add(all))
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

    #[test]
    fn a_full_burst_is_allowed_and_then_one_event_after_the_other() {
        let throttle = Throttle::new(Rate::per_minute(5));
        for _ in 0..5 {
            assert_eq!(throttle.check(&"alice", at(0)), Ok(()));
            assert_eq!(throttle.take(&"alice", at(0)), Ok(()));
        }
        for _ in 0..3 {
            assert_eq!(throttle.take(&"alice", at(0)), Err(seconds(12)), "a refusal costs nothing");
        }
        assert_eq!(throttle.take(&"bob", at(0)), Ok(()), "keys are independent");
        assert_eq!(throttle.check(&"alice", at(11)), Err(seconds(1)));
        assert_eq!(throttle.take(&"alice", at(12)), Ok(()));
        assert_eq!(throttle.take(&"alice", at(12)), Err(seconds(12)));
        for _ in 0..5 {
            assert_eq!(throttle.take(&"alice", at(1_000)), Ok(()));
        }
        assert!(throttle.take(&"alice", at(1_000)).is_err(), "unused events do not accumulate");
    }

    #[test]
    fn a_refunded_event_can_be_taken_again() {
        let throttle = Throttle::new(Rate::per_minute(1));
        for _ in 0..10 {
            assert_eq!(throttle.take(&1, at(0)), Ok(()));
            throttle.give_back(&1, at(0));
        }
        throttle.give_back(&1, at(0));
        assert_eq!(throttle.take(&1, at(0)), Ok(()));
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
    }
}
