//! The body of an HTTP/2 request, between the stream that receives it and the code that reads it.
//!
//! The HTTP library queues each DATA frame until it is read. Queued frames of a few bytes cost more than the bytes
//! themselves, so the library closes a connection that has too many of them. An upload to a slow endpoint would thereby
//! end the other streams of its client. So the stream's task empties the library's queue even while the body has no
//! reader ([`Inbox::keep`]), and joins small frames. Memory stays bounded: flow control allows the client only as much
//! as was read.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use http_body::SizeHint;

use super::BrokenOff;
use super::joined::Joined;

/// The body of an HTTP/2 request.
pub struct Inbox(RefCell<State>);

struct State {
    stream: RecvStream,
    kept: Joined,
    end: Option<End>,
    /// The part of `Content-Length` that was not read yet, in bytes.
    left: Option<u64>,
    expectation: Expectation,
    reader: Option<Waker>,
    /// The waker of the stream's task.
    keeper: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    BrokenOff,
}

/// Whether the client waits for a 100 (Continue) before it sends its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    None,
    Expected,
    /// The body is being read and none of it has arrived: a 100 must be sent.
    Due,
}

impl Inbox {
    /// The body that arrives on `stream`. `expects`: the client sent `Expect: 100-continue`.
    pub fn new(stream: RecvStream, length: Option<u64>, expects: bool) -> Inbox {
        Inbox(RefCell::new(State {
            stream,
            kept: Joined::default(),
            end: None,
            left: length,
            expectation: if expects { Expectation::Expected } else { Expectation::None },
            reader: None,
            keeper: None,
        }))
    }

    /// Moves what has arrived out of the library's queue. The stream's task calls this; it is woken when more arrives.
    /// Returns whether the gateway must send a 100 (Continue) now.
    pub fn keep(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let mut news = false;
        while state.end.is_none()
            && let Poll::Ready(arrived) = state.stream.poll_data(cx)
        {
            news = true;
            match arrived {
                Some(Ok(data)) => state.keep(data),
                Some(Err(_)) => state.end = Some(End::BrokenOff),
                None => state.end = Some(End::Whole),
            }
        }
        if news && let Some(reader) = state.reader.take() {
            reader.wake();
        }
        if state.keeper.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            state.keeper = Some(cx.waker().clone());
        }
        let due = state.expectation == Expectation::Due;
        if due {
            state.expectation = Expectation::None;
        }
        due
    }

    /// The next piece of the body.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut state = self.0.borrow_mut();
        if let Some(kept) = state.kept.next_piece() {
            return Poll::Ready(Some(Ok(state.hand_over(kept))));
        }
        match state.end {
            Some(End::Whole) => return Poll::Ready(None),
            Some(End::BrokenOff) => return Poll::Ready(Some(Err(BrokenOff))),
            None => {}
        }
        match state.stream.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                // The library wakes only one task, and this one need not be woken again.
                state.wake_keeper(cx.waker());
                Poll::Ready(Some(Ok(state.hand_over(data))))
            }
            Poll::Ready(Some(Err(_))) => {
                state.end = Some(End::BrokenOff);
                Poll::Ready(Some(Err(BrokenOff)))
            }
            Poll::Ready(None) => {
                state.end = Some(End::Whole);
                Poll::Ready(None)
            }
            Poll::Pending => {
                state.reader = Some(cx.waker().clone());
                if state.expectation == Expectation::Expected {
                    state.expectation = Expectation::Due;
                    state.wake_keeper(cx.waker());
                }
                Poll::Pending
            }
        }
    }

    /// The request is refused: no 100 may follow.
    pub(super) fn is_unwanted(&self) {
        self.0.borrow_mut().expectation = Expectation::None;
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.0.borrow();
        state.kept.is_empty() && (state.end == Some(End::Whole) || state.stream.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.0.borrow().left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Whether the client has aborted the body, or its connection has ended.
    pub fn is_broken(&self) -> bool {
        self.0.borrow().end == Some(End::BrokenOff)
    }

    /// Whether the body has ended or was aborted.
    pub fn has_ended(&self) -> bool {
        self.0.borrow().end.is_some()
    }
}

impl State {
    fn keep(&mut self, data: Bytes) {
        self.expectation = Expectation::None;
        self.kept.push(data);
    }

    /// Hands data to the reader, and lets the client send as much again.
    fn hand_over(&mut self, data: Bytes) -> Bytes {
        self.expectation = Expectation::None;
        // Fails only on a stream that has ended.
        let _ = self.stream.flow_control().release_capacity(data.len());
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(length));
        data
    }

    /// Wakes the stream's task, unless that task is the reader.
    fn wake_keeper(&self, reader: &Waker) {
        if let Some(keeper) = self.keeper.as_ref().filter(|keeper| !keeper.will_wake(reader)) {
            keeper.wake_by_ref();
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if let Some(keeper) = self.0.get_mut().keeper.take() {
            keeper.wake();
        }
    }
}
