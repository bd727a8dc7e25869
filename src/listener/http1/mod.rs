//! Serves HTTP/1.1 and HTTP/1.0 on an accepted connection.
//!
//! The connection reads a head, serves the request ([`exchange`]), and begins again. [`arriving`] is the rest of the
//! request, [`answer`] the response, and [`wire`] has the bytes between them and the socket. An idle connection holds no
//! buffer and no future of a request.

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

/// Serves HTTP/1 until the connection ends.
pub async fn http1<S>(
    stream: S,
    current: Rc<Current>,
    client: Rc<ClientConnection>,
    limits: Arc<Limits>,
    connections: &Connections,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pulse = Rc::clone(&client.pulse);
    let (mut wire, mut heads) = (Wire::new(stream), HeadReader::default());
    let is_unread = loop {
        let Some(head) = next_head(&mut wire, &mut heads, &client, &limits).await else { break false };
        client.held.set(head.framing == RequestFraming::WebSocketHandshake);
        // Boxed, so that an idle connection does not hold the memory of an exchange.
        let exchange = Box::pin(Exchange::begin(&mut wire, &client, current.get(), head, Gateway::serve));
        match poll_until(pin!(exchange), &pulse, Ending::Now).await {
            Some(Next::Request) => {}
            Some(Next::Close { unread }) => break unread,
            Some(Next::Tunnel(tunnel)) => {
                let (stream, held) = wire.into_parts();
                return Box::pin(tunnel.run(stream, held.into())).await;
            }
            Some(Next::Cut) | None => return,
        }
    };
    // Closes only our direction. This fails only if the client has disconnected.
    let closed = poll_until(pin!(wire.stream().shutdown()), &pulse, Ending::Now).await;
    if is_unread
        && closed.is_some()
        && let Some(place) = connections.read_on(Client::of(client.peer.address.ip()))
    {
        let (stream, _) = wire.into_parts();
        Box::pin(linger(stream, &pulse, place)).await;
    }
}

/// Waits for the head of the next request. `None`: the client has closed the connection, or it must end.
async fn next_head<S>(
    wire: &mut Wire<S>,
    heads: &mut HeadReader,
    client: &ClientConnection,
    limits: &Limits,
) -> Option<RequestHead>
where
    S: AsyncRead + Unpin,
{
    let pulse = &client.pulse;
    let read = std::future::poll_fn(|cx| match pulse.ending(cx.waker()) {
        Ending::Not | Ending::WithNextResponse => poll_head(wire, heads, client, limits, cx).map(Some),
        Ending::Gracefully | Ending::Now => Poll::Ready(None),
    });
    if let Some(head) = read.await {
        return head;
    }
    // A request of which the first bytes have arrived is served, not cut.
    sockets_are_looked_at().await;
    let is_begun = std::future::poll_fn(|cx| Poll::Ready(poll_head(wire, heads, client, limits, cx))).await;
    match is_begun {
        Poll::Ready(head) => head,
        Poll::Pending if wire.input.is_empty() => None,
        Poll::Pending => {
            poll_until(pin!(std::future::poll_fn(|cx| poll_head(wire, heads, client, limits, cx))), pulse, Ending::Now)
                .await?
        }
    }
}

/// Reads until a head is complete. A damaged head is replaced by a request that the gateway refuses, so that the client
/// gets a proper response. `None`: the client has closed the connection.
fn poll_head<S>(
    wire: &mut Wire<S>,
    heads: &mut HeadReader,
    client: &ClientConnection,
    limits: &Limits,
    cx: &mut Context<'_>,
) -> Poll<Option<RequestHead>>
where
    S: AsyncRead + Unpin,
{
    loop {
        match heads.next(&mut wire.input, limits).transpose() {
            Some(head) => {
                client.pulse.head_ends();
                return Poll::Ready(Some(head.unwrap_or_else(RequestHead::damaged)));
            }
            None if wire.input.is_empty() => {}
            None => client.pulse.head_begins(),
        }
        match wire.poll_read(cx) {
            Poll::Ready(Ok(count)) if count > 0 => {}
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}
