//! How many events there were for each key in this day or month.
//!
//! The lasting count is elsewhere, in the store. This table holds what was read of it, and the events since then. So an
//! event of a known key waits for nothing. From time to time the events are added to the lasting count
//! ([`QuotaCounts::unsaved`]), which tells the new total: it includes events that other processes have counted.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Left;
use super::slots::{Slots, State};
use crate::clock::{Period, Span, Timestamp};

/// How much later than an event the next period can have begun when the event is counted.
const MOMENT: Duration = Duration::from_secs(10);

/// A number of events in a period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Maximum number of events.
    pub limit: u64,
    /// The period.
    pub period: Period,
}

/// The counts of the keys of a quota.
pub struct QuotaCounts {
    slots: Slots<Counted>,
    /// Whether a key has events that are not saved.
    is_changed: AtomicBool,
    /// Counts the keys that were evicted with events that were not saved.
    forgotten: Arc<AtomicU64>,
}

/// Events of one key that the lasting count does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsaved {
    key: u64,
    /// The name of the lasting count.
    pub id: [u8; 32],
    /// The beginning of the period.
    pub since: Timestamp,
    /// Their number; negative after refunds.
    pub events: i64,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    id: [u8; 32],
    /// The beginning of the period, in microseconds since 1970.
    since: i64,
    /// The lasting count, as it was last read.
    saved: u64,
    /// Events that it does not have.
    unsaved: i64,
}

impl State for Counted {
    /// Keys with nothing to save can be read again: they are evicted first, those of earlier periods before others.
    fn rank(&self) -> i64 {
        if self.unsaved == 0 { self.since } else { i64::MAX }
    }
}

impl Counted {
    fn used(&self) -> u64 {
        self.saved.saturating_add_signed(self.unsaved)
    }

    fn judge(&self, limit: u64, wait: Duration) -> Result<Left, Duration> {
        match limit.checked_sub(self.used()) {
            None | Some(0) => Err(wait),
            Some(events) => Ok(Left { events, more_in: wait }),
        }
    }

    fn take(&mut self, limit: u64, wait: Duration) -> Result<Left, Duration> {
        let before = self.judge(limit, wait)?;
        self.unsaved = self.unsaved.saturating_add(1);
        Ok(Left { events: before.events.saturating_sub(1), ..before })
    }

    /// The period of an event, if this is its count. An event from the last moment of a period counts for the next one
    /// if that has begun here: going back would lose what was counted in it.
    fn span(&self, quota: Quota, now: Timestamp) -> Option<Span> {
        let (span, since) = (quota.period.at(now), Timestamp::from_micros(self.since));
        if since > span.since && since <= now.after(MOMENT) {
            return Some(quota.period.at(since));
        }
        (since == span.since).then_some(span)
    }
}

impl QuotaCounts {
    /// An empty table for at least this number of keys.
    pub fn new(keys: usize, forgotten: Arc<AtomicU64>) -> QuotaCounts {
        QuotaCounts { slots: Slots::new(keys), is_changed: AtomicBool::new(false), forgotten }
    }

    /// A table of another size that goes on with these counts. It takes what this table still has to save as saved, so
    /// this one must be saved before the new one.
    pub fn resized(&self, keys: usize) -> QuotaCounts {
        let saved = |counted: Counted| Counted { saved: counted.used(), unsaved: 0, ..counted };
        let (slots, forgotten) = (self.slots.resized(keys, saved), Arc::clone(&self.forgotten));
        QuotaCounts { slots, is_changed: AtomicBool::new(false), forgotten }
    }

    /// Whether all events are saved.
    pub fn is_saved(&self) -> bool {
        !self.is_changed.load(Ordering::Acquire)
    }

    /// Counts an event, if it is within the quota. Returns what is left of it, or the time until the period ends;
    /// `None`: the lasting count must be read first ([`QuotaCounts::begin`]).
    pub fn take(&self, quota: Quota, key: &impl Hash, now: Timestamp) -> Option<Result<Left, Duration>> {
        let take = |counted: &mut Counted| Some(counted.take(quota.limit, counted.span(quota, now)?.end.since(now)));
        let taken = self.slots.known(key, take).flatten();
        self.changed(taken.is_some_and(|taken| taken.is_ok()));
        taken
    }

