//! Reads one response: its head, then its body.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::chunks::{Chunk, Chunks};
use super::fields::{self, Search};
use super::{BadAnswer, Framing, Limits, decimal};

/// Maximum number of interim responses (1xx) before the final one: enough for one every ten seconds during a quarter of
/// an hour.
const MAX_INTERIM: u16 = 100;

/// The facts about the request that the parser of its response needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The request was `HEAD`: the response has no body, whatever its headers say.
    pub head: bool,
    /// The request asked for another protocol: the response may be a 101.
    pub switch: bool,
}

/// Parser of one response: takes bytes, returns [`Event`]s.
pub struct Answer {
    asked: Asked,
    limits: Limits,
    at: At,
    search: Search,
    interim: u16,
    persists: bool,
}

enum At {
    Head,
    Length(u64),
    Chunks(Chunks),
    UntilClose,
    /// After the body, or after a 101.
    Ended,
}

/// A part of a response, in this order: the head, pieces of the body, trailers if there are any, the end.
#[derive(Debug)]
pub enum Event {
    /// The head of the final response, or of a 101 that was asked for.
    Head(Response<()>),
    /// A piece of the body, never empty.
    Data(Bytes),
    /// The trailers, unchanged.
    Trailers(HeaderMap),
    /// The response is complete; every further call returns this. Bytes left in the buffer do not belong to it.
    End,
}

impl Answer {
    /// A parser that has read nothing yet.
    pub fn new(asked: Asked, limits: Limits) -> Answer {
        Answer { asked, limits, at: At::Head, search: Search::default(), interim: 0, persists: false }
    }

    /// Parses what `buffer` holds, and removes what it parsed. `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`BadAnswer`] names the rule that the response breaks. The connection must be closed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, BadAnswer> {
        match &mut self.at {
            At::Head => self.head(buffer),
            At::Length(_) | At::UntilClose if buffer.is_empty() => Ok(None),
            At::Length(left) => {
                let piece = super::take(left, buffer);
                if *left == 0 {
                    self.at = At::Ended;
                }
                Ok(Some(Event::Data(piece)))
            }
            At::Chunks(chunks) => {
                let read = chunks.next(buffer, &self.limits)?;
                if chunks.has_ended() {
                    self.at = At::Ended;
                }
                Ok(read.map(|read| match read {
                    Chunk::Data(piece) => Event::Data(piece),
                    Chunk::Trailers(fields) => Event::Trailers(fields),
                    Chunk::End => Event::End,
                }))
            }
            At::UntilClose => Ok(Some(Event::Data(buffer.split().freeze()))),
            At::Ended => Ok(Some(Event::End)),
        }
    }

    /// Ends parsing: the connection has ended, and all its bytes were parsed.
    ///
    /// # Errors
    /// [`BadAnswer::Cut`] if the response is incomplete.
    pub fn close(&mut self) -> Result<(), BadAnswer> {
        match self.at {
            At::UntilClose | At::Ended => {
                self.at = At::Ended;
                Ok(())
            }
            At::Head | At::Length(_) | At::Chunks(_) => Err(BadAnswer::Cut),
        }
    }

    /// Whether the whole response was read.
    pub fn has_ended(&self) -> bool {
        matches!(self.at, At::Ended)
    }

    /// Whether anything was read, an interim response included.
    pub fn has_begun(&self) -> bool {
        self.interim > 0 || !matches!(self.at, At::Head)
    }

    /// The remaining length of the body in bytes, if it is known.
    pub fn left(&self) -> Option<u64> {
        match self.at {
            At::Length(left) => Some(left),
            At::Ended => Some(0),
            At::Head | At::Chunks(_) | At::UntilClose => None,
        }
    }

    /// Whether the connection can take another request: the response allows it, and has ended unambiguously.
    pub fn persists(&self) -> bool {
        self.persists && self.has_ended()
    }

    fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, BadAnswer> {
        loop {
            // A response that is not HTTP is detected before its first line has ended.
            let begin = buffer.get(..PREFIX.len()).unwrap_or(buffer);
            if !PREFIX.starts_with(begin) {
                return Err(BadAnswer::Version);
            }
            let Some(end) = self.search.end(buffer).filter(|end| *end <= self.limits.head_bytes) else {
                let too_long = buffer.len() > self.limits.head_bytes;
                return if too_long { Err(BadAnswer::TooLong(self.limits.head_bytes)) } else { Ok(None) };
            };
            let block = buffer.split_to(end).freeze();
            let (line, start) = fields::line(&block, 0)?;
            let (status, is_old) = status_line(line)?;
            let mut fields = fields::read(&block, start, self.limits.head_count)?;
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(BadAnswer::TooManyInterim(MAX_INTERIM));
                }
                continue;
            }
            let framing = self.framing(status, is_old, &mut fields)?;
            self.at = match framing {
                Framing::None | Framing::Length(0) => At::Ended,
                Framing::Length(length) => At::Length(length),
                Framing::Chunked => At::Chunks(Chunks::default()),
                Framing::UntilClose => At::UntilClose,
            };
            let mut head = Response::new(());
            (*head.status_mut(), *head.headers_mut()) = (status, fields);
            return Ok(Some(Event::Head(head)));
        }
    }

    /// Determines how the body of a response ends (RFC 9112 §6.3). Ambiguous headers are refused even in responses
    /// without a body.
    fn framing(&mut self, status: StatusCode, is_old: bool, fields: &mut HeaderMap) -> Result<Framing, BadAnswer> {
        let (coded, length) = (is_chunked(fields)?, length(fields)?);
        if coded && is_old {
            return Err(BadAnswer::CodingInOldVersion);
        }
        if coded && length.is_some() {
            return Err(BadAnswer::TwoFramings);
        }
        self.persists = persists(fields, is_old);
        if matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT) {
            if status == StatusCode::SWITCHING_PROTOCOLS && !self.asked.switch {
                return Err(BadAnswer::Switch);
            }
            // Such a response has no body and must not announce one (RFC 9110 §8.6, RFC 9112 §6.1). If it does, a body
            // may follow all the same, so the connection is not used again.
            self.persists &= !coded && length.unwrap_or(0) == 0;
            fields.remove(CONTENT_LENGTH);
            return Ok(Framing::None);
        }
        // Leading zeros are removed: other parsers may read them differently.
        if let Some(length) = length
            && fields.get(CONTENT_LENGTH).is_some_and(|text| text.as_bytes().starts_with(b"0"))
        {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if self.asked.head || status == StatusCode::NOT_MODIFIED {
            return Ok(Framing::None);
        }
        match (coded, length) {
            (true, _) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => {
                self.persists = false;
                Ok(Framing::UntilClose)
            }
        }
    }
}

