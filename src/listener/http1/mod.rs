//! Serves HTTP/1.1 and HTTP/1.0 on an accepted connection.
//!
//! The connection reads a head, serves the request ([`exchange`]), and begins again. [`arriving`] is the rest of the
//! request, [`answer`] the response, and [`wire`] has the bytes between them and the socket. An idle connection holds
//! no buffer and no future of a request.

mod answer;
mod arriving;
mod exchange;
mod wire;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use self::exchange::{Exchange, Next};
use self::wire::Wire;
use super::connections::Connections;
use super::linger::linger;
use super::serve::{poll_until, sockets_are_looked_at};
use crate::client::{ClientConnection, Ending};
use crate::config::settings::Limits;
use crate::gateway::{Current, Gateway};
use crate::http1::{HeadReader, RequestFraming, RequestHead};
use crate::limits::Client;

/// A connection that serves HTTP/1. Boxed, because a future that moves its parts around would be several times as
/// large.
pub struct Http1<S> {
    wire: Wire<S>,
    heads: HeadReader,
    current: Rc<Current>,
    client: Rc<ClientConnection>,
    limits: Arc<Limits>,
}

impl<S> Http1<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// A connection on which nothing was read.
    pub fn new(stream: S, current: Rc<Current>, client: Rc<ClientConnection>, limits: Arc<Limits>) -> Box<Http1<S>> {
        let wire = Wire::new(stream, Rc::clone(&client.pulse));
        Box::new(Http1 { wire, heads: HeadReader::default(), current, client, limits })
    }

    /// Serves until the connection ends. `connections` has the places for reading the rest of a refused request.
    pub async fn serve(mut self: Box<Self>, connections: &Connections) {
        let is_unread = loop {
            let Some(head) = self.next_head().await else { break false };
            self.client.held.set(head.framing == RequestFraming::WebSocketHandshake);
            let gateway = self.current.get();
            // Boxed, so that an idle connection does not hold the memory of an exchange.
            let exchange = Box::pin(Exchange::begin(&mut self.wire, &self.client, gateway, head, Gateway::serve));
            match poll_until(pin!(exchange), &self.client.pulse, Ending::Now).await {
                Some(Next::Request) => {}
                Some(Next::Close { unread }) => break unread,
                Some(Next::Tunnel(tunnel)) => {
                    let (stream, held) = self.wire.into_parts();
                    return Box::pin(tunnel.run(stream, held.into())).await;
                }
                Some(Next::Cut) | None => return,
            }
        };
        Box::pin(self.close(is_unread, connections)).await;
    }

    /// Closes our direction. If the client may still be sending, what it sends is read for a while.
    async fn close(mut self: Box<Self>, is_unread: bool, connections: &Connections) {
        let pulse = Rc::clone(&self.client.pulse);
        // Fails only if the client has disconnected.
        let closed = poll_until(pin!(self.wire.stream().shutdown()), &pulse, Ending::Now).await;
        if is_unread
            && closed.is_some()
            && let Some(place) = connections.read_on(Client::of(self.client.peer.address.ip()))
        {
            let (stream, _) = self.wire.into_parts();
            linger(stream, &pulse, place).await;
        }
    }

    /// Waits for the head of the next request. `None`: the client has closed the connection, or it must end.
    async fn next_head(&mut self) -> Option<RequestHead> {
        let client = Rc::clone(&self.client);
        let read = std::future::poll_fn(|cx| match client.pulse.ending(cx.waker()) {
            Ending::Not | Ending::WithNextResponse => self.poll_head(cx).map(Some),
            Ending::Gracefully | Ending::Now => Poll::Ready(None),
        });
        if let Some(head) = read.await {
            return head;
        }
        // A request of which the first bytes have arrived is served, not cut.
        sockets_are_looked_at().await;
        match std::future::poll_fn(|cx| Poll::Ready(self.poll_head(cx))).await {
            Poll::Ready(head) => head,
            Poll::Pending if self.wire.input.is_empty() => None,
            Poll::Pending => {
                poll_until(pin!(std::future::poll_fn(|cx| self.poll_head(cx))), &client.pulse, Ending::Now).await?
            }
        }
    }

    /// Reads until a head is complete. A damaged head is replaced by a request that the gateway refuses, so that the
    /// client gets a proper response. `None`: the client has closed the connection.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<RequestHead>> {
        loop {
            match self.heads.next(&mut self.wire.input, &self.limits).transpose() {
                Some(head) => {
                    self.client.pulse.head_ends();
                    return Poll::Ready(Some(head.unwrap_or_else(RequestHead::damaged)));
                }
                None if self.wire.input.is_empty() => {}
                None => self.client.pulse.head_begins(),
            }
            match self.wire.poll_read(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
