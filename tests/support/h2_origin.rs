//! A scripted endpoint that speaks HTTP/2.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::{Gate, PATIENCE, eventually};

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The index of its connection, from 0.
    pub connection: usize,
    pub method: String,
    /// `:protocol`
    pub protocol: Option<String>,
    pub target: String,
    pub authority: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub complete: bool,
}

/// What is done with a request.
#[derive(Clone)]
pub enum Act {
    /// Reads the body, then responds 200 with this text.
    Answer(String),
    /// Responds with this body and these trailers.
    Trailers(String, Vec<(&'static str, &'static str)>),
    /// Reads the body, except of a CONNECT, and responds with this response, without a body.
    Head(Arc<dyn Fn() -> Response<()> + Send + Sync>),
    /// Waits for the gate, then responds 200 with this text.
    Wait(Arc<Gate>, String),
    /// Sends the body back as it arrives.
    Echo,
    /// Sends this many bytes.
    Flood(usize),
    /// Sends this many pieces of this many bytes, each in a frame of its own.
    Pieces(usize, usize),
    /// Resets the stream.
    Reset(Reason),
    /// Sends the beginning of a body, and resets the stream when the gate opens.
    Cut(Arc<Gate>),
    /// Begins to close the connection (GOAWAY with the streams so far), then responds 200 with this text.
    GoAway(String),
    /// Closes the connection at once.
    Close,
    /// Never responds.
    Hang,
}

type Script = dyn Fn(&Seen) -> Act + Send + Sync;

#[derive(Default)]
struct Record {
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    sent: AtomicUsize,
}

/// The endpoint. Dropping it ends all of its connections.
pub struct H2Origin {
    address: SocketAddr,
    record: Arc<Record>,
    accepting: AbortHandle,
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl H2Origin {
    pub async fn answering(text: &str) -> H2Origin {
        let text = text.to_owned();
        H2Origin::scripted(100, move |_| Act::Answer(text.clone())).await
    }

    /// With this limit of concurrent streams.
    pub async fn scripted(streams: u32, script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> H2Origin {
        let mut settings = Builder::new();
        settings.max_concurrent_streams(streams);
        H2Origin::with(settings, script).await
    }

    /// An endpoint that announces WebSocket over HTTP/2 (RFC 8441).
    pub async fn with_websocket(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> H2Origin {
        let mut settings = Builder::new();
        settings.enable_connect_protocol();
        H2Origin::with(settings, script).await
    }

    async fn with(settings: Builder, script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> H2Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, record, script) = (listener.local_addr().unwrap(), Arc::<Record>::default(), Arc::new(script));
        let of_task = Arc::clone(&record);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let index = of_task.connections.fetch_add(1, Ordering::AcqRel);
                of_task.open.fetch_add(1, Ordering::AcqRel);
                let (record, script, settings) = (Arc::clone(&of_task), Arc::clone(&script), settings.clone());
                connections.spawn(async move {
                    let _ = serve(stream, &settings, index, &record, script).await;
                    record.open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        H2Origin { address, record, accepting: accepting.abort_handle() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.record.requests.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.record.requests.lock().unwrap().len()
    }

    pub fn last(&self) -> Seen {
        self.requests().pop().expect("the endpoint saw no request")
    }

    /// The bytes of all [`Act::Pieces`].
    pub fn sent(&self) -> usize {
        self.record.sent.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::Acquire)
    }

    /// Waits for this many request heads.
    pub async fn has_seen(&self, count: usize) {
        eventually(PATIENCE, "the endpoint sees the requests", || async { self.count() >= count }).await;
    }

    /// Waits until no connection is open.
    pub async fn is_left(&self) {
        let is_left = || async { self.record.open.load(Ordering::Acquire) == 0 };
        eventually(PATIENCE, "the gateway closes its connections", is_left).await;
    }
}

async fn serve<S>(
    stream: S,
    settings: &Builder,
    index: usize,
    record: &Arc<Record>,
    script: Arc<Script>,
) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = settings.handshake::<_, Bytes>(stream).await?;
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, reply) = accepted?;
        let (place, act) = note(&request, index, record, &*script);
        match &act {
            Act::Close => return Ok(()),
            Act::GoAway(_) => connection.graceful_shutdown(),
            _ => {}
        }
        tasks.spawn(act_on(request.into_body(), reply, act, place, Arc::clone(record)));
    }
    Ok(())
}

fn note(request: &Request<RecvStream>, connection: usize, record: &Record, script: &Script) -> (usize, Act) {
    let uri = request.uri();
    let seen = Seen {
        connection,
        method: request.method().to_string(),
        protocol: request.extensions().get::<Protocol>().map(|protocol| protocol.as_str().to_owned()),
        target: uri.path_and_query().unwrap().to_string(),
        authority: uri.authority().unwrap().to_string(),
        headers: request.headers().clone(),
        body: Vec::new(),
        complete: false,
    };
    let act = script(&seen);
    let mut requests = record.requests.lock().unwrap();
    requests.push(seen);
    (requests.len() - 1, act)
}

/// Reads a body, and records it. `None`: it was cut.
async fn read(mut body: RecvStream, place: usize, record: &Record) -> Option<()> {
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok()?;
        record.requests.lock().unwrap()[place].body.extend_from_slice(&piece);
    }
    record.requests.lock().unwrap()[place].complete = true;
    Some(())
}

