//! A scripted endpoint that records every byte.
//!
//! For each request head, a script returns the next steps. It uses raw TCP, so it can also do what no correct server
//! does.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::message::{Fields, Head, Reader};
use super::{PATIENCE, eventually};

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The index of its connection, from 0.
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub fields: Fields,
    /// The head, byte for byte.
    pub head: Vec<u8>,
    /// The part of the body that was read, without chunk sizes.
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Whether the body was complete.
    pub complete: bool,
}

/// A step after a request head.
#[derive(Clone)]
pub enum Step {
    /// Reads the body to its end.
    Read,
    Send(Vec<u8>),
    /// Sends these bytes this many times.
    Flood(Vec<u8>, usize),
    /// Waits until the test opens the gate.
    Wait(Arc<Gate>),
    /// Sends everything back and records it as the body, until the gateway closes the connection.
    Echo,
    Close,
    /// Resets the connection.
    Reset,
    /// Sends no response, until the gateway closes the connection.
    Hang,
    /// Stops without reading.
    Stall,
}

/// A gate that steps wait for.
pub struct Gate(Semaphore);

impl Gate {
    pub fn closed() -> Arc<Gate> {
        Arc::new(Gate(Semaphore::new(0)))
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        drop(self.0.acquire().await);
    }

    /// Opens the gate for all current and future waits.
    pub fn open(&self) {
        self.0.close();
    }
}

type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    stray: Mutex<Vec<u8>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    flooded: AtomicUsize,
}

/// The endpoint. Dropping it ends all of its connections.
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: AbortHandle,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Origin {
    /// Reads each request completely and responds 200 with `text`.
    pub async fn answering(text: &str) -> Origin {
        let (answer, head_only) = (ok(text), head_of(&ok(text)));
        Origin::scripted(move |request| {
            vec![Step::Read, Step::Send(if request.method == "HEAD" { head_only.clone() } else { answer.clone() })]
        })
        .await
    }

    /// As [`Origin::answering`], but the response to `/public/slow` waits at the gate.
    pub async fn slow_at(gate: &Arc<Gate>, text: &str) -> Origin {
        let (gate, answer) = (Arc::clone(gate), Step::Send(ok(text)));
        Origin::scripted(move |request| match request.target.as_str() {
            "/public/slow" => vec![Step::Read, Step::Wait(Arc::clone(&gate)), answer.clone()],
            _ => vec![Step::Read, answer.clone()],
        })
        .await
    }

    /// Uses the same steps for every request.
    pub async fn doing(steps: Vec<Step>) -> Origin {
        Origin::scripted(move |_| steps.clone()).await
    }

    /// Uses the steps that the script returns.
    pub async fn scripted(script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Origin {
        Origin::scripted_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    /// The same at an address, such as that of an endpoint which has ended.
    pub async fn scripted_at(
        address: SocketAddr,
        script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&seen), Arc::new(script))).abort_handle();
        Origin { address, seen, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests whose heads have arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }

    /// The newest request.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("the origin saw no request")
    }

    /// Bytes that were not part of a request.
    pub fn stray(&self) -> Vec<u8> {
        self.seen.stray.lock().unwrap().clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Acquire)
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::Acquire)
    }

    /// How many bytes of floods the gateway has read.
    pub fn flooded(&self) -> usize {
        self.seen.flooded.load(Ordering::Acquire)
    }

    /// Ends it with all its connections. Returns all requests that it has seen.
    pub async fn end(self) -> Vec<Request> {
        self.accepting.abort();
        eventually(PATIENCE, "the endpoint ends", || async { self.accepting.is_finished() }).await;
        self.requests()
    }

    /// Waits until no connection is open.
    pub async fn is_left(&self) {
        eventually(PATIENCE, "the gateway closes its connections", || async { self.open_connections() == 0 }).await;
    }

    /// Waits for this many request heads.
    pub async fn has_seen(&self, count: usize) {
        eventually(PATIENCE, "the origin sees the requests", || async { self.count() >= count }).await;
    }
}

/// A response with this text.
pub fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// A chunked response with this text and these trailers.
pub fn chunked(text: &str, trailers: &str) -> Vec<u8> {
    let size = text.len();
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{text}\r\n0\r\n{trailers}\r\n")
        .into_bytes()
}

fn head_of(answer: &[u8]) -> Vec<u8> {
    answer[..super::message::find(answer, b"\r\n\r\n").unwrap() + 4].to_vec()
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, script: Arc<Script>) {
    // Owned here, so that they end with the endpoint.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let index = seen.connections.fetch_add(1, Ordering::AcqRel);
        seen.open.fetch_add(1, Ordering::AcqRel);
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        connections.spawn(async move {
            let mut connection = Connection { reader: Reader::new(stream), index, seen: Arc::clone(&seen) };
            // A gateway may close the connection at any time; the record has what it sent.
            let _ = connection.serve(&*script).await;
            seen.stray.lock().unwrap().append(&mut connection.reader.buffer);
            drop(connection);
            seen.open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

struct Connection {
    reader: Reader<TcpStream>,
    index: usize,
    seen: Arc<Seen>,
}

impl Connection {
    async fn serve(&mut self, script: &Script) -> io::Result<()> {
        while let Some(head) = self.reader.head().await? {
            let (place, steps) = self.record(&head, script);
            for step in steps {
                match step {
                    Step::Read => self.read(&head, place).await?,
                    Step::Send(bytes) => self.reader.stream.write_all(&bytes).await?,
                    Step::Flood(bytes, times) => {
                        for _ in 0..times {
                            self.reader.stream.write_all(&bytes).await?;
                            self.seen.flooded.fetch_add(bytes.len(), Ordering::AcqRel);
                        }
                    }
                    Step::Wait(gate) => drop(gate.0.acquire().await),
                    Step::Echo => loop {
                        let bytes = std::mem::take(&mut self.reader.buffer);
                        self.seen.requests.lock().unwrap()[place].body.extend_from_slice(&bytes);
                        self.reader.stream.write_all(&bytes).await?;
                        if !self.reader.fill().await? {
                            return Ok(());
                        }
                    },
                    Step::Close => return Ok(()),
                    Step::Reset => {
                        socket2::SockRef::from(&self.reader.stream).set_linger(Some(Duration::ZERO))?;
                        return Ok(());
                    }
                    Step::Hang => {
                        self.reader.buffer.clear();
                        while self.reader.fill().await? {
                            self.reader.buffer.clear();
                        }
                    }
                    Step::Stall => std::future::pending().await,
                }
            }
        }
        Ok(())
    }

    fn record(&self, head: &Head, script: &Script) -> (usize, Vec<Step>) {
        let mut words = head.first_line.split(' ').map(str::to_owned);
        let request = Request {
            connection: self.index,
            method: words.next().unwrap(),
            target: words.next().unwrap(),
            fields: head.fields.clone(),
            head: head.bytes.clone(),
            body: Vec::new(),
            trailers: Fields::default(),
            complete: false,
        };
        let steps = script(&request);
        let mut requests = self.seen.requests.lock().unwrap();
        requests.push(request);
        (requests.len() - 1, steps)
    }

    async fn read(&mut self, head: &Head, place: usize) -> io::Result<()> {
        let requests = &self.seen.requests;
        let take = |piece: &[u8]| requests.lock().unwrap()[place].body.extend_from_slice(piece);
        let trailers = self.reader.body(head.request_end(), take).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let request = &mut requests.lock().unwrap()[place];
        (request.trailers, request.complete) = (trailers, true);
        Ok(())
    }
}
