//! Writes requests: the head into one buffer, the body framing around its pieces.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri};

use super::Framing;

/// Writes the head of a request. `framing` alone determines the framing headers; those in `fields` are left out.
pub fn write_head(out: &mut Vec<u8>, method: &Method, target: &Uri, fields: &HeaderMap, framing: Framing) {
    let target = target.path_and_query().map_or("/", |target| target.as_str());
    let length: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    // 48: the fixed parts of the request line and of the framing header.
    out.reserve(length + target.len() + method.as_str().len() + 48);
    for part in [method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(**name, CONTENT_LENGTH | TRANSFER_ENCODING)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            number(out, length, 10);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the framing around the pieces of a body.
pub struct BodyWriter {
    framing: Framing,
}

/// A body is longer or shorter than its head announces: the request must be aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the length of the body differs from the length that the head announces")]
pub struct WrongLength;

impl BodyWriter {
    /// A writer for a body with this framing.
    pub fn new(framing: Framing) -> BodyWriter {
        BodyWriter { framing }
    }

    /// Whether the body can have trailers.
    pub fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Writes what precedes a piece of this length, and returns what follows it. `last`: the body ends with this piece.
    ///
    /// # Errors
    /// [`WrongLength`].
    pub fn piece(&mut self, length: usize, last: bool, out: &mut Vec<u8>) -> Result<&'static [u8], WrongLength> {
        let length = u64::try_from(length).map_err(|_| WrongLength)?;
        match &mut self.framing {
            Framing::Chunked if length == 0 => Ok(if last { b"0\r\n\r\n" } else { b"" }),
            Framing::Chunked => {
                number(out, length, 16);
                out.extend_from_slice(b"\r\n");
                Ok(if last { b"\r\n0\r\n\r\n" } else { b"\r\n" })
            }
            Framing::Length(left) => {
                *left = left.checked_sub(length).filter(|left| !last || *left == 0).ok_or(WrongLength)?;
                Ok(b"")
            }
            Framing::UntilClose => Ok(b""),
            Framing::None if length == 0 => Ok(b""),
            Framing::None => Err(WrongLength),
        }
    }
}

/// Writes a number in base 10 or 16.
pub(super) fn number(out: &mut Vec<u8>, mut number: u64, base: u32) {
    let start = out.len();
    loop {
        let digit = u32::try_from(number % u64::from(base)).unwrap_or(0);
        // Every remainder has a digit in base 10 and 16.
        out.push(char::from_digit(digit, base).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(b'0'));
        number /= u64::from(base);
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::HOST};

    use super::*;

    fn head(method: Method, fields: &[(&'static str, &'static str)], framing: Framing) -> String {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("h"));
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        write_head(&mut out, &method, &Uri::from_static("/a%2Fb?c"), &map, framing);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_has_one_framing_header_whatever_its_fields_say() {
        let lying = [("content-length", "7"), ("transfer-encoding", "gzip"), ("x-a", "1"), ("x-a", "2")];
        for (framing, said) in [
            (Framing::None, ""),
            (Framing::Length(0), "content-length: 0\r\n"),
            (Framing::Length(u64::MAX), "content-length: 18446744073709551615\r\n"),
            (Framing::Chunked, "transfer-encoding: chunked\r\n"),
        ] {
            for method in [Method::GET, Method::POST] {
                let wanted = format!("{method} /a%2Fb?c HTTP/1.1\r\nhost: h\r\nx-a: 1\r\nx-a: 2\r\n{said}\r\n");
                assert_eq!(head(method, &lying, framing), wanted);
            }
        }
    }

    #[test]
    fn a_body_is_written_as_announced_or_not_at_all() {
        let written = |framing, pieces: &[(&str, bool)]| {
            let (mut writer, mut out) = (BodyWriter::new(framing), Vec::new());
            for (piece, last) in pieces {
                let behind = writer.piece(piece.len(), *last, &mut out)?;
                out.extend_from_slice(piece.as_bytes());
                out.extend_from_slice(behind);
            }
            Ok(String::from_utf8(out).unwrap())
        };
        let pieces = [("hello", false), ("0123456789abcdefg", true)];
        assert_eq!(written(Framing::Chunked, &pieces).unwrap(), "5\r\nhello\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n");
        assert_eq!(written(Framing::Chunked, &[("hello", false), ("", true)]).unwrap(), "5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(written(Framing::Chunked, &[("", true)]).unwrap(), "0\r\n\r\n");
        assert_eq!(written(Framing::Chunked, &[("", false), ("x", true)]).unwrap(), "1\r\nx\r\n0\r\n\r\n");
        assert_eq!(written(Framing::Length(22), &pieces).unwrap(), "hello0123456789abcdefg");
        assert_eq!(written(Framing::None, &[("", true)]).unwrap(), "");
        assert_eq!(written(Framing::UntilClose, &pieces).unwrap(), "hello0123456789abcdefg");
        for length in [0, 5, 21, 23] {
            assert_eq!(written(Framing::Length(length), &pieces), Err(WrongLength), "{length}");
        }
        assert_eq!(written(Framing::None, &pieces), Err(WrongLength));
    }
}