async fn act_on(
    body: RecvStream,
    mut reply: SendResponse<Bytes>,
    act: Act,
    place: usize,
    record: Arc<Record>,
) -> Option<()> {
    let ok = || Response::new(());
    match act {
        Act::Answer(text) | Act::GoAway(text) => {
            read(body, place, &record).await?;
            let length = Response::builder().header("content-length", text.len()).body(()).unwrap();
            reply.send_response(length, false).ok()?.send_data(text.into(), true).ok()
        }
        Act::Wait(gate, text) => {
            gate.passed().await;
            read(body, place, &record).await?;
            reply.send_response(ok(), false).ok()?.send_data(text.into(), true).ok()
        }
        Act::Trailers(text, trailers) => {
            read(body, place, &record).await?;
            let mut to = reply.send_response(ok(), false).ok()?;
            to.send_data(text.into(), false).ok()?;
            let trailers = trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            to.send_trailers(trailers.collect()).ok()
        }
        Act::Head(head) => {
            let is_connect = record.requests.lock().unwrap()[place].method == "CONNECT";
            if !is_connect {
                read(body, place, &record).await?;
            }
            reply.send_response(head(), true).ok().map(drop)
        }
        Act::Echo => {
            let (mut body, mut to) = (body, reply.send_response(ok(), false).ok()?);
            let mut waiting = VecDeque::new();
            while let Some(piece) = body.data().await {
                let piece = piece.ok()?;
                waiting.push_back(piece.clone());
                record.requests.lock().unwrap()[place].body.extend_from_slice(&piece);
                while let Some(mut piece) = waiting.pop_front() {
                    while !piece.is_empty() {
                        to.reserve_capacity(piece.len());
                        let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
                        to.send_data(piece.split_to(room.min(piece.len())), false).ok()?;
                    }
                }
                body.flow_control().release_capacity(piece.len()).ok()?;
            }
            record.requests.lock().unwrap()[place].complete = true;
            to.send_data(Bytes::new(), true).ok()
        }
        Act::Flood(mut left) => {
            let mut to = reply.send_response(ok(), false).ok()?;
            while left > 0 {
                to.reserve_capacity(left.min(1 << 14));
                let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?.min(left);
                left -= room;
                to.send_data(vec![b'x'; room].into(), left == 0).ok()?;
            }
            Some(())
        }
        Act::Pieces(count, length) => {
            let mut to = reply.send_response(ok(), false).ok()?;
            for _ in 0..count {
                to.reserve_capacity(length);
                while to.capacity() < length {
                    std::future::poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
                }
                to.send_data(vec![b'x'; length].into(), false).ok()?;
                record.sent.fetch_add(length, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            to.send_data(Bytes::new(), true).ok()
        }
        Act::Reset(reason) => {
            reply.send_reset(reason);
            Some(())
        }
        Act::Cut(gate) => {
            let mut to = reply.send_response(ok(), false).ok()?;
            to.send_data("begun".into(), false).ok()?;
            gate.passed().await;
            to.send_reset(Reason::INTERNAL_ERROR);
            Some(())
        }
        Act::Close | Act::Hang => std::future::pending().await,
    }
}
