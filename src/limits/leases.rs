//! The share of one process in a rate that several processes count together.
//!
//! The count itself is elsewhere (`cache/shared/rates.rs`). This table holds, for each key, events that the process has
//! taken from the count in advance: its lease. A key that is used often gets a larger lease, so most of its events need
//! no question to the count. A key that is used rarely is asked for one event at a time, which is exact.
//!
//! While the count cannot be reached, the process allows its own share of the rate ([`Leases::alone`]). That share is
//! charged with every event, so the loss of the count does not refill it.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::slots::{Slots, State};
use super::throttle::{Recovery, nanos};
use super::{Left, Measure};
use crate::clock::Timestamp;

/// A lease is for the events that are expected within this time, in nanoseconds.
const AHEAD: i64 = 100_000_000;
/// A lease ends after this time, in nanoseconds. What is left of it is returned with the next question.
const LIFETIME: i64 = 1_000_000_000;
/// The next lease is asked for when this part of the expected events is left, so that no event has to wait for it and
/// only one asks.
const REST: u32 = 4;

/// The leases of one process. Each key may have its own measure.
pub struct Leases {
    slots: Slots<Lease>,
    forgotten: Arc<AtomicU64>,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is allowed.
    Allowed(Left),
    /// It is refused, and so are all others for this time.
    Refused(Duration),
    /// The count must be asked.
    Ask(Question),
}

/// A question to the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Number of events that are wanted.
    pub want: u32,
    /// Number of events of an earlier lease that were not used.
    pub back: u32,
}

/// The answer of the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Number of events that are granted, at most as many as wanted.
    pub events: u32,
    /// What is left after them.
    pub left: Left,
}

#[derive(Clone, Copy, Default)]
struct Lease {
    /// The share of this process, used while the count cannot be reached.
    alone: Recovery,
    events: u32,
    /// When the lease ends. All times are in nanoseconds since 1970.
    end: i64,
    /// What the count had left after the lease.
    beyond: u32,
    /// Until when a question for more than one event is on its way.
    asking: i64,
    refused: i64,
    /// Events since `since`, and in the period before.
    seen: u32,
    before: u32,
    since: i64,
}

impl State for Lease {
    fn rank(&self) -> i64 {
        self.alone.rank().max(self.refused)
    }
}

impl Leases {
    /// An empty table for at least this number of keys. `forgotten` counts the keys that are evicted before they have
    /// recovered.
    pub fn new(keys: usize, forgotten: Arc<AtomicU64>) -> Leases {
        Leases { slots: Slots::new(keys), forgotten }
    }

    /// Counts an event for `key`, if the lease allows it.
    pub fn begin(&self, measure: &Measure, key: &impl Hash, now: Timestamp) -> Step {
        let now = nanos(now);
        let step = self.change(key, now, |lease| {
            let is_refused = is_ahead(lease.refused, now);
            if is_refused && !lease.is_valid(now) {
                return Step::Refused(Duration::from_nanos((lease.refused - now).unsigned_abs()));
            }
            lease.see(now);
            let expected = lease.seen.max(lease.before).clamp(1, measure.largest);
            let may_ask = !is_refused && !is_ahead(lease.asking, now);
            let is_low = lease.events <= expected / REST;
            if !(may_ask && is_low)
                && let Some(left) = lease.take(measure, now)
            {
                return Step::Allowed(left);
            }
            let question = if lease.is_valid(now) {
                Question { want: expected - lease.events, back: 0 }
            } else {
                Question { want: if may_ask { expected } else { 1 }, back: std::mem::take(&mut lease.events) }
            };
            if question.want > 1 {
                lease.asking = now.saturating_add(LIFETIME);
            }
            Step::Ask(question)
        });
        step.unwrap_or(Step::Ask(Question { want: 1, back: 0 }))
    }

    /// Counts the event of [`Leases::begin`] after the count has answered.
    ///
    /// # Errors
    /// The time until an event is allowed.
    pub fn answered(
        &self,
        measure: &Measure,
        key: &impl Hash,
        question: Question,
        granted: Granted,
        now: Timestamp,
    ) -> Result<Left, Duration> {
        let now = nanos(now);
        let answered = self.change(key, now, |lease| {
            if question.want > 1 {
                lease.asking = 0;
            }
            lease.beyond = u32::try_from(granted.left.events).unwrap_or(u32::MAX);
            let Some(kept) = granted.events.checked_sub(1) else {
                let wait = i64::try_from(granted.left.more_in.as_nanos()).unwrap_or(i64::MAX);
                lease.refused = now.saturating_add(wait.min(LIFETIME));
                return lease.take(measure, now).ok_or(granted.left.more_in);
            };
            if kept > 0 {
                lease.events = lease.events.saturating_add(kept).min(measure.largest);
                lease.end = now.saturating_add(LIFETIME);
            }
            let left = left(measure, lease, now);
            Ok(Left { more_in: granted.left.more_in, ..left })
        });
        answered.unwrap_or(Ok(granted.left))
    }

