//! Fences: which shared entries this gateway rejects.
//!
//! A fence exists for each token that changed within the lifetime of an entry. It holds the time, by the Redis server's
//! clock, at which this gateway wrote its hold. An entry whose lookup began earlier is rejected, whatever its source: a
//! delayed fill, a replica without the hold, a server restarted with old data. While a hold is *owed* (Redis is down),
//! every entry of that token is rejected.
//!
//! Pure: knows no server and reads no clock.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::scripts::ServerTime;
use crate::store::Cursor;
use crate::token::TokenDigest;

/// Maximum number of tokens with their own fence: some 15 MB. Beyond it, one floor replaces many fences.
const MAX_FENCES: usize = 100_000;

/// A change, and whether its hold was delivered.
#[derive(Clone, Copy)]
struct Fence {
    change: Cursor,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Owed,
    /// The delivery time, by the server's clock and by ours.
    Held(ServerTime, Instant),
}

/// The fence that applies to all tokens.
#[derive(Clone, Copy)]
enum Floor {
    None,
    /// Numbered, so that an answer to an earlier request does not settle a later one.
    Owed(u64),
    At(ServerTime, Instant),
}

/// Work for the outbox.
#[derive(Default)]
pub(super) struct Work {
    /// Request the server's time and report it with this number to [`Fences::raised`].
    pub(super) floor: Option<u64>,
    /// Deliver these holds; report each to [`Fences::held`] or [`Fences::failed`].
    pub(super) holds: Vec<(TokenDigest, Cursor)>,
}

/// The fences: see the module.
pub(super) struct Fences {
    of: HashMap<TokenDigest, Fence>,
    /// Delivered holds, oldest first, for expiry. A hold that was delivered twice is listed twice.
    held: VecDeque<(Instant, TokenDigest)>,
    /// Owed holds that are not being delivered.
    owed: VecDeque<TokenDigest>,
    floor: Floor,
    floors: u64,
    /// Whether the floor is the initial one.
    is_first: bool,
    lifetime: Duration,
    most: usize,
}

impl Fences {
    /// Starts as if everything had changed, because changes before the start are unknown. Each fence is kept for
    /// `lifetime`, which is longer than any entry lives.
    pub(super) fn new(lifetime: Duration) -> Fences {
        let (of, held, owed) = Default::default();
        Fences { of, held, owed, floor: Floor::Owed(0), floors: 0, is_first: true, lifetime, most: MAX_FENCES }
    }

    /// Reports whether an entry whose lookup began at this time is accepted.
    pub(super) fn allows(&self, digest: TokenDigest, began: ServerTime) -> bool {
        let after_floor = match self.floor {
            Floor::None => true,
            Floor::Owed(_) => false,
            Floor::At(floor, _) => began > floor,
        };
        after_floor
            && match self.of.get(&digest).map(|fence| fence.state) {
                None => true,
                Some(State::Owed) => false,
                Some(State::Held(at, _)) => began > at,
            }
    }

    /// Records a change of a token: a hold is owed, unless one of this change or a later one exists.
    pub(super) fn changed(&mut self, digest: TokenDigest, change: Cursor, now: Instant) {
        if self.of.get(&digest).is_none_or(|fence| fence.change < change) {
            self.owe(digest, change, now);
        }
    }

    /// Records that the value under a token is not ours: a hold is owed in any case.
    pub(super) fn spoiled(&mut self, digest: TokenDigest, now: Instant) {
        let change = self.of.get(&digest).map_or(Cursor(0), |fence| fence.change);
        self.owe(digest, change, now);
    }

    /// Records that all tokens may have changed. Entries are rejected until the server's time is known; afterwards,
    /// only newer ones are accepted.
    pub(super) fn all_changed(&mut self) {
        self.floors += 1;
        self.floor = Floor::Owed(self.floors);
        self.is_first = false;
        // The floor covers delivered holds. Change numbers may restart, so old ones must not be compared.
        self.forget_held();
    }

    /// Records that all changes that entries from before the start could have missed are known.
    pub(super) fn caught_up(&mut self) {
        if self.is_first {
            self.floor = Floor::None;
            self.is_first = false;
        }
    }

    fn forget_held(&mut self) {
        self.of.retain(|_, fence| matches!(fence.state, State::Owed));
        self.held.clear();
    }

    fn owe(&mut self, digest: TokenDigest, change: Cursor, now: Instant) {
        self.forget_old(now);
        if self.of.len() >= self.most && !self.of.contains_key(&digest) {
            self.make_room(now);
        }
        let before = self.of.insert(digest, Fence { change, state: State::Owed });
        // An owed hold is queued, or the outbox delivers it and will notice the new change.
        if !matches!(before, Some(Fence { state: State::Owed, .. })) {
            self.owed.push_back(digest);
        }
    }

