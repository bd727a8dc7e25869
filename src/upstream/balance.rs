//! The parts of the choice between endpoints: turns, hashing, and the budget of retries.

use std::cell::Cell;
use std::rc::Rc;

use super::EndpointPool;

/// A retry is allowed for each ten requests. The rest of the budget is this many retries at most, and at the beginning.
const REQUESTS_PER_RETRY: u32 = 10;
const RETRIES_IN_RESERVE: u32 = 100;

/// A pool and its part in the choice.
pub(super) struct Member {
    pub(super) pool: Rc<EndpointPool>,
    pub(super) weight: u64,
    /// How much of its turns it has not had yet (smooth weighted round robin, as in nginx).
    pub(super) credit: Cell<i64>,
    /// For rendezvous hashing.
    pub(super) hash: u64,
}

/// How many retries an upstream has left in this worker.
pub struct Budget(Cell<u32>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Cell::new(RETRIES_IN_RESERVE * REQUESTS_PER_RETRY))
    }
}

impl Budget {
    pub(super) fn request(&self) {
        self.0.set((self.0.get() + 1).min(RETRIES_IN_RESERVE * REQUESTS_PER_RETRY));
    }

    pub(super) fn take(&self) -> bool {
        let left = self.0.get().checked_sub(REQUESTS_PER_RETRY);
        left.map(|left| self.0.set(left)).is_some()
    }
}

/// Smooth weighted round robin: each member earns its weight, and the one with the most credit pays for all.
pub(super) fn next_in_turn<'m>(
    candidates: impl Iterator<Item = &'m Member>,
    weight: impl Fn(&Member) -> u64,
) -> Option<&'m Member> {
    let (mut total, mut best) = (0_i64, None::<&Member>);
    for member in candidates {
        let earned = i64::try_from(weight(member)).unwrap_or(i64::MAX / 1_000_000);
        total = total.saturating_add(earned);
        member.credit.set(member.credit.get().saturating_add(earned));
        if best.is_none_or(|best| member.credit.get() > best.credit.get()) {
            best = Some(member);
        }
    }
    let best = best?;
    best.credit.set(best.credit.get().saturating_sub(total));
    Some(best)
}

/// The score of an endpoint for a user (weighted rendezvous hashing): the highest one wins. When an endpoint leaves,
/// only its own users move.
pub(super) fn rendezvous(endpoint: u64, user: i64, weight: u64) -> f64 {
    let mixed = mix(endpoint ^ mix(u64::from_ne_bytes(user.to_ne_bytes())));
    // 32 bits are exact as a float. The sum is in (0, 1).
    let unit = (f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) + 0.5) / (f64::from(u32::MAX) + 1.0);
    f64::from(u32::try_from(weight).unwrap_or(u32::MAX)) / -unit.ln()
}

/// FNV-1a. Part of which endpoint serves which user, so it must be the same in all gateways and versions.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_the_requests_and_a_reserve() {
        let budget = Budget::default();
        let take_all = || std::iter::from_fn(|| budget.take().then_some(())).count();
        assert_eq!(take_all(), 100);
        (0..105).for_each(|_| budget.request());
        assert_eq!(take_all(), 10);
        (0..10_000).for_each(|_| budget.request());
        assert_eq!(take_all(), 100);
    }
}