    /// Counts the event of [`Leases::begin`] by the share of this process: the count cannot be reached.
    ///
    /// # Errors
    /// The time until an event is allowed.
    pub fn alone(
        &self,
        measure: &Measure,
        key: &impl Hash,
        question: Question,
        now: Timestamp,
    ) -> Result<Left, Duration> {
        let now = nanos(now);
        let taken = self.change(key, now, |lease| {
            if question.want > 1 {
                lease.asking = 0;
            }
            match lease.take(measure, now) {
                Some(left) => Ok(left),
                None => lease.alone.take(measure.share, now),
            }
        });
        taken.unwrap_or(Ok(Left { events: 0, more_in: Duration::ZERO }))
    }

    /// Refunds an event that was counted.
    pub fn give_back(&self, measure: &Measure, key: &impl Hash, now: Timestamp) {
        let now = nanos(now);
        self.slots.known(key, |lease| {
            lease.events = lease.events.saturating_add(1).min(measure.largest);
            lease.end = lease.end.max(now.saturating_add(1)).min(now.saturating_add(LIFETIME));
        });
    }

    fn change<T>(&self, key: &impl Hash, now: i64, change: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let forgets = |evicted: Lease| {
            if evicted.rank() > now {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
        };
        let changed = self.slots.change(key, |lease| Ok::<T, std::convert::Infallible>(change(lease)), forgets)?;
        let Ok(changed) = changed;
        Some(changed)
    }
}

/// The state after an event that the count has granted.
fn left(measure: &Measure, lease: &mut Lease, now: i64) -> Left {
    lease.alone.charge(measure.share, now);
    let events = u64::from(lease.events) + u64::from(lease.beyond);
    Left { events, more_in: Duration::from_nanos(measure.pace.each.unsigned_abs()) }
}

/// Whether a moment is in the future. It is at most [`LIFETIME`] ahead, so a clock that was set back has no lasting
/// effect.
fn is_ahead(moment: i64, now: i64) -> bool {
    moment > now && moment - now <= LIFETIME
}

impl Lease {
    fn is_valid(&self, now: i64) -> bool {
        self.events > 0 && is_ahead(self.end, now)
    }

    /// Takes an event from the lease, if it has one.
    fn take(&mut self, measure: &Measure, now: i64) -> Option<Left> {
        if !self.is_valid(now) {
            return None;
        }
        self.events -= 1;
        Some(left(measure, self, now))
    }

