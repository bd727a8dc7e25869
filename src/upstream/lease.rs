//! A leased connection.

use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Switched};
use super::http2_stream::Http2Stream;
use super::{EndpointPool, OriginFault, OutgoingBody};
use crate::client::ByteStream;
use crate::http1::{Answer, BadAnswer};

/// A connection that one exchange holds.
///
/// [`Lease::end`] with `reusable` returns it to the pool. Any other drop closes the connection and frees its place in
/// the pool.
pub struct Lease {
    held: Held,
    home: Weak<EndpointPool>,
    reused: bool,
}

/// What an exchange holds.
enum Held {
    /// Nothing more: the connection was returned.
    Nothing,
    /// A connection of HTTP/1.1.
    Connection(Box<Connection>),
    /// A stream of HTTP/2.
    Stream(Box<Http2Stream>),
}

impl Lease {
    pub(super) fn new(connection: Box<Connection>, home: &Rc<EndpointPool>, reused: bool) -> Lease {
        Lease { held: Held::Connection(connection), home: Rc::downgrade(home), reused }
    }

    pub(super) fn of_stream(stream: Http2Stream, home: &Rc<EndpointPool>) -> Lease {
        let reused = stream.is_reused();
        Lease { held: Held::Stream(Box::new(stream)), home: Rc::downgrade(home), reused }
    }

    /// Whether the connection served a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the endpoint may be asked for WebSocket. Over HTTP/2 it says so in its settings.
    ///
    /// # Errors
    /// The settings did not arrive.
    pub async fn takes_websocket(&self) -> Result<bool, OriginFault> {
        let Held::Stream(stream) = &self.held else { return Ok(true) };
        let limit = self.home.upgrade().map_or(Duration::ZERO, |home| home.connect_timeout());
        tokio::time::timeout(limit, stream.takes_websocket()).await.unwrap_or(Err(OriginFault::ConnectTimeout))
    }

    /// Whether the lease is a stream of HTTP/2.
    pub fn is_stream(&self) -> bool {
        matches!(self.held, Held::Stream(_))
    }

    /// Sets the request; called once per lease. `asks_to_switch`: the request asks for another protocol.
    pub fn send(&mut self, request: Request<OutgoingBody>, asks_to_switch: bool) {
        match &mut self.held {
            Held::Connection(connection) => connection.begin(request, asks_to_switch),
            Held::Stream(stream) => stream.begin(request, asks_to_switch),
            Held::Nothing => {}
        }
    }

