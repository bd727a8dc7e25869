//! The change log: what a reader gets of it.

use crate::token::{SubjectId, TokenDigest};

/// A place in the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub i64);

/// A page of the change log.
#[derive(Clone, Debug)]
pub struct Changes {
    /// What changed, oldest first.
    pub events: Vec<TokenEvent>,
    /// Where to go on reading.
    pub next: Cursor,
}

/// Something happened to a token. Says only "forget", never "believe": a lost, doubled or forged event cannot grant
/// access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// This token was issued, revoked or changed.
    Changed(TokenDigest),
    /// Something about this user changed: all of the user's tokens.
    SubjectChanged(SubjectId),
    /// Events may have been missed.
    Gap,
}
