//! A table of fixed size with a small state for each key.
//!
//! It stores no keys, only their hashes under a secret of this process. The keys of a set share a lock. When a set is
//! full, the key with the lowest rank is evicted; what the rank means is up to the state.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

/// Number of keys in a set: they share a lock, and evict one another.
const WAYS: usize = 8;

/// The state of a key.
pub(super) trait State: Copy + Default {
    /// The state with the lowest rank is evicted first. A state that equals a fresh one has the lowest.
    fn rank(&self) -> i64;
}

/// A table of fixed size.
pub(super) struct Slots<S> {
    sets: Box<[Mutex<[Slot<S>; WAYS]>]>,
    secret: RandomState,
}

#[derive(Clone, Copy, Default)]
struct Slot<S> {
    key: u64,
    state: S,
}

impl<S: State> Slots<S> {
    /// An empty table for at least this number of keys. Keys do not spread evenly over the sets, so a few are evicted
    /// before the table is full.
    pub(super) fn new(keys: usize) -> Slots<S> {
        let sets = keys.div_ceil(WAYS).max(1);
        Slots { sets: (0..sets).map(|_| Mutex::default()).collect(), secret: RandomState::new() }
    }

    /// A table of another size with the same keys. `copy` makes their states.
    pub(super) fn resized(&self, keys: usize, copy: impl Fn(S) -> S) -> Slots<S> {
        let resized = Slots { secret: self.secret.clone(), ..Slots::new(keys) };
        self.each(|key, state| {
            let put = |new: &mut S| {
                *new = copy(*state);
                Ok::<_, Infallible>(())
            };
            resized.change_numbered(key, put, drop);
        });
        resized
    }

    /// Reads or changes the state of a key under the lock of its set; `None` if the table does not have the key.
    pub(super) fn known<T>(&self, key: &impl Hash, with: impl FnOnce(&mut S) -> T) -> Option<T> {
        self.numbered(self.hash(key), with)
    }

    /// Changes the state of a key under the lock of its set. A new key begins with the default state, and evicts the key
    /// with the lowest rank, unless the change fails. `evicted` gets the state of the evicted key.
    pub(super) fn change<T, E>(
        &self,
        key: &impl Hash,
        with: impl FnOnce(&mut S) -> Result<T, E>,
        evicted: impl FnOnce(S),
    ) -> Option<Result<T, E>> {
        self.change_numbered(self.hash(key), with, evicted)
    }

    fn change_numbered<T, E>(
        &self,
        key: u64,
        with: impl FnOnce(&mut S) -> Result<T, E>,
        evicted: impl FnOnce(S),
    ) -> Option<Result<T, E>> {
        self.in_set(key, |set| {
            let slot = set.iter_mut().min_by_key(|slot| (slot.key != key, slot.state.rank()))?;
            let is_new = slot.key != key;
            let mut state = if is_new { S::default() } else { slot.state };
            let changed = with(&mut state);
            if changed.is_ok() {
                if is_new && slot.key != 0 {
                    evicted(slot.state);
                }
                *slot = Slot { key, state };
            }
            Some(changed)
        })
        .flatten()
    }

    /// Reads or changes the state of each key in turn, with the number of its hash.
    pub(super) fn each(&self, mut with: impl FnMut(u64, &mut S)) {
        for set in &self.sets {
            let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
            set.iter_mut().filter(|slot| slot.key != 0).for_each(|slot| with(slot.key, &mut slot.state));
        }
    }

    /// As [`Slots::known`], by the number that [`Slots::each`] told.
    pub(super) fn numbered<T>(&self, key: u64, with: impl FnOnce(&mut S) -> T) -> Option<T> {
        self.in_set(key, |set| set.iter_mut().find(|slot| slot.key == key).map(|slot| with(&mut slot.state))).flatten()
    }

    fn hash(&self, key: &impl Hash) -> u64 {
        // 0 marks a slot that was never used.
        self.secret.hash_one(key).max(1)
    }

    fn in_set<T>(&self, key: u64, with: impl FnOnce(&mut [Slot<S>; WAYS]) -> T) -> Option<T> {
        let sets = u64::try_from(self.sets.len()).ok()?;
        let set = self.sets.get(usize::try_from(key.checked_rem(sets)?).ok()?)?;
        // Each change of a slot is complete, so a panic elsewhere does not corrupt it.
        Some(with(&mut set.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
