//! Checks the raw bytes of an HTTP/1 request head.
//!
//! The HTTP library repairs heads that two servers could read differently: lines that end in LF only,
//! `Content-Length` together with `Transfer-Encoding`, a repeated header. This module refuses them before the library
//! reads them (docs/decisions/0012). It also refuses heads that the library would refuse without a response, such as a
//! control character in a value.

use http::Uri;
use memchr::memchr;

use crate::client::HeadFault;
use crate::config::settings::Limits;

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// There is no body, and the bytes after the head may belong to another protocol: the request asks for WebSocket.
    WebSocketHandshake,
}

/// Searches for the end of a head while its bytes arrive.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadSearch {
    line_start: usize,
    scanned: usize,
}

impl HeadSearch {
    /// Returns the length of the head at the start of `bytes`, if it is complete. Between two calls `bytes` may only
    /// grow.
    ///
    /// # Errors
    /// [`HeadFault::LineEnd`] as soon as a line ends in LF only, [`HeadFault::TooLong`] beyond `limit` bytes.
    pub fn end(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadFault> {
        while let Some(found) = bytes.get(self.scanned..).and_then(|rest| memchr(b'\n', rest)) {
            let line_feed = self.scanned + found;
            if line_feed > limit {
                return Err(HeadFault::TooLong);
            }
            if line_feed == 0 || bytes.get(line_feed - 1) != Some(&b'\r') {
                return Err(HeadFault::LineEnd);
            }
            let is_empty = line_feed - self.line_start == 1;
            self.scanned = line_feed + 1;
            self.line_start = self.scanned;
            if is_empty {
                return Ok(Some(self.scanned));
            }
        }
        self.scanned = bytes.len();
        if bytes.len() > limit { Err(HeadFault::TooLong) } else { Ok(None) }
    }
}

/// Checks a complete head, including its empty line, and returns where its body ends.
///
/// # Errors
/// [`HeadFault`] names the first rule that the head breaks.
pub fn judge(head: &[u8], limits: &Limits) -> Result<Framing, HeadFault> {
    let mut lines = Lines(head);
    let version = request_line(lines.next().ok_or(HeadFault::RequestLine)??, limits)?;
    let mut seen = Seen::default();
    let mut count = 0_usize;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        count += 1;
        seen.field(line)?;
    }
    if count > limits.header_count {
        return Err(HeadFault::TooManyFields);
    }
    match (seen.coding, seen.length) {
        (false, None | Some(0)) if seen.websocket && version == Version::Http11 => Ok(Framing::WebSocketHandshake),
        (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        (true, None) if version == Version::Http11 => Ok(Framing::Chunked),
        (true, _) => Err(HeadFault::Coding),
    }
}

/// Lines without their CR LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], HeadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\r', self.0)?;
        let (line, rest) = self.0.split_at_checked(end)?;
        let Some(rest) = rest.strip_prefix(b"\r\n") else { return Some(Err(HeadFault::LineEnd)) };
        self.0 = rest;
        Some(Ok(line))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn request_line(line: &[u8], limits: &Limits) -> Result<Version, HeadFault> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadFault::RequestLine);
    };
    // 32: longer than any registered method.
    if !is_name(method) || method.len() > 32 || target.is_empty() {
        return Err(HeadFault::RequestLine);
    }
    if target.len() > limits.uri_bytes {
        return Err(HeadFault::TargetTooLong);
    }
    if !is_target(target) {
        return Err(HeadFault::Target);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(HeadFault::RequestLine),
    }
}

/// Whether the library accepts this target and it has no fragment, which the library would drop.
pub fn is_target(target: &[u8]) -> bool {
    // The library accepts a path of only these characters. For other paths, the library is called.
    let ordinary = target.starts_with(b"/")
        && target.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~?=&%+".contains(byte));
    let graphic = || target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    ordinary || (graphic() && Uri::try_from(target).is_ok())
}

/// The headers that may occur only once, and their values.
#[derive(Default)]
struct Seen {
    host: bool,
    authorization: bool,
    length: Option<u64>,
    coding: bool,
    websocket: bool,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        let colon = memchr(b':', line).ok_or(HeadFault::FieldLine)?;
        let (name, value) = line.split_at_checked(colon).ok_or(HeadFault::FieldLine)?;
        if !is_name(name) {
            return Err(HeadFault::FieldLine);
        }
        if !is_text(value) {
            return Err(HeadFault::FieldValue);
        }
        let once = |seen: &mut bool| if std::mem::replace(seen, true) { Err(HeadFault::Repeated) } else { Ok(()) };
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => once(&mut self.host),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |= value.get(1..).unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"websocket");
                Ok(())
            }
            13 if name.eq_ignore_ascii_case(b"authorization") => once(&mut self.authorization),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = number(value.get(1..).unwrap_or_default()).ok_or(HeadFault::Length)?;
                if self.length.replace(length).is_some() { Err(HeadFault::Repeated) } else { Ok(()) }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value.get(1..).unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadFault::Coding);
                }
                once(&mut self.coding)
            }
            _ => Ok(()),
        }
    }
}

