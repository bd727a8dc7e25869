//! How a connection to an endpoint is made.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::settings::{Endpoint, EndpointAddress};

/// A connection on which nothing comes for so long is asked whether it still stands, and then again and again.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// Everything that makes two connections interchangeable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// For `Host`, where a route asks for the endpoint's own.
    pub host: HeaderValue,
    /// As written in the configuration, for messages.
    pub authority: String,
    /// Where it is; names are already looked up.
    pub place: Place,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP, tried in this order.
    Tcp(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Looks the endpoint's name up. Control half; blocks on the system's resolver in a thread of its own.
///
/// # Errors
/// What the resolver says; an unknown name is an error.
pub async fn resolve(endpoint: &Endpoint) -> io::Result<EndpointSpec> {
    let place = match &endpoint.address {
        EndpointAddress::Tcp(host, port) => {
            Place::Tcp(tokio::net::lookup_host((host.as_str(), *port)).await?.collect())
        }
        EndpointAddress::Unix(path) => Place::Unix(path.clone()),
    };
    let host = HeaderValue::try_from(endpoint.authority.as_str()).map_err(io::Error::other)?;
    Ok(EndpointSpec { host, authority: endpoint.authority.clone(), place })
}

/// Connects.
pub(super) async fn connect(spec: &EndpointSpec) -> io::Result<Stream> {
    Ok(match &spec.place {
        Place::Tcp(addresses) => {
            let stream = TcpStream::connect(addresses.as_slice()).await?;
            // Heads and bodies are written whole; waiting for more only adds delay.
            stream.set_nodelay(true)?;
            // An endpoint whose machine has vanished from a silent stream would hold its connection for ever.
            SockRef::from(&stream)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
            Stream::Tcp(stream)
        }
        Place::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
    })
}

/// A connected socket. An enum, since a boxed trait would cost a virtual call for each read.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Ready when there may be something to read.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Reads what is there. Asks the system only if the runtime has heard that there may be something.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Looks whether a byte or the end has come, and takes nothing. Asks the system.
    pub(super) fn peek(&self) -> io::Result<usize> {
        self.socket().peek(&mut [MaybeUninit::uninit()])
    }

    /// Ends the connection in both directions, at once.
    pub(super) fn end(&self) {
        // It has ended already if this fails.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Stream::Tcp(stream) => SockRef::from(stream),
            Stream::Unix(stream) => SockRef::from(stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
