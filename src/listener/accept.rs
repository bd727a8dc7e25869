//! Accepts connections of one listener on one worker.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{http2, serve};
use crate::config::settings::{ConnectionTimeouts, Limits};
use crate::gateway::{ClientConnection, Door, Gateway, Pulse, Roll};
use crate::route::{Peer, ServerNames};

/// How long accepting rests when the process has no descriptor left (HARDENING §1: 100 to 500 ms).
const REST: Duration = Duration::from_millis(200);

/// Who is connected, over all workers.
#[derive(Debug)]
pub struct Census {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    limits: Limits,
}

impl Census {
    /// Nobody yet.
    pub fn new(limits: Limits) -> Arc<Census> {
        let by_address = Mutex::default();
        Arc::new(Census { connections: AtomicUsize::new(0), handshakes: AtomicUsize::new(0), by_address, limits })
    }

    /// Counts a connection, unless a limit says no. It counts until the place is dropped.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let here = by_address.get(&address).copied().unwrap_or(0);
        if self.connections.load(Ordering::Relaxed) >= self.limits.connections || here >= self.limits.connections_per_ip
        {
            return None;
        }
        by_address.insert(address, here + 1);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Some(Place { census: Arc::clone(self), address })
    }

    /// Counts an unfinished handshake, unless there are too many.
    fn begin_handshake(&self) -> Option<Handshake<'_>> {
        let before = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let counted = Handshake(&self.handshakes);
        (before < self.limits.handshakes).then_some(counted)
    }
}

struct Place {
    census: Arc<Census>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.census.connections.fetch_sub(1, Ordering::Relaxed);
        let mut by_address = self.census.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

struct Handshake<'a>(&'a AtomicUsize);

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All that accepting needs to know. One per worker and listener.
pub struct Accept {
    /// The request pipeline.
    pub gateway: Rc<Gateway>,
    /// What holds for all of the listener's connections.
    pub door: Rc<Door>,
    /// TLS with the names of its certificates; `None`: in clear.
    pub tls: Option<(TlsAcceptor, Rc<ServerNames>)>,
    /// The worker's connections.
    pub roll: Rc<Roll>,
    /// All connections.
    pub census: Arc<Census>,
    /// Limits, for connections.
    pub limits: Rc<Limits>,
    /// Timeouts, for connections.
    pub timeouts: ConnectionTimeouts,
}

impl Accept {
    /// Accepts until `stop` says `true`, then takes what the kernel has already accepted for us, and closes the socket.
    pub async fn run(self: Rc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.take(stream, address),
                Err(error) => Self::after_failure(&error).await,
            }
        }
        // Closing the socket would reset the connections that wait in its queue (PERFORMANCE §2). The runtime asks for
        // news of it between two turns.
        tokio::task::yield_now().await;
        while let Some(Ok((stream, address))) = now_or_never(listener.accept()).await {
            self.take(stream, address);
        }
    }

    async fn after_failure(error: &io::Error) {
        // A client that left before it was accepted is no failure of ours.
        if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(REST).await;
        }
    }

    fn take(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let Some(place) = self.census.enter(address.ip()) else { return };
        let this = Rc::clone(self);
        // Entered here and not in the task: a stop that comes before the task has run waits for it as well.
        let pulse = self.roll.enter();
        tokio::task::spawn_local(async move {
            let recorder = Arc::clone(&this.gateway.recorder);
            recorder.connection_accepted();
            this.serve(stream, address, pulse).await;
            recorder.connection_closed();
            drop(place);
        });
    }

    async fn serve(&self, stream: TcpStream, address: SocketAddr, pulse: Rc<Pulse>) {
        // Fails only on a connection that is gone.
        let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
        let gateway = Rc::clone(&self.gateway);
        let limits = Rc::clone(&self.limits);
        // Each stage is boxed, so that an idle connection holds the memory of its own stage only.
        let Some((acceptor, names)) = &self.tls else {
            let client = self.client(Peer::plain(address, local), pulse);
            return Box::pin(serve::http1(stream, gateway, client, limits)).await;
        };
        // A handshake keeps no stop waiting; its client has not asked for anything yet.
        drop(pulse);
        let Some(stream) = Box::pin(self.shake_hands(acceptor, stream)).await else {
            return self.gateway.recorder.handshake_failed();
        };
        let (_, session) = stream.get_ref();
        let peer = Peer::tls(address, local, session.server_name(), Rc::clone(names));
        let client = self.client(peer, self.roll.enter());
        if session.alpn_protocol() == Some(b"h2") {
            Box::pin(http2::http2(stream, gateway, client, limits)).await;
        } else {
            Box::pin(serve::http1(stream, gateway, client, limits)).await;
        }
    }

    async fn shake_hands(&self, acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let _unfinished = self.census.begin_handshake()?;
        tokio::time::timeout(self.timeouts.handshake, acceptor.accept(stream)).await.ok()?.ok()
    }

    fn client(&self, peer: Peer, pulse: Rc<Pulse>) -> Rc<ClientConnection> {
        Rc::new(ClientConnection {
            peer,
            pulse,
            fault: Cell::new(None),
            held: Cell::new(false),
            door: Rc::clone(&self.door),
        })
    }
}

/// What the future gives at once, if it does.
async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
