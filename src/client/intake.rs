//! The body of an HTTP/1 request, between the connection that receives it and the code that reads it.
//!
//! The connection reads the socket only while a reader waits, and holds one piece at most. The reader can be the
//! request itself, which the connection's own task polls, or the task that sends the rest of a request to an endpoint.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::SizeHint;

use super::BrokenOff;

/// The body of an HTTP/1 request.
pub struct Intake(RefCell<State>);

struct State {
    piece: Option<Bytes>,
    /// Whether the reader has taken a piece.
    has_begun: bool,
    end: Option<Result<(), BrokenOff>>,
    /// The part of the announced length that the reader has not taken yet, in bytes; `None`: the body is chunked.
    left: Option<u64>,
    /// Whether the client waits for a 100 (Continue) before it sends the body.
    is_expected: bool,
    reader: Option<Waker>,
    /// The waker of the connection.
    connection: Option<Waker>,
}

/// What the connection must do for the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing: no reader waits.
    None,
    /// Receive more of the body.
    Data,
    /// Send a 100 (Continue), then receive.
    Continue,
}

impl Intake {
    /// A body of this length, of which nothing was received. `expects`: the client sent `Expect: 100-continue`.
    pub fn new(length: Option<u64>, expects: bool) -> Intake {
        Intake(RefCell::new(State {
            piece: None,
            has_begun: false,
            end: None,
            left: length,
            is_expected: expects,
            reader: None,
            connection: None,
        }))
    }

    /// What the connection must do; its task is woken when that changes.
    pub fn demand(&self, cx: &Context<'_>) -> Demand {
        let mut state = self.0.borrow_mut();
        if state.connection.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            state.connection = Some(cx.waker().clone());
        }
        match state.reader.is_some() && state.piece.is_none() && state.end.is_none() {
            true if std::mem::take(&mut state.is_expected) => Demand::Continue,
            true => Demand::Data,
            false => Demand::None,
        }
    }

    /// Hands the reader a piece.
    pub fn push(&self, piece: Bytes) {
        let mut state = self.0.borrow_mut();
        (state.piece, state.is_expected) = (Some(piece), false);
        state.wake_reader();
    }

    /// Ends the body.
    pub fn end(&self, how: Result<(), BrokenOff>) {
        let mut state = self.0.borrow_mut();
        state.end = Some(how);
        state.wake_reader();
    }

    /// The next piece of the body.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut state = self.0.borrow_mut();
        if let Some(piece) = state.piece.take() {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            state.left = state.left.map(|left| left.saturating_sub(length));
            state.has_begun = true;
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                if state.reader.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                    state.reader = Some(cx.waker().clone());
                }
                state.wake_connection(cx.waker());
                Poll::Pending
            }
        }
    }

    /// Whether no piece follows. A chunked body without data counts as a body until it is read: the endpoint gets an
    /// empty body too, and not none.
    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.0.borrow();
        state.piece.is_none() && state.end == Some(Ok(())) && state.has_begun
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.0.borrow().left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The reader was dropped: the connection need not receive more.
    pub(super) fn is_unread(&self) {
        let mut state = self.0.borrow_mut();
        state.reader = None;
        if let Some(connection) = state.connection.take() {
            connection.wake();
        }
    }
}

impl State {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            // The connection polls the request again anyway.
            if self.connection.as_ref().is_none_or(|known| !known.will_wake(&reader)) {
                reader.wake();
            }
        }
    }

    /// Wakes the connection, unless its task is the reader.
    fn wake_connection(&self, reader: &Waker) {
        if let Some(connection) = self.connection.as_ref().filter(|known| !known.will_wake(reader)) {
            connection.wake_by_ref();
        }
    }
}
