//! Rate limits for login attempts, per username and per client.
//!
//! An attempt counts from its start, so that parallel attempts cannot exceed the limit. It is refunded once the
//! password was right: correct logins are never limited. If only undecided attempts block the next one, that one waits
//! for them. So eight parallel correct logins all succeed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use unicode_normalization::UnicodeNormalization;

use crate::clock::Clock;
use crate::config::settings;
use crate::limits::{Client, Throttle};
use crate::token::SubjectId;

/// The rate limits.
pub(super) struct Attempts {
    per_user: Option<Throttle>,
    per_address: Option<Throttle>,
    clock: Clock,
    /// The number of attempts per key whose result is still unknown.
    under_way: Mutex<HashMap<Key, usize>>,
    judged: Notify,
}

/// The user as whom an attempt signs in.
#[derive(Clone, Copy)]
pub(super) struct AttemptedUser<'a> {
    /// The username.
    pub name: &'a str,
    /// The user who is already signed in and confirms the password. Counted separately, so that attackers who guess
    /// passwords do not lock the user out.
    pub signed_in: Option<SubjectId>,
}

/// The key that an attempt counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(String),
    SignedIn(SubjectId),
    Client(Client),
}

/// One attempt. It counts when dropped, unless forgiven.
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    keys: [Key; 2],
    counts: bool,
}

impl Attempts {
    /// Creates the limits, with no attempts counted.
    pub(super) fn new(settings: &settings::Login, clock: Clock) -> Attempts {
        let (per_user, per_address) = (settings.per_user.map(Throttle::new), settings.per_address.map(Throttle::new));
        Attempts { per_user, per_address, clock, under_way: Mutex::default(), judged: Notify::new() }
    }

