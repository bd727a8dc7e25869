//! Accepts connections of one listener on one worker.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
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
use super::http1::Http1;
use super::serve::poll_until;
use super::tcp::Tcp;
use super::{http2, proxied, tls};
use crate::client::certificate::ClientCertificate;
use crate::client::proxy_protocol::Endpoints;
use crate::client::{ClientConnection, Ending, ListenerPolicy, OpenConnections, Pulse};
use crate::config::settings::{ClientCertificates, Limits};
use crate::gateway::{Current, Generation, ListenerTls};
use crate::limits::{Client, Place};
use crate::route::Peer;
use crate::telemetry::Recorder;
use crate::tls::{ACME_PROTOCOL, ClientChain};

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
        mut terms: Terms,
        recorder: &Recorder,
        (mut stream, mut address): (TcpStream, SocketAddr),
        mut place: Place,
        pulse: Rc<Pulse>,
    ) {
        // Fails only if the connection has ended.
        let (Ok(()), Ok(mut local)) = (stream.set_nodelay(true), stream.local_addr()) else { return };
        if terms.policy.trust.protocol {
            let introduced = unless_ending(&pulse, proxied::introduce(&mut stream, &terms.policy.trust, address));
            let introduced = timeout_at(Instant::now() + terms.handshake, introduced);
            let introduced = match Box::pin(unless_evicted(&mut place, introduced)).await {
                Some(Ok(Some(Ok(introduced)))) => introduced,
                Some(Ok(None)) => return,
                Some(Ok(Some(Err(_))) | Err(_)) | None => return recorder.handshake_failed(),
            };
            match introduced {
                Some(Endpoints { source, destination }) => {
                    // From here on, the connection counts for the client, and not for the proxy.
                    let Some(of_client) = self.connections.enter(Client::of(source.ip())) else { return };
                    (place, address, local) = (of_client, source, destination);
                }
                None => terms.is_unknown = true,
            }
        }
        // Each stage is boxed, so that an idle connection uses only the memory of its current stage.
        if terms.tls.is_none() {
            if unless_evicted(&mut place, first_byte_or_end(&stream, &pulse)).await.is_none() || !place.confirm() {
                return;
            }
            let listener = Some(Arc::clone(&self.listener));
            let client = ClientConnection::new(Peer::plain(address, local), pulse, listener, terms.policy);
            client.is_unknown.set(terms.is_unknown);
            return self.plain(stream, client, terms.limits).await;
        }
        // Shutdown does not wait for unfinished handshakes: no request has arrived on them.
        let counted = self.open_connections.begin_handshake();
        drop(pulse);
        match Box::pin(self.encrypt(terms, recorder, stream, (address, local), &mut place)).await {
            Some(Encrypted::Served(serving)) => {
                drop(counted);
                serving.await;
            }
            // The place stays provisional: the connection can be evicted for a new one until it ends.
            Some(Encrypted::Refused(refusing)) => drop(unless_evicted(&mut place, refusing).await),
            None => {}
        }
    }

    /// Performs the TLS handshake of a new connection. `None`: the connection has ended.
    async fn encrypt(
        &self,
        terms: Terms,
        recorder: &Recorder,
        stream: TcpStream,
        (address, local): (SocketAddr, SocketAddr),
        place: &mut Place,
    ) -> Option<Encrypted<'_>> {
        let Terms { policy, tls, limits, handshake, is_unknown } = terms;
        let ListenerTls { acceptor, names, clients, unencrypted } = tls?;
        let deadline = Instant::now() + handshake;
        let first = match unless_evicted(place, timeout_at(deadline, opening(&stream))).await? {
            Ok(first) => first?,
            Err(_) => {
                recorder.handshake_failed();
                return None;
            }
        };
        if first == Opening::Http {
            let pulse = self.open_connections.enter(&self.listener);
            let client = ClientConnection::new(Peer::plain(address, local), pulse, None, unencrypted);
            return Some(Encrypted::Refused(self.plain(stream, client, limits)));
        }
        let handshake = timeout_at(deadline, self.shake_hands(&acceptor, stream, Client::of(address.ip())));
        let Some(Ok(Some(stream))) = unless_evicted(place, handshake).await else {
            recorder.handshake_failed();
            return None;
        };
        if !place.confirm() {
            return None;
        }
        let (_, session) = stream.get_ref();
        // The handshake was the whole answer to a CA. No requests follow.
        if session.alpn_protocol() == Some(ACME_PROTOCOL) {
            return None;
        }
        let peer = Peer::tls(address, local, session.server_name(), names);
        let pulse = self.open_connections.enter(&self.listener);
        let client = ClientConnection::new(peer, pulse, Some(Arc::clone(&self.listener)), policy);
        client.is_unknown.set(is_unknown);
        if let Some(clients) = clients {
            self.introduce(&client, tls::shown(session)?, &clients)?;
        }
        let current = Rc::clone(&self.current);
        Some(Encrypted::Served(match session.alpn_protocol() == Some(b"h2") {
            true => Box::pin(http2::http2(stream, current, client, limits)),
            false => Box::pin(Http1::new(stream, current, client, limits).serve(&self.connections)),
        }))
    }

    /// Notes the certificate that the client has shown in its handshake. `None`: the connection must be closed.
    fn introduce(
        &self,
        client: &Rc<ClientConnection>,
        shown: Option<ClientChain>,
        clients: &Arc<ClientCertificates>,
    ) -> Option<()> {
        let Some(shown) = shown else { return Some(()) };
        let gateway = self.current.get();
        let certificate = ClientCertificate::new(shown, clients, gateway.worker.clock.now())?;
        let present = gateway.generation.listener(&self.listener).and_then(|listener| listener.tls.as_ref());
        let present = present.and_then(|tls| tls.clients.as_ref());
        // The rules have changed during the handshake.
        if !present.is_some_and(|present| Arc::ptr_eq(present, clients)) {
            certificate.doubt();
        }
        // The connection is new, so it has none.
        let _ = client.certificate.set(certificate);
        gateway.worker.certified.enter(client);
        Some(())
    }

    /// Serves HTTP/1 without TLS.
    fn plain(&self, stream: TcpStream, client: Rc<ClientConnection>, limits: Arc<Limits>) -> Serving<'_> {
        Box::pin(Http1::new(stream, Rc::clone(&self.current), client, limits).serve(&self.connections))
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

/// A connection that is served to its end.
type Serving<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A connection on a TLS listener.
enum Encrypted<'a> {
    /// Its handshake is complete.
    Served(Serving<'a>),
    /// It speaks unencrypted HTTP: each request is refused.
    Refused(Serving<'a>),
}

/// The settings of a new connection.
struct Terms {
    policy: Arc<ListenerPolicy>,
    tls: Option<ListenerTls>,
    limits: Arc<Limits>,
    handshake: Duration,
    /// A proxy says by the PROXY protocol that it does not know the client.
    is_unknown: bool,
}

impl Terms {
    fn of(generation: &Generation, listener: &str) -> Option<Terms> {
        let listener = generation.listener(listener)?;
        Some(Terms {
            policy: Arc::clone(&listener.policy),
            tls: listener.tls.clone(),
            limits: Arc::clone(&generation.limits),
            handshake: generation.timeouts.handshake,
            is_unknown: false,
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

/// Returns the result of the future; `None` if the connection must end before it completes.
async fn unless_ending<F: Future>(pulse: &Pulse, future: F) -> Option<F::Output> {
    poll_until(std::pin::pin!(future), pulse, Ending::Gracefully).await
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
