//! What is recorded of requests, as one atomic number: a reload changes it for all workers at once, and a request reads
//! it without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// The facts that a record hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// The last part of the client's address, and its port.
    pub peer: bool,
    /// The path.
    pub path: bool,
    /// Username and ids of user and token.
    pub user: bool,
}

/// Rules that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Of this many requests, one is recorded.
    pub sample: u32,
    pub redact: Redact,
    /// A choice that only this kind of record has, at most [`Rules::MAX_CHOICE`].
    pub choice: u32,
}

impl Rules {
    /// The largest choice.
    pub const MAX_CHOICE: u32 = (1 << (SAMPLE - CHOICE)) - 1;
}

/// Rules for all workers; at first nothing is recorded.
#[derive(Debug, Default)]
pub(super) struct SharedRules(AtomicU64);

/// Something is recorded. The other bits are zero otherwise.
const ON: u64 = 1;
const PEER: u64 = 1 << 1;
const PATH: u64 = 1 << 2;
const USER: u64 = 1 << 3;
/// The first bit of the choice.
const CHOICE: u32 = 4;
/// The upper half is the sample.
const SAMPLE: u32 = 32;

impl SharedRules {
    /// Uses these rules from now on; `None`: nothing is recorded.
    pub fn set(&self, rules: Option<Rules>) {
        let bits = rules.map_or(0, |Rules { sample, redact, choice }| {
            let flags = [(ON, true), (PEER, redact.peer), (PATH, redact.path), (USER, redact.user)];
            let flags: u64 = flags.into_iter().filter(|(_, holds)| *holds).map(|(bit, _)| bit).sum();
            u64::from(sample) << SAMPLE | u64::from(choice.min(Rules::MAX_CHOICE)) << CHOICE | flags
        });
        self.0.store(bits, Ordering::Relaxed);
    }

    /// The rules in use.
    pub fn get(&self) -> Option<Rules> {
        let bits = self.0.load(Ordering::Relaxed);
        let has = |bit| bits & bit != 0;
        has(ON).then(|| Rules {
            // 32 bits always fit.
            sample: u32::try_from(bits >> SAMPLE).unwrap_or(u32::MAX),
            redact: Redact { peer: has(PEER), path: has(PATH), user: has(USER) },
            choice: u32::try_from(bits >> CHOICE & u64::from(Rules::MAX_CHOICE)).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_read_as_it_was_set() {
        let shared = SharedRules::default();
        assert_eq!(shared.get(), None);
        for bits in 0..16_u32 {
            let has = |bit: u32| bits & bit != 0;
            let rules = Rules {
                sample: if has(2) { u32::MAX } else { 1 },
                redact: Redact { peer: has(4), path: has(8), user: has(2) },
                choice: if has(1) { Rules::MAX_CHOICE } else { 5 },
            };
            shared.set(Some(rules));
            assert_eq!(shared.get(), Some(rules));
        }
        shared.set(None);
        assert_eq!(shared.get(), None);
    }
}
