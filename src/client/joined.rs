//! Pieces of a body that wait for their reader. Small ones are joined, because each costs more than its bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces below this size, in bytes, are joined.
const SMALL: usize = 1_024;

/// The pieces, in their order.
#[derive(Default)]
pub struct Joined {
    whole: VecDeque<Bytes>,
    /// Small pieces that follow `whole`.
    small: BytesMut,
}

impl Joined {
    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() < SMALL {
            return self.small.extend_from_slice(&piece);
        }
        if !self.small.is_empty() {
            let small = self.small.split().freeze();
            self.whole.push_back(small);
        }
        self.whole.push_back(piece);
    }

    /// Takes the next piece.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        let small = &mut self.small;
        self.whole.pop_front().or_else(|| (!small.is_empty()).then(|| std::mem::take(small).freeze()))
    }

    /// Whether no piece is waiting.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.small.is_empty()
    }
}
