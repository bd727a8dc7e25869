//! A leased connection.

use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::{EndpointPool, OriginFault, OutgoingBody};
use crate::http1::{Answer, BadAnswer};

/// A connection that one exchange holds.
///
/// [`Lease::end`] with `reusable` returns it to the pool. Any other drop closes the connection and frees its place in
/// the pool.
pub struct Lease {
    connection: Option<Box<Connection>>,
    home: Weak<EndpointPool>,
    reused: bool,
}

impl Lease {
    pub(super) fn new(connection: Box<Connection>, home: &Rc<EndpointPool>, reused: bool) -> Lease {
        Lease { connection: Some(connection), home: Rc::downgrade(home), reused }
    }

    /// Whether the connection served a request before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sets the request; called once per lease. `asks_to_switch`: the request asks for another protocol.
    pub fn send(&mut self, request: Request<OutgoingBody>, asks_to_switch: bool) {
        if let Some(connection) = &mut self.connection {
            connection.begin(request, asks_to_switch);
        }
    }

    /// Sends the request. Ready with the head of the response; [`Lease::poll_body`] reads the response body.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, OriginFault>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(OriginFault::Reset));
        };
        let answer = connection.poll_answer(cx);
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

    /// Whether no byte of a response has arrived.
    pub fn is_unanswered(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_unanswered())
    }

    /// Takes the request back after a fault, unchanged, if sending it again cannot repeat an effect.
    pub fn take_back(&mut self) -> Option<Box<Request<OutgoingBody>>> {
        self.connection.as_mut().and_then(|connection| connection.take_back())
    }

    /// The next piece of the response body, or its trailers; `None` at the end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BadAnswer>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let read = connection.poll_body(cx);
        if let Poll::Ready(Some(Err(bad))) = &read {
            self.log_invalid(bad);
        }
        read
    }

    /// Whether the whole response was read.
    pub fn has_ended(&self) -> bool {
        self.answer().is_none_or(Answer::has_ended)
    }

    /// What is known about the length of the response body.
    pub fn size_hint(&self) -> SizeHint {
        self.answer().and_then(Answer::left).map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Whether the whole request was sent.
    pub fn is_sent(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_sent())
    }

    /// Sends the rest of the request in a task of its own: the response began before the request was sent completely.
    pub fn send_in_background(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.send_in_background();
        }
    }

    /// Ends the lease. `reusable`: the exchange found no reason against using the connection again.
    pub fn end(mut self, reusable: bool) {
        if let (true, Some(home)) = (reusable, self.home.upgrade())
            && let Some(connection) = self.connection.take_if(|connection| connection.rest())
        {
            home.take_back(connection);
        }
    }

    fn log_invalid(&self, bad: &BadAnswer) {
        if let Some(home) = self.home.upgrade() {
            home.log_invalid(bad);
        }
    }

    fn answer(&self) -> Option<&Answer> {
        self.connection.as_ref().and_then(|connection| connection.answer())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(_closed), Some(home)) = (self.connection.take(), self.home.upgrade()) {
            home.lost_one();
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

impl Tunneled {
    fn with<T>(
        &mut self,
        poll: impl FnOnce(super::connection::Switched<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0.connection {
            Some(connection) => poll(connection.switch()),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Tunneled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|connection| {
            if connection.early.is_empty() {
                return Pin::new(&mut *connection.stream.borrow_mut()).poll_read(cx, buf);
            }
            let count = connection.early.len().min(buf.remaining());
            buf.put_slice(connection.early.get(..count).unwrap_or_default());
            connection.early.advance(count);
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Tunneled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with(|connection| Pin::new(&mut *connection.stream.borrow_mut()).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|connection| Pin::new(&mut *connection.stream.borrow_mut()).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|connection| Pin::new(&mut *connection.stream.borrow_mut()).poll_shutdown(cx))
    }
}
