//! Serves HTTP/2 on an accepted connection: the one place with settings of its library.
//!
//! The connection's task accepts streams and runs one task for each ([`Stream`]). What it is told by the worker's tick
//! and by [`Watched`] it passes on to the library: a ping for a silent client, the end for one that floods.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::blocks;
use super::serve::{drive, poll_until, sockets_are_looked_at};
use super::stream::Stream;
use super::watched::{Verdict, Watched};
use crate::client::{ClientBody, ClientConnection, Ending, Inbox};
use crate::config::settings::Limits;
use crate::gateway::Current;

/// What a client may send ahead on one stream, and on all of a connection (Envoy's values for the edge).
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What we hold for one stream that its client does not take; the library's own 400 KiB would be 40 MB a connection.
const SEND_BUFFER: usize = 64 << 10;
/// What small DATA frames may cost that the tasks of their streams have not taken yet, by the library's count of some
/// 250 bytes for each. Enough for what one read can bring; [`Watched`] gives those tasks their turn between two reads.
const SMALL_FRAMES: usize = 4 << 20;

/// Serves HTTP/2 until the connection ends.
pub async fn http2<S>(stream: S, current: Rc<Current>, client: Rc<ClientConnection>, limits: Arc<Limits>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pulse = Rc::clone(&client.pulse);
    pulse.is_multiplexed();
    let verdict = Verdict::default();
    let watched = Watched::new(stream, Rc::clone(&pulse), Arc::clone(&limits), Rc::clone(&verdict));
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.h2_streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(100))
        .max_pending_accept_reset_streams(20);
    let mut handshake = Box::pin(builder.handshake(watched));
    let begun = match poll_until(handshake.as_mut(), &pulse, Ending::Gracefully).await {
        Some(begun) => Some(begun),
        None => {
            sockets_are_looked_at().await;
            std::future::poll_fn(|cx| match handshake.as_mut().poll(cx) {
                Poll::Ready(begun) => Poll::Ready(Some(begun)),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        }
    };
    drop(handshake);
    let Some(Ok(mut connection)) = begun else { return };
    let pings = connection.ping_pong();
    let mut serving = pin!(Serving { connection, pings, verdict: Some(verdict), current, client });
    drive(serving.as_mut(), &pulse, |mut serving| serving.connection.graceful_shutdown()).await;
}

/// A connection and what its streams are served with.
struct Serving<S> {
    connection: Connection<Watched<S>, Bytes>,
    pings: Option<PingPong>,
    /// Why the connection is ended; `None` once the library knows.
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
            // Any sign of life will do, so that the answer is not looked at; but the next ping needs the last one gone.
            let _ = pings.poll_pong(cx);
            let _ = pings.send_ping(Ping::opaque());
        }
        loop {
            if let Some(why) = this.verdict.as_ref().and_then(|verdict| verdict.get()) {
                this.verdict = None;
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
    /// Serves one request in a task of its own.
    fn begin(&self, mut request: Request<RecvStream>, reply: SendResponse<Bytes>) {
        if let Some(fault) = blocks::fault(request.method(), request.uri().path()) {
            request.extensions_mut().insert(fault);
            *request.uri_mut() = Uri::default();
        }
        join_cookie(request.headers_mut());
        let (head, body) = request.into_parts();
        let inbox = (!body.is_end_stream()).then(|| {
            let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            Rc::new(Inbox::new(body, length, head.headers.contains_key(EXPECT)))
        });
        let arriving = inbox.as_ref().map(Rc::downgrade);
        let body = inbox.map_or_else(ClientBody::none, ClientBody::http2);
        // No handshake of WebSocket comes over HTTP/2.
        let opened = Rc::default();
        let (gateway, client) = (self.current.get(), Rc::clone(&self.client));
        let served = Rc::clone(&gateway).serve(&client, &opened, Request::from_parts(head, body));
        tokio::task::spawn_local(Stream::new(served, reply, arriving, gateway, client));
    }
}

/// The pieces of a cookie, which HTTP/2 allows for the sake of compression, are one field for everything that follows
/// (RFC 9113 §8.2.3).
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
