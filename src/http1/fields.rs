//! Header lines and trailer lines of responses.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::BadAnswer;

/// Finds the end of a block of lines: its first empty line. Remembers what was searched, so that a block which arrives
/// byte by byte is searched only once.
#[derive(Default)]
pub(super) struct Search {
    line: usize,
    searched: usize,
}

impl Search {
    /// The length of the block, if the block is complete.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(found) = memchr(b'\n', bytes.get(self.searched..)?) {
            let end = self.searched + found;
            let is_empty = matches!(bytes.get(self.line..end), Some(b"" | b"\r"));
            (self.line, self.searched) = (end + 1, end + 1);
            if is_empty {
                *self = Search::default();
                return Some(end + 1);
            }
        }
        self.searched = bytes.len();
        None
    }
}

/// The line that begins at `start`, without its CR LF, and the start of the next one.
pub(super) fn line(block: &[u8], start: usize) -> Result<(&[u8], usize), BadAnswer> {
    let rest = block.get(start..).unwrap_or_default();
    let end = memchr(b'\n', rest).ok_or(BadAnswer::LineEnd)?;
    let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(BadAnswer::LineEnd)?;
    Ok((line, start + end + 1))
}

/// Parses the lines of a block from `start` to its empty line. The values share the memory of the block.
pub(super) fn read(block: &Bytes, mut start: usize, most: usize) -> Result<HeaderMap, BadAnswer> {
    let mut fields = HeaderMap::with_capacity(12);
    let mut count = 0;
    loop {
        let (line, next) = line(block, start)?;
        if line.is_empty() {
            return Ok(fields);
        }
        count += 1;
        if count > most {
            return Err(BadAnswer::TooManyFields(most));
        }
        let (name, value) = split(line)?;
        // The offset of the value in the block.
        let at = start + (line.len() - value.len());
        let value = trim_end(value);
        let value = HeaderValue::from_maybe_shared(block.slice(at..at + value.len()));
        let Ok(value) = value else { return Err(BadAnswer::FieldValue(name)) };
        fields.try_append(name, value).map_err(|_| BadAnswer::TooManyFields(most))?;
        start = next;
    }
}

/// The name of a line, and the rest of the line from the first character of the value on.
fn split(line: &[u8]) -> Result<(HeaderName, &[u8]), BadAnswer> {
    if line.first().copied().is_some_and(is_blank) {
        return Err(BadAnswer::Folded);
    }
    let (name, value) =
        memchr(b':', line).and_then(|colon| line.split_at_checked(colon)).ok_or(BadAnswer::FieldName)?;
    // A proxy removes whitespace between name and colon in a response (RFC 9112 §5.1).
    let name = HeaderName::from_bytes(trim_end(name)).map_err(|_| BadAnswer::FieldName)?;
    let value = value.get(1..).unwrap_or_default();
    let blanks = value.iter().take_while(|byte| is_blank(**byte)).count();
    Ok((name, value.get(blanks..).unwrap_or_default()))
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().rev().take_while(|byte| is_blank(**byte)).count();
    bytes.get(..bytes.len() - blanks).unwrap_or_default()
}
