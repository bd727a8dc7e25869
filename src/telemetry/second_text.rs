//! Date and time of log lines.

use std::io::Write;

use crate::clock::Timestamp;

/// The text of the last second, cached: most requests fall into the same second as the one before.
#[derive(Debug)]
pub(super) struct SecondText {
    second: i64,
    text: Vec<u8>,
}

impl SecondText {
    pub(super) fn new() -> SecondText {
        SecondText { second: i64::MIN, text: Vec::with_capacity(32) }
    }

    /// Returns date and time without the fraction of a second.
    pub(super) fn of(&mut self, time: Timestamp) -> &[u8] {
        if self.second != time.as_seconds() {
            self.second = time.as_seconds();
            self.text.clear();
            // Writing into a Vec cannot fail.
            let _ = write!(self.text, "{time}");
            let below_a_second = ".123Z".len();
            self.text.truncate(self.text.len().saturating_sub(below_a_second));
        }
        &self.text
    }
}
