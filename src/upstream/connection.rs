//! One connection to an endpoint.
//!
//! The exchange that leases a connection polls it in its own task: it writes the request and reads the response. If the
//! endpoint responds before it has the whole request, a separate task sends the rest, since a client may finish its
//! request before it reads the response. An idle connection has no buffers and no task. It is checked when it is leased
//! and on each tick of the worker.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::task::AbortHandle;

use super::sending::{Sending, Unsent};
use super::stream::Stream;
use super::tls::{self, TlsFault};
use super::{OriginFault, OutgoingBody};
use crate::http1::{Answer, Asked, BadAnswer, Event, Limits};

/// Smallest and largest read, in bytes.
const SHORT_READ: usize = 8 << 10;
const LONG_READ: usize = 64 << 10;

/// A connection to an endpoint. Dropping it closes the socket at once, even during an exchange.
pub(super) struct Connection {
    /// The version of the endpoint's addresses when it was opened.
    pub(super) version: u64,
    outgoing: Rc<Outgoing>,
    limits: Limits,
    buffer: BytesMut,
    /// Size of the next read, in bytes.
    read: usize,
    answer: Option<Answer>,
    /// The task that sends the rest of the request.
    task: Option<AbortHandle>,
}

/// What is needed to send a request; shared with the task that sends the rest of one.
struct Outgoing {
    stream: RefCell<Stream>,
    sending: RefCell<Sending>,
    unsent: Cell<Option<Unsent>>,
}

impl Connection {
    /// `limits` apply to the heads of its responses.
    pub(super) fn new(stream: Stream, limits: Limits, version: u64) -> Connection {
        let outgoing = Outgoing { stream: RefCell::new(stream), sending: RefCell::default(), unsent: Cell::default() };
        let buffer = BytesMut::new();
        Connection { version, outgoing: Rc::new(outgoing), limits, buffer, read: SHORT_READ, answer: None, task: None }
    }

    /// Whether its endpoint still has the address that the connection leads to.
    pub(super) fn leads_to(&self, addresses: &[SocketAddr]) -> bool {
        self.outgoing.stream.borrow().peer().is_none_or(|peer| addresses.contains(&peer))
    }

    /// Whether the connection is still open and has no unexpected bytes to read. `certainly` asks the system; otherwise
    /// only what the runtime was notified of is considered, which costs no system call.
    pub(super) fn is_open(&self, certainly: bool) -> bool {
        self.outgoing.stream.borrow_mut().is_quiet(certainly)
    }

    /// Sets the next request; [`Connection::poll_answer`] sends it.
    pub(super) fn begin(&mut self, request: Request<OutgoingBody>, asks_to_switch: bool) {
        self.answer = Some(Answer::new(Asked::by(request.method(), asks_to_switch), self.limits));
        self.read = SHORT_READ;
        self.outgoing.sending.borrow_mut().begin(request);
    }

