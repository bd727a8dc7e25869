//! Reads the head of a request, and determines where its body ends.
//!
//! A head that two servers could read differently is refused, never repaired (docs/decisions/0012): a line that ends in
//! LF only, `Content-Length` together with `Transfer-Encoding`, a repeated header.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header, request};
use memchr::memchr;

use crate::client::{HeadFault, REFUSED_METHOD};
use crate::config::settings::Limits;

/// Capacity for header names that most requests do not exceed; the gateway adds some of its own.
const USUAL_COUNT: usize = 16;

/// Maximum number of empty lines before a request line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES: u8 = 2;

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// There is no body, and the bytes after the head may belong to another protocol: the request asks for WebSocket.
    WebSocketHandshake,
}

impl RequestFraming {
    /// The length of the body in bytes; `None`: it is chunked.
    pub fn length(self) -> Option<u64> {
        match self {
            RequestFraming::Length(length) => Some(length),
            RequestFraming::Chunked => None,
            RequestFraming::WebSocketHandshake => Some(0),
        }
    }
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

/// Takes heads out of the bytes of a connection.
#[derive(Debug, Default)]
pub struct HeadReader {
    search: HeadSearch,
    empty_lines: u8,
}

impl HeadReader {
    /// Removes the next head from `buffer`. `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`HeadFault`]: nothing after it can be read.
    pub fn next(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<RequestHead>, HeadFault> {
        loop {
            let Some(length) = self.search.end(buffer, limits.header_bytes)? else { return Ok(None) };
            self.search = HeadSearch::default();
            let head = match length == buffer.len() {
                true => std::mem::take(buffer).freeze(),
                false => buffer.split_to(length).freeze(),
            };
            if *head != *b"\r\n" {
                self.empty_lines = 0;
                return RequestHead::read(&head, limits).map(Some);
            }
            self.empty_lines += 1;
            if self.empty_lines > EMPTY_LINES {
                return Err(HeadFault::RequestLine);
            }
        }
    }
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// The request without its body. The values share the memory of the head. Boxed, because it is moved several times.
    pub parts: Box<request::Parts>,
    /// Where its body ends.
    pub framing: RequestFraming,
}

impl RequestHead {
    /// Reads a complete head, including its empty line.
    ///
    /// # Errors
    /// [`HeadFault`] names the first rule that the head breaks.
    pub fn read(head: &Bytes, limits: &Limits) -> Result<RequestHead, HeadFault> {
        let mut lines = Lines(head);
        let mut parts = Box::new(Request::new(()).into_parts().0);
        request_line(lines.next().ok_or(HeadFault::RequestLine)??, head, limits, &mut parts)?;
        let mut seen = Seen::default();
        let mut count = 0_usize;
        parts.headers.reserve(USUAL_COUNT);
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            count += 1;
            let (name, value) = seen.field(line)?;
            let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| HeadFault::FieldValue)?;
            parts.headers.try_append(name, value).map_err(|_| HeadFault::TooManyFields)?;
        }
        if count > limits.header_count {
            return Err(HeadFault::TooManyFields);
        }
        let framing = seen.framing(parts.version)?;
        Ok(RequestHead { parts, framing })
    }

    /// The head of the request that takes the place of a damaged one. The gateway refuses it with this fault.
    pub fn damaged(fault: HeadFault) -> RequestHead {
        let mut parts = Box::new(Request::new(()).into_parts().0);
        // The text is a valid method.
        parts.method = Method::from_bytes(REFUSED_METHOD.as_bytes()).unwrap_or_default();
        parts.extensions.insert(fault);
        RequestHead { parts, framing: RequestFraming::Length(0) }
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

fn request_line(line: &[u8], head: &Bytes, limits: &Limits, parts: &mut request::Parts) -> Result<(), HeadFault> {
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
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(HeadFault::Target);
    }
    parts.uri = Uri::from_maybe_shared(head.slice_ref(target)).map_err(|_| HeadFault::Target)?;
    parts.version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(HeadFault::RequestLine),
    };
    parts.method = Method::from_bytes(method).map_err(|_| HeadFault::RequestLine)?;
    Ok(())
}

/// Whether this is a valid target: one that [`Uri`] accepts and that has no fragment, which [`Uri`] would drop.
pub fn is_target(target: &[u8]) -> bool {
    // `Uri` accepts a path of only these characters.
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
    /// Checks a field line. Returns its name, and its value without the whitespace around it.
    fn field<'l>(&mut self, line: &'l [u8]) -> Result<(HeaderName, &'l [u8]), HeadFault> {
        let length = line.iter().position(|byte| !is_name_byte(*byte)).ok_or(HeadFault::FieldLine)?;
        let (name, value) = line.split_at_checked(length).ok_or(HeadFault::FieldLine)?;
        let value = value.strip_prefix(b":").filter(|_| length > 0).ok_or(HeadFault::FieldLine)?;
        if !is_text(value) {
            return Err(HeadFault::FieldValue);
        }
        let value = value.trim_ascii();
        let name = HeaderName::from_bytes(name).map_err(|_| HeadFault::FieldLine)?;
        let once = |seen: &mut bool| if std::mem::replace(seen, true) { Err(HeadFault::Repeated) } else { Ok(()) };
        match name {
            header::HOST => once(&mut self.host)?,
            header::UPGRADE => self.websocket |= value.eq_ignore_ascii_case(b"websocket"),
            header::AUTHORIZATION => once(&mut self.authorization)?,
            header::CONTENT_LENGTH => {
                let length = number(value).ok_or(HeadFault::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadFault::Repeated);
                }
            }
            header::TRANSFER_ENCODING => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadFault::Coding);
                }
                once(&mut self.coding)?;
            }
            _ => {}
        }
        Ok((name, value))
    }

    fn framing(&self, version: Version) -> Result<RequestFraming, HeadFault> {
        match (self.coding, self.length) {
            (false, None | Some(0)) if self.websocket && version == Version::HTTP_11 => {
                Ok(RequestFraming::WebSocketHandshake)
            }
            (false, length) => Ok(RequestFraming::Length(length.unwrap_or(0))),
            (true, None) if version == Version::HTTP_11 => Ok(RequestFraming::Chunked),
            (true, _) => Err(HeadFault::Coding),
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
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Result<RequestFraming, HeadFault> {
        RequestHead::read(&Bytes::copy_from_slice(head.as_bytes()), &Limits::default()).map(|head| head.framing)
    }

    #[test]
    fn a_plain_head_says_where_its_body_ends() {
        for (fields, framing) in [
            ("Host: a\r\n", RequestFraming::Length(0)),
            ("Host: a\r\nContent-Length: 5\r\n", RequestFraming::Length(5)),
            ("content-length:\t005 \r\n", RequestFraming::Length(5)),
            ("TRANSFER-encoding: ChUnKeD\r\n", RequestFraming::Chunked),
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
