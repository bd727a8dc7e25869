//! Reads one answer: its head, then its body.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::chunks::{Chunk, Chunks};
use super::fields::{self, Search};
use super::{BadAnswer, Framing, Limits, decimal};

/// Most interim answers (1xx) before a final one. One every ten seconds for a quarter of an hour is still fine.
const MOST_INTERIM: u16 = 100;

/// What an answer means depends on what was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The request was `HEAD`: the answer has no body, whatever its fields say.
    pub head: bool,
    /// The request asked for another protocol, so that a 101 may come.
    pub switch: bool,
}

/// One answer that is being read: bytes in, [`Event`]s out.
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
    /// Behind the body, or behind a 101.
    Ended,
}

/// A part of an answer, in this order: one head, pieces of the body, trailers if there are any, the end.
#[derive(Debug)]
pub enum Event {
    /// The head of the final answer, or of a 101 that was asked for.
    Head(Response<()>),
    /// A piece of the body, never empty.
    Data(Bytes),
    /// Trailers, as they came.
    Trailers(HeaderMap),
    /// The answer is complete; from now on every call says so. What is left in the buffer does not belong to it.
    End,
}

impl Answer {
    /// An answer of which nothing has been read.
    pub fn new(asked: Asked, limits: Limits) -> Answer {
        Answer { asked, limits, at: At::Head, search: Search::default(), interim: 0, persists: false }
    }

    /// Reads on in what has come, and takes it out of `buffer`. `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`BadAnswer`] names the rule that it breaks. Its connection has to be closed.
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

    /// The connection has ended, and all that came was read.
    ///
    /// # Errors
    /// [`BadAnswer::Cut`] unless the answer has ended too.
    pub fn close(&mut self) -> Result<(), BadAnswer> {
        match self.at {
            At::UntilClose | At::Ended => {
                self.at = At::Ended;
                Ok(())
            }
            At::Head | At::Length(_) | At::Chunks(_) => Err(BadAnswer::Cut),
        }
    }

    /// Has all of it been read?
    pub fn has_ended(&self) -> bool {
        matches!(self.at, At::Ended)
    }

    /// Has anything been read, an interim answer for example?
    pub fn has_begun(&self) -> bool {
        self.interim > 0 || !matches!(self.at, At::Head)
    }

    /// How long the rest of the body is, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self.at {
            At::Length(left) => Some(left),
            At::Ended => Some(0),
            At::Head | At::Chunks(_) | At::UntilClose => None,
        }
    }

    /// May its connection take another request after it? Only if it says so, and its end is beyond doubt.
    pub fn persists(&self) -> bool {
        self.persists && self.has_ended()
    }

    fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, BadAnswer> {
        loop {
            // What is no HTTP at all is known before a line of it has ended.
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
                if self.interim > MOST_INTERIM {
                    return Err(BadAnswer::TooManyInterim(MOST_INTERIM));
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

    /// How the body of an answer ends (RFC 9112 §6.3). The fields are judged before anything else decides, so that what
    /// could be read in two ways is refused in answers without a body too.
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
            // Such an answer has no body and may not say how long one is (RFC 9110 §8.6, RFC 9112 §6.1). One that does
            // may be followed by a body all the same: nothing behind it is believed.
            self.persists &= !coded && length.unwrap_or(0) == 0;
            fields.remove(CONTENT_LENGTH);
            return Ok(Framing::None);
        }
        if let Some(length) = length {
            // As everybody else will read it: without leading zeros.
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

/// The status that a status line says, and whether its version is HTTP/1.0.
fn status_line(line: &[u8]) -> Result<(StatusCode, bool), BadAnswer> {
    let (version, rest) = line.split_at_checked(PREFIX.len() + 1).ok_or(BadAnswer::Version)?;
    let is_old = match version.last() {
        Some(b'0') => true,
        Some(b'1') => false,
        _ => return Err(BadAnswer::Version),
    };
    let (status, reason) = rest.strip_prefix(b" ").and_then(|r| r.split_at_checked(3)).ok_or(BadAnswer::StatusLine)?;
    // The blank is missing in some answers without a reason, which everybody understands.
    let reason = if reason.is_empty() { reason } else { reason.strip_prefix(b" ").ok_or(BadAnswer::StatusLine)? };
    if reason.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err(BadAnswer::StatusLine);
    }
    let status = StatusCode::from_bytes(status).map_err(|_| BadAnswer::StatusLine)?;
    Ok((status, is_old))
}

/// Is the body in chunks?
fn is_chunked(fields: &HeaderMap) -> Result<bool, BadAnswer> {
    match only(fields, &TRANSFER_ENCODING).ok_or(BadAnswer::Coding)? {
        None => Ok(false),
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(true),
        Some(_) => Err(BadAnswer::Coding),
    }
}

/// The length that the fields say, which is one number.
fn length(fields: &HeaderMap) -> Result<Option<u64>, BadAnswer> {
    let length = only(fields, &CONTENT_LENGTH).ok_or(BadAnswer::Length)?;
    length.map(|length| decimal(length.as_bytes()).ok_or(BadAnswer::Length)).transpose()
}

/// The value of a field that may have one line at most; `None` if it has more.
fn only<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<Option<&'f HeaderValue>> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next();
    lines.next().is_none().then_some(first)
}

/// Does the connection go on after this answer (RFC 9112 §9.3)?
fn persists(fields: &HeaderMap, is_old: bool) -> bool {
    let says = |word: &[u8]| {
        let lines = fields.get_all(CONNECTION).iter();
        let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(word))
    };
    !says(b"close") && (!is_old || says(b"keep-alive"))
}

impl Asked {
    /// What a request asks for, with respect to its answer.
    pub fn by(method: &Method, switch: bool) -> Asked {
        Asked { head: *method == Method::HEAD, switch }
    }
}
