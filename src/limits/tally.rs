//! Counts events for each of a bounded number of keys.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::OnceLock;

use super::slots::{Slots, State};
use crate::clock::Timestamp;

/// Number of keys that are remembered. When there is no room, the key whose last event is the longest ago is forgotten.
const KEYS: usize = 8_192;

/// The number of events of each key. Takes no memory before the first one.
#[derive(Default)]
pub struct Tally(OnceLock<Slots<Tallied>>);

/// The events of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Their number.
    pub count: u64,
    last: i64,
}

impl State for Tallied {
    fn rank(&self) -> i64 {
        self.last
    }
}

impl Tallied {
    /// When the last one was.
    pub fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.last)
    }
}

impl Tally {
    /// Counts an event.
    pub fn add(&self, key: &impl Hash, now: Timestamp) {
        let counted = self.0.get_or_init(|| Slots::new(KEYS)).change(
            key,
            |tallied| {
                *tallied = Tallied { count: tallied.count.saturating_add(1), last: now.as_micros() };
                Ok::<(), Infallible>(())
            },
            drop,
        );
        let (Some(Ok(())) | None) = counted;
    }

    /// The events of a key; `None`: none are remembered.
    pub fn of(&self, key: &impl Hash) -> Option<Tallied> {
        self.0.get()?.known(key, |tallied| *tallied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_for_each_key_within_bounds() {
        let tally = Tally::default();
        let at = Timestamp::from_micros;
        assert_eq!(tally.of(&1), None);
        for n in 1..=3 {
            tally.add(&1, at(n));
        }
        let counted = tally.of(&1).unwrap();
        assert_eq!((counted.count, counted.last()), (3, at(3)));
        for other in 2..100_000 {
            tally.add(&other, at(4));
        }
        assert_eq!(tally.of(&1), None, "it was the oldest");
        assert!((2..100_000).filter(|other| tally.of(other).is_some()).count() <= KEYS);
    }
}
