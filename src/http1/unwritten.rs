//! Bytes that wait to be written: a head or the size line of a chunk, a piece of a body, and what follows the piece.

use bytes::{Buf, Bytes};

/// The unwritten part of a message, in the order of its fields. One write takes all of it.
#[derive(Default)]
pub struct Unwritten {
    /// A head, or the size line of a chunk; written up to `at`.
    pub before: Vec<u8>,
    at: usize,
    /// A piece of the body.
    pub piece: Bytes,
    /// What follows the piece.
    pub behind: &'static [u8],
}

impl Unwritten {
    /// Whether nothing is left to write.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.has_no_piece()
    }

    /// Whether the next piece can be set.
    pub fn has_no_piece(&self) -> bool {
        self.piece.is_empty() && self.behind.is_empty()
    }

    /// The parts for one write.
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.before.get(self.at..).unwrap_or_default(), &self.piece, self.behind]
    }

    /// The only part, if there is one only: writing it needs no list of parts.
    pub fn only_part(&self) -> Option<&[u8]> {
        self.has_no_piece().then(|| self.before.get(self.at..).unwrap_or_default())
    }

    /// Removes the bytes that were written.
    pub fn advance(&mut self, written: usize) {
        let head = written.min(self.before.len() - self.at);
        self.at += head;
        if self.at == self.before.len() {
            // A message that waits for its next piece holds no buffer.
            (self.before, self.at) = (Vec::new(), 0);
        }
        let piece = (written - head).min(self.piece.len());
        self.piece.advance(piece);
        self.behind = self.behind.get(written - head - piece..).unwrap_or_default();
        if self.piece.is_empty() {
            self.piece = Bytes::new();
        }
    }
}
