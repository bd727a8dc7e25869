//! Accepts connections of one listener on one worker.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::Connections;
use super::proxied;
use super::tcp::Tcp;
use super::{http1, http2};
use crate::client::proxy_protocol::Endpoints;
use crate::client::{ClientConnection, Ending, ListenerPolicy, OpenConnections, Pulse};
use crate::config::settings::Limits;
use crate::gateway::{Current, Generation, ListenerTls};
use crate::limits::{Client, Place};
use crate::route::Peer;
use crate::telemetry::Recorder;

/// Pause of the accept loop when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts the connections of one listener on one worker. Each connection uses the listener's settings of the worker's
/// current generation.
pub struct Accept {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The request pipeline.
    pub current: Rc<Current>,
    /// The worker's connections.
    pub open_connections: Rc<OpenConnections>,
    /// The limits of all connections.
    pub connections: Arc<Connections>,
}

impl Accept {
    /// Accepts until `stop` is `true`, then takes the connections that the kernel has already accepted. The socket is
    /// closed with its last reference.
    pub async fn run(self: Rc<Self>, listener: Rc<TcpListener>, mut stop: watch::Receiver<bool>) {
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
        // Closing the socket would reset the connections that wait in its queue. The runtime polls the socket between
        // two turns of its tasks, so yield first.
        tokio::task::yield_now().await;
        while let Some(Ok((stream, address))) = now_or_never(listener.accept()).await {
            self.take(stream, address);
        }
    }

    async fn after_failure(error: &io::Error) {
        // A client that disconnected before it was accepted is not an error.
        if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    fn take(self: &Rc<Self>, stream: TcpStream, address: SocketAddr) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let Some(place) = self.connections.enter(Client::of(address.ip())) else { return };
        let gateway = self.current.get();
        let Some(terms) = Terms::of(&gateway.generation, &self.listener) else { return };
        let recorder = Arc::clone(&gateway.worker.recorder);
        let this = Rc::clone(self);
        // Registered here and not in the task, so that a shutdown which begins before the task has run waits for it
        // too.
        let pulse = self.open_connections.enter(&self.listener);
        tokio::task::spawn_local(async move {
            recorder.connection_accepted();
            this.serve(terms, &recorder, (stream, address), place, pulse).await;
            recorder.connection_closed();
        });
    }

