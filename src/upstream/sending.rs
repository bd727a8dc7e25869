//! Writes a request to its connection.
//!
//! The head and the first piece of the body go out in one write. The request stays here, without a copy, until the
//! response begins, so that a request which was not sent or is repeatable can be given back.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::OutgoingBody;
use super::stream::Stream;
use crate::http1::{self, BodyWriter, Framing, Unwritten};

/// The request that is being sent; empty between two requests.
#[derive(Default)]
pub(super) struct Sending {
    request: Option<Request<OutgoingBody>>,
    unwritten: Unwritten,
    writer: Option<BodyWriter>,
    /// Whether any byte of the request was written.
    has_left: bool,
    /// Whether TLS may hold bytes that the socket has not taken.
    unflushed: bool,
}

/// Why a request was not sent completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The body failed: the endpoint must not take the part for the whole.
    Body,
    /// The endpoint reads no more. It may have responded before.
    Socket,
}

impl Sending {
    /// Sets the next request. [`Sending::poll`] writes it.
    pub(super) fn begin(&mut self, request: Request<OutgoingBody>) {
        let framing = framing(&request);
        http1::write_head(&mut self.unwritten.before, request.method(), request.uri(), request.headers(), framing);
        self.writer = (framing != Framing::None && !request.body().is_empty()).then(|| BodyWriter::new(framing));
        (self.request, self.has_left) = (Some(request), false);
    }

    /// Whether the whole request was written.
    pub(super) fn is_done(&self) -> bool {
        self.writer.is_none() && self.unwritten.is_empty() && !self.unflushed
    }

    /// Returns the request if sending it again cannot repeat an effect: no byte of it was written, or it [is
    /// repeatable](is_repeatable).
    pub(super) fn take_back(&mut self) -> Option<Box<Request<OutgoingBody>>> {
        let Sending { request, has_left, .. } = mem::take(self);
        let may_repeat = |request: &Request<OutgoingBody>| match has_left {
            true => is_repeatable(request),
            false => request.body().state().pieces() == 0,
        };
        request.filter(may_repeat).map(Box::new)
    }

    /// Drops the request: the response has begun.
    pub(super) fn forget(&mut self) {
        if self.is_done() {
            *self = Sending::default();
        }
    }

    /// Writes as much as the socket takes. Ready when the whole request was written.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Unsent>> {
        loop {
            let waits_for_body = self.fill(cx)?;
            if self.unwritten.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(|_| Unsent::Socket)?;
                    self.unflushed = false;
                }
                return if waits_for_body { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let to = Pin::new(&mut *stream);
            let written = match self.unwritten.only_part() {
                Some(part) => to.poll_write(cx, part),
                None => to.poll_write_vectored(cx, &self.unwritten.parts().map(IoSlice::new)),
            };
            let written = match ready!(written) {
                Ok(0) => return Poll::Ready(Err(Unsent::Socket)),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Poll::Ready(Err(Unsent::Socket)),
            };
            (self.has_left, self.unflushed) = (true, true);
            self.unwritten.advance(written);
        }
    }

    /// Reads the next piece of the body if there is room for one. Returns whether the body has no piece ready.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Unsent> {
        let (Some(writer), Some(request)) = (&mut self.writer, &mut self.request) else { return Ok(false) };
        let body = request.body_mut();
        if body.is_cut() {
            return Err(Unsent::Body);
        }
        while self.unwritten.has_no_piece() {
            let data = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Err(_))) => return Err(Unsent::Body),
                Poll::Ready(Some(Ok(frame))) => Frame::into_data(frame).unwrap_or_default(),
                Poll::Ready(None) => Bytes::new(),
            };
            let last = data.is_empty() && body.state().has_ended() || body.is_end_stream();
            let before = &mut self.unwritten.before;
            self.unwritten.behind = writer.piece(data.len(), last, before).map_err(|_| Unsent::Body)?;
            self.unwritten.piece = data;
            if last {
                self.writer = None;
                break;
            }
        }
        Ok(false)
    }
}

/// Whether a request may be sent twice: only if its method is safe (RFC 9110 §9.2.1) and it has no body. Idempotent
/// methods such as PUT and DELETE are not repeated (docs/decisions/0038-only-requests-without-effects-are-repeated.md).
pub fn is_repeatable(request: &Request<OutgoingBody>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && request.body().is_empty()
}

/// The framing of a request body: `Content-Length` if the length is known, else chunked, for all methods. A request
/// without a body has `Content-Length: 0` only if the client sent it.
pub(super) fn framing(request: &Request<OutgoingBody>) -> Framing {
    match request.body().size_hint().exact() {
        Some(0) if request.body().is_empty() && !request.headers().contains_key(CONTENT_LENGTH) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}
