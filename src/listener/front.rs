//! The strict front of an HTTP/1 connection.
//!
//! It is between the socket and the HTTP library and checks the bytes of each request head before the library reads
//! them. It replaces a damaged head by a request that the gateway refuses, so that the client gets a proper response;
//! the bytes after it are not read. It also reports to the connection's [`Pulse`](crate::client::Pulse) when a head
//! begins and ends.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunks::Chunks;
use super::head::{Framing, HeadSearch, judge};
use crate::client::{ClientConnection, HeadFault, REFUSED_METHOD};
use crate::config::settings::Limits;

/// How many bytes a client may send before the response to a WebSocket handshake. Ordinary clients send none.
const HELD_BYTES: usize = 16 << 10;
/// Maximum number of empty lines before a request line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES: u8 = 2;

/// The strict front of one connection.
pub struct Front<S> {
    stream: S,
    client: Rc<ClientConnection>,
    limits: Arc<Limits>,
    state: State,
    /// The start of an incomplete head, because the library gets complete heads only. After a WebSocket handshake: the
    /// bytes that wait for its response.
    partial: Vec<u8>,
    search: HeadSearch,
    empty_lines: u8,
    /// Checked bytes that did not fit into the library's buffer.
    ready: Vec<u8>,
    /// Whether our direction of the connection was closed.
    is_shut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    Chunked(Chunks),
    /// A WebSocket handshake was passed to the library. The bytes after it are never read as HTTP: they wait for a 101
    /// or for the end of the connection.
    Held,
    /// A head was damaged: the stand-in was passed to the library, and nothing follows it.
    Refused,
    /// A body was damaged: the library gets an error and passes it to the reader of the body.
    Damaged,
}

/// The end of the checked bytes, and why checking stopped there.
struct Judged {
    pass: usize,
    stop: Option<Stop>,
}

enum Stop {
    Head(HeadFault),
    Body,
}

impl<S> Front<S> {
    /// Creates the front of a new connection.
    pub fn new(stream: S, client: Rc<ClientConnection>, limits: Arc<Limits>) -> Front<S> {
        Front {
            stream,
            client,
            limits,
            state: State::Head,
            partial: Vec::new(),
            search: HeadSearch::default(),
            empty_lines: 0,
            ready: Vec::new(),
            is_shut: false,
        }
    }