    /// Replaces many fences by the floor.
    fn make_room(&mut self, now: Instant) {
        let held = self.of.values().filter_map(|fence| match fence.state {
            State::Owed => None,
            State::Held(at, _) => Some(at),
        });
        self.is_first = false;
        self.floor = match (self.floor, held.max()) {
            (Floor::None, Some(top)) => Floor::At(top, now),
            (Floor::At(floor, _), Some(top)) => Floor::At(floor.max(top), now),
            (floor, _) => floor,
        };
        self.forget_held();
        if self.of.len() > self.most / 2 {
            // Most are owed. Their holds are dropped: gateways that know of the changes have a floor too.
            self.of.clear();
            self.owed.clear();
            self.all_changed();
        }
    }

    /// Takes up to `most` owed holds.
    pub(super) fn take(&mut self, most: usize) -> Work {
        let queued = self.owed.drain(..most.min(self.owed.len())).collect::<Vec<_>>();
        let holds = queued.into_iter().filter_map(|digest| Some((digest, self.of.get(&digest)?.change))).collect();
        let floor = if let Floor::Owed(number) = self.floor { Some(number) } else { None };
        Work { floor, holds }
    }

    /// Records that a hold was delivered at this time.
    pub(super) fn held(&mut self, digest: TokenDigest, change: Cursor, at: ServerTime, now: Instant) {
        let Some(fence) = self.of.get_mut(&digest) else { return };
        if fence.change == change {
            fence.state = State::Held(at, now);
            self.held.push_back((now, digest));
        } else {
            // The token changed again meanwhile.
            self.owed.push_back(digest);
        }
    }

    /// Records that a hold could not be delivered; it is still owed.
    pub(super) fn failed(&mut self, digest: TokenDigest) {
        self.owed.push_back(digest);
    }

    /// Records the server's time, requested after [`Fences::take`] returned this number.
    pub(super) fn raised(&mut self, number: u64, at: ServerTime, now: Instant) {
        if matches!(self.floor, Floor::Owed(other) if other == number) {
            self.floor = Floor::At(at, now);
        }
    }

    /// The number of owed holds; the floor counts as one.
    pub(super) fn owed(&self) -> usize {
        let owed = self.of.values().filter(|fence| matches!(fence.state, State::Owed)).count();
        owed + usize::from(matches!(self.floor, Floor::Owed(_)))
    }