const PREFIX: &[u8] = b"HTTP/1.";

/// The status of a status line, and whether the version is HTTP/1.0.
fn status_line(line: &[u8]) -> Result<(StatusCode, bool), BadAnswer> {
    let (version, rest) = line.split_at_checked(PREFIX.len() + 1).ok_or(BadAnswer::Version)?;
    let is_old = match version.last() {
        Some(b'0') => true,
        Some(b'1') => false,
        _ => return Err(BadAnswer::Version),
    };
    let (status, reason) = rest.strip_prefix(b" ").and_then(|r| r.split_at_checked(3)).ok_or(BadAnswer::StatusLine)?;
    // Some servers omit the space when there is no reason phrase.
    let reason = if reason.is_empty() { reason } else { reason.strip_prefix(b" ").ok_or(BadAnswer::StatusLine)? };
    if reason.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err(BadAnswer::StatusLine);
    }
    let status = StatusCode::from_bytes(status).map_err(|_| BadAnswer::StatusLine)?;
    Ok((status, is_old))
}

/// Whether the body is chunked.
fn is_chunked(fields: &HeaderMap) -> Result<bool, BadAnswer> {
    match only(fields, &TRANSFER_ENCODING).ok_or(BadAnswer::Coding)? {
        None => Ok(false),
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        Some(_) => Err(BadAnswer::Coding),
    }
}

/// The value of `Content-Length`, which must be one number.
fn length(fields: &HeaderMap) -> Result<Option<u64>, BadAnswer> {
    let length = only(fields, &CONTENT_LENGTH).ok_or(BadAnswer::Length)?;
    length.map(|length| decimal(length.as_bytes()).ok_or(BadAnswer::Length)).transpose()
}

/// The value of a header that may have only one field line; `None` if it has more.
fn only<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<Option<&'f HeaderValue>> {
    let first = fields.get(name);
    let is_repeated = first.is_some() && fields.get_all(name).iter().nth(1).is_some();
    (!is_repeated).then_some(first)
}

/// Whether the connection stays open after this response (RFC 9112 §9.3).
fn persists(fields: &HeaderMap, is_old: bool) -> bool {
    let says = |word: &[u8]| {
        let lines = fields.get_all(CONNECTION).iter();
        let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(word))
    };
    !says(b"close") && (!is_old || says(b"keep-alive"))
}

impl Asked {
    /// The facts about a request with this method.
    pub fn by(method: &Method, switch: bool) -> Asked {
        Asked { head: *method == Method::HEAD, switch }
    }
}
