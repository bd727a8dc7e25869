//! The body of a request as its client sends it.
//!
//! A stream of HTTP/2 that is answered before its client has sent all of the body ends with a reset (RFC 9113 §8.1),
//! and clients that are still sending throw the answer away with it: curl does. So a body that nobody wants is taken
//! for a moment and thrown away, beside its answer, which waits for nothing. HTTP/1 has no resets; there the connection
//! ends.
//!
//! After a refusal curl stops sending. After a success it goes on, but reads nothing more, not even how much it may
//! send: a body that is longer than what may be sent ahead would hang for ever. There a reset is better.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Inbox;

/// How much of a body is taken that nobody wants, and for how long.
const UNWANTED: usize = 256 << 10;
const LINGERING: Duration = Duration::from_secs(1);

/// The body of a request as its client sends it.
pub struct ClientBody {
    /// `None`: there is nothing, or it is being dropped.
    source: Option<Source>,
    lingers: bool,
}

enum Source {
    Http1(Incoming),
    Http2(Rc<Inbox>),
}

/// The client broke its body off, or it was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the request broke off")]
pub struct BrokenOff;

impl ClientBody {
    /// No body.
    pub fn none() -> ClientBody {
        ClientBody { source: None, lingers: false }
    }

    /// The body of a request that came over HTTP/1.
    pub fn http1(incoming: Incoming) -> ClientBody {
        ClientBody { source: Some(Source::Http1(incoming)), lingers: false }
    }

    /// The body of a request that came over HTTP/2.
    pub fn http2(inbox: Rc<Inbox>) -> ClientBody {
        ClientBody { source: Some(Source::Http2(inbox)), lingers: true }
    }

    /// Its end is not waited for when it is dropped.
    pub fn let_go(&mut self) {
        self.lingers = false;
    }

    /// Takes it before it is answered, as much as is taken of a body that nobody wants. Over HTTP/1 nothing is taken.
    pub async fn discard(mut self) {
        if let Some(source) = self.source.take().filter(|_| self.lingers) {
            Unwanted::new(source).end().await;
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.source.as_mut().map_or(Poll::Ready(None), |source| source.poll(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(Source::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            None => SizeHint::with_exact(0),
            Some(Source::Http1(incoming)) => incoming.size_hint(),
            Some(Source::Http2(inbox)) => inbox.size_hint(),
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Source::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(|_| BrokenOff),
            Source::Http2(inbox) => inbox.poll(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Source::Http1(incoming) => incoming.is_end_stream(),
            Source::Http2(inbox) => inbox.is_end_stream(),
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some(source) = self.source.take().filter(|source| self.lingers && !source.is_end_stream()) else {
            return;
        };
        let mut unwanted = Unwanted::new(source);
        // Most have come already and need no task.
        if unwanted.poll_end(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(unwanted.end());
        }
    }
}

struct Unwanted {
    source: Source,
    left: usize,
}

impl Unwanted {
    fn new(source: Source) -> Unwanted {
        if let Source::Http2(inbox) = &source {
            inbox.is_unwanted();
        }
        Unwanted { source, left: UNWANTED }
    }

    async fn end(mut self) {
        let end = std::future::poll_fn(|cx| self.poll_end(cx));
        // Whichever it was: what is left is dropped.
        let _ = tokio::time::timeout(LINGERING, end).await;
    }

    /// Ready when it has ended, or too much has come.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.source.poll(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    match self.left.checked_sub(length) {
                        Some(left) => self.left = left,
                        None => return Poll::Ready(()),
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