    /// Counts the events of this period and of the one before.
    fn see(&mut self, now: i64) {
        let age = now.saturating_sub(self.since);
        if !(0..AHEAD).contains(&age) {
            self.before = if (AHEAD..2 * AHEAD).contains(&age) { self.seen } else { 0 };
            (self.seen, self.since) = (0, now);
        }
        self.seen = self.seen.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Pace;
    use crate::units::Rate;

    /// Leases of one measure.
    struct Party(Leases, Measure);

    impl Party {
        fn begin(&self, key: &i32, now: Timestamp) -> Step {
            self.0.begin(&self.1, key, now)
        }

        fn answered(&self, key: &i32, question: Question, granted: Granted, now: Timestamp) -> Result<Left, Duration> {
            self.0.answered(&self.1, key, question, granted, now)
        }

        fn alone(&self, key: &i32, question: Question, now: Timestamp) -> Result<Left, Duration> {
            self.0.alone(&self.1, key, question, now)
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + millis * 1_000)
    }

    fn leases(burst: u32, parties: u32) -> Party {
        Party(Leases::new(64, Arc::default()), Measure::new(Pace::new(Rate::per_minute(600), burst), parties))
    }

    fn granted(events: u32) -> Granted {
        Granted { events, left: Left { events: 50, more_in: Duration::from_millis(100) } }
    }

    /// Asks for everything, and gets it. Returns the number of questions and of events that they granted.
    fn serve(leases: &Party, events: i64, every: i64) -> (u32, u32) {
        let (mut questions, mut taken) = (0, 0);
        for event in 0..events {
            let now = at(event * every);
            if let Step::Ask(question) = leases.begin(&1, now) {
                questions += 1;
                taken += question.want - question.back;
                assert!(leases.answered(&1, question, granted(question.want), now).is_ok());
            }
        }
        (questions, taken)
    }

    /// Begins events until one has a question.
    fn ask(leases: &Party) -> Question {
        loop {
            if let Step::Ask(question) = leases.begin(&1, at(1_000)) {
                return question;
            }
        }
    }

    #[test]
    fn a_key_that_is_used_rarely_is_asked_for_each_time() {
        assert_eq!(serve(&leases(1_000, 1), 50, 1_000), (50, 50));
    }

    #[test]
    fn a_key_that_is_used_often_has_a_lease_of_at_most_a_tenth_of_a_burst() {
        let (questions, taken) = serve(&leases(1_000, 1), 10_000, 1);
        assert!(questions < 200, "{questions}");
        assert!((10_000..=10_100).contains(&taken), "{taken}");
        assert_eq!(serve(&leases(10, 1), 100, 1), (100, 100), "a small burst is exact");
    }

    #[test]
    fn an_unused_lease_ends_and_is_returned() {
        let leases = leases(100, 1);
        for _ in 0..3 {
            if let Step::Ask(question) = leases.begin(&1, at(0)) {
                leases.answered(&1, question, granted(question.want), at(0)).unwrap();
            }
        }
        assert!(matches!(leases.begin(&1, at(0)), Step::Ask(Question { want: 4, back: 0 })));
        leases.answered(&1, Question { want: 4, back: 0 }, granted(4), at(0)).unwrap();
        assert_eq!(leases.begin(&1, at(2_000)), Step::Ask(Question { want: 1, back: 3 }));
    }

    #[test]
    fn only_one_question_at_a_time_is_for_more_than_one_event() {
        let leases = leases(1_000, 1);
        let wants: Vec<_> = (0..5)
            .map(|_| match leases.begin(&1, at(0)) {
                Step::Ask(question) => question.want,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(wants, [1, 2, 1, 1, 1]);
    }

    #[test]
    fn the_next_lease_is_asked_for_before_the_last_event_so_that_only_one_request_waits() {
        let leases = leases(1_000, 1);
        serve(&leases, 1_000, 1);
        let question = ask(&leases);
        assert!(question.want > 1 && question.back == 0, "{question:?}");
        // While the question is on its way, the rest of the lease is used.
        for _ in 0..10 {
            assert!(matches!(leases.begin(&1, at(1_000)), Step::Allowed(_)));
        }

        // The count refuses: what was granted before is used first, then the key is refused.
        let rest = leases.0.slots.known(&1, |lease| lease.events).unwrap();
        assert!(leases.answered(&1, question, granted(0), at(1_000)).is_ok());
        let allowed = (0..100).take_while(|_| matches!(leases.begin(&1, at(1_000)), Step::Allowed(_))).count();
        assert_eq!(allowed, usize::try_from(rest).unwrap() - 1);
        assert!(matches!(leases.begin(&1, at(1_000)), Step::Refused(_)));
    }

    #[test]
    fn an_early_question_that_finds_no_count_uses_the_lease() {
        let leases = leases(1_000, 1);
        serve(&leases, 1_000, 1);
        let question = ask(&leases);
        let rest = leases.0.slots.known(&1, |lease| lease.events).unwrap();
        assert!(leases.alone(&1, question, at(1_000)).is_ok());
        assert_eq!(leases.0.slots.known(&1, |lease| lease.events), Some(rest - 1));
    }

    #[test]
    fn after_a_refusal_the_count_is_not_asked_until_an_event_is_allowed() {
        let leases = leases(100, 1);
        let Step::Ask(question) = leases.begin(&1, at(0)) else { panic!("a new key is asked for") };
        assert_eq!(leases.answered(&1, question, granted(0), at(0)), Err(Duration::from_millis(100)));
        assert_eq!(leases.begin(&1, at(60)), Step::Refused(Duration::from_millis(40)));
        assert!(matches!(leases.begin(&1, at(100)), Step::Ask(_)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_key_refused() {
        let leases = leases(100, 1);
        let Step::Ask(question) = leases.begin(&1, at(3_600_000)) else { panic!("a new key is asked for") };
        leases.answered(&1, question, granted(0), at(3_600_000)).unwrap_err();
        assert!(matches!(leases.begin(&1, at(0)), Step::Ask(_)));
    }

    #[test]
    fn without_the_count_each_process_allows_its_share_and_what_it_allowed_before_counts() {
        let pass = |leases: &Party| {
            let question = Question { want: 1, back: 0 };
            (0..1_000).take_while(|_| leases.alone(&1, question, at(0)).is_ok()).count()
        };
        assert_eq!(pass(&leases(90, 3)), 30);
        let used = leases(90, 3);
        for _ in 0..20 {
            if let Step::Ask(question) = used.begin(&1, at(0)) {
                used.answered(&1, question, granted(question.want), at(0)).unwrap();
            }
        }
        let lease = 90 / 10;
        assert!((10 - lease..=10).contains(&pass(&used)), "the share was charged");
    }
}
