//! The header `traceparent` (W3C Trace Context, §3.2): which trace a request belongs to, and whether it is recorded.

use std::fmt::{self, Display};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The name of the header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with the state of other systems; it belongs to a valid `traceparent`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of the version that we write; later versions may be longer.
const LENGTH: usize = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".len();
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// The number of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// The number of a span; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub u64);

/// A valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Whether the caller records the trace.
    pub is_sampled: bool,
}

impl Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Parent {
    /// Reads the header; `None` if there is none, there are several, or it is not valid.
    pub fn read(fields: &HeaderMap) -> Option<Parent> {
        let mut lines = fields.get_all(TRACEPARENT).iter();
        let text = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
        let (first, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = first.split('-');
        let version = hexadecimal(parts.next()?, 2)?;
        let (trace, span) = (hexadecimal(parts.next()?, 32)?, hexadecimal(parts.next()?, 16)?);
        let flags = hexadecimal(parts.next()?, 2)?;
        // Version 0 has exactly this length. A later one may have more, after a dash; 255 is forbidden.
        let has_end = rest.is_empty() || (version > 0 && rest.starts_with('-'));
        if parts.next().is_some() || !has_end || version == 255 || trace == 0 || span == 0 {
            return None;
        }
        Some(Parent {
            trace: TraceId(trace),
            span: SpanId(u64::try_from(span).ok()?),
            is_sampled: u8::try_from(flags).ok()? & SAMPLED != 0,
        })
    }

    /// The header for a server that this span asks.
    pub fn header(&self) -> Option<HeaderValue> {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", self.trace, self.span)).ok()
    }
}

/// A number in lower-case hexadecimal digits, of exactly this length.
fn hexadecimal(text: &str, length: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_valid = text.len() == length && text.bytes().all(is_digit);
    if is_valid { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(lines: &[&str]) -> Option<Parent> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(TRACEPARENT, HeaderValue::from_str(line).unwrap());
        }
        Parent::read(&fields)
    }

    #[test]
    fn a_valid_header_is_read_and_written_again() {
        for flags in ["00", "01"] {
            let text = VALID.replace("-01", &format!("-{flags}"));
            let parent = read(&[&text]).unwrap();
            assert_eq!((parent.header().unwrap().to_str().unwrap(), parent.is_sampled), (text.as_str(), flags == "01"));
        }
        // A later version is read as far as this one is known.
        for later in [
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
        ] {
            assert_eq!(read(&[later]).unwrap().header().unwrap(), VALID);
        }
    }

    #[test]
    fn anything_else_is_no_parent() {
        for text in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cb7-ad6b7169203331-01",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(&[text]), None, "{text}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[VALID, VALID]), None);
    }
}
