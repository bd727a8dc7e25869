//! Changes that a feed reported but that were not yet read in the change log.
//!
//! A fence needs the number of the change, which only the log knows. Until the log is read, every entry that may be
//! affected is rejected: the store may become unreachable before then.
//!
//! Pure, like [`super::fence`].

use crate::store::TokenEvent;
use crate::token::{SubjectId, TokenDigest};

/// Maximum number of separate events. Beyond it, one event stands for all tokens.
const MAX_EVENTS: usize = 1_000;

/// The number of events reported up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard(u64);

/// The reported events: see the module.
#[derive(Default)]
pub(super) struct Unconfirmed {
    events: Vec<(Heard, TokenEvent)>,
    heard: Heard,
}

impl Unconfirmed {
    /// Records an event of a feed. A gap only means that the log must be read; it affects no token.
    pub(super) fn tell(&mut self, event: TokenEvent) {
        if event == TokenEvent::Gap {
            return;
        }
        self.heard.0 += 1;
        let event = if self.events.len() < MAX_EVENTS { event } else { TokenEvent::Gap };
        if event == TokenEvent::Gap {
            self.events.clear();
        }
        self.events.push((self.heard, event));
    }

    /// The events so far; a log read that begins now includes them.
    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// Records that the log was read to its end after these events.
    pub(super) fn settle(&mut self, heard: Heard) {
        self.events.retain(|(number, _)| *number > heard);
    }

    /// Reports whether an event may affect this token of this user.
    pub(super) fn concern(&self, token: TokenDigest, owner: SubjectId) -> bool {
        self.events.iter().any(|(_, event)| match *event {
            TokenEvent::Changed(digest) => digest == token,
            TokenEvent::SubjectChanged(subject) => subject == owner,
            TokenEvent::Gap => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concern(unconfirmed: &Unconfirmed, key: &[u8], owner: i64) -> bool {
        unconfirmed.concern(TokenDigest::of(key), SubjectId(owner))
    }

    #[test]
    fn a_notified_change_is_unconfirmed_until_the_log_was_read_after_it() {
        let mut unconfirmed = Unconfirmed::default();
        let before = unconfirmed.heard();
        unconfirmed.tell(TokenEvent::Changed(TokenDigest::of(b"one")));
        unconfirmed.tell(TokenEvent::SubjectChanged(SubjectId(7)));
        unconfirmed.settle(before);
        assert!(concern(&unconfirmed, b"one", 1) && concern(&unconfirmed, b"two", 7));
        assert!(!concern(&unconfirmed, b"two", 1));
        unconfirmed.settle(unconfirmed.heard());
        assert!(!concern(&unconfirmed, b"one", 1) && !concern(&unconfirmed, b"two", 7));
    }

    #[test]
    fn a_gap_is_about_no_single_token() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.tell(TokenEvent::Gap);
        assert!(!concern(&unconfirmed, b"one", 1));
    }

    #[test]
    fn too_many_events_become_one_for_all_tokens_until_all_are_confirmed() {
        let mut unconfirmed = Unconfirmed::default();
        for number in 0..=MAX_EVENTS {
            unconfirmed.tell(TokenEvent::SubjectChanged(SubjectId(i64::try_from(number).unwrap())));
        }
        let heard = unconfirmed.heard();
        assert!(unconfirmed.events.len() <= MAX_EVENTS && concern(&unconfirmed, b"one", -1));
        unconfirmed.tell(TokenEvent::SubjectChanged(SubjectId(-1)));
        unconfirmed.settle(heard);
        assert!(concern(&unconfirmed, b"one", -1) && !concern(&unconfirmed, b"one", 1));
    }
}
