//! Changes that a feed reported but that were not yet read in the change log.
//!
//! A fence needs the number of the change, which only the log knows. Until the log is read, every entry that may be
//! affected is rejected: the store may become unreachable before then.
//!
//! Pure, like [`super::fence`].

use crate::store::TokenEvent;
use crate::token::{SubjectId, TokenDigest};

/// Maximum number of separate events. Beyond it, one event stands for all tokens.
const MOST: usize = 1_000;

/// The number of events reported up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard(u64);

/// The reported events: see the module.
#[derive(Default)]
pub(super) struct Doubts {
    told: Vec<(Heard, TokenEvent)>,
    heard: Heard,
}

impl Doubts {
    /// Records an event of a feed. A gap only means that the log must be read; it affects no token.
    pub(super) fn tell(&mut self, event: TokenEvent) {
        if event == TokenEvent::Gap {
            return;
        }
        self.heard.0 += 1;
        let event = if self.told.len() < MOST { event } else { TokenEvent::Gap };
        if event == TokenEvent::Gap {
            self.told.clear();
        }
        self.told.push((self.heard, event));
    }

    /// The events so far; a log read that begins now includes them.
    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// Records that the log was read to its end after these events.
    pub(super) fn settle(&mut self, heard: Heard) {
        self.told.retain(|(number, _)| *number > heard);
    }

    /// Reports whether an event may affect this token of this user.
    pub(super) fn concern(&self, token: TokenDigest, owner: SubjectId) -> bool {
        self.told.iter().any(|(_, event)| match *event {
            TokenEvent::Changed(digest) => digest == token,
            TokenEvent::SubjectChanged(subject) => subject == owner,
            TokenEvent::Gap => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concern(doubts: &Doubts, key: &[u8], owner: i64) -> bool {
        doubts.concern(TokenDigest::of(key), SubjectId(owner))
    }

    #[test]
    fn a_notified_change_is_unconfirmed_until_the_log_was_read_after_it() {
        let mut doubts = Doubts::default();
        let before = doubts.heard();
        doubts.tell(TokenEvent::Changed(TokenDigest::of(b"one")));
        doubts.tell(TokenEvent::SubjectChanged(SubjectId(7)));
        doubts.settle(before);
        assert!(concern(&doubts, b"one", 1) && concern(&doubts, b"two", 7));
        assert!(!concern(&doubts, b"two", 1));
        doubts.settle(doubts.heard());
        assert!(!concern(&doubts, b"one", 1) && !concern(&doubts, b"two", 7));
    }

    #[test]
    fn a_gap_is_about_no_single_token() {
        let mut doubts = Doubts::default();
        doubts.tell(TokenEvent::Gap);
        assert!(!concern(&doubts, b"one", 1));
    }

    #[test]
    fn too_many_events_become_one_for_all_tokens_until_all_are_confirmed() {
        let mut doubts = Doubts::default();
        for number in 0..=MOST {
            doubts.tell(TokenEvent::SubjectChanged(SubjectId(i64::try_from(number).unwrap())));
        }
        let heard = doubts.heard();
        assert!(doubts.told.len() <= MOST && concern(&doubts, b"one", -1));
        doubts.tell(TokenEvent::SubjectChanged(SubjectId(-1)));
        doubts.settle(heard);
        assert!(concern(&doubts, b"one", -1) && !concern(&doubts, b"one", 1));
    }
}
