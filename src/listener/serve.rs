//! Serves HTTP/1 on an accepted connection, and polls connections of any version to their end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::connections::Connections;
use super::front::Front;
use super::linger::linger;
use crate::client::{ClientBody, ClientConnection, Ending, Pulse};
use crate::config::settings::Limits;
use crate::gateway::{Current, Tunnel};
use crate::limits::Client;

/// HTTP/1: the size of the write buffer, and the maximum size of one read of a body. It is raised if
/// `limits.header_bytes` is larger.
const BUFFER: usize = 64 << 10;

/// Serves HTTP/1 until the connection ends.
pub async fn http1<S>(
    stream: S,
    current: Rc<Current>,
    client: Rc<ClientConnection>,
    limits: Arc<Limits>,
    connections: &Connections,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pulse = Rc::clone(&client.pulse);
    let buffer = BUFFER.max(limits.header_bytes);
    let mut front = Front::new(stream, Rc::clone(&client), limits);
    // The library allocates 16 KiB when it begins to serve a connection, and many connections are opened long before
    // they are used. So it begins with the first bytes.
    if let Beginning::Ended = begin(&mut front, &pulse).await {
        return;
    }
    let io = TokioIo::new(front);
    let opened = Rc::default();
    let service =
        service_fn(|request: Request<Incoming>| current.get().serve(&client, &opened, request.map(ClientBody::http1)));
    let mut connection = http1::Builder::new()
        // The pulse has the timeouts, with one tick for all connections of the worker.
        .header_read_timeout(None)
        .max_buf_size(buffer)
        .serve_connection(io, service);
    let ended = drive(Pin::new(&mut connection), &pulse, http1::Connection::graceful_shutdown).await;
    let parts = connection.into_parts();
    let mut front = parts.io.into_inner();
    if ended && client.held.get() {
        match opened.take() {
            Some(tunnel) => return Box::pin(through(tunnel, front, parts.read_buf)).await,
            // The library does not close a connection whose upgrade was refused. Closing fails only if the client has
            // disconnected.
            None => drop(front.shutdown().await),
        }
    }
    if let Some(stream) = front.into_unread()
        && let Some(place) = connections.read_on(Client::of(client.peer.address.ip()))
    {
        Box::pin(linger(stream, &pulse, place)).await;
    }
}

/// Runs the tunnel that a WebSocket handshake has opened.
async fn through<S>(tunnel: Tunnel, front: Front<S>, unread: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, held) = front.into_tunnel();
    // The library was given no bytes after the handshake, so its buffer is empty. If it were not, its bytes would come
    // first.
    tunnel.run(stream, [unread.as_ref(), &held].concat()).await;
}

enum Beginning {
    Begun,
    Ended,
}

/// Waits for the first bytes of a client.
async fn begin<S: AsyncRead + Unpin>(front: &mut Front<S>, pulse: &Pulse) -> Beginning {
    let begun = std::future::poll_fn(|cx| match pulse.ending(cx.waker()) {
        Ending::Not | Ending::WithNextResponse => front.poll_begin(cx).map(Some),
        Ending::Gracefully | Ending::Now => Poll::Ready(None),
    });
    let begun = match begun.await {
        Some(begun) => begun,
        None => {
            sockets_are_looked_at().await;
            std::future::poll_fn(|cx| Poll::Ready(front.poll_begin(cx) == Poll::Ready(true))).await
        }
    };
    if begun { Beginning::Begun } else { Beginning::Ended }
}

/// Polls a connection to its end, or until its pulse ends it. `true`: it ended by itself without an error.
pub async fn drive<C, E>(mut connection: Pin<&mut C>, pulse: &Pulse, shut_down: fn(Pin<&mut C>)) -> bool
where
    C: Future<Output = Result<(), E>>,
{
    // An error of a connection concerns only its client; the access log line of the exchange shows it.
    if let Some(ended) = poll_until(connection.as_mut(), pulse, Ending::Gracefully).await {
        return ended.is_ok();
    }
    // A request that arrived before is finished, not cut.
    sockets_are_looked_at().await;
    if let Poll::Ready(ended) = std::future::poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await {
        return ended.is_ok();
    }
    shut_down(connection.as_mut());
    poll_until(connection, pulse, Ending::Now).await.is_some_and(|ended| ended.is_ok())
}

/// Polls a connection to its end, or until its pulse asks for `ending` (`None`).
pub async fn poll_until<C: Future>(mut connection: Pin<&mut C>, pulse: &Pulse, ending: Ending) -> Option<C::Output> {
    std::future::poll_fn(|cx| {
        if pulse.ending(cx.waker()) >= ending { Poll::Ready(None) } else { connection.as_mut().poll(cx).map(Some) }
    })
    .await
}

/// Bytes from a client wait in the kernel until the runtime polls the socket, between two turns of its tasks.
pub async fn sockets_are_looked_at() {
    tokio::task::yield_now().await;
}