    /// Sends the request. Ready with the head of the response; [`Lease::poll_body`] reads the response body.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, OriginFault>> {
        let answer = match &mut self.held {
            Held::Connection(connection) => connection.poll_answer(cx),
            Held::Stream(stream) => stream.poll_answer(cx),
            Held::Nothing => return Poll::Ready(Err(OriginFault::Reset)),
        };
        match &answer {
            Poll::Ready(Err(OriginFault::BadResponse(bad))) => self.log_invalid(bad),
            Poll::Ready(Err(OriginFault::Tls(fault))) => {
                if let Some(home) = self.home.upgrade() {
                    home.log_tls(fault);
                }
            }
            _ => {}
        }
        answer
    }

    fn is_unanswered(&self) -> bool {
        match &self.held {
            Held::Connection(connection) => connection.is_unanswered(),
            Held::Stream(stream) => stream.is_unanswered(),
            Held::Nothing => true,
        }
    }

    /// Whether the endpoint has said that it has not processed the request (HTTP/2).
    pub fn is_unprocessed(&self) -> bool {
        matches!(&self.held, Held::Stream(stream) if stream.is_unprocessed())
    }

    /// Whether the endpoint has broken the rules of HTTP/2, but possibly on another stream of the connection.
    pub fn may_be_innocent(&self) -> bool {
        matches!(&self.held, Held::Stream(stream) if stream.may_be_innocent())
    }

    /// Whether the connection ended before a byte of a response has arrived, although it had served requests before:
    /// the endpoint may have closed it before it could see the request.
    pub fn was_stale(&self) -> bool {
        let is_reset = matches!(&self.held, Held::Stream(stream) if stream.is_reset());
        self.reused && self.is_unanswered() && !is_reset
    }

    /// Takes the request back after a fault, if sending it again cannot repeat an effect.
    pub fn take_back(&mut self) -> Option<Box<Request<OutgoingBody>>> {
        match &mut self.held {
            Held::Connection(connection) => connection.take_back(),
            Held::Stream(stream) => stream.take_back(),
            Held::Nothing => None,
        }
    }

    /// The endpoint did not respond in time: a connection with other streams gets no further ones.
    pub fn distrust(&self) {
        if let Held::Stream(stream) = &self.held {
            stream.distrust();
        }
    }

    /// The next piece of the response body, or its trailers; `None` at the end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BadAnswer>>> {
        let read = match &mut self.held {
            Held::Connection(connection) => connection.poll_body(cx),
            Held::Stream(stream) => stream.poll_body(cx),
            Held::Nothing => return Poll::Ready(None),
        };
        if let Poll::Ready(Some(Err(bad))) = &read {
            self.log_invalid(bad);
        }
        read
    }

    /// Keeps what arrives of the response, while the client takes nothing. Wakes the task when more arrives. A
    /// connection of HTTP/1.1 has no other stream, so its bytes wait in its socket.
    pub fn keep(&mut self, cx: &mut Context<'_>) {
        if let Held::Stream(stream) = &mut self.held {
            stream.keep(cx);
        }
    }

    /// Whether the whole response was read.
    pub fn has_ended(&self) -> bool {
        match &self.held {
            Held::Connection(connection) => connection.answer().is_none_or(Answer::has_ended),
            Held::Stream(stream) => stream.has_ended(),
            Held::Nothing => true,
        }
    }

    /// What is known about the length of the response body.
    pub fn size_hint(&self) -> SizeHint {
        let left = match &self.held {
            Held::Connection(connection) => connection.answer().and_then(Answer::left),
            Held::Stream(stream) => stream.left(),
            Held::Nothing => None,
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Whether the whole request was sent.
    pub fn is_sent(&self) -> bool {
        match &self.held {
            Held::Connection(connection) => connection.is_sent(),
            Held::Stream(stream) => stream.is_sent(),
            Held::Nothing => true,
        }
    }

    /// Sends the rest of the request in a task of its own: the response began before the request was sent completely.
    pub fn send_in_background(&mut self) {
        match &mut self.held {
            Held::Connection(connection) => connection.send_in_background(),
            Held::Stream(stream) => stream.send_in_background(),
            Held::Nothing => {}
        }
    }

    /// Ends the lease. `reusable`: the exchange found no reason against using the connection again.
    pub fn end(mut self, reusable: bool) {
        let is_good = match &mut self.held {
            Held::Connection(connection) => reusable && connection.rest(),
            Held::Stream(_) | Held::Nothing => false,
        };
        if let (true, Some(home)) = (is_good, self.home.upgrade())
            && let Held::Connection(connection) = mem::replace(&mut self.held, Held::Nothing)
        {
            home.take_back(connection);
        }
    }

    fn log_invalid(&self, bad: &BadAnswer) {
        if let Some(home) = self.home.upgrade() {
            home.log_invalid(bad);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        match mem::replace(&mut self.held, Held::Nothing) {
            Held::Connection(closed) => {
                drop(closed);
                home.lost_one();
            }
            Held::Stream(ended) => {
                drop(ended);
                home.has_freed();
            }
            Held::Nothing => {}
        }
    }
}

/// The leased connection after a switch of protocols: raw bytes, beginning with those that arrived with the response.
pub struct Tunneled(Lease);

impl Lease {
    /// Ends HTTP on the connection, after a 101.
    pub fn into_tunnel(self) -> Tunneled {
        Tunneled(self)
    }
}

/// The two kinds of far ends of a tunnel.
enum Far<'a> {
    Connection(Switched<'a>),
    Stream(&'a mut ByteStream),
}

impl Tunneled {
    /// Keeps what arrives, while the client takes nothing ([`Lease::keep`]).
    pub fn keep(&mut self, cx: &mut Context<'_>) {
        self.0.keep(cx);
    }

    fn with<T>(&mut self, poll: impl FnOnce(Far<'_>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let far = match &mut self.0.held {
            Held::Connection(connection) => Some(Far::Connection(connection.switch())),
            Held::Stream(stream) => stream.tunnel().map(Far::Stream),
            Held::Nothing => None,
        };
        far.map_or(Poll::Ready(Err(io::ErrorKind::NotConnected.into())), poll)
    }
}

impl AsyncRead for Tunneled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|far| match far {
            Far::Stream(stream) => Pin::new(stream).poll_read(cx, buf),
            Far::Connection(far) if far.early.is_empty() => Pin::new(&mut *far.stream.borrow_mut()).poll_read(cx, buf),
            Far::Connection(far) => {
                let count = far.early.len().min(buf.remaining());
                buf.put_slice(far.early.get(..count).unwrap_or_default());
                far.early.advance(count);
                Poll::Ready(Ok(()))
            }
        })
    }
}

impl AsyncWrite for Tunneled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with(|far| match far {
            Far::Stream(stream) => Pin::new(stream).poll_write(cx, buf),
            Far::Connection(far) => Pin::new(&mut *far.stream.borrow_mut()).poll_write(cx, buf),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|far| match far {
            Far::Stream(stream) => Pin::new(stream).poll_flush(cx),
            Far::Connection(far) => Pin::new(&mut *far.stream.borrow_mut()).poll_flush(cx),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|far| match far {
            Far::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
            Far::Connection(far) => Pin::new(&mut *far.stream.borrow_mut()).poll_shutdown(cx),
        })
    }
}
