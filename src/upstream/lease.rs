//! One connection on loan.

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

/// One connection on loan.
///
/// Goes home by [`Lease::end`] with `reusable`; dropped in any other way it closes its connection, and the pool learns
/// that there is room for another.
pub struct Lease {
    connection: Option<Box<Connection>>,
    home: Weak<EndpointPool>,
    reused: bool,
}

/// A request that was not answered.
pub struct SendFault {
    /// The request as it was, if sending it again cannot repeat anything.
    pub again: Option<Box<Request<OutgoingBody>>>,
    /// What went wrong.
    pub cause: OriginFault,
}

impl SendFault {
    /// For a request that must not be sent again.
    pub fn new(cause: OriginFault) -> SendFault {
        SendFault { again: None, cause }
    }
}

impl Lease {
    pub(super) fn new(connection: Box<Connection>, home: &Rc<EndpointPool>, reused: bool) -> Lease {
        Lease { connection: Some(connection), home: Rc::downgrade(home), reused }
    }

    /// Did the connection serve a request before?
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Begins with a request, once in each loan. `asks_to_switch`: it asks for another protocol.
    pub fn send(&mut self, request: Request<OutgoingBody>, asks_to_switch: bool) {
        if let Some(connection) = &mut self.connection {
            connection.begin(request, asks_to_switch);
        }
    }

    /// Sends the request, and is ready with the head of its answer. What comes of the answer's body is for
    /// [`Lease::poll_body`].
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, SendFault>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(SendFault::new(OriginFault::Reset)));
        };
        let answer = connection.poll_answer(cx);
        if let Poll::Ready(Err(SendFault { cause: OriginFault::BadResponse(bad), .. })) = &answer {
            self.tell(bad);
        }
        answer
    }

    /// The next piece of the answer's body, or its trailers; `None` at its end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BadAnswer>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let read = connection.poll_body(cx);
        if let Poll::Ready(Some(Err(bad))) = &read {
            self.tell(bad);
        }
        read
    }

    /// Was all of the answer read?
    pub fn has_ended(&self) -> bool {
        self.answer().is_none_or(Answer::has_ended)
    }

    /// What is known of the length of the answer's body.
    pub fn size_hint(&self) -> SizeHint {
        self.answer().and_then(Answer::left).map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Has the whole request left?
    pub fn is_sent(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_sent())
    }

    /// The answer has begun before the request was sent whole: from here on both go their own ways.
    pub fn drive_apart(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.send_apart();
        }
    }

    /// Ends the loan. `reusable`: as far as the borrower knows the connection may be used again.
    pub fn end(mut self, reusable: bool) {
        if let (true, Some(home)) = (reusable, self.home.upgrade())
            && let Some(connection) = self.connection.take_if(|connection| connection.rest())
        {
            home.take_back(connection);
        }
    }

    fn tell(&self, bad: &BadAnswer) {
        if let Some(home) = self.home.upgrade() {
            home.tell_bad(bad);
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

/// The connection of a lease behind a switch of protocols: bytes as they are, first those that came with the answer.
pub struct Tunneled(Lease);

impl Lease {
    /// HTTP has ended on the connection with a 101.
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
