//! The change log, as readers see it.

use crate::token::{SubjectId, TokenDigest};

/// A position in the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub i64);

/// A page of the change log.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The changes, oldest first.
    pub events: Vec<TokenEvent>,
    /// Where the next page starts.
    pub next: Cursor,
}

/// A change of a token. It only invalidates and never adds knowledge: a lost, duplicated or forged event cannot grant
/// access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// This token was issued, revoked or changed.
    Changed(TokenDigest),
    /// This user changed: all of the user's tokens are affected.
    SubjectChanged(SubjectId),
    /// Events may have been missed.
    Gap,
}
