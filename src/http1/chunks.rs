//! Parses a chunked body strictly (RFC 9112 §7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::fields::{self, Search, is_blank};
use super::{BadAnswer, Limits};

/// Maximum length of the size line of a chunk, extensions included, in bytes.
const MAX_LINE: usize = 4 << 10;
/// Maximum size of all extensions in one body, in bytes. They are dropped. Without a limit, the extensions of a body of
/// one-byte chunks could have 4,000 times the length of the body.
const MAX_EXTENSIONS: usize = 16 << 10;

/// Parser of a chunked body.
#[derive(Default)]
pub(super) struct Chunks {
    at: At,
    extensions: usize,
}

#[derive(Default)]
enum At {
    /// Before the size line of a chunk.
    #[default]
    Line,
    /// In the data of a chunk, of which this many bytes are left.
    Data(u64),
    /// Before the CR LF after the data.
    DataEnd,
    /// After the last chunk.
    Trailers(Search),
    Ended,
}

/// A part of a chunked body.
pub(super) enum Chunk {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Chunks {
    /// The next piece; `None` if more bytes are needed.
    pub(super) fn next(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<Chunk>, BadAnswer> {
        while self.step(buffer)? {}
        match &mut self.at {
            At::Data(left) if !buffer.is_empty() => {
                let piece = super::take(left, buffer);
                if *left == 0 {
                    self.at = At::DataEnd;
                }
                // Parses as far as possible, so that the end is known with the last piece. The next call finds an error
                // again.
                while self.step(buffer).unwrap_or(false) {}
                Ok(Some(Chunk::Data(piece)))
            }
            At::Trailers(search) => {
                let Some(end) = search.end(buffer).filter(|end| *end <= limits.head_bytes) else {
                    let too_long = buffer.len() > limits.head_bytes;
                    return if too_long { Err(BadAnswer::TooLong(limits.head_bytes)) } else { Ok(None) };
                };
                let block = buffer.split_to(end).freeze();
                self.at = At::Ended;
                fields::read(&block, 0, limits.head_count).map(|fields| Some(Chunk::Trailers(fields)))
            }
            At::Ended => Ok(Some(Chunk::End)),
            At::Line | At::DataEnd | At::Data(_) => Ok(None),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.at, At::Ended)
    }

    /// Moves to the next data, to the trailers or to the end, one step. Returns whether another step may be possible.
    fn step(&mut self, buffer: &mut BytesMut) -> Result<bool, BadAnswer> {
        match self.at {
            At::Line => {
                let within = buffer.get(..MAX_LINE).unwrap_or(buffer);
                let Some(end) = memchr(b'\n', within) else {
                    return if buffer.len() < MAX_LINE { Ok(false) } else { Err(BadAnswer::ChunkLine) };
                };
                let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(BadAnswer::ChunkLine)?;
                let (size, extensions) = size(line)?;
                self.extensions += extensions;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(BadAnswer::ChunkLine);
                }
                buffer.advance(end + 1);
                self.at = if size == 0 { At::Trailers(Search::default()) } else { At::Data(size) };
                Ok(true)
            }
            At::DataEnd => match (buffer.first(), buffer.get(1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    buffer.advance(2);
                    self.at = At::Line;
                    Ok(true)
                }
                (None | Some(b'\r'), None) => Ok(false),
                _ => Err(BadAnswer::ChunkEnd),
            },
            At::Trailers(_) if buffer.starts_with(b"\r\n") => {
                buffer.advance(2);
                self.at = At::Ended;
                Ok(false)
            }
            At::Data(_) | At::Trailers(_) | At::Ended => Ok(false),
        }
    }
}

/// The size in a chunk's size line, and the length of its extensions.
fn size(line: &[u8]) -> Result<(u64, usize), BadAnswer> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extensions) = line.split_at_checked(digits).ok_or(BadAnswer::ChunkLine)?;
    // Leading zeros count as digits, which bounds the length of the line.
    if digits.is_empty() || digits.len() > 16 || !are_extensions(extensions) {
        return Err(BadAnswer::ChunkLine);
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map_or(0, u64::from);
    Ok((digits.iter().fold(0, |size, byte| size << 4 | digit(byte)), extensions.len()))
}

/// Whether these are valid extensions (RFC 9112 §7.1.1): any number of `;name`, `;name=token` or `;name="text"`.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(named) = trim_start(rest).strip_prefix(b";") else { return false };
        let Some(after) = token(trim_start(named)) else { return false };
        rest = match trim_start(after).strip_prefix(b"=").map(trim_start) {
            None => after,
            Some(value) => match value.strip_prefix(b"\"").map_or_else(|| token(value), quoted) {
                Some(after) => after,
                None => return false,
            },
        };
    }
    true
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| is_blank(**byte)).count();
    bytes.get(blanks..).unwrap_or_default()
}

/// Returns what follows a token.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let length = bytes.iter().take_while(is_letter).count();
    bytes.get(length..).filter(|_| length > 0)
}

/// Returns what follows a quoted string whose opening quote was read.
fn quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    let is_text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    loop {
        let (first, rest) = bytes.split_first()?;
        bytes = match first {
            b'"' => return Some(rest),
            b'\\' => rest.split_first().filter(|(byte, _)| is_text(**byte))?.1,
            byte if is_text(*byte) => rest,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal_digits_only() {
        for (line, wanted) in [
            ("0", 0),
            ("5", 5),
            ("005", 5),
            ("fF", 255),
            ("ffffffffffffffff", u64::MAX),
            ("5;a", 5),
            ("5 ;a", 5),
            ("5\t; a = b ;c=\"d;\\\"e\"", 5),
        ] {
            assert_eq!(size(line.as_bytes()).map(|(size, _)| size), Ok(wanted), "{line}");
        }
        for line in [
            "",
            " 5",
            "5 ",
            "+5",
            "-5",
            "0x5",
            "5h",
            "5,",
            "5;",
            "5; ",
            "5;=a",
            "5;a=",
            "5;a=\"",
            "5;a=\"b",
            "5;a\0",
            "5;a b",
            "5;a=\"\0\"",
            "5;\r",
            "5\r",
            "10000000000000000",
            "00000000000000005",
            "g",
            "٥",
        ] {
            assert_eq!(size(line.as_bytes()), Err(BadAnswer::ChunkLine), "{line:?}");
        }
    }
}
