//! The body of a response on its way to the client.
//!
//! An enum instead of a box; frames of the endpoint pass unchanged. The body owns the exchange and the lease, so both
//! end exactly once: after the last frame, when the endpoint fails, or when the client disconnects.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Exchange;
use super::fields::{FieldPolicy, trailers};
use super::timer::Timer;
use crate::http1::BadAnswer;
use crate::telemetry::Outcome;
use crate::upstream::{Lease, OutgoingBody, RequestBody};

/// The body of a response.
pub struct Body {
    source: Source,
    exchange: Option<Box<Exchange>>,
    /// The client has not received the last frame yet.
    offered: bool,
}

enum Source {
    Full(Option<Bytes>),
    Endpoint(FromEndpoint),
}

struct FromEndpoint {
    /// `None` only while it is dropped.
    lease: Option<Lease>,
    request_body: RequestBody,
    timer: Timer,
    broken: Option<BadAnswer>,
}

/// Why a response ends before it is complete.
enum Break {
    TokenEnded,
    Timeout,
    Answer(BadAnswer),
}

/// The endpoint's response broke off. The client's connection or stream ends before the body does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response of the endpoint broke off")]
pub struct BrokenOff;

impl Body {
    /// A body without any frame. Even an empty frame would be wrong: over HTTP/2 the library sends all frames, also in
    /// response to `HEAD`.
    pub(super) fn empty() -> Body {
        Body { source: Source::Full(None), exchange: None, offered: false }
    }

    pub(super) fn full(bytes: Bytes) -> Body {
        Body { source: Source::Full(Some(bytes)), exchange: None, offered: false }
    }

    pub(super) fn from_endpoint(lease: Lease, request_body: RequestBody, timer: Timer) -> Body {
        let source = FromEndpoint { lease: Some(lease), request_body, timer, broken: None };
        Body { source: Source::Endpoint(source), exchange: None, offered: false }
    }

    /// The body of a portal's answer.
    pub(super) fn of_portal(lease: Lease, timer: Timer) -> Body {
        Body::from_endpoint(lease, OutgoingBody::empty().state(), timer)
    }

    /// The exchange ends with this body.
    pub(super) fn settling(mut self, exchange: Box<Exchange>) -> Body {
        self.exchange = Some(exchange);
        self
    }

    /// For a task that waits for the client, and so does not poll the next frame: keeps what arrives meanwhile, if the
    /// connection to the endpoint has other streams. Returns whether the caller's token has ended; wakes the task when it
    /// does.
    pub fn wait_for_client(&mut self, cx: &mut Context<'_>) -> bool {
        if let Source::Endpoint(FromEndpoint { lease: Some(lease), .. }) = &mut self.source {
            lease.keep(cx);
        }
        self.exchange.as_ref().is_some_and(|exchange| exchange.poll_token_end(cx))
    }

    /// The client has not read the last piece.
    pub fn was_not_taken(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.leaves();
        }
    }

    /// Whether all frames were passed on.
    fn is_complete(&self) -> bool {
        match &self.source {
            Source::Full(_) => true,
            Source::Endpoint(from) => from.has_ended(),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.offered)
            && let Some(exchange) = &this.exchange
        {
            exchange.client().pulse.take();
        }
        let frame = match &mut this.source {
            Source::Full(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            // Checked before the next frame is polled: when the token ends, the caller does not get frames that are
            // ready either.
            Source::Endpoint(_) if this.exchange.as_ref().is_some_and(|exchange| exchange.poll_token_end(cx)) => {
                Some(Err(Break::TokenEnded))
            }
            Source::Endpoint(from) => {
                let metadata = this.exchange.as_ref().and_then(|exchange| exchange.metadata_rules());
                ready!(from.poll(cx, metadata)).transpose()
            }
        };
        if let Some(exchange) = &mut this.exchange {
            match &frame {
                Some(Ok(frame)) => {
                    exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                    exchange.client().pulse.offer();
                    this.offered = true;
                }
                Some(Err(Break::TokenEnded)) => exchange.breaks_off(Outcome::TokenEnded),
                Some(Err(Break::Timeout)) => exchange.breaks_off(Outcome::OriginBodyTimeout),
                Some(Err(Break::Answer(cause))) => {
                    let is_cut = *cause == BadAnswer::Cut;
                    exchange.breaks_off(if is_cut { Outcome::OriginReset } else { Outcome::OriginBadResponse });
                    exchange.blames(cause.clone());
                }
                None => {}
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_: Break| BrokenOff)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Endpoint(from) => from.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Source::Endpoint(from) => from.lease.as_ref().map_or_else(SizeHint::default, Lease::size_hint),
        }
    }
}

impl FromEndpoint {
    /// The next frame. `metadata` are the rules for the trailers of a gRPC call.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        metadata: Option<&FieldPolicy>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Break>> {
        if let Some(why) = &self.broken {
            return Poll::Ready(Err(Break::Answer(why.clone())));
        }
        let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(None)) };
        // Also while the endpoint always has a piece ready.
        if self.timer.is_over() {
            return Poll::Ready(Err(Break::Timeout));
        }
        loop {
            match lease.poll_body(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.start();
                    match frame.into_trailers() {
                        Err(frame) => return Poll::Ready(Ok(Some(frame))),
                        Ok(mut fields) => {
                            trailers::keep_known(&mut fields, metadata);
                            if !fields.is_empty() {
                                return Poll::Ready(Ok(Some(Frame::trailers(fields))));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(bad))) => {
                    self.broken = Some(bad);
                    // Passes earlier frames to the client first, because the library drops unflushed frames on an
                    // error.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => return self.timer.poll(cx).map(|()| Err(Break::Timeout)),
            }
        }
    }

    /// Whether the whole body was passed on.
    fn has_ended(&self) -> bool {
        self.broken.is_none() && self.lease.as_ref().is_none_or(Lease::has_ended)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let complete = self.is_complete();
        if let Source::Endpoint(from) = &mut self.source
            && let Some(lease) = from.lease.take()
        {
            lease.end(complete && from.request_body.has_ended());
        }
        if let Some(exchange) = &mut self.exchange {
            if self.offered {
                exchange.client().pulse.take();
            }
            if !complete {
                exchange.leaves();
            }
        }
    }
}
