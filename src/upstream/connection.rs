//! One connection to an endpoint.
//!
//! The exchange that has it on loan polls it in its own task: writes what there is of the request, reads what there is
//! of the answer. Only where the endpoint answers before it has the whole request does a task take over the sending,
//! since the client may not take the answer before it has sent the request. An idle connection has no buffers and no
//! task; it is looked at when it is leased and at the worker's tick.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Frame;
use tokio::io::AsyncReadExt;
use tokio::task::AbortHandle;

use super::connect::Stream;
use super::sending::{Sending, Unsent};
use super::{OriginFault, OutgoingBody, SendFault};
use crate::http1::{Answer, Asked, BadAnswer, Event, Limits};

/// What one read takes at least and at most.
const SHORT_READ: usize = 8 << 10;
const LONG_READ: usize = 64 << 10;
/// Room that is too short to be worth a read.
const SCANT: usize = 1 << 10;

/// A connection to an endpoint. Dropping it closes the socket at once, whatever is under way.
pub(super) struct Connection {
    outward: Rc<Outward>,
    limits: Limits,
    buffer: BytesMut,
    /// What the next read takes.
    read: usize,
    answer: Option<Answer>,
    /// The task that sends what is left of the request.
    task: Option<AbortHandle>,
}

/// What the sending of a request needs; shared with a task where one sends.
struct Outward {
    stream: RefCell<Stream>,
    sending: RefCell<Sending>,
    unsent: Cell<Option<Unsent>>,
}

impl Connection {
    /// `limits`: those of its answers.
    pub(super) fn new(stream: Stream, limits: Limits) -> Connection {
        let outward = Outward { stream: RefCell::new(stream), sending: RefCell::default(), unsent: Cell::default() };
        let buffer = BytesMut::new();
        Connection { outward: Rc::new(outward), limits, buffer, read: SHORT_READ, answer: None, task: None }
    }

