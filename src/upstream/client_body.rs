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
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// How much of a body is taken that nobody wants, and for how long.
const UNWANTED: usize = 256 << 10;
const LINGERING: Duration = Duration::from_secs(1);

/// The body of a request as its client sends it.
pub struct ClientBody {
    /// `None` only while it is dropped.
    incoming: Option<Incoming>,
    lingers: bool,
}

impl ClientBody {
    /// The body of a request that came by this version of HTTP.
    pub fn new(incoming: Incoming, version: Version) -> ClientBody {
        ClientBody { incoming: Some(incoming), lingers: version == Version::HTTP_2 }
    }

    /// Its end is not waited for when it is dropped.
    pub fn let_go(&mut self) {
        self.lingers = false;
    }

    /// Takes it before it is answered, as much as is taken of a body that nobody wants. Over HTTP/1 nothing is taken.
    pub async fn discard(mut self) {
        if let Some(incoming) = self.incoming.take().filter(|_| self.lingers) {
            Unwanted::new(incoming).end().await;
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.incoming.as_mut().map_or(Poll::Ready(None), |incoming| Pin::new(incoming).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|incoming| self.lingers && !incoming.is_end_stream()) else {
            return;
        };
        let mut unwanted = Unwanted::new(incoming);
        // Most have come already and need no task.
        if unwanted.poll_end(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(unwanted.end());
        }
    }
}

struct Unwanted {
    incoming: Incoming,
    left: usize,
}

impl Unwanted {
    fn new(incoming: Incoming) -> Unwanted {
        Unwanted { incoming, left: UNWANTED }
    }

    async fn end(mut self) {
        let end = std::future::poll_fn(|cx| self.poll_end(cx));
        // Whichever it was: what is left is dropped.
        let _ = tokio::time::timeout(LINGERING, end).await;
    }

    /// Ready when it has ended, or too much has come.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
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