    /// Starts an attempt if the limits allow it. If only undecided attempts block it, waits for their password
    /// comparisons.
    ///
    /// # Errors
    /// The time until the next attempt is allowed.
    pub(super) async fn begin(&self, user: AttemptedUser<'_>, from: IpAddr) -> Result<Attempt<'_>, Duration> {
        let user = user.signed_in.map_or_else(|| Key::User(spelling(user.name)), Key::SignedIn);
        let keys = [Key::Client(Client::of(from)), user];
        loop {
            // Subscribed before the limits are checked, so that a result between the check and the wait is not missed.
            let judged = self.judged.notified();
            match self.take(&keys) {
                Ok(()) => return Ok(Attempt { attempts: self, keys, counts: true }),
                Err((_, true)) => judged.await,
                Err((wait, false)) => return Err(wait),
            }
        }
    }

    /// Takes from both limits or from neither. The error holds the time until both allow it, and whether an undecided
    /// attempt may free a place earlier.
    fn take(&self, keys: &[Key; 2]) -> Result<(), (Duration, bool)> {
        let now = self.clock.now();
        let mut under_way = self.under_way();
        for (taken, key) in keys.iter().enumerate() {
            let took = self.throttle(key).map_or(Ok(()), |throttle| throttle.take(key, now).map(drop));
            if let Err(wait) = took {
                keys.iter().take(taken).for_each(|key| self.give_back(key));
                return Err((wait, under_way.contains_key(key)));
            }
        }
        for key in keys {
            *under_way.entry(key.clone()).or_default() += 1;
        }
        Ok(())
    }

    fn give_back(&self, key: &Key) {
        if let Some(throttle) = self.throttle(key) {
            throttle.give_back(key, self.clock.now());
        }
    }

    fn throttle(&self, key: &Key) -> Option<&Throttle> {
        match key {
            Key::User(_) | Key::SignedIn(_) => self.per_user.as_ref(),
            Key::Client(_) => self.per_address.as_ref(),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        // The lock holds only complete entries, so a panic elsewhere does not corrupt it.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Refunds the attempt: the password was right, or was never compared.
    pub(super) fn forgive(mut self) {
        self.counts = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut under_way = self.attempts.under_way();
        for key in &self.keys {
            if !self.counts {
                self.attempts.give_back(key);
            }
            let left = under_way.get(key).map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                under_way.remove(key);
            } else {
                under_way.insert(key.clone(), left);
            }
        }
        drop(under_way);
        self.attempts.judged.notify_waiters();
    }
}

/// Maps all spellings of a username that look the same (case, width, decomposed accents) to one text. Used only as a
/// rate-limit key; users are looked up by the exact name.
fn spelling(name: &str) -> String {
    let folded: String = name.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    folded.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::units::Rate;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn attempts(per_user: u32, per_address: u32) -> Attempts {
        let (per_user, per_address) = (Some(Rate::per_minute(per_user)), Some(Rate::per_minute(per_address)));
        let settings = settings::Login { per_user, per_address, ..settings::Login::default() };
        Attempts::new(&settings, Clock::system())
    }

    /// Returns the result if the future is ready at once.
    fn now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    fn named(name: &str) -> AttemptedUser<'_> {
        AttemptedUser { name, signed_in: None }
    }

    fn begin<'a>(attempts: &'a Attempts, name: &str) -> Option<Attempt<'a>> {
        now(pin!(attempts.begin(named(name), HERE))).expect("an answer at once").ok()
    }

    #[test]
    fn an_attempt_beyond_the_limit_waits_for_pending_ones_and_passes_if_they_were_right() {
        let attempts = attempts(2, 100);
        let (one, other) = (begin(&attempts, "alice").unwrap(), begin(&attempts, "alice").unwrap());
        let mut third = pin!(attempts.begin(named("ALICE"), HERE));
        assert!(now(third.as_mut()).is_none(), "it waits");
        one.forgive();
        assert!(now(third).unwrap().is_ok());
        drop(other);
    }

    #[test]
    fn a_waiting_attempt_is_refused_once_all_pending_ones_were_wrong() {
        for attempts in [attempts(2, 100), attempts(100, 2)] {
            let (one, other) = (begin(&attempts, "alice").unwrap(), begin(&attempts, "alice").unwrap());
            let mut third = pin!(attempts.begin(named("alice"), HERE));
            drop(one);
            assert!(now(third.as_mut()).is_none(), "the other may still be right");
            drop(other);
            assert!(now(third).unwrap().is_err());
            assert!(begin(&attempts, "alice").is_none(), "at once, since no attempt is undecided");
            assert!(attempts.under_way().is_empty());
        }
    }

    #[test]
    fn confirmations_of_a_signed_in_user_have_their_own_limit() {
        let attempts = attempts(1, 100);
        let known = AttemptedUser { name: "alice", signed_in: Some(SubjectId(7)) };
        drop(begin(&attempts, "alice"));
        assert!(begin(&attempts, "alice").is_none());
        assert!(now(pin!(attempts.begin(known, HERE))).unwrap().is_ok());
        assert!(now(pin!(attempts.begin(known, HERE))).unwrap().is_err());
    }

    #[test]
    fn a_refused_name_refunds_the_clients_attempt() {
        let attempts = attempts(1, 2);
        drop(begin(&attempts, "alice"));
        for _ in 0..3 {
            assert!(begin(&attempts, "alice").is_none());
        }
        assert!(begin(&attempts, "bob").is_some());
    }

    #[test]
    fn spellings_of_a_name_share_one_limit() {
        for (one, other) in [
            ("alice", "ALICE"),
            ("alice", " alice\t"),
            ("alice", "ａｌｉｃｅ"),
            ("zażółć", "ZAŻO\u{301}ŁĆ"),
            ("ﬁn", "FIN"),
        ] {
            assert_eq!(spelling(one), spelling(other), "{one} {other}");
        }
        assert_ne!(spelling("alice"), spelling("alicia"));
        assert_ne!(spelling("zolc"), spelling("żółć"));
    }
}
