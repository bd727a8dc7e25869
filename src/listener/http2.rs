//! Serves HTTP/2 on an accepted connection. All settings of the HTTP/2 library are here.
//!
//! The connection's task accepts streams and runs one task for each ([`Stream`]). On request of the worker's tick it
//! pings a silent client, and on request of [`Watched`] it closes the connection of a client that floods.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::blocks;
use super::serve::{drive, poll_until, sockets_are_looked_at};
use super::stream::{Opening, Stream};
use super::watched::{Verdict, Watched};
use crate::client::{ClientBody, ClientConnection, Ending, ExtendedConnect, Inbox};
use crate::config::settings::Limits;
use crate::gateway::Current;

/// Flow-control windows of one stream and of a connection (Envoy's values for edge proxies).
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Maximum bytes buffered for one stream that its client does not read. The library's default of 400 KiB would be 40 MB
/// per connection.
const SEND_BUFFER: usize = 64 << 10;
/// Maximum cost of small DATA frames that the tasks of their streams have not read yet; the library counts some 250
/// bytes for each. This is enough for one read of the socket; [`Watched`] lets those tasks run between two reads.
const SMALL_FRAMES: usize = 4 << 20;

/// Serves HTTP/2 until the connection ends.
pub async fn http2<S>(stream: S, current: Rc<Current>, client: Rc<ClientConnection>, limits: Arc<Limits>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pulse = Rc::clone(&client.pulse);
    // Boxed, because the memory of the handshake is several times that of the connection.
    let Some(mut serving) = Box::pin(begin(stream, current, client, limits)).await else { return };
    drive(Pin::new(&mut *serving), &pulse, |mut serving| serving.connection.graceful_shutdown()).await;
}

/// Exchanges the prefaces. `None`: the connection has ended.
async fn begin<S>(
    stream: S,
    current: Rc<Current>,
    client: Rc<ClientConnection>,
    limits: Arc<Limits>,
) -> Option<Box<Serving<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pulse = Rc::clone(&client.pulse);
    pulse.is_multiplexed();
    let verdict = Verdict::default();
    let watched = Watched::new(stream, Rc::clone(&pulse), Arc::clone(&limits), Rc::clone(&verdict));
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(limits.h2_streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(100))
        .max_pending_accept_reset_streams(20);
    let mut handshake = pin!(builder.handshake(watched));
    let begun = match poll_until(handshake.as_mut(), &pulse, Ending::Gracefully).await {
        Some(begun) => begun,
        None => {
            sockets_are_looked_at().await;
            match std::future::poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await {
                Poll::Ready(begun) => begun,
                Poll::Pending => return None,
            }
        }
    };
    let mut connection = begun.ok()?;
    let pings = connection.ping_pong();
    Some(Box::new(Serving { connection, pings, verdict: Some(verdict), current, client }))
}

/// A connection, and what its streams need.
struct Serving<S> {
    connection: Connection<Watched<S>, Bytes>,
    pings: Option<PingPong>,
    /// Why the connection must end; `None` once the library knows.
    verdict: Option<Verdict>,
    current: Rc<Current>,
    client: Rc<ClientConnection>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Serving<S> {
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let this = self.get_mut();
        if this.client.pulse.take_probe()
            && let Some(pings) = &mut this.pings
        {
            // Any bytes from the client prove that it is alive, so the content of the PONG does not matter. But the
            // library sends a new ping only after the last PONG was received.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
        }
        loop {
            if let Some(why) = this.verdict.as_ref().and_then(|verdict| verdict.get()) {
                this.verdict = None;
                if why == Reason::ENHANCE_YOUR_CALM {
                    this.current.get().worker.recorder.flooded();
                }
                this.connection.abrupt_shutdown(why);
            }
            match ready!(this.connection.poll_accept(cx)) {
                Some(Ok((request, reply))) => this.begin(request, reply),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S> Serving<S> {
    /// Starts a task that serves one request.
    fn begin(&self, mut request: Request<RecvStream>, reply: SendResponse<Bytes>) {
        if let Some(fault) = blocks::fault(request.method(), request.uri().path()) {
            request.extensions_mut().insert(fault);
            *request.uri_mut() = Uri::default();
        }
        join_cookie(request.headers_mut());
        let is_handshake = take_handshake(&mut request);
        let (head, body) = request.into_parts();
        if is_handshake {
            return self.begin_tunnel(head, body, reply);
        }
        let inbox = (!body.is_end_stream()).then(|| {
            let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            Rc::new(Inbox::new(body, length, head.headers.contains_key(EXPECT)))
        });
        let arriving = inbox.as_ref().map(Rc::downgrade);
        let body = inbox.map_or_else(ClientBody::none, ClientBody::http2);
        let (gateway, client) = (self.current.get(), Rc::clone(&self.client));
        let served = Rc::clone(&gateway).serve(&client, &Rc::default(), Box::new(head), body);
        tokio::task::spawn_local(Stream::new(served, reply, arriving, None, gateway, client));
    }

    /// The same for a WebSocket handshake. What follows it waits until the tunnel is open.
    fn begin_tunnel(&self, head: request::Parts, body: RecvStream, reply: SendResponse<Bytes>) {
        let opening = Opening::new(Rc::new(Inbox::new(body, None, false)));
        let (gateway, client) = (self.current.get(), Rc::clone(&self.client));
        let served = Rc::clone(&gateway).serve(&client, &opening.tunnel, Box::new(head), ClientBody::none());
        let arriving = Some(Rc::downgrade(&opening.inbox));
        tokio::task::spawn_local(Stream::new(served, reply, arriving, Some(opening), gateway, client));
    }
}

/// Makes an extended CONNECT for WebSocket (RFC 8441) the GET that it stands for. Any other CONNECT is left, and is
/// refused like one over HTTP/1.1.
fn take_handshake(request: &mut Request<RecvStream>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    let is_one = request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
        && !request.body().is_end_stream()
        && !request.headers().contains_key(CONTENT_LENGTH);
    if is_one {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(ExtendedConnect);
    }
    is_one
}

/// HTTP/2 allows a cookie in several fields, for better compression. They are joined to one header (RFC 9113 §8.2.3).
fn join_cookie(fields: &mut HeaderMap) {
    let mut pieces = fields.get_all(COOKIE).iter();
    if pieces.next().is_none() || pieces.next().is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut whole) = HeaderValue::from_maybe_shared(Bytes::from(pieces.join(b"; ".as_slice()))) {
        whole.set_sensitive(true);
        fields.insert(COOKIE, whole);
    }
}
