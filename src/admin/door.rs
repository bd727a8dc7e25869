//! The door of the admin application: accepts, shakes hands, speaks HTTP/1.1.
//!
//! Few people come, so few connections are taken; each step of each has its time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Most connections at once; others wait in the queue of the kernel.
const CONNECTIONS: usize = 256;
/// A request head, and the silence before it.
const HEAD: Duration = Duration::from_secs(30);
/// Longest request head in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// After so long a connection ends with its next answer: nobody keeps a place for ever.
const CONNECTION: Duration = Duration::from_secs(15 * 60);
/// How long that answer may take to be read.
const LAST_ANSWER: Duration = Duration::from_secs(60);
/// How long accepting rests when the process has no descriptor left.
const REST: Duration = Duration::from_millis(200);

/// The address that a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// What every connection needs.
#[derive(Clone)]
pub struct Door {
    /// TLS.
    pub acceptor: TlsAcceptor,
    /// Answers requests.
    pub router: Router,
    /// How long a handshake may take.
    pub handshake: Duration,
}

impl Door {
    /// Serves until `stop` is done and the answers in flight are sent.
    ///
    /// That last wait is as long as a minute: a caller that must end in time drops the future.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
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
                    connections.spawn(self.clone().connection(place, stream, client, ending.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin application cannot accept connections");
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
        place: OwnedSemaphorePermit,
        stream: TcpStream,
        client: Client,
        mut ending: watch::Receiver<bool>,
    ) {
        // It counts until it ends.
        let _place = place;
        // Fails only on a connection that is gone.
        let Ok(()) = stream.set_nodelay(true) else { return };
        let Ok(Ok(stream)) = timeout(self.handshake, self.acceptor.accept(stream)).await else { return };
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // How it ended is the client's matter.
            _ = connection.as_mut() => return,
            _ = ending.wait_for(|ending| *ending) => {}
            () = sleep(CONNECTION) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(OwnedSemaphorePermit, TcpStream, Client)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((place, stream, Client(SocketAddr::new(address.ip().to_canonical(), address.port()))))
}