    /// Does it still stand? Notices that the endpoint has closed it, or has sent what nobody asked for. `certainly`: by
    /// a look at the socket itself; else by what the runtime has heard of it, which costs no system call.
    pub(super) fn stands(&self, certainly: bool) -> bool {
        let stream = self.outward.stream.borrow();
        let looked = if certainly { stream.peek() } else { stream.try_read(&mut [0]) };
        matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Begins with a request; [`Connection::poll_answer`] sends it.
    pub(super) fn begin(&mut self, request: Request<OutgoingBody>, asks_to_switch: bool) {
        self.answer = Some(Answer::new(Asked::by(request.method(), asks_to_switch), self.limits));
        self.read = SHORT_READ;
        self.outward.sending.borrow_mut().begin(request);
    }

    /// Sends the request, and waits for the head of its answer.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, SendFault>> {
        if self.send(cx) == Some(Unsent::Body) {
            return Poll::Ready(Err(SendFault::new(OriginFault::Reset)));
        }
        loop {
            let Some(answer) = &mut self.answer else { return Poll::Ready(Err(SendFault::new(OriginFault::Reset))) };
            match answer.next(&mut self.buffer) {
                Ok(Some(Event::Head(head))) => {
                    self.outward.sending.borrow_mut().forget();
                    return Poll::Ready(Ok(head));
                }
                Ok(Some(_)) => return Poll::Ready(Err(SendFault::new(OriginFault::Reset))),
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Err(SendFault::new(OriginFault::BadResponse(bad)))),
            }
            let untouched = !answer.has_begun() && self.buffer.is_empty();
            if !matches!(ready!(self.poll_read(cx)), Ok(count) if count > 0) {
                let again = if untouched { self.outward.sending.borrow_mut().take_back() } else { None };
                return Poll::Ready(Err(SendFault { again, cause: OriginFault::Reset }));
            }
        }
    }

    /// The next piece of the answer's body, or its trailers; `None` at its end.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BadAnswer>>> {
        loop {
            let Some(answer) = &mut self.answer else { return Poll::Ready(Some(Err(BadAnswer::Cut))) };
            match answer.next(&mut self.buffer) {
                Ok(Some(Event::Data(piece))) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(Some(Event::Trailers(fields))) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Ok(Some(Event::Head(_) | Event::End)) => return Poll::Ready(None),
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Some(Err(bad))),
            }
            if let Some(left) = answer.left() {
                self.read = usize::try_from(left).unwrap_or(LONG_READ).clamp(SHORT_READ, LONG_READ);
            }
            match ready!(self.poll_read(cx)) {
                Ok(count) if count > 0 => {}
                // An answer that ends with its connection has not ended where we have closed that ourselves.
                Ok(_) if self.outward.unsent.get() != Some(Unsent::Body) => {
                    let end = self.answer.as_mut().map_or(Err(BadAnswer::Cut), Answer::close);
                    return Poll::Ready(end.err().map(Err));
                }
                _ => return Poll::Ready(Some(Err(BadAnswer::Cut))),
            }
        }
    }

    /// The answer that is being read.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// Has the whole request left?
    pub(super) fn is_sent(&self) -> bool {
        self.outward.sending.borrow().is_done()
    }

    /// The answer has begun before the request was sent whole: from here on a task of its own sends what is left.
    pub(super) fn send_apart(&mut self) {
        if self.outward.unsent.get().is_some() {
            return self.outward.give_up();
        }
        let outward = Rc::clone(&self.outward);
        let task = tokio::task::spawn_local(async move {
            let sent = std::future::poll_fn(|cx| outward.poll(cx)).await;
            outward.note(sent);
            if sent.is_err() {
                outward.give_up();
            }
        });
        self.task = Some(task.abort_handle());
    }

    /// May it take another request? Only where both messages have ended beyond doubt, and nothing came behind them.
    pub(super) fn rest(&mut self) -> bool {
        let may = self.answer.take().is_some_and(|answer| answer.persists())
            && self.buffer.is_empty()
            && self.outward.unsent.get().is_none()
            && self.is_sent();
        // Their last piece may wait for its client for long.
        self.buffer = BytesMut::new();
        self.outward.sending.borrow_mut().forget();
        self.task = None;
        may
    }

    /// Sends on, where no task does.
    fn send(&self, cx: &mut Context<'_>) -> Option<Unsent> {
        if self.task.is_none()
            && self.outward.unsent.get().is_none()
            && let Poll::Ready(sent) = self.outward.poll(cx)
        {
            self.outward.note(sent);
        }
        self.outward.unsent.get()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stream = self.outward.stream.borrow_mut();
        if stream.poll_read_ready(cx)?.is_pending() {
            if self.buffer.is_empty() {
                // A stream that waits for its next piece holds no buffer.
                self.buffer = BytesMut::new();
            }
            return Poll::Pending;
        }
        if self.buffer.capacity() - self.buffer.len() < SCANT {
            self.buffer.reserve(self.read);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let count = ready!(pin!(stream.read_buf(&mut self.buffer)).poll(cx))?;
        if count == room {
            self.read = (self.read * 2).min(LONG_READ);
        }
        Poll::Ready(Ok(count))
    }

    /// Ends HTTP on it: the socket, and what was read behind the answer.
    pub(super) fn switch(&mut self) -> Switched<'_> {
        Switched { stream: &self.outward.stream, early: &mut self.buffer }
    }
}

/// A connection behind a switch of protocols.
pub(super) struct Switched<'a> {
    pub(super) stream: &'a RefCell<Stream>,
    pub(super) early: &'a mut BytesMut,
}

impl Outward {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        self.sending.borrow_mut().poll(cx, &mut self.stream.borrow_mut())
    }

    /// Lets go of what will not be sent.
    fn give_up(&self) {
        drop(self.sending.take());
    }

    fn note(&self, sent: Result<(), Unsent>) {
        if let Err(unsent) = sent {
            self.unsent.set(Some(unsent));
            if unsent == Unsent::Body {
                // The endpoint has to learn at once that this was not all. It wakes whoever reads the answer as well.
                self.stream.borrow().end();
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::net::TcpStream;

    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 1 << 10, head_count: 10 };

    #[tokio::test]
    async fn a_connection_that_was_closed_a_moment_ago_is_noticed_by_a_look_at_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for byte in [None, Some(b'x')] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = listener.accept().unwrap();
            let connection = Connection::new(Stream::Tcp(stream), LIMITS);
            assert!(connection.stands(true) && connection.stands(false));
            // Without a turn of the runtime, which has not heard of it then.
            if let Some(byte) = byte {
                io::Write::write_all(&mut &far, &[byte]).unwrap();
            }
            drop(far);
            assert!(connection.stands(false), "the runtime cannot know");
            assert!(!connection.stands(true), "closed, or with bytes that nobody asked for: {byte:?}");
        }
    }
}
