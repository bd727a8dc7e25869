//! Opens connections to endpoints.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::Addresses;
use super::race::race;
use super::stream::Stream;
use super::tls::ClientTls;
use crate::config::settings::{Endpoint, EndpointAddress, Protocol};
use crate::tls::ServerName;

/// TCP keep-alive: idle time before the first probe, and the interval between probes.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// What makes connections to an endpoint interchangeable: equal specs can share a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The `Host` header for routes that send the endpoint's own host.
    pub host: HeaderValue,
    /// Host and port as written in the configuration, for messages.
    pub authority: String,
    /// Where to connect to.
    pub location: EndpointLocation,
    /// TLS, and the name that the endpoint's certificate must have; `None`: without TLS.
    pub tls: Option<(ClientTls, ServerName<'static>)>,
    /// The version of HTTP.
    pub protocol: Protocol,
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointLocation {
    /// TCP, to the addresses of a host name.
    Tcp(Addresses),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why no connection was opened.
#[derive(Debug)]
pub(super) enum ConnectFault {
    /// No address accepts connections.
    Refused(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
    /// It took too long: to accept the connection, or to finish the handshake.
    Late {
        /// Whether the connection was accepted.
        accepted: bool,
    },
}

impl EndpointSpec {
    /// An endpoint of the configuration. Its host name, if it has one, is not resolved yet. `tls` and `protocol` are
    /// those of its upstream.
    pub fn of(endpoint: &Endpoint, tls: Option<&ClientTls>, protocol: Protocol) -> EndpointSpec {
        let location = match &endpoint.address {
            EndpointAddress::Tcp(host, port) => EndpointLocation::Tcp(Addresses::of(host, *port)),
            EndpointAddress::Unix(path) => EndpointLocation::Unix(path.clone()),
        };
        // The configuration allows only hosts and ports that are valid header values.
        let host = HeaderValue::try_from(endpoint.authority.as_str());
        let host = host.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let tls = tls.zip(endpoint.tls.as_ref());
        let tls = tls.map(|(tls, name)| (tls.clone(), tls.server_name().unwrap_or(name).clone()));
        EndpointSpec { host, authority: endpoint.authority.clone(), location, tls, protocol }
    }

    /// Its name in logs and metrics: `host:port`, or the path of a Unix socket.
    pub fn title(&self) -> Cow<'_, str> {
        match &self.location {
            EndpointLocation::Tcp(_) => self.authority.as_str().into(),
            EndpointLocation::Unix(path) => format!("unix:{}", path.display()).into(),
        }
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

/// Opens a connection until `deadline`.
pub(super) async fn connect(spec: &EndpointSpec, deadline: Instant) -> Result<Stream, ConnectFault> {
    let late = |accepted| move |_| ConnectFault::Late { accepted };
    let stream = timeout_at(deadline, open(spec)).await.map_err(late(false))?.map_err(ConnectFault::Refused)?;
    match (&spec.tls, stream) {
        (Some((tls, name)), Stream::Tcp(stream)) => {
            let handshake = TlsConnector::from(Arc::clone(tls.config())).connect(name.clone(), stream);
            let stream = timeout_at(deadline, handshake).await.map_err(late(true))?.map_err(ConnectFault::Tls)?;
            Ok(Stream::Tls(Box::new(stream)))
        }
        (_, stream) => Ok(stream),
    }
}

async fn open(spec: &EndpointSpec) -> io::Result<Stream> {
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

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectFault::Refused(error) | ConnectFault::Tls(error) => error.fmt(f),
            ConnectFault::Late { accepted: false } => f.write_str("it does not accept connections in time"),
            ConnectFault::Late { accepted: true } => f.write_str("it does not finish the TLS handshake in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connect_error_names_the_socket_or_the_addresses() {
        let spec = |address| EndpointSpec::of(&Endpoint::at("a.test:80", address), None, Protocol::Http1);
        let deadline = Instant::now() + Duration::from_secs(60);
        let refused = async |spec: &EndpointSpec| match connect(spec, deadline).await {
            Err(ConnectFault::Refused(error)) => error,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("connected"),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let error = refused(&spec(EndpointAddress::Unix(path.clone()))).await;
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
        // Bound but not listening: connections are refused.
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = taken.local_addr().unwrap().as_socket().unwrap().port();
        let refusing = spec(EndpointAddress::Tcp("127.0.0.1".to_owned(), port));
        refusing.addresses().unwrap().look_up(&super::super::Resolver::system()).await.unwrap();
        let error = refused(&refusing).await;
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
    }
}
