//! Reads the head of a request from bytes in memory, as a connection of HTTP/1.1 would.

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, request};

use super::head::{Framing, HeadSearch, judge};
use crate::client::{ClientConnection, HeadFault, REFUSED_METHOD};
use crate::config::settings::Limits;

/// The head of a request.
pub struct SampleHead {
    /// What the gateway sees of it.
    pub parts: request::Parts,
    /// The length of its body; `None`: it is chunked.
    pub length: Option<u64>,
}

/// Judges the bytes of a head, its empty line included, as [`Front`](super::front::Front) does, and reads them. The
/// connection remembers what is wrong with them.
pub fn read(bytes: &[u8], limits: &Limits, client: &ClientConnection) -> SampleHead {
    let judged = HeadSearch::default().end(bytes, limits.header_bytes).and_then(|_| judge(bytes, limits));
    let read = judged.and_then(|framing| Ok((framing, parse(bytes)?)));
    match read {
        Ok((framing, parts)) => {
            client.held.set(framing == Framing::WebSocketHandshake);
            let length = match framing {
                Framing::Length(length) => Some(length),
                Framing::Chunked => None,
                Framing::WebSocketHandshake => Some(0),
            };
            SampleHead { parts, length }
        }
        Err(fault) => {
            client.fault.set(Some(fault));
            let mut parts = Request::new(()).into_parts().0;
            if let Ok(method) = Method::from_bytes(REFUSED_METHOD.as_bytes()) {
                parts.method = method;
            }
            SampleHead { parts, length: Some(0) }
        }
    }
}

/// Reads a head that was judged.
fn parse(bytes: &[u8]) -> Result<request::Parts, HeadFault> {
    let text = bytes.strip_suffix(b"\r\n\r\n").ok_or(HeadFault::LineEnd)?;
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next().ok_or(HeadFault::RequestLine)?.split(|byte| *byte == b' ');
    let (method, target) = words.next().zip(words.next()).ok_or(HeadFault::RequestLine)?;
    let mut parts = Request::new(()).into_parts().0;
    parts.version = match words.next() {
        Some(b"HTTP/1.0") => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    parts.method = Method::from_bytes(method).map_err(|_| HeadFault::RequestLine)?;
    parts.uri = Uri::try_from(target).map_err(|_| HeadFault::Target)?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(HeadFault::FieldLine)?;
        let (name, value) = line.split_at_checked(colon).ok_or(HeadFault::FieldLine)?;
        let name = HeaderName::from_bytes(name).map_err(|_| HeadFault::FieldLine)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        parts.headers.append(name, HeaderValue::from_bytes(value).map_err(|_| HeadFault::FieldValue)?);
    }
    Ok(parts)
}
