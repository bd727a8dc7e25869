//! The body of a request on its way to an endpoint.
//!
//! Frames pass as they came, never copied and never gathered (a route that asks for it gathers before this, in the
//! [`Spool`](super::Spool)). Counts bytes against the route's limit, and the client's silence and slowness against its
//! timeouts.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::ClientBody;
use super::pace::Pace;
use super::spool::Spooled;

/// What a client may send before it reads anything: the window of a stream (`listener/serve.rs`).
const AHEAD: u64 = 64 << 10;

/// Why a request body was given up, whatever the endpoint makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Longer than the route allows.
    TooLarge,
    /// Silent for too long, or too slow.
    TooSlow,
    /// It broke off or was damaged.
    Broken,
    /// Our fault: too many bodies wait for their ends.
    NoRoom,
    /// Our fault: the disk failed on which it waited.
    NotKept,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyFault::TooLarge => "request body too large",
            BodyFault::TooSlow => "request body too slow",
            BodyFault::Broken => "request body broken off",
            BodyFault::NoRoom => "no room for the request body",
            BodyFault::NotKept => "request body could not be kept",
        })
    }
}

impl std::error::Error for BodyFault {}

/// How far a request body has come; shared by the body, which the connection's driver owns, and its exchange.
#[derive(Clone, Default)]
pub struct RequestBody(Rc<State>);

#[derive(Default)]
struct State {
    ended: Cell<bool>,
    pieces: Cell<u64>,
    awaited: Cell<bool>,
    fault: Cell<Option<BodyFault>>,
    cut: Cell<bool>,
    succeeded: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl RequestBody {
    /// Was all of it handed to the connection?
    pub fn has_ended(&self) -> bool {
        self.0.ended.get()
    }

    /// How many pieces of it were handed to the connection.
    pub fn pieces(&self) -> u64 {
        self.0.pieces.get()
    }

    /// Is the connection waiting for the next piece?
    pub fn is_awaited(&self) -> bool {
        self.0.awaited.get()
    }

    /// Nothing more of it may go out, although the client sends it: the connection to the endpoint breaks off. No
    /// effect on a body that was handed over whole.
    pub fn cut(&self) {
        self.0.cut.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Its request was answered, and not refused.
    pub fn succeeded(&self) {
        self.0.succeeded.set(true);
    }

    /// Why it was given up, if it was.
    pub fn fault(&self) -> Option<BodyFault> {
        self.0.fault.get()
    }
}

/// A request body as an endpoint's connection takes it.
pub struct OutgoingBody {
    source: Source,
    state: RequestBody,
}

enum Source {
    Empty,
    Full(Option<Bytes>),
    Spooled(Spooled),
    Streaming(Box<Streaming>),
}

struct Streaming {
    incoming: ClientBody,
    left: u64,
    pace: Pace,
    silence: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl OutgoingBody {
    /// No body.
    pub fn empty() -> OutgoingBody {
        let state = RequestBody::default();
        state.0.ended.set(true);
        OutgoingBody { source: Source::Empty, state }
    }

    /// A body that was gathered before.
    pub fn full(bytes: Bytes) -> OutgoingBody {
        OutgoingBody { source: Source::Full(Some(bytes)), state: RequestBody::default() }
    }

    /// The same; it is too long for memory.
    pub(super) fn spooled(spooled: Spooled) -> OutgoingBody {
        OutgoingBody { source: Source::Spooled(spooled), state: RequestBody::default() }
    }

    /// The client's body: at most `limit` bytes, at most `silence` between two pieces, at least `rate` bytes a second.
    pub fn streaming(incoming: ClientBody, limit: u64, silence: Duration, rate: Option<u64>) -> OutgoingBody {
        let streaming = Streaming { incoming, left: limit, pace: Pace::new(rate), silence, timer: None };
        OutgoingBody { source: Source::Streaming(Box::new(streaming)), state: RequestBody::default() }
    }

    /// Is there nothing to send?
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// The length of a body that was gathered before.
    pub fn gathered(&self) -> Option<u64> {
        match &self.source {
            Source::Full(_) | Source::Spooled(_) => self.size_hint().exact(),
            Source::Empty | Source::Streaming(_) => None,
        }
    }

    /// Was it cut from outside?
    pub(super) fn is_cut(&self) -> bool {
        self.state.0.cut.get()
    }

    /// A look at how far it has come, from outside.
    pub fn state(&self) -> RequestBody {
        self.state.clone()
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Spooled(_) | Source::Streaming(_) if this.state.0.cut.get() => {
                Poll::Ready(Some(Err(BodyFault::Broken)))
            }
            Source::Spooled(spooled) => spooled.poll(cx).map_ok(Frame::data),
            Source::Streaming(streaming) => streaming.poll(cx),
        };
        let state = &this.state.0;
        state.awaited.set(polled.is_pending());
        if let Poll::Ready(Some(Ok(_))) = &polled {
            state.pieces.set(state.pieces.get().wrapping_add(1));
        }
        match &polled {
            Poll::Ready(None) => this.state.0.ended.set(true),
            Poll::Ready(Some(Err(fault))) => this.state.0.fault.set(Some(*fault)),
            // The connection does not poll again after a last piece of known length.
            Poll::Ready(Some(Ok(_))) if this.is_end_stream() => this.state.0.ended.set(true),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Pending => this.state.0.waker.set(Some(cx.waker().clone())),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Full(bytes) => bytes.is_none(),
            Source::Spooled(spooled) => spooled.left() == 0,
            Source::Streaming(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            Source::Spooled(spooled) => SizeHint::with_exact(spooled.left()),
            Source::Streaming(streaming) => streaming.incoming.size_hint(),
        }
    }
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        if let Source::Streaming(streaming) = &mut self.source
            && self.state.0.succeeded.get()
            && streaming
                .incoming
                .size_hint()
                .exact()
                .is_none_or(|left| streaming.pace.taken().saturating_add(left) > AHEAD)
        {
            streaming.incoming.let_go();
        }
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    let Some(data) = frame.data_ref() else {
                        // Trailers of requests are dropped: none of ours may be forged there, and no endpoint of a
                        // plain HTTP/1.1 pool needs any.
                        continue;
                    };
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    let Some(left) = self.left.checked_sub(length) else {
                        return Poll::Ready(Some(Err(BodyFault::TooLarge)));
                    };
                    self.left = left;
                    self.pace.takes(length);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyFault::Broken))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return self.wait(cx),
            }
        }
    }

    /// Nothing has come: watches the silence since the last piece, and the pace.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if self.pace.waits() {
            return Poll::Ready(Some(Err(BodyFault::TooSlow)));
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.silence)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyFault::TooSlow))),
            Poll::Pending => Poll::Pending,
        }
    }
}
