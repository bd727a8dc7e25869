//! HTTP/2 towards endpoints. All settings of the HTTP/2 library are here.
//!
//! Requests share few connections. The task of a connection reads and writes its frames. A [`Multiplexed`] takes no
//! more streams than the endpoint permits, so that the library never queues one. A connection that the endpoint ends
//! (GOAWAY) takes no further streams, and closes when the last one has ended.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::empty_frames::WithoutEmpties;
use super::stream::Stream;
use crate::config::settings::Protocol;
use crate::http1;

/// Maximum number of streams of one connection, however many the endpoint permits.
const MOST_STREAMS: usize = Protocol::Http2.requests_per_connection();
/// Flow-control window of a stream, in bytes: what the gateway takes of a response before the client has.
const STREAM_WINDOW: u32 = 64 << 10;
/// Window of a connection: room for all of its streams, so that a client that reads nothing stops no other one.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// Maximum bytes of a request that wait in the library.
const SEND_BUFFER: usize = 64 << 10;
/// After this many cancelled streams, a connection gets no further ones as long as another one can be opened. Endpoints
/// end connections on which clients cancel too much, and with them the requests of other clients; some permit 200
/// within half a minute. The streams that are open then can be cancelled as well.
const MOST_CANCELLED: usize = 100;

/// One HTTP/2 connection to an endpoint.
pub(super) struct Multiplexed {
    /// The version of the endpoint's addresses when it was opened.
    pub(super) version: u64,
    pub(super) peer: Option<SocketAddr>,
    requests: SendRequest<Bytes>,
    streams: Cell<usize>,
    /// How many streams it has had.
    served: Cell<u64>,
    /// How many of them the gateway has cancelled.
    cancelled: Cell<usize>,
    idle_since: Cell<Instant>,
    pings: RefCell<Option<PingPong>>,
    /// Set when the settings of the endpoint are known.
    settled: OnceCell<()>,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    /// It takes no further streams.
    is_over: Cell<bool>,
    /// It had several streams when the endpoint broke the rules of HTTP/2.
    was_shared: Cell<bool>,
}

/// One stream: a place in its connection until it is dropped.
pub(super) struct Place(Rc<Multiplexed>);

impl Multiplexed {
    /// Begins HTTP/2 on a connection. `ended` is called when it has ended.
    ///
    /// # Errors
    /// The endpoint has closed the connection.
    pub(super) async fn begin(
        stream: Stream,
        limits: http1::Limits,
        version: u64,
        ended: impl FnOnce() + 'static,
    ) -> Result<Rc<Multiplexed>, h2::Error> {
        let peer = stream.peer();
        let (requests, mut connection) = builder(limits).handshake(WithoutEmpties::new(stream)).await?;
        let pings = RefCell::new(connection.ping_pong());
        let state = Rc::<State>::default();
        let of_task = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            // Its streams learn of an error themselves.
            let _ = connection.await;
            of_task.is_over.set(true);
            ended();
        });
        Ok(Rc::new(Multiplexed {
            version,
            peer,
            requests,
            streams: Cell::new(0),
            served: Cell::new(0),
            cancelled: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            pings,
            settled: OnceCell::new(),
            state,
        }))
    }

    /// How many streams it has.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether it can take another stream.
    pub(super) fn has_room(&self) -> bool {
        !self.state.is_over.get() && self.streams.get() < MOST_STREAMS.min(self.requests.current_max_send_streams())
    }

    /// Whether so many streams were cancelled on it that another connection is better.
    pub(super) fn is_worn(&self) -> bool {
        self.cancelled.get() >= MOST_CANCELLED
    }

    /// Whether it takes no further streams, has been unused since before `then`, or is unused and worn.
    pub(super) fn is_over(&self, then: Option<Instant>) -> bool {
        let is_old = || then.is_some_and(|then| self.idle_since.get() <= then);
        self.state.is_over.get() || self.streams.get() == 0 && (self.is_worn() || is_old())
    }

    /// Whether the endpoint takes an extended CONNECT (RFC 8441). It says so in its settings, which precede the answer
    /// to a ping.
    async fn takes_extended_connect(&self) -> Result<bool, h2::Error> {
        let pong = || async {
            if let Some(pings) = &mut *self.pings.borrow_mut() {
                // Fails while an answer is outstanding, which does as well.
                let _ = pings.send_ping(Ping::opaque());
            }
            let answered = |cx: &mut Context<'_>| match &mut *self.pings.borrow_mut() {
                Some(pings) => pings.poll_pong(cx).map_ok(drop),
                None => Poll::Pending,
            };
            std::future::poll_fn(answered).await
        };
        self.settled.get_or_try_init(pong).await?;
        Ok(self.requests.is_extended_connect_protocol_enabled())
    }

    /// Gives it no further streams.
    pub(super) fn leave(&self) {
        self.state.is_over.set(true);
    }

    /// Takes a place for a stream; `None` if the endpoint has ended the connection meanwhile.
    pub(super) fn enter(self: &Rc<Self>) -> Option<Place> {
        let mut cx = Context::from_waker(Waker::noop());
        if !matches!(self.requests.clone().poll_ready(&mut cx), Poll::Ready(Ok(()))) {
            self.leave();
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        self.served.set(self.served.get() + 1);
        Some(Place(Rc::clone(self)))
    }
}

impl Place {
    /// The handle that opens the stream.
    pub(super) fn requests(&self) -> SendRequest<Bytes> {
        self.0.requests.clone()
    }

    /// Whether the endpoint takes an extended CONNECT (RFC 8441).
    pub(super) async fn takes_extended_connect(&self) -> Result<bool, h2::Error> {
        self.0.takes_extended_connect().await
    }

    /// Whether the connection had a stream before.
    pub(super) fn is_reused(&self) -> bool {
        self.0.served.get() > 1
    }

    /// The connection ends because the endpoint broke the rules. Whether it may have done so on another stream: the
    /// library does not say on which.
    pub(super) fn may_be_innocent(&self) -> bool {
        let was_shared = &self.0.state.was_shared;
        // The first stream that learns of the end still sees the others.
        was_shared.set(was_shared.get() || self.0.streams() > 1);
        was_shared.get()
    }

    /// Gives the connection no further streams.
    pub(super) fn leave(&self) {
        self.0.leave();
    }

    /// Counts a stream that ends before its response does.
    pub(super) fn was_cancelled(&self) {
        self.0.cancelled.set(self.0.cancelled.get() + 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connection = &self.0;
        connection.streams.set(connection.streams.get().saturating_sub(1));
        connection.idle_since.set(Instant::now());
    }
}

/// The settings of a connection. The library would end it, with the streams of other clients, after too many short
/// frames that were not read, or errors on streams that were cancelled. Both are lifted: [`Http2Stream::keep`] reads
/// such frames.
///
/// [`Http2Stream::keep`]: super::http2_stream::Http2Stream::keep
pub(super) fn builder(limits: http1::Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(usize::MAX)
        .max_local_error_reset_streams(None)
        .initial_max_send_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}
