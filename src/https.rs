//! HTTP/1.1 requests that the gateway sends for itself, over TLS or without: to ACME servers and trace collectors.
//!
//! Each request has its own connection: there are few of them. The control half sends them, so they delay no request of
//! a client. Requests of clients go through `upstream` instead.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls::Authorities;

/// Time limit of one request, from the resolution of the name to the end of the response.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest body of a response. Certificate chains and directories are some kilobytes.
const MAX_BODY: usize = 1 << 20;

/// Sends requests.
#[derive(Clone)]
pub struct HttpsClient {
    tls: TlsConnector,
}

impl HttpsClient {
    /// A client that trusts these certificate authorities.
    ///
    /// # Errors
    /// If the provider of TLS lacks the default protocol versions; ours has them.
    pub fn new(authorities: &Authorities) -> io::Result<HttpsClient> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(authorities.roots())
            .with_no_client_auth();
        Ok(HttpsClient { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a request with an absolute URI, and reads the whole response. Redirects are not followed.
    ///
    /// # Errors
    /// The server cannot be reached in time, its certificate is not trusted, or it does not speak HTTP.
    pub async fn send<B>(&self, request: Request<B>) -> io::Result<Response<Bytes>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let sent = timeout(TIMEOUT, self.exchange(request)).await;
        sent.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer in time")))
    }

    async fn exchange<B>(&self, mut request: Request<B>) -> io::Result<Response<Bytes>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let uri = request.uri().clone();
        let authority = uri.authority().ok_or_else(|| invalid("the URL has no host"))?;
        let is_encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let port = authority.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        // The address of an IPv6 host has brackets in a URL only.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let shown = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid("the URL has no valid host"))?;
        request.headers_mut().entry(HOST).or_insert(shown);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| invalid("the URL has no valid path"))?;
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        if is_encrypted {
            let name = ServerName::try_from(host).map_err(|_| invalid("the URL has no valid host"))?;
            ask(self.tls.connect(name, stream).await?, request).await
        } else {
            ask(stream, request).await
        }
    }
}

async fn ask<S, B>(stream: S, request: Request<B>) -> io::Result<Response<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, mut body) = response.into_parts();
        let mut whole = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                whole.extend_from_slice(&data);
            }
            if whole.len() > MAX_BODY {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the response is too long"));
            }
        }
        Ok(Response::from_parts(head, Bytes::from(whole)))
    };
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        // The connection may end before the rest of the response was taken from it.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}
