//! TCP and TLS front end of the admin application and of internal listeners (HTTP/1.1).
//!
//! There are only a few operators, so connection limits are low, also per client. Each phase of a connection has its
//! own timeout.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{self, Limit, Place, Room, TurnedAway};
use crate::telemetry::Outage;

/// Maximum size of a request head in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// Timeout of a request head, including the idle time before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause of the accept loop when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Client address of a request.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// Shared state of all connections.
#[derive(Clone)]
pub struct AdminListener {
    /// TLS; `None`: unencrypted.
    pub acceptor: Option<watch::Receiver<TlsAcceptor>>,
    /// Handles requests.
    pub router: Router,
    /// Limits and timeouts.
    pub bounds: Bounds,
    /// Counts the connections that the limits end.
    pub turned_away: Arc<TurnedAway>,
}

/// Limits and timeouts of connections.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Maximum number of connections; more wait in the kernel's accept queue.
    pub connections: usize,
    /// Maximum number of connections per client. Beyond it the client's oldest connection without a completed handshake
    /// or first byte is closed, or the new one if there is none.
    pub each: usize,
    /// Maximum number of connections from this machine, including operators who use a tunnel.
    pub local: usize,
    /// Timeout of a TLS handshake.
    pub handshake: Duration,
    /// Timeout of a request head, including the idle time before it.
    pub head: Duration,
    /// Whether connections are kept alive.
    pub keep_alive: bool,
    /// Maximum age of a connection: the next response closes it, so that no client uses its place indefinitely.
    pub connection: Duration,
    /// Timeout for sending that last response.
    pub last_answer: Duration,
}

/// How a listener ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Each connection ends with its next response, or when it is idle for too long: another process has the socket,
    /// and a client may be sending a request already.
    AfterNextResponse,
    /// Idle connections end at once, others with their response.
    AfterThisResponse,
}

/// A connection whose client has finished the handshake, or has sent something unencrypted.
enum Begun {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

impl Bounds {
    /// Defaults for few users; `handshake` is the handshake timeout.
    pub const fn new(handshake: Duration) -> Bounds {
        Bounds {
            connections: 256,
            // Ten browsers behind one address: each opens at most six connections.
            each: 64,
            local: 128,
            handshake,
            head: HEAD_TIMEOUT,
            keep_alive: true,
            connection: Duration::from_secs(15 * 60),
            last_answer: Duration::from_secs(60),
        }
    }

    /// Places for connections.
    fn places(&self, turned_away: Arc<TurnedAway>) -> Arc<Room> {
        let name = Limit::AdminConnections;
        let bounds = limits::Bounds { all: self.connections, all_name: name, each: self.each, each_name: name };
        Room::new(bounds, turned_away)
    }

    /// Takes a provisional place for this address; `None` if the client is at its limit.
    fn enter(&self, places: &Arc<Room>, address: IpAddr) -> Option<Place> {
        match address.to_canonical().is_loopback() {
            true => places.enter_within(limits::Client::THIS_MACHINE, self.local),
            false => places.enter(limits::Client::of(address)),
        }
    }
}

impl AdminListener {
    /// Serves until `stop` completes and the connections have ended.
    ///
    /// Draining can take a minute: a caller with a deadline drops the future.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = Stop>) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        let places = self.bounds.places(Arc::clone(&self.turned_away));
        let outage = Outage::default();
        let (end, ending) = watch::channel(None);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        let how = loop {
            let accepted = tokio::select! {
                biased;
                how = &mut stop => break how,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((permit, stream, client)) => {
                    if let Some(ended) = outage.succeeded() {
                        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                        tracing::info!(failures, lasted_ms, "the admin application accepts connections again");
                    }
                    let Some(place) = self.bounds.enter(&places, client.0.ip()) else { continue };
                    connections.spawn(self.clone().connection((permit, place), stream, client, ending.clone()));
                }
                Err(error) => {
                    if outage.failed() {
                        tracing::warn!(%error, "an admin or internal listener cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        drop(listener);
        // Sending fails only if every connection has ended.
        let _ = end.send(Some(how));
        while connections.join_next().await.is_some() {}
    }

    async fn connection(
        self,
        (_permit, mut place): (OwnedSemaphorePermit, Place),
        stream: TcpStream,
        client: Client,
        mut ending: watch::Receiver<Option<Stop>>,
    ) {
        // Fails only on a closed connection.
        let Ok(()) = stream.set_nodelay(true) else { return };
        let begun = async {
            match &self.acceptor {
                Some(acceptor) => {
                    let acceptor = acceptor.borrow().clone();
                    let handshake = timeout(self.bounds.handshake, acceptor.accept(stream)).await;
                    handshake.ok()?.ok().map(|stream| Begun::Tls(Box::new(stream)))
                }
                None => {
                    let first = timeout(self.bounds.head, stream.peek(&mut [0])).await;
                    matches!(first, Ok(Ok(1..))).then_some(Begun::Plain(stream))
                }
            }
        };
        let begun = tokio::select! {
            begun = begun => begun,
            // No request has arrived yet, so another connection of the client, or a shutdown, can close it.
            () = place.evicted() => return,
            () = is_stopped(&mut ending) => return,
        };
        match begun.filter(|_| place.confirm()) {
            Some(Begun::Tls(stream)) => self.converse(*stream, client, ending).await,
            Some(Begun::Plain(stream)) => self.converse(stream, client, ending).await,
            None => {}
        }
    }

    /// Handles the requests of a connection.
    async fn converse<S>(self, stream: S, client: Client, mut ending: watch::Receiver<Option<Stop>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (router, how) = (TowerToHyperService::new(self.router), ending.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            let (answered, how) = (router.call(request), how.clone());
            async move {
                let mut response = answered.await?;
                if *how.borrow() == Some(Stop::AfterNextResponse) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.head)
            .keep_alive(self.bounds.keep_alive)
            .max_buf_size(HEAD_BYTES)
            // A longer head may arrive whole in a single read.
            .max_header_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // Connection errors are the client's problem and are not logged.
            _ = connection.as_mut() => return,
            () = is_stopped(&mut ending) => {}
            () = sleep(self.bounds.connection) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(self.bounds.last_answer, connection).await;
    }
}

/// Waits until connections have to end at once.
async fn is_stopped(ending: &mut watch::Receiver<Option<Stop>>) {
    // Fails only if the listener was dropped, and its connections with it.
    let _ = ending.wait_for(|how| *how == Some(Stop::AfterThisResponse)).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, Client)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((place, stream, Client(SocketAddr::new(address.ip().to_canonical(), address.port()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_one_client_whatever_address_it_uses() {
        let bounds = Bounds { each: 2, local: 3, ..Bounds::new(Duration::from_secs(1)) };
        let places = bounds.places(Arc::default());
        let confirmed = |address: &str| {
            let mut place = bounds.enter(&places, address.parse().unwrap())?;
            place.confirm().then_some(place)
        };
        let held: Vec<_> =
            ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"].into_iter().filter_map(confirmed).collect();
        assert_eq!(held.len(), 3);
        assert!(confirmed("192.0.2.1").is_some());
    }
}
