//! The door of the admin application and of internal listeners: accepts, shakes hands, speaks HTTP/1.1.
//!
//! Few people come, so few connections are taken, and of each client only some; each step of each has its time.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
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

use crate::limits::{self, PerClient, Share};
use crate::telemetry::Outage;

/// Longest request head in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// The time for a request head, and for the silence before it.
const HEAD: Duration = Duration::from_secs(10);
/// How long accepting rests when the process has no descriptor left.
const REST: Duration = Duration::from_millis(200);

/// The address that a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// What every connection needs.
#[derive(Clone)]
pub struct Door {
    /// TLS; `None`: unencrypted.
    pub acceptor: Option<TlsAcceptor>,
    /// Answers requests.
    pub router: Router,
    /// How many may come, and how long they may take.
    pub bounds: Bounds,
}

/// How many may come, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections at once; others wait in the queue of the kernel.
    pub connections: usize,
    /// Most connections of one client at once; what comes beyond is closed.
    pub each: usize,
    /// Most connections from this machine at once, all operators who come through a tunnel among them.
    pub local: usize,
    /// A TLS handshake.
    pub handshake: Duration,
    /// A request head, and the silence before it.
    pub head: Duration,
    /// A connection may be used for another request.
    pub keep_alive: bool,
    /// After so long a connection ends with its next answer: nobody keeps a place for ever.
    pub connection: Duration,
    /// How long that answer may take to be read.
    pub last_answer: Duration,
}

impl Bounds {
    /// What suits a few people; `handshake` is the time for one.
    pub const fn new(handshake: Duration) -> Bounds {
        Bounds {
            connections: 256,
            // Ten browsers behind one address: each opens six at most.
            each: 64,
            local: 128,
            handshake,
            head: HEAD,
            keep_alive: true,
            connection: Duration::from_secs(15 * 60),
            last_answer: Duration::from_secs(60),
        }
    }

    /// A place for one more connection from this address; `None` if its client has as many as one may have.
    fn share(&self, shares: &Arc<PerClient>, address: IpAddr) -> Option<Share> {
        match address.to_canonical().is_loopback() {
            true => shares.take(limits::Client::THIS_MACHINE, self.local),
            false => shares.take(limits::Client::of(address), self.each),
        }
    }
}

impl Door {
    /// Serves until `stop` is done and the answers in flight are sent.
    ///
    /// That last wait is as long as a minute: a caller that must end in time drops the future.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        let shares = PerClient::new();
        let outage = Outage::default();
        let (end, ending) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((place, stream, client)) => {
                    if let Some(ended) = outage.succeeded() {
                        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                        tracing::info!(failures, lasted_ms, "the admin application accepts connections again");
                    }
                    let Some(share) = self.bounds.share(&shares, client.0.ip()) else { continue };
                    connections.spawn(self.clone().connection((place, share), stream, client, ending.clone()));
                }
                Err(error) => {
                    if outage.failed() {
                        tracing::warn!(%error, "an admin or internal listener cannot accept connections");
                    }
                    sleep(REST).await;
                }
            }
        }
        drop(listener);
        // Nobody listens if every connection has ended by itself.
        let _ = end.send(true);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(
        self,
        place: (OwnedSemaphorePermit, Share),
        stream: TcpStream,
        client: Client,
        mut ending: watch::Receiver<bool>,
    ) {
        // It counts until it ends.
        let _place = place;
        // Fails only on a connection that is gone.
        let Ok(()) = stream.set_nodelay(true) else { return };
        let Some(acceptor) = self.acceptor.clone() else { return self.converse(stream, client, ending).await };
        let handshake = timeout(self.bounds.handshake, acceptor.accept(stream));
        let Ok(Ok(stream)) = (tokio::select! {
            shaken = handshake => shaken,
            // It has not asked for anything yet.
            _ = ending.wait_for(|ending| *ending) => return,
        }) else {
            return;
        };
        self.converse(stream, client, ending).await;
    }

    /// Answers the requests of a connection.
    async fn converse<S>(self, stream: S, client: Client, mut ending: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.head)
            .keep_alive(self.bounds.keep_alive)
            .max_buf_size(HEAD_BYTES)
            // A longer one may come whole in a single read.
            .max_header_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // How it ended is the client's matter.
            _ = connection.as_mut() => return,
            _ = ending.wait_for(|ending| *ending) => {}
            () = sleep(self.bounds.connection) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(self.bounds.last_answer, connection).await;
    }
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
    fn this_machine_is_one_client_by_whatever_address_it_connects() {
        let bounds = Bounds { each: 2, local: 3, ..Bounds::new(Duration::from_secs(1)) };
        let shares = PerClient::new();
        let share = |address: &str| bounds.share(&shares, address.parse().unwrap());
        let held: Vec<_> =
            ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"].into_iter().filter_map(share).collect();
        assert_eq!(held.len(), 3);
        assert!(share("192.0.2.1").is_some());
    }
}
