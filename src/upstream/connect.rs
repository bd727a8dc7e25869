//! Opens connections to endpoints.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Addresses;
use super::race::race;
use crate::config::settings::{Endpoint, EndpointAddress};

/// TCP keep-alive: idle time before the first probe, and the interval between probes.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// The address of an endpoint. Connections to equal ones are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The `Host` header for routes that send the endpoint's own host.
    pub host: HeaderValue,
    /// Host and port as written in the configuration, for messages.
    pub authority: String,
    /// Where to connect to.
    pub location: EndpointLocation,
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointLocation {
    /// TCP, to the addresses of a host name.
    Tcp(Addresses),
    /// A Unix socket.
    Unix(PathBuf),
}

impl EndpointSpec {
    /// An endpoint of the configuration. Its host name, if it has one, is not resolved yet.
    pub fn of(endpoint: &Endpoint) -> EndpointSpec {
        let location = match &endpoint.address {
            EndpointAddress::Tcp(host, port) => EndpointLocation::Tcp(Addresses::of(host, *port)),
            EndpointAddress::Unix(path) => EndpointLocation::Unix(path.clone()),
        };
        // The configuration allows only hosts and ports that are valid header values.
        let host = HeaderValue::try_from(endpoint.authority.as_str());
        let host = host.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        EndpointSpec { host, authority: endpoint.authority.clone(), location }
    }

    /// The addresses of the host name; `None` for a Unix socket.
    pub fn addresses(&self) -> Option<&Addresses> {
        match &self.location {
            EndpointLocation::Tcp(addresses) => Some(addresses),
            EndpointLocation::Unix(_) => None,
        }
    }

    /// Whether there is an address to connect to.
    pub(super) fn is_known(&self) -> bool {
        self.addresses().is_none_or(Addresses::are_known)
    }

    /// Changes when its addresses change.
    pub(super) fn version(&self) -> u64 {
        self.addresses().map_or(0, Addresses::version)
    }
}

/// Opens a connection.
pub(super) async fn connect(spec: &EndpointSpec) -> io::Result<Stream> {
    Ok(match &spec.location {
        EndpointLocation::Tcp(addresses) => {
            let (stream, address) = race(&addresses.all(), TcpStream::connect).await?;
            addresses.answered(address);
            // Heads and bodies are written in large pieces; Nagle's algorithm would only add delay.
            stream.set_nodelay(true)?;
            // Detects an endpoint whose machine vanished while the connection was silent.
            SockRef::from(&stream)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
            Stream::Tcp(stream)
        }
        EndpointLocation::Unix(path) => {
            Stream::Unix(UnixStream::connect(path).await.map_err(|error| at(path, &error))?)
        }
    })
}

/// Adds the path of the socket to an error.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A connected socket. An enum and not a boxed trait, which would cost a virtual call per read.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// The address at the other end; `None` for a Unix socket, and for a connection that has ended.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Ready when the socket may be readable.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Reads available bytes. Calls the system only if the runtime has been notified that the socket may be readable.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Returns whether a byte or the end of the stream has arrived, without consuming it. Always a system call.
    pub(super) fn peek(&self) -> io::Result<usize> {
        self.socket().peek(&mut [MaybeUninit::uninit()])
    }

    /// Shuts the connection down in both directions, at once.
    pub(super) fn end(&self) {
        // Fails only if the connection has ended already.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connect_error_names_the_socket_or_the_addresses() {
        let spec = |address| EndpointSpec::of(&Endpoint { authority: "a.test:80".to_owned(), address });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let error = connect(&spec(EndpointAddress::Unix(path.clone()))).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
        // Bound but not listening: connections are refused.
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        let refusing = spec(EndpointAddress::Tcp("127.0.0.1".to_owned(), port));
        refusing.addresses().unwrap().look_up(&super::super::Resolver::system()).await.unwrap();
        let error = connect(&refusing).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
    }
}
