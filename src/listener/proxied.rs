//! Reads the PROXY header at the beginning of a connection, before TLS.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::proxy_protocol::{self, BadHeader, Endpoints, Read};
use crate::config::settings::ProxyTrust;

/// Why a connection has no usable PROXY header.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotIntroduced {
    /// The connection does not come from a trusted proxy.
    #[error("the connection does not come from a trusted proxy")]
    Untrusted,
    #[error(transparent)]
    Header(#[from] BadHeader),
    #[error(transparent)]
    Ended(#[from] io::Error),
}

/// Reads the header and nothing behind it. `None`: the connection is the proxy's own.
///
/// # Errors
/// [`NotIntroduced`]; the connection must be closed.
pub(super) async fn introduce(
    stream: &mut TcpStream,
    trust: &ProxyTrust,
    from: SocketAddr,
) -> Result<Option<Endpoints>, NotIntroduced> {
    if !trust.proxies.as_ref().is_some_and(|proxies| proxies.contain(from.ip())) {
        return Err(NotIntroduced::Untrusted);
    }
    let mut header = Vec::with_capacity(128);
    loop {
        match proxy_protocol::read(&header)? {
            Read::Done(endpoints) => {
                let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
                return Ok(endpoints.map(|Endpoints { source, destination }| Endpoints {
                    source: plain(source),
                    destination: plain(destination),
                }));
            }
            Read::More(more) => {
                let begun = header.len();
                header.resize(begun.saturating_add(more), 0);
                stream.read_exact(header.get_mut(begun..).unwrap_or_default()).await?;
            }
        }
    }
}