    /// Drops fences that are older than any entry.
    fn forget_old(&mut self, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) > self.lifetime;
        if let Floor::At(_, since) = self.floor
            && is_old(since)
        {
            self.floor = Floor::None;
        }
        while let Some((since, digest)) = self.held.front().copied().filter(|(since, _)| is_old(*since)) {
            self.held.pop_front();
            // A hold that was delivered again is listed further back; one that is owed again stays.
            if matches!(self.of.get(&digest), Some(Fence { state: State::Held(_, at), .. }) if *at == since) {
                self.of.remove(&digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const LIFETIME: Duration = Duration::from_secs(600);

    fn digest(number: u64) -> TokenDigest {
        TokenDigest::of(&number.to_be_bytes())
    }

    fn fences(most: usize) -> (Fences, Instant) {
        let mut fences = Fences { most, ..Fences::new(LIFETIME) };
        fences.caught_up();
        (fences, Clock::system().instant())
    }

    /// Does the work of the outbox at this server time; returns the delivered holds.
    fn deliver(fences: &mut Fences, at: u64, now: Instant) -> Vec<(TokenDigest, Cursor)> {
        let work = fences.take(usize::MAX);
        for (digest, change) in &work.holds {
            fences.held(*digest, *change, ServerTime(at), now);
        }
        if let Some(number) = work.floor {
            fences.raised(number, ServerTime(at), now);
        }
        work.holds
    }

    #[test]
    fn no_entry_passes_while_a_hold_is_undelivered_and_later_only_newer_ones() {
        let (mut fences, now) = fences(9);
        assert!(fences.allows(digest(1), ServerTime(1)));
        fences.changed(digest(1), Cursor(5), now);
        assert!(!fences.allows(digest(1), ServerTime(u64::MAX)));
        assert!(fences.allows(digest(2), ServerTime(1)));
        assert_eq!((deliver(&mut fences, 100, now), fences.owed()), (vec![(digest(1), Cursor(5))], 0));
        assert!(!fences.allows(digest(1), ServerTime(100)));
        assert!(fences.allows(digest(1), ServerTime(101)));
    }

    #[test]
    fn each_change_gets_one_hold() {
        let (mut fences, now) = fences(9);
        fences.changed(digest(1), Cursor(5), now);
        fences.changed(digest(1), Cursor(5), now);
        let Work { holds, .. } = fences.take(9);
        assert_eq!(holds, [(digest(1), Cursor(5))]);
        // It changes again while the first hold is on its way.
        fences.changed(digest(1), Cursor(6), now);
        fences.held(digest(1), Cursor(5), ServerTime(100), now);
        assert!(!fences.allows(digest(1), ServerTime(101)));
        assert_eq!(deliver(&mut fences, 200, now), [(digest(1), Cursor(6))]);
        for known in [5, 6] {
            fences.changed(digest(1), Cursor(known), now);
        }
        assert_eq!(fences.owed(), 0);
        fences.spoiled(digest(1), now);
        assert_eq!(deliver(&mut fences, 300, now), [(digest(1), Cursor(6))]);
    }

    #[test]
    fn a_failed_hold_is_retried_until_it_is_delivered() {
        let (mut fences, now) = fences(9);
        fences.changed(digest(1), Cursor(5), now);
        for _ in 0..3 {
            assert_eq!(fences.take(9).holds.len(), 1);
            fences.failed(digest(1));
            assert_eq!(fences.owed(), 1);
        }
        deliver(&mut fences, 100, now);
        assert_eq!(fences.owed(), 0);
    }

    #[test]
    fn after_a_change_of_all_tokens_only_newer_lookups_pass() {
        let (mut fences, now) = fences(9);
        fences.all_changed();
        assert!(!fences.allows(digest(1), ServerTime(u64::MAX)));
        let early = fences.take(9).floor.unwrap();
        fences.all_changed();
        fences.raised(early, ServerTime(50), now);
        assert!(!fences.allows(digest(1), ServerTime(u64::MAX)), "the answer came before the second time");
        deliver(&mut fences, 100, now);
        assert!(!fences.allows(digest(1), ServerTime(100)));
        assert!(fences.allows(digest(1), ServerTime(101)));
    }

    #[test]
    fn no_entry_from_before_the_start_passes_until_the_change_log_was_read() {
        let now = Clock::system().instant();
        let [mut closed, mut caught_up, mut missed] = [(); 3].map(|()| Fences::new(LIFETIME));
        assert!(!closed.allows(digest(1), ServerTime(u64::MAX)));
        deliver(&mut closed, 100, now);
        assert!(!closed.allows(digest(1), ServerTime(100)));
        assert!(closed.allows(digest(1), ServerTime(101)));
        for fences in [&mut closed, &mut caught_up] {
            fences.caught_up();
            assert!(fences.allows(digest(1), ServerTime(1)));
        }
        missed.all_changed();
        missed.caught_up();
        assert!(!missed.allows(digest(1), ServerTime(1)));
    }

    #[test]
    fn beyond_a_limit_one_floor_replaces_all_fences() {
        let (mut fences, now) = fences(4);
        for number in 0..4 {
            fences.changed(digest(number), Cursor(5), now);
            deliver(&mut fences, 100 + number, now);
        }
        fences.changed(digest(4), Cursor(6), now);
        assert!(fences.of.len() <= 4 && fences.held.is_empty());
        for number in [0, 3, 77] {
            assert!(!fences.allows(digest(number), ServerTime(103)), "{number}");
            assert!(fences.allows(digest(number), ServerTime(104)), "{number}");
        }
        assert!(!fences.allows(digest(4), ServerTime(104)));

        for number in 10..20 {
            fences.changed(digest(number), Cursor(7), now);
            assert!(fences.of.len() <= 4 && fences.owed.len() <= 4);
        }
        assert!(!fences.allows(digest(77), ServerTime(u64::MAX)), "too many are owed");
        deliver(&mut fences, 200, now);
        assert!(!fences.allows(digest(10), ServerTime(200)));
        assert!(fences.allows(digest(77), ServerTime(201)));
    }

    #[test]
    fn a_fence_is_removed_once_no_entry_can_be_older() {
        let (mut fences, now) = fences(9);
        fences.changed(digest(1), Cursor(5), now);
        fences.all_changed();
        deliver(&mut fences, 100, now);
        fences.changed(digest(2), Cursor(6), now + LIFETIME);
        assert!(!fences.allows(digest(1), ServerTime(100)));
        let later = now + LIFETIME + Duration::from_secs(1);
        fences.changed(digest(3), Cursor(7), later);
        assert!(fences.allows(digest(1), ServerTime(100)));
        assert!(!fences.allows(digest(2), ServerTime(100)), "still owed");
    }
}
