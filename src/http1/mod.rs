//! HTTP/1.1: reads and writes requests and responses. Bytes in, events out: no sockets, no clock.
//!
//! From clients, [`HeadReader`] and [`RequestBodyReader`] read a request, and refuse what two servers could read
//! differently (docs/decisions/0012). [`ResponseHead`] and [`BodyWriter`] write a response to them.
//!
//! To endpoints, [`write_head`] and [`BodyWriter`] write a request. [`Answer`] parses a response: it takes bytes as
//! they arrive and returns [`Event`]s, or the rule that the response breaks. The response gets a new framing towards
//! the client. So the end of each response must be certain: an ambiguous response becomes a 502.
//!
//! # Rules for responses
//!
//! | RFC | in the response | result |
//! |---|---|---|
//! | 9112 §2.2 | a line that ends in LF only | refused: `line_end` |
//! | 9112 §2.2 | CR elsewhere, NUL or another control character | refused: `header_value`, `header_name`, `status_line` |
//! | 9112 §2.2 | an empty line before the status line | refused: `version` |
//! | 9112 §2.3 | another version than HTTP/1.1 and HTTP/1.0 | refused: `version` |
//! | 9112 §4 | a status of other than three digits, or below 100; no space after the version | refused: `status_line` |
//! | 9112 §4 | no reason phrase, with or without the space before it | accepted |
//! | 9112 §5 | a line without a colon, an empty or invalid name | refused: `header_name` |
//! | 9112 §5.1 | whitespace between a name and its colon | removed |
//! | 9112 §5.2 | a line that begins with whitespace | refused: `folded_header` |
//! | 9110 §5.4 | more bytes or lines than the limits | refused: `response_header_bytes`, `response_header_count` |
//! | 9110 §15.2 | 100, 102, 103 and other interim responses | dropped; more than 100 of them: `interim_answers` |
//! | 9110 §15.2.2 | 101 | if requested, HTTP ends on the connection; else refused: `unasked_switch` |
//! | 9112 §6.1 | `Transfer-Encoding` other than exactly `chunked`, once | refused: `transfer_encoding` |
//! | 9112 §6.1 | `Transfer-Encoding` in HTTP/1.0 | refused: `transfer_encoding_in_http_1_0` |
//! | 9112 §6.1 | both `Transfer-Encoding` and `Content-Length` | refused: `two_framings` |
//! | 9112 §6.2 | `Content-Length` twice, a list, not digits, above 2^64-1 | refused: `content_length` |
//! | 9112 §6.3 | a response to `HEAD`, 204, 304 | has no body; a 204 with a length or coding ends its connection |
//! | 9112 §6.3 | neither length nor coding | the body ends with the connection, which is not used again |
//! | 9112 §7.1 | a chunk size that is not 1 to 16 digits, invalid extensions, over 4 KiB | cut: `chunk_line` |
//! | 9112 §7.1 | a chunk that is longer or shorter than its size | cut: `chunk_end` |
//! | 9112 §7.1.1 | extensions | dropped; over 16 KiB in one body: `chunk_line` |
//! | 9112 §7.1.2 | trailers | passed on; the rules for headers apply |
//! | 9112 §8 | the connection ends before the response does | cut: `cut` |
//! | 9112 §9.3 | `Connection: close`; HTTP/1.0 without `keep-alive` | the connection is not used again |
//! | 9112 §9.2 | bytes after the end of the response | stay in the buffer: the connection is not used again |
//!
//! "Refused" is a 502 if the fault is in a head. "Cut" means that the head was sent to the client already: the client
//! gets an incomplete body. In both cases the connection is closed.

mod answer;
mod chunks;
mod fault;
mod fields;
mod request;
mod request_body;
pub mod request_chunks;
pub mod request_head;
mod response;
#[cfg(test)]
mod tests;
mod unwritten;

use bytes::{Bytes, BytesMut};

pub use answer::{Answer, Asked, Event};
pub use fault::BadAnswer;
pub use request::{BodyWriter, WrongLength, write_head};
pub use request_body::RequestBodyReader;
pub use request_head::{HeadReader, RequestFraming, RequestHead};
pub use response::{Persistence, ResponseHead, write_trailers};
pub use unwritten::Unwritten;

/// How the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the end of the connection; responses only.
    UntilClose,
}

/// Limits of a response head, and of trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size in bytes.
    pub head_bytes: usize,
    /// Maximum number of field lines.
    pub head_count: usize,
}

/// Parses a decimal number: digits only (`str::parse` accepts a `+` as well); `None` if it does not fit.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| char::from(*byte).to_digit(10).map(u64::from);
    let add = |sum: u64, byte: &u8| sum.checked_mul(10)?.checked_add(digit(byte)?);
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Takes at most `left` bytes from the buffer, and subtracts them from `left`.
fn take(left: &mut u64, buffer: &mut BytesMut) -> Bytes {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= u64::try_from(length).unwrap_or(*left);
    buffer.split_to(length).freeze()
}