    /// As [`QuotaCounts::take`], after the lasting count with the name `id` was read: it has `saved` events. Has no
    /// effect on a count that another request has begun in the meantime.
    ///
    /// # Errors
    /// The time until the period ends.
    pub fn begin(
        &self,
        quota: Quota,
        key: &impl Hash,
        (id, saved): ([u8; 32], u64),
        now: Timestamp,
    ) -> Result<Left, Duration> {
        let begin = |counted: &mut Counted| {
            let span = match counted.span(quota, now).filter(|_| counted.id == id) {
                Some(span) => span,
                None => {
                    let span = quota.period.at(now);
                    *counted = Counted { id, since: span.since.as_micros(), saved, unsaved: 0 };
                    span
                }
            };
            Ok::<_, Infallible>(counted.take(quota.limit, span.end.since(now)))
        };
        let begun = self.slots.change(key, begin, |evicted| {
            if evicted.unsaved != 0 {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
        });
        let taken = match begun {
            Some(Ok(taken)) => taken,
            None => Ok(Left { events: 0, more_in: quota.period.at(now).end.since(now) }),
        };
        self.changed(taken.is_ok());
        taken
    }

    /// As [`QuotaCounts::take`], but counts nothing.
    pub fn look(&self, quota: Quota, key: &impl Hash, now: Timestamp) -> Option<Result<Left, Duration>> {
        let look = |counted: &mut Counted| Some(counted.judge(quota.limit, counted.span(quota, now)?.end.since(now)));
        self.slots.known(key, look).flatten()
    }

    /// Refunds an event that was counted.
    pub fn give_back(&self, quota: Quota, key: &impl Hash, now: Timestamp) {
        let given = self.slots.known(key, |counted| {
            if counted.span(quota, now).is_some() {
                counted.unsaved = counted.unsaved.saturating_sub(1);
            }
        });
        self.changed(given.is_some());
    }

    /// The events that are not saved.
    pub fn unsaved(&self) -> Vec<Unsaved> {
        // Cleared first: an event that comes meanwhile sets it again.
        if !self.is_changed.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        let mut all = Vec::new();
        self.slots.each(|key, counted| {
            if counted.unsaved != 0 {
                let since = Timestamp::from_micros(counted.since);
                all.push(Unsaved { key, id: counted.id, since, events: counted.unsaved });
            }
        });
        all
    }

    /// These events were saved, and the lasting count is now `total`.
    pub fn saved(&self, unsaved: &Unsaved, total: u64) {
        self.slots.numbered(unsaved.key, |counted| {
            // The period may have ended meanwhile.
            if counted.since == unsaved.since.as_micros() && counted.id == unsaved.id {
                counted.saved = total;
                counted.unsaved = counted.unsaved.saturating_sub(unsaved.events);
            }
        });
    }

    /// Not all events could be saved: [`QuotaCounts::unsaved`] returns them again.
    pub fn not_saved(&self) {
        self.changed(true);
    }

    fn changed(&self, is_changed: bool) {
        // Most events find it set, and write nothing that other threads read.
        if is_changed && !self.is_changed.load(Ordering::Relaxed) {
            self.is_changed.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { limit: 3, period: Period::Day };
    const ID: [u8; 32] = [7; 32];

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn counts(keys: usize) -> QuotaCounts {
        QuotaCounts::new(keys, Arc::default())
    }

    #[test]
    fn a_key_is_counted_exactly_once_its_lasting_count_was_read() {
        let (counts, now) = (counts(8), at("2026-11-30T23:59:50Z"));
        let wait = Duration::from_secs(10);
        assert_eq!(counts.take(QUOTA, &1, now), None, "it must be read first");
        assert_eq!(counts.begin(QUOTA, &1, (ID, 1), now), Ok(Left { events: 1, more_in: wait }));
        assert_eq!(counts.begin(QUOTA, &1, (ID, 1), now), Ok(Left { events: 0, more_in: wait }), "a second reader");
        assert_eq!(counts.take(QUOTA, &1, now), Some(Err(wait)));
        counts.give_back(QUOTA, &1, now);
        assert_eq!(counts.look(QUOTA, &1, now), Some(Ok(Left { events: 1, more_in: wait })));
        assert_eq!(counts.take(QUOTA, &1, now), Some(Ok(Left { events: 0, more_in: wait })));
        assert_eq!(counts.take(QUOTA, &1, at("2026-12-01T00:00:00Z")), None, "the next day has a count of its own");
        assert_eq!(counts.begin(QUOTA, &2, (ID, 3), now), Err(wait), "another process has used all of it");
        assert_eq!(counts.take(QUOTA, &2, now), Some(Err(wait)), "which is remembered");
    }

    #[test]
    fn an_event_that_comes_late_does_not_take_a_key_back_to_the_period_before() {
        let counts = counts(8);
        let (before, after) = (at("2026-11-30T23:59:59.999Z"), at("2026-12-01T00:00:00.001Z"));
        counts.begin(QUOTA, &1, (ID, 1), after).unwrap();
        assert_eq!(counts.take(QUOTA, &1, before).unwrap().unwrap().events, 0);
        assert!(counts.take(QUOTA, &1, after).unwrap().is_err());
        // A clock that was wrong and set back has no lasting effect.
        assert_eq!(counts.take(QUOTA, &1, at("2026-11-30T12:00:00Z")), None);
    }

    #[test]
    fn what_is_saved_is_not_saved_again_and_the_total_of_all_counts() {
        let (counts, now) = (counts(8), at("2026-11-30T12:00:00Z"));
        counts.begin(QUOTA, &1, (ID, 0), now).unwrap();
        let [unsaved] = counts.unsaved()[..] else { panic!("one key has events") };
        assert_eq!((unsaved.id, unsaved.since, unsaved.events), (ID, at("2026-11-30T00:00:00Z"), 1));
        assert_eq!(counts.take(QUOTA, &1, now).unwrap().unwrap().events, 1, "while it is being saved");
        counts.saved(&unsaved, 2);
        assert!(counts.take(QUOTA, &1, now).unwrap().is_err(), "another process has counted one");
        let [rest] = counts.unsaved()[..] else { panic!("one key has events") };
        assert_eq!(rest.events, 1);
        assert_eq!(counts.unsaved(), [], "nothing was counted since");
        counts.not_saved();
        assert_eq!(counts.unsaved(), [rest]);
        let tomorrow = at("2026-12-01T12:00:00Z");
        counts.begin(QUOTA, &1, (ID, 0), tomorrow).unwrap();
        counts.saved(&rest, 100);
        assert_eq!(counts.look(QUOTA, &1, tomorrow).unwrap().unwrap().events, 2, "that was another day");
    }

    #[test]
    fn a_table_of_another_size_goes_on_with_the_counts() {
        let (counts, now) = (counts(8), at("2026-11-30T12:00:00Z"));
        counts.begin(QUOTA, &1, (ID, 1), now).unwrap();
        let larger = counts.resized(1_000);
        assert_eq!(larger.take(QUOTA, &1, now).unwrap().unwrap().events, 0);
        assert!(larger.take(QUOTA, &1, now).unwrap().is_err());
        let [unsaved] = larger.unsaved()[..] else { panic!("one key has events") };
        assert_eq!(unsaved.events, 1, "the first event is saved from the first table");
        assert_eq!(counts.unsaved().len(), 1);
        assert_eq!(larger.resized(8).look(QUOTA, &1, now), larger.look(QUOTA, &1, now));
    }

    #[test]
    fn keys_with_events_to_save_are_evicted_last() {
        let (counts, now) = (counts(8), at("2026-11-30T12:00:00Z"));
        for key in 0..7 {
            counts.begin(QUOTA, &key, (ID, 0), now).unwrap();
        }
        for key in 100..200 {
            assert!(counts.begin(QUOTA, &key, (ID, 3), now).is_err());
        }
        assert_eq!(counts.unsaved().len(), 7);
        assert_eq!(counts.forgotten.load(Ordering::Relaxed), 0);
        counts.begin(QUOTA, &200, (ID, 0), now).unwrap();
        counts.begin(QUOTA, &201, (ID, 0), now).unwrap();
        assert_eq!(counts.forgotten.load(Ordering::Relaxed), 1);
    }
}
