//! The body of a response on its way to the client.
//!
//! An enum, no box: frames of the endpoint pass as they came. It carries the exchange and the lease, so that its end
//! settles both, exactly once, however it comes: the last frame, a broken endpoint, a client that left.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::Exchange;
use super::fields::trailers;
use super::timer::Timer;
use crate::telemetry::Outcome;
use crate::upstream::{Lease, RequestBody};

/// The body of a response.
pub struct Body {
    source: Source,
    exchange: Option<Box<Exchange>>,
    /// The client has not taken the last frame yet.
    offered: bool,
}

enum Source {
    Full(Option<Bytes>),
    Endpoint(FromEndpoint),
}

struct FromEndpoint {
    incoming: Incoming,
    lease: Option<Lease>,
    request_body: RequestBody,
    timer: Timer,
    ended: bool,
    broken: Option<Outcome>,
}

/// The endpoint's answer broke off. The client sees a connection or stream that ends before the body does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer of the endpoint broke off")]
pub struct BrokenOff;

impl Body {
    /// Nothing, not even an empty frame: over HTTP/2 the library sends whatever frames there are, also in answer to
    /// `HEAD`.
    pub(super) fn empty() -> Body {
        Body { source: Source::Full(None), exchange: None, offered: false }
    }

    pub(super) fn full(bytes: Bytes) -> Body {
        Body { source: Source::Full(Some(bytes)), exchange: None, offered: false }
    }

    pub(super) fn from_endpoint(incoming: Incoming, lease: Lease, request_body: RequestBody, timer: Timer) -> Body {
        let lease = Some(lease);
        let source = FromEndpoint { incoming, lease, request_body, timer, ended: false, broken: None };
        Body { source: Source::Endpoint(source), exchange: None, offered: false }
    }

    /// The exchange ends with this body.
    pub(super) fn settling(mut self, exchange: Box<Exchange>) -> Body {
        self.exchange = Some(exchange);
        self
    }

    /// Was everything handed over?
    fn is_complete(&self) -> bool {
        match &self.source {
            Source::Full(_) => true,
            Source::Endpoint(from) => from.ended || from.incoming.is_end_stream(),
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
            // Before the endpoint is asked: with its token a caller loses what lies ready, too.
            Source::Endpoint(_) if this.exchange.as_ref().is_some_and(|exchange| exchange.poll_token_end(cx)) => {
                Some(Err(Outcome::TokenEnded))
            }
            Source::Endpoint(from) => ready!(from.poll(cx)).transpose(),
        };
        if let Some(exchange) = &mut this.exchange {
            match &frame {
                Some(Ok(frame)) => {
                    exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                    exchange.client().pulse.offer();
                    this.offered = true;
                }
                Some(Err(outcome)) => exchange.breaks_off(*outcome),
                None => {}
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_: Outcome| BrokenOff)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Endpoint(from) => from.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Source::Endpoint(from) => from.incoming.size_hint(),
        }
    }
}

impl FromEndpoint {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Outcome>> {
        if let Some(why) = self.broken {
            return Poll::Ready(Err(why));
        }
        // After each look that finds nothing the connection is driven once, then looked at again.
        let mut driven = false;
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.start();
                    match frame.into_trailers() {
                        Err(frame) => return Poll::Ready(Ok(Some(frame))),
                        Ok(mut fields) => {
                            trailers::keep_known(&mut fields);
                            if !fields.is_empty() {
                                return Poll::Ready(Ok(Some(Frame::trailers(fields))));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.broken = Some(Outcome::OriginReset);
                    // What came before goes to the client first: the library drops what it has not flushed on an error.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending if !std::mem::replace(&mut driven, true) => {
                    if let Some(lease) = &mut self.lease {
                        lease.drive(cx);
                    }
                }
                Poll::Pending => return self.timer.poll(cx).map(|()| Err(Outcome::OriginTimeout)),
            }
        }
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
