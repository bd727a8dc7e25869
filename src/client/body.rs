//! The body of a request as its client sends it.
//!
//! If the gateway responds over HTTP/2 before it has read the whole body, the stream ends with a reset (RFC 9113 §8.1).
//! Some clients that are still sending, such as curl, then discard the response. So the gateway reads and discards an
//! unneeded body for a short time, in parallel with the response. HTTP/1 has no resets; there the connection closes.
//!
//! After a refusal curl stops sending. After a successful response curl goes on sending, but no longer reads window
//! updates. A body that exceeds the stream's window would then hang forever, so such a stream is reset at once.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Inbox, Intake};

/// How much of an unneeded body is read and discarded, and for how long.
const UNWANTED: usize = 256 << 10;
const LINGERING: Duration = Duration::from_secs(1);

/// The body of a request as its client sends it.
pub struct ClientBody {
    /// `None`: there is no body, or it is being dropped.
    source: Option<Source>,
    lingers: bool,
}

enum Source {
    Http1(Rc<Intake>),
    Http2(Rc<Inbox>),
}

/// The client aborted its body, or the body was malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body ended early")]
pub struct BrokenOff;

impl ClientBody {
    /// No body.
    pub fn none() -> ClientBody {
        ClientBody { source: None, lingers: false }
    }

    /// The body of an HTTP/1 request.
    pub fn http1(intake: Rc<Intake>) -> ClientBody {
        ClientBody { source: Some(Source::Http1(intake)), lingers: false }
    }

    /// The body of an HTTP/2 request.
    pub fn http2(inbox: Rc<Inbox>) -> ClientBody {
        ClientBody { source: Some(Source::Http2(inbox)), lingers: true }
    }

    /// The length in bytes that the client declared, less what was read. `None`: the body is chunked, or an HTTP/2 body
    /// without `Content-Length`.
    pub fn declared_length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Makes the drop of this body reset the stream at once, without reading what is left.
    pub fn reset_on_drop(&mut self) {
        self.lingers = false;
    }

    /// Reads and discards the body before the response, up to the limits for an unneeded body. Over HTTP/1 nothing is
    /// read.
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
            Some(Source::Http1(intake)) => intake.size_hint(),
            Some(Source::Http2(inbox)) => inbox.size_hint(),
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Source::Http1(intake) => intake.poll(cx).map_ok(Frame::data),
            Source::Http2(inbox) => inbox.poll(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Source::Http1(intake) => intake.is_end_stream(),
            Source::Http2(inbox) => inbox.is_end_stream(),
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let source = self.source.take().filter(|source| !source.is_end_stream());
        if let Some(Source::Http1(intake)) = &source {
            return intake.is_unread();
        }
        let Some(source) = source.filter(|_| self.lingers) else { return };
        let mut unwanted = Unwanted::new(source);
        // Most bodies have arrived already and need no task.
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
        // After the end, the limit or the timeout: the rest is dropped.
        let _ = tokio::time::timeout(LINGERING, end).await;
    }

    /// Ready when the body has ended, or more than the limit has arrived.
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
