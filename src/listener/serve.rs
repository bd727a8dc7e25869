//! Serves HTTP on an accepted connection: the one place with settings of the HTTP library.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::connections::Connections;
use super::frames::Watched;
use super::front::Front;
use super::linger::linger;
use crate::config::settings::Limits;
use crate::gateway::{ClientConnection, Ending, Gateway, Pulse, Tunnel};
use crate::limits::Client;

/// HTTP/1: writes are gathered up to this much, and one read of a body takes at most as much (PERFORMANCE §3). A head
/// that the settings allow must fit as well.
const BUFFER: usize = 64 << 10;
/// HTTP/2: what a client may send ahead on one stream, and on all of a connection (HARDENING §1, Envoy's edge values).
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// HTTP/2: what we hold for one stream that its client does not take; the library's own 400 KiB would be 40 MB a
/// connection.
const SEND_BUFFER: usize = 64 << 10;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// Serves HTTP/1 until the connection ends.
pub async fn http1<S>(
    stream: S,
    gateway: Rc<Gateway>,
    client: Rc<ClientConnection>,
    limits: Rc<Limits>,
    connections: &Connections,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pulse = Rc::clone(&client.pulse);
    let buffer = BUFFER.max(limits.header_bytes);
    let mut front = Front::new(stream, Rc::clone(&client), limits);
    // The library holds 16 KiB for a connection from its begin; many connections are opened long before they are used.
    if let Beginning::Ended = begin(&mut front, &pulse).await {
        return;
    }
    let io = TokioIo::new(front);
    let opened = Rc::default();
    let service = service_fn(|request| Rc::clone(&gateway).serve(&client, &opened, request));
    let mut connection = http1::Builder::new()
        // The pulse has the timers, with one tick for all connections of the worker.
        .header_read_timeout(None)
        .max_buf_size(buffer)
        .serve_connection(io, service);
    let ended = drive(Pin::new(&mut connection), &pulse, http1::Connection::graceful_shutdown).await;
    let parts = connection.into_parts();
    let mut front = parts.io.into_inner();
    if ended && client.held.get() {
        match opened.take() {
            Some(tunnel) => return Box::pin(through(tunnel, front, parts.read_buf)).await,
            // The library leaves a connection open whose upgrade was refused. Closing fails only if the client is gone.
            None => drop(front.shutdown().await),
        }
    }
    if let Some(stream) = front.into_unread()
        && let Some(place) = connections.read_on(Client::of(client.peer.address.ip()))
    {
        Box::pin(linger(stream, &pulse, place)).await;
    }
}

/// The tunnel that a WebSocket handshake has opened.
async fn through<S>(tunnel: Tunnel, front: Front<S>, unread: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, held) = front.into_tunnel();
    // The library was given nothing behind the handshake, so that this adds nothing; but were it so, it came first.
    tunnel.run(stream, [unread.as_ref(), &held].concat()).await;
}

enum Beginning {
    Begun,
    Ended,
}

/// Waits for the first bytes of a client.
async fn begin<S: AsyncRead + Unpin>(front: &mut Front<S>, pulse: &Pulse) -> Beginning {
    let begun = std::future::poll_fn(|cx| match pulse.ending(cx.waker()) {
        Ending::Not => front.poll_begin(cx).map(Some),
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

/// Serves HTTP/2 until the connection ends.
pub async fn http2<S>(stream: S, gateway: Rc<Gateway>, client: Rc<ClientConnection>, limits: Rc<Limits>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pulse = Rc::clone(&client.pulse);
    // Heads are read by the library; what is left to the pulse is the time without a stream.
    pulse.head_ends();
    let io = TokioIo::new(Watched::new(stream, Rc::clone(&pulse)));
    let opened = Rc::default();
    let service = service_fn(move |request| Rc::clone(&gateway).serve(&client, &opened, request));
    let mut connection = pin!(
        http2::Builder::new(OnThisWorker)
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.h2_streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_local_error_reset_streams(100)
            .max_pending_accept_reset_streams(20)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .serve_connection(io, service)
    );
    drive(connection.as_mut(), &pulse, http2::Connection::graceful_shutdown).await;
}

/// Polls a connection to its end, or to the end that its pulse asks for. `true`: it ended by itself, and well.
async fn drive<C>(mut connection: Pin<&mut C>, pulse: &Pulse, shut_down: fn(Pin<&mut C>)) -> bool
where
    C: Future<Output = hyper::Result<()>>,
{
    // A connection's error concerns its client alone; the exchange has it in its record.
    if let Some(ended) = poll_until(connection.as_mut(), pulse, Ending::Gracefully).await {
        return ended.is_ok();
    }
    // A request that came before is finished, not cut off.
    sockets_are_looked_at().await;
    if let Poll::Ready(ended) = std::future::poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await {
        return ended.is_ok();
    }
    shut_down(connection.as_mut());
    poll_until(connection, pulse, Ending::Now).await.is_some_and(|ended| ended.is_ok())
}

/// Polls a connection to its end, or until its pulse asks for `ending` (`None`).
async fn poll_until<C: Future>(mut connection: Pin<&mut C>, pulse: &Pulse, ending: Ending) -> Option<C::Output> {
    std::future::poll_fn(|cx| {
        if pulse.ending(cx.waker()) >= ending { Poll::Ready(None) } else { connection.as_mut().poll(cx).map(Some) }
    })
    .await
}

/// What a client has sent lies in the kernel until the runtime asks for news, which it does between two turns.
async fn sockets_are_looked_at() {
    tokio::task::yield_now().await;
}

/// Runs the streams of an HTTP/2 connection on the worker that has the connection.
#[derive(Clone, Copy, Debug)]
struct OnThisWorker;

impl<F> hyper::rt::Executor<F> for OnThisWorker
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        // As it is: wrapped into another future it would be kept twice.
        tokio::task::spawn_local(future);
    }
}
