//! A chunked body ends where a second parser says, however its bytes arrive.

use tokengate::http1::request_chunks::{Chunks, DamagedBody, Parsed};

use super::deliveries;

pub fn run(bytes: &[u8]) {
    let found = deliveries(bytes).map(|pieces| end(&pieces));
    assert!(found.iter().all(|end| *end == found[0]), "the end depends on how the bytes arrive: {found:?}");
    if let Ok(Some(length)) = found[0] {
        assert_eq!(whole_body(bytes), Some(length), "the two readers disagree");
    }
}

/// The length of the body at the beginning of the pieces, if it is complete.
fn end(pieces: &[&[u8]]) -> Result<Option<usize>, DamagedBody> {
    let (mut chunks, mut before) = (Chunks::START, 0);
    for piece in pieces {
        let mut at = 0;
        loop {
            match chunks.advance(&piece[at..])? {
                Parsed::Data(data) => at += data.end,
                Parsed::End(length) => return Ok(Some(before + at + length)),
                Parsed::All => break,
            }
        }
        before += piece.len();
    }
    Ok(None)
}

/// A second parser of a whole chunked body, line by line by RFC 9112 §7.1. `None`: malformed or incomplete.
pub(super) fn whole_body(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(&bytes[at..])?;
        at += line.len() + 2;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if !matches!(extension.first(), None | Some(b';' | b' ' | b'\t')) {
            return None;
        }
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let line = line(&bytes[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
    }
}

/// A line without its CR LF. `None` for a line feed or a carriage return alone.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    (bytes.get(end..end + 2)? == b"\r\n").then(|| &bytes[..end])
}
