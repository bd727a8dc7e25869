//! The body of a request on its way to an endpoint.
//!
//! Passes each frame on without a copy. (Routes with `request_body = "buffer"` collect the body first, in the
//! [`Spool`](super::Spool).) Enforces the route's size limit, the timeout between two pieces and the minimum rate.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::pace::Pace;
use super::spool::Spooled;
use crate::client::ClientBody;

/// How many bytes a client can send before it reads the response: the window of a stream (`listener/serve.rs`).
const WINDOW: u64 = 64 << 10;

/// Why the gateway gave up a request body. The fault is not the endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// The body is longer than the route allows.
    TooLarge,
    /// The client paused too long, or stayed below the minimum rate.
    TooSlow,
    /// The body ended early or was malformed.
    Broken,
    /// The spool is full. The client is not at fault.
    NoRoom,
    /// The spool file could not be written or read. The client is not at fault.
    NotKept,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyFault::TooLarge => "request body too large",
            BodyFault::TooSlow => "request body too slow",
            BodyFault::Broken => "request body incomplete",
            BodyFault::NoRoom => "the spool has no room for the request body",
            BodyFault::NotKept => "request body could not be buffered",
        })
    }
}

impl std::error::Error for BodyFault {}

/// The progress of a request body. Shared by the body, which the connection owns, and its exchange.
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
    /// Whether the connection has taken all of the body.
    pub fn has_ended(&self) -> bool {
        self.0.ended.get()
    }

    /// How many pieces the connection has taken.
    pub fn pieces(&self) -> u64 {
        self.0.pieces.get()
    }

    /// Whether the connection waits for the next piece.
    pub fn is_awaited(&self) -> bool {
        self.0.awaited.get()
    }

    /// Stops sending, although the client may send more. The connection to the endpoint closes. No effect if the
    /// connection has taken the whole body.
    pub fn cut(&self) {
        self.0.cut.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Records that the request got a response which is not a refusal.
    pub fn succeeded(&self) {
        self.0.succeeded.set(true);
    }

    /// Why the body was given up, if it was.
    pub fn fault(&self) -> Option<BodyFault> {
        self.0.fault.get()
    }
}

/// A request body in the form in which the connection to an endpoint reads it.
pub struct OutgoingBody {
    source: Source,
    state: RequestBody,
    /// Pieces that were sent once before, and come again before the others.
    again: Option<Box<Repeated>>,
}

/// The pieces of a body that are given once more.
struct Repeated(VecDeque<Bytes>);

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
        OutgoingBody::of(Source::Empty, state)
    }

    /// A body that is in memory as a whole.
    pub fn full(bytes: Bytes) -> OutgoingBody {
        OutgoingBody::of(Source::Full(Some(bytes)), RequestBody::default())
    }

    /// A body that is in a spool file as a whole.
    pub(super) fn spooled(spooled: Spooled) -> OutgoingBody {
        OutgoingBody::of(Source::Spooled(spooled), RequestBody::default())
    }

    /// A body that the client is still sending: at most `limit` bytes, at most `silence` between two pieces, at least
    /// `rate` bytes per second.
    pub fn streaming(incoming: ClientBody, limit: u64, silence: Duration, rate: Option<u64>) -> OutgoingBody {
        let streaming = Streaming { incoming, left: limit, pace: Pace::new(rate), silence, timer: None };
        OutgoingBody::of(Source::Streaming(Box::new(streaming)), RequestBody::default())
    }

    fn of(source: Source, state: RequestBody) -> OutgoingBody {
        OutgoingBody { source, state, again: None }
    }

    /// Begins once more with the pieces that it has given so far.
    pub(super) fn repeats(&mut self, pieces: Vec<Bytes>) {
        let pieces: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        self.again = (!pieces.is_empty()).then(|| Box::new(Repeated(pieces)));
    }

    fn repeated(&self) -> usize {
        self.again.iter().flat_map(|again| again.0.iter()).map(Bytes::len).sum()
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// The length of a body that was collected before, in bytes.
    pub fn gathered(&self) -> Option<u64> {
        match &self.source {
            Source::Full(_) | Source::Spooled(_) => self.size_hint().exact(),
            Source::Empty | Source::Streaming(_) => None,
        }
    }

    /// Whether [`RequestBody::cut`] stopped it.
    pub(super) fn is_cut(&self) -> bool {
        self.state.0.cut.get()
    }

    /// A handle on the body's progress.
    pub fn state(&self) -> RequestBody {
        self.state.clone()
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        if let Some(again) = &mut this.again
            && !this.state.0.cut.get()
        {
            let piece = again.0.pop_front().unwrap_or_default();
            if again.0.is_empty() {
                this.again = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
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
            // The connection does not poll again after the last piece of a body of known length.
            Poll::Ready(Some(Ok(_))) if this.is_end_stream() => this.state.0.ended.set(true),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Pending => this.state.0.waker.set(Some(cx.waker().clone())),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_none() && self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.source.size_hint();
        let repeated = u64::try_from(self.repeated()).unwrap_or(u64::MAX);
        match (repeated, hint.exact()) {
            (0, _) => hint,
            (_, Some(rest)) => SizeHint::with_exact(rest.saturating_add(repeated)),
            (_, None) => SizeHint::default(),
        }
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Source::Empty => true,
            Source::Full(bytes) => bytes.is_none(),
            Source::Spooled(spooled) => spooled.left() == 0,
            Source::Streaming(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
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
                .is_none_or(|left| streaming.pace.taken().saturating_add(left) > WINDOW)
        {
            streaming.incoming.reset_on_drop();
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
                        // Trailers of requests are dropped: a client could forge identity headers there.
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

    /// No piece is ready: checks the timeout since the last piece, and the minimum rate.
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