/// A token of RFC 9110 §5.6.2, such as a method or a header name.
fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_name_byte(*byte))
}

/// A character of a token.
pub fn is_name_byte(byte: u8) -> bool {
    IN_NAMES.get(usize::from(byte)).copied().unwrap_or(false)
}

const IN_NAMES: [bool; 256] = in_names();

#[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "computed by the compiler; `From` is not const")]
const fn in_names() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// Whether it has no control character except the tab. Reads every byte without an early exit, so that the compiler can
/// vectorise it.
fn is_text(value: &[u8]) -> bool {
    value.iter().fold(true, |good, byte| good & is_text_byte(*byte))
}

/// No control character but the tab.
pub fn is_text_byte(byte: u8) -> bool {
    !(((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

/// Digits only; 18 digits are enough for any real length.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Result<Framing, HeadFault> {
        judge(head.as_bytes(), &Limits::default())
    }

    #[test]
    fn a_plain_head_says_where_its_body_ends() {
        for (fields, framing) in [
            ("Host: a\r\n", Framing::Length(0)),
            ("Host: a\r\nContent-Length: 5\r\n", Framing::Length(5)),
            ("content-length:\t005 \r\n", Framing::Length(5)),
            ("TRANSFER-encoding: ChUnKeD\r\n", Framing::Chunked),
        ] {
            assert_eq!(judged(&format!("POST / HTTP/1.1\r\n{fields}\r\n")), Ok(framing), "{fields}");
        }
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        for (head, fault) in [
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HeadFault::Coding),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", HeadFault::Coding),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HeadFault::Coding),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n", HeadFault::Coding),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadFault::Coding),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", HeadFault::FieldValue),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", HeadFault::Repeated),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HeadFault::Repeated),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HeadFault::Repeated),
            ("GET / HTTP/1.1\r\nAuthorization: a\r\nauthorization: b\r\n\r\n", HeadFault::Repeated),
            ("GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", HeadFault::Length),
            ("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", HeadFault::Length),
            ("GET / HTTP/1.1\r\nContent-Length: 18446744073709551621\r\n\r\n", HeadFault::Length),
            ("GET / HTTP/1.1\r\nX-A: a\r\n folded\r\n\r\n", HeadFault::FieldLine),
            ("GET / HTTP/1.1\r\nX-A: a\rX-B: b\r\n\r\n", HeadFault::LineEnd),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", HeadFault::FieldLine),
            ("GET / HTTP/1.1\r\nX-A : b\r\n\r\n", HeadFault::FieldLine),
            ("GET / HTTP/1.1\r\nX(A): b\r\n\r\n", HeadFault::FieldLine),
            ("GET / HTTP/1.1\r\nX-A: a\0b\r\n\r\n", HeadFault::FieldValue),
            ("GET / HTTP/1.1\r\nX-A: a\u{7f}b\r\n\r\n", HeadFault::FieldValue),
            ("G@T / HTTP/1.1\r\n\r\n", HeadFault::RequestLine),
            ("GET a/b HTTP/1.1\r\n\r\n", HeadFault::Target),
            ("GET /<a> HTTP/1.1\r\n\r\n", HeadFault::Target),
            ("GET / HTTP/1.1\r\njust text\r\n\r\n", HeadFault::FieldLine),
            ("GET  / HTTP/1.1\r\n\r\n", HeadFault::RequestLine),
            ("GET / HTTP/1.1 \r\n\r\n", HeadFault::RequestLine),
            ("GET / HTTP/1.2\r\n\r\n", HeadFault::RequestLine),
            ("GET / http/1.1\r\n\r\n", HeadFault::RequestLine),
            ("GET /a#b HTTP/1.1\r\n\r\n", HeadFault::Target),
            ("GET /\u{e9} HTTP/1.1\r\n\r\n", HeadFault::Target),
        ] {
            assert_eq!(judged(head), Err(fault), "{head:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_as_its_bytes_arrive() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut search = HeadSearch::default();
        for length in 0..27 {
            assert_eq!(search.end(&head[..length], 100), Ok(None), "{length}");
        }
        assert_eq!(search.end(head, 100), Ok(Some(27)));
        assert_eq!(HeadSearch::default().end(b"GET / HTTP/1.1\nHost: a\n\n", 100), Err(HeadFault::LineEnd));
        assert_eq!(HeadSearch::default().end(&[b'a'; 101], 100), Err(HeadFault::TooLong));
    }
}