    async fn serve(
        &self,
        terms: Terms,
        recorder: &Recorder,
        (mut stream, mut address): (TcpStream, SocketAddr),
        mut place: Place,
        pulse: Rc<Pulse>,
    ) {
        // Fails only if the connection has ended.
        let (Ok(()), Ok(mut local)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
        let Terms { policy, tls, limits, handshake } = terms;
        if policy.trust.protocol {
            let introduced =
                timeout_at(Instant::now() + handshake, proxied::introduce(&mut stream, &policy.trust, address));
            let Some(Ok(Ok(introduced))) = Box::pin(unless_evicted(&mut place, introduced)).await else {
                return recorder.handshake_failed();
            };
            if let Some(Endpoints { source, destination }) = introduced {
                // From here on, the connection counts for the client, and not for the proxy.
                let Some(of_client) = self.connections.enter(Client::of(source.ip())) else { return };
                (place, address, local) = (of_client, source, destination);
            }
        }
        let (current, listener) = (Rc::clone(&self.current), Some(Arc::clone(&self.listener)));
        // Each stage is boxed, so that an idle connection uses only the memory of its current stage.
        let Some(ListenerTls { acceptor, names, unencrypted }) = tls else {
            if unless_evicted(&mut place, first_byte_or_end(&stream, &pulse)).await.is_none() || !place.confirm() {
                return;
            }
            let client = ClientConnection::new(Peer::plain(address, local), pulse, listener, policy);
            return Box::pin(http1::http1(stream, current, client, limits, &self.connections)).await;
        };
        // Shutdown does not wait for unfinished handshakes: no request has arrived on them.
        let counted = self.open_connections.begin_handshake();
        drop(pulse);
        let deadline = Instant::now() + handshake;
        let silent = timeout_at(deadline, opening(&stream));
        let first = match unless_evicted(&mut place, silent).await {
            Some(Ok(Some(first))) => first,
            Some(Err(_)) => return recorder.handshake_failed(),
            Some(Ok(None)) | None => return,
        };
        if first == Opening::Http {
            let pulse = self.open_connections.enter(&self.listener);
            let client = ClientConnection::new(Peer::plain(address, local), pulse, None, unencrypted);
            let refused = http1::http1(stream, current, client, limits, &self.connections);
            // The place stays provisional: the connection can be evicted for a new one until it ends.
            let _ = Box::pin(unless_evicted(&mut place, refused)).await;
            return;
        }
        let handshake = timeout_at(deadline, self.shake_hands(&acceptor, stream, Client::of(address.ip())));
        let Some(Ok(Some(stream))) = Box::pin(unless_evicted(&mut place, handshake)).await else {
            return recorder.handshake_failed();
        };
        if !place.confirm() {
            return;
        }
        let (_, session) = stream.get_ref();
        let peer = Peer::tls(address, local, session.server_name(), names);
        let client = ClientConnection::new(peer, self.open_connections.enter(&self.listener), listener, policy);
        drop(counted);
        if session.alpn_protocol() == Some(b"h2") {
            Box::pin(http2::http2(stream, current, client, limits)).await;
        } else {
            Box::pin(http1::http1(stream, current, client, limits, &self.connections)).await;
        }
    }

    async fn shake_hands(&self, acceptor: &TlsAcceptor, stream: TcpStream, client: Client) -> Option<TlsStream<Tcp>> {
        let mut begun = self.connections.begin_handshake(client).await?;
        tokio::select! {
            biased;
            () = begun.gives_way() => None,
            shaken = acceptor.accept(Tcp(stream)) => shaken.ok(),
        }
    }
}

/// The settings of a new connection.
struct Terms {
    policy: Arc<ListenerPolicy>,
    tls: Option<ListenerTls>,
    limits: Arc<Limits>,
    handshake: Duration,
}

impl Terms {
    fn of(generation: &Generation, listener: &str) -> Option<Terms> {
        let listener = generation.listener(listener)?;
        Some(Terms {
            policy: Arc::clone(&listener.policy),
            tls: listener.tls.clone(),
            limits: Arc::clone(&generation.limits),
            handshake: generation.timeouts.handshake,
        })
    }
}

/// Returns the result of the future; `None` if the place is evicted before it completes.
async fn unless_evicted<F: Future>(place: &mut Place, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = place.evicted() => None,
        output = future => Some(output),
    }
}

/// The protocol that the first bytes of a client belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// A TLS record, or any bytes that TLS answers with an alert.
    Tls,
    /// A letter, like the first byte of a method, not followed by a TLS version.
    Http,
}

/// Waits for the first bytes of a client and leaves them unread. `None`: the client disconnected.
async fn opening(stream: &TcpStream) -> Option<Opening> {
    let mut first = [0; 2];
    let count = stream.peek(&mut first).await.ok()?;
    match first.get(..count)? {
        [] => None,
        [letter, rest @ ..] if letter.is_ascii_alphabetic() && !rest.iter().any(u8::is_ascii_control) => {
            Some(Opening::Http)
        }
        _ => Some(Opening::Tls),
    }
}

/// Waits until the client has sent something or has disconnected, or until the connection must end.
async fn first_byte_or_end(stream: &TcpStream, pulse: &Pulse) {
    std::future::poll_fn(|cx| match pulse.ending(cx.waker()) {
        // Peeks, because the runtime may report a socket as readable that has no bytes to read. The next read returns
        // any error.
        Ending::Not | Ending::WithNextResponse => stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map(drop),
        Ending::Gracefully | Ending::Now => Poll::Ready(()),
    })
    .await;
}

/// Polls the future once; returns its result if it is ready.
async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
