//! TLS in front of a scripted endpoint: each connection becomes one to the endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokengate::tls::Certificate;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// The front. Dropping it ends all connections.
pub struct TlsFront {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl TlsFront {
    pub async fn before(endpoint: SocketAddr, certificate: &Certificate) -> TlsFront {
        TlsFront::with(endpoint, certificate, &[b"http/1.1"]).await
    }

    /// With these protocols in ALPN.
    pub async fn with(endpoint: SocketAddr, certificate: &Certificate, alpn: &[&[u8]]) -> TlsFront {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&certificate.key)));
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let Ok(mut near) = acceptor.accept(stream).await else { return };
                    let Ok(mut far) = TcpStream::connect(endpoint).await else { return };
                    // A reset at one side ends the other one without a close notify.
                    if tokio::io::copy_bidirectional(&mut near, &mut far).await.is_ok() {
                        let _ = near.shutdown().await;
                    }
                });
            }
        });
        TlsFront { address, accepting: accepting.abort_handle() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