    /// Sends the request, and waits for the head of the response.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, OriginFault>> {
        if self.send(cx) == Some(Unsent::Body) {
            return Poll::Ready(Err(OriginFault::Reset));
        }
        loop {
            let Some(answer) = &mut self.answer else { return Poll::Ready(Err(OriginFault::Reset)) };
            match answer.next(&mut self.buffer) {
                Ok(Some(Event::Head(head))) => {
                    self.outgoing.sending.borrow_mut().forget();
                    return Poll::Ready(Ok(head));
                }
                Ok(Some(_)) => return Poll::Ready(Err(OriginFault::Reset)),
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Err(OriginFault::BadResponse(bad))),
            }
            let read = ready!(self.poll_read(cx));
            if !matches!(read, Ok(count) if count > 0) {
                return Poll::Ready(Err(match read {
                    Err(error) if tls::cause(&error).is_some() => OriginFault::Tls(Box::new(TlsFault::of(&error))),
                    _ => OriginFault::Reset,
                }));
            }
        }
    }

    /// The next piece of the response body, or its trailers; `None` at the end.
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
                // A response that is delimited by the end of the connection is incomplete if we closed the connection.
                Ok(_) if self.outgoing.unsent.get() != Some(Unsent::Body) => {
                    let end = self.answer.as_mut().map_or(Err(BadAnswer::Cut), Answer::close);
                    return Poll::Ready(end.err().map(Err));
                }
                _ => return Poll::Ready(Some(Err(BadAnswer::Cut))),
            }
        }
    }

    /// Whether no byte of a response has arrived.
    pub(super) fn is_unanswered(&self) -> bool {
        self.answer.as_ref().is_none_or(|answer| !answer.has_begun()) && self.buffer.is_empty()
    }

    /// Takes the request back after a fault.
    pub(super) fn take_back(&mut self) -> Option<Box<Request<OutgoingBody>>> {
        self.outgoing.sending.borrow_mut().take_back()
    }

    /// The response that is being read.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// Whether the whole request was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.outgoing.sending.borrow().is_done()
    }

    /// Starts a task that sends the rest of the request: the response began before the request was sent completely.
    pub(super) fn send_in_background(&mut self) {
        if self.outgoing.unsent.get().is_some() {
            return self.outgoing.give_up();
        }
        let outgoing = Rc::clone(&self.outgoing);
        let task = tokio::task::spawn_local(async move {
            let sent = std::future::poll_fn(|cx| outgoing.poll(cx)).await;
            outgoing.note(sent);
            if sent.is_err() {
                outgoing.give_up();
            }
        });
        self.task = Some(task.abort_handle());
    }

    /// Prepares the connection for the pool. Returns whether it can take another request: both messages have ended
    /// unambiguously, and no bytes follow the response.
    pub(super) fn rest(&mut self) -> bool {
        let may = self.answer.take().is_some_and(|answer| answer.persists())
            && self.buffer.is_empty()
            && self.outgoing.unsent.get().is_none()
            && self.is_sent();
        // The last piece shares this memory and may wait for a slow client.
        self.buffer = BytesMut::new();
        self.outgoing.sending.borrow_mut().forget();
        self.task = None;
        may
    }

    /// Sends more of the request, unless a task does.
    fn send(&self, cx: &mut Context<'_>) -> Option<Unsent> {
        if self.task.is_none()
            && self.outgoing.unsent.get().is_none()
            && let Poll::Ready(sent) = self.outgoing.poll(cx)
        {
            self.outgoing.note(sent);
        }
        self.outgoing.unsent.get()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stream = self.outgoing.stream.borrow_mut();
        let (count, room) = if self.read <= SHORT_READ {
            // On the stack: most responses are short, and a wait holds no buffer.
            let mut scratch = [MaybeUninit::uninit(); SHORT_READ];
            let mut buf = ReadBuf::uninit(&mut scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
            self.buffer.extend_from_slice(buf.filled());
            (buf.filled().len(), SHORT_READ)
        } else {
            ready!(stream.poll_read_ready(cx))?;
            // The rest of a buffer is used while it is worth a read.
            if self.buffer.capacity() - self.buffer.len() < self.read / 2 {
                self.buffer.reserve(self.read);
            }
            // Not more, also if the buffer has more room: TLS takes this much in one write, and a rest needs another one.
            let room = (self.buffer.capacity() - self.buffer.len()).min(self.read);
            let read = pin!(stream.read_buf(&mut (&mut self.buffer).limit(room))).poll(cx);
            if self.buffer.is_empty() {
                // A wait holds no buffer.
                self.buffer = BytesMut::new();
            }
            (ready!(read)?, room)
        };
        if count == room {
            self.read = (self.read * 2).min(LONG_READ);
        }
        Poll::Ready(Ok(count))
    }

    /// Ends HTTP on the connection. Returns the socket, and what was read after the response.
    pub(super) fn switch(&mut self) -> Switched<'_> {
        Switched { stream: &self.outgoing.stream, early: &mut self.buffer }
    }
}

/// A connection after a switch of protocols.
pub(super) struct Switched<'a> {
    pub(super) stream: &'a RefCell<Stream>,
    pub(super) early: &'a mut BytesMut,
}

impl Outgoing {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        self.sending.borrow_mut().poll(cx, &mut self.stream.borrow_mut())
    }

    /// Drops the request's unsent part.
    fn give_up(&self) {
        drop(self.sending.take());
    }

    fn note(&self, sent: Result<(), Unsent>) {
        if let Err(unsent) = sent {
            self.unsent.set(Some(unsent));
            if unsent == Unsent::Body {
                // Tells the endpoint at once that the request is incomplete. Also wakes the task that reads the
                // response.
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
    async fn a_connection_that_was_just_closed_is_detected_by_asking_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for byte in [None, Some(b'x')] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = listener.accept().unwrap();
            let connection = Connection::new(Stream::Tcp(stream), LIMITS, 0);
            assert!(connection.is_open(true) && connection.is_open(false));
            // The runtime does not run in this test, so it does not notify the socket.
            if let Some(byte) = byte {
                io::Write::write_all(&mut &far, &[byte]).unwrap();
            }
            drop(far);
            assert!(connection.is_open(false), "the runtime was not notified");
            assert!(!connection.is_open(true), "closed, or with unexpected bytes: {byte:?}");
        }
    }
}
