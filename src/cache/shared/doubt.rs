//! What was told of and not yet read in the change log.
//!
//! A feed says that something changed before the log can be asked for its number, which a fence needs. Until it was
//! read there, no entry that it may be about is believed: the store may be gone before it can be asked.
//!
//! Pure, as [`super::fence`].

use crate::store::TokenEvent;
use crate::token::{SubjectId, TokenDigest};

/// Most events that are told apart. Beyond it one stands for all tokens.
const MOST: usize = 1_000;

/// How many events were heard of, up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard(u64);

/// See the module.
#[derive(Default)]
pub(super) struct Doubts {
    told: Vec<(Heard, TokenEvent)>,
    heard: Heard,
}

impl Doubts {
    /// A feed told this. A gap says that the log is to be read, and nothing of any token.
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

    /// What was told so far; the log that is read from now on has it.
    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// The log was read to its end after this much was heard.
    pub(super) fn settle(&mut self, heard: Heard) {
        self.told.retain(|(number, _)| *number > heard);
    }

    /// May this token of this user be one that changed?
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
    fn what_was_told_is_doubted_until_the_log_was_read_after_it() {
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
    fn a_gap_says_nothing_of_any_token() {
        let mut doubts = Doubts::default();
        doubts.tell(TokenEvent::Gap);
        assert!(!concern(&doubts, b"one", 1));
    }

    #[test]
    fn too_many_are_one_for_all_until_all_are_settled() {
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