    /// Checks `bytes` up to the last complete part.
    fn judge(&mut self, bytes: &[u8]) -> Judged {
        let mut pass = 0;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            if rest.is_empty() {
                return Judged { pass, stop: None };
            }
            match &mut self.state {
                State::Head => match self.search.end(rest, self.limits.header_bytes) {
                    Ok(Some(length)) => {
                        self.search = HeadSearch::default();
                        if let Err(fault) = self.head(rest.get(..length).unwrap_or_default()) {
                            return Judged { pass, stop: Some(Stop::Head(fault)) };
                        }
                        pass += length;
                    }
                    Ok(None) => return Judged { pass, stop: None },
                    Err(fault) => return Judged { pass, stop: Some(Stop::Head(fault)) },
                },
                State::Body(left) => {
                    let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(*left);
                    *left -= here;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                    pass += usize::try_from(here).unwrap_or(usize::MAX);
                }
                State::Chunked(chunks) => match chunks.advance(rest) {
                    Ok(Some(length)) => {
                        self.state = State::Head;
                        pass += length;
                    }
                    Ok(None) => return Judged { pass: bytes.len(), stop: None },
                    // No byte of it is passed on: the library may not notice the damage, and treat the body as
                    // complete.
                    Err(_) => return Judged { pass, stop: Some(Stop::Body) },
                },
                State::Held | State::Refused | State::Damaged => return Judged { pass, stop: None },
            }
        }
    }

    fn head(&mut self, head: &[u8]) -> Result<(), HeadFault> {
        if head == b"\r\n" {
            self.empty_lines += 1;
            return if self.empty_lines > EMPTY_LINES { Err(HeadFault::RequestLine) } else { Ok(()) };
        }
        self.empty_lines = 0;
        self.state = match judge(head, &self.limits)? {
            Framing::Length(0) => State::Head,
            Framing::Length(length) => State::Body(length),
            Framing::Chunked => State::Chunked(Chunks::START),
            Framing::WebSocketHandshake => State::Held,
        };
        self.client.held.set(self.state == State::Held);
        self.client.pulse.head_ends();
        Ok(())
    }

    /// Checks the bytes that were just read into `buf` after `before`. Leaves in `buf` only the bytes that the library
    /// may read now.
    fn judge_read(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        if self.partial.is_empty() {
            // The usual case: complete heads, checked in place.
            let fresh = buf.filled().get(before..).unwrap_or_default();
            let Judged { pass, stop } = self.judge(fresh);
            if stop.is_none() {
                self.hold(fresh.get(pass..).unwrap_or_default());
            }
            buf.set_filled(before + pass);
            self.stop(stop);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(buf.filled().get(before..).unwrap_or_default());
            buf.set_filled(before);
            let Judged { pass, stop } = self.judge(&bytes);
            if stop.is_none() {
                self.hold(bytes.get(pass..).unwrap_or_default());
            }
            bytes.truncate(pass);
            self.ready = bytes;
            self.stop(stop);
        }
    }

    /// Stores the start of a head until its end arrives, or the bytes after a WebSocket handshake.
    fn hold(&mut self, head: &[u8]) {
        if !head.is_empty() {
            self.partial.extend_from_slice(head);
            if self.state != State::Held {
                self.client.pulse.head_begins();
            }
        }
    }

    fn stop(&mut self, stop: Option<Stop>) {
        match stop {
            None => {}
            Some(Stop::Head(fault)) => {
                self.state = State::Refused;
                self.client.fault.set(Some(fault));
                self.client.pulse.head_ends();
                self.ready
                    .extend_from_slice(format!("{REFUSED_METHOD} / HTTP/1.1\r\nhost: refused\r\n\r\n").as_bytes());
            }
            Some(Stop::Body) => self.state = State::Damaged,
        }
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ready.len().min(buf.remaining());
        if count > 0 {
            buf.put_slice(self.ready.get(..count).unwrap_or_default());
            self.ready.drain(..count);
        }
        if self.ready.is_empty() && self.ready.capacity() > 0 {
            self.ready = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Front<S> {
    /// Returns the connection, and the bytes that the client has sent after the handshake.
    pub fn into_tunnel(self) -> (S, Vec<u8>) {
        (self.stream, self.partial)
    }

    /// Returns the connection if our direction was closed while the client may still be sending: a request was not read
    /// completely, or another one had begun.
    pub fn into_unread(self) -> Option<S> {
        let is_unread = self.state != State::Head || !self.partial.is_empty() || !self.ready.is_empty();
        (self.is_shut && is_unread).then_some(self.stream)
    }

    /// Only checks whether the client disconnects before the response to its handshake.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0_u8; 2048];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.partial.extend_from_slice(buf.filled());
            if self.partial.len() > HELD_BYTES {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
    }

    /// Ready when the client has sent something, which is then read as usual; `false`: the client disconnected.
    pub fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut first = [0_u8; 2048];
        let mut buf = ReadBuf::new(&mut first);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
        if read.is_err() || buf.filled().is_empty() {
            return Poll::Ready(false);
        }
        let bytes = buf.filled().to_vec();
        let Judged { pass, stop } = self.judge(&bytes);
        if stop.is_none() {
            self.hold(bytes.get(pass..).unwrap_or_default());
        }
        self.ready = bytes;
        self.ready.truncate(pass);
        self.stop(stop);
        Poll::Ready(true)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Front<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            this.hand_over(buf);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            match this.state {
                // Does not report the end of the stream: the library would then drop the response.
                State::Refused => return Poll::Pending,
                State::Damaged => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                State::Held => return this.poll_held(cx),
                State::Head | State::Body(_) | State::Chunked(_) => {}
            }
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.judge_read(buf, before);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Front<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Closes only our direction; [`linger`](super::linger) reads what the client still sends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_shut = true;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
