//! Clients: raw bytes over TLS or unencrypted, and single requests over either version of HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http2::H2;
use super::message::{Answer, Reader};
use super::{Gateway, soon};

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An HTTP/1 connection on which a test can write any bytes.
pub struct Wire(pub Reader<Box<dyn Stream>>);

/// TLS options of a test.
#[derive(Clone)]
pub struct Tls {
    pub name: &'static str,
    pub alpn: Vec<&'static [u8]>,
    pub version: Option<&'static SupportedProtocolVersion>,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { name: "localhost", alpn: vec![b"http/1.1"], version: None }
    }
}

impl Tls {
    pub fn config(&self, gateway: &Gateway) -> Arc<ClientConfig> {
        self.trusting(&gateway.roots)
    }

    /// For a server other than a gateway.
    pub fn trusting(&self, roots: &Arc<RootCertStore>) -> Arc<ClientConfig> {
        let versions: &[_] = match &self.version {
            Some(version) => &[*version],
            None => &[&TLS13, &TLS12],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(16);
        Arc::new(config)
    }

    pub async fn connect(&self, gateway: &Gateway) -> io::Result<TlsStream<TcpStream>> {
        connect(gateway.address(), &self.config(gateway), self.name).await
    }
}

pub async fn connect(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// Connects as another client.
pub async fn from_elsewhere(gateway: &Gateway) -> Wire {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = soon("connect", socket.connect(gateway.address())).await.unwrap();
    let tls = Tls::default();
    let name = ServerName::try_from(tls.name).unwrap();
    Wire::over(soon("handshake", TlsConnector::from(tls.config(gateway)).connect(name, stream)).await.unwrap())
}

impl Wire {
    /// Over TLS.
    pub async fn open(gateway: &Gateway) -> Wire {
        Wire::over(soon("handshake", Tls::default().connect(gateway)).await.unwrap())
    }

    /// Unencrypted.
    pub async fn plain(gateway: &Gateway) -> Wire {
        Wire::over(TcpStream::connect(gateway.plain_address()).await.unwrap())
    }

    pub fn over(stream: impl Stream + 'static) -> Wire {
        Wire(Reader::new(Box::new(stream)))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let stream = &mut self.0.stream;
        soon("writing", async {
            stream.write_all(bytes.as_ref()).await?;
            stream.flush().await
        })
        .await
    }

    /// The next response; interim ones are skipped. Panics if there is none.
    pub async fn answer(&mut self) -> Answer {
        soon("answer", self.next(false)).await.unwrap().expect("an answer, not the end of the connection")
    }

    pub async fn answer_to_head(&mut self) -> Answer {
        soon("answer", self.next(true)).await.unwrap().expect("an answer, not the end of the connection")
    }

    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// The next head only: status and headers.
    pub async fn next_head(&mut self) -> Option<(u16, super::message::Head)> {
        let head = soon("head", self.0.head()).await.ok()??;
        assert!(head.first_line.starts_with("HTTP/1.1 "), "{}", head.first_line);
        let status = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head))
    }

    async fn next(&mut self, to_head: bool) -> io::Result<Option<Answer>> {
        let (status, head) = loop {
            let Some((status, head)) = self.next_head().await else { return Ok(None) };
            if status / 100 != 1 || status == 101 {
                break (status, head);
            }
        };
        let mut body = Vec::new();
        let end = head.answer_end(status, to_head);
        // A reset within the body makes it incomplete.
        let trailers = self.0.body(end, |piece| body.extend_from_slice(piece)).await.unwrap_or(None);
        let complete = trailers.is_some();
        Ok(Some(Answer { status, fields: head.fields, body, trailers: trailers.unwrap_or_default(), complete }))
    }

    /// All bytes until the connection ends, in whatever way.
    pub async fn rest(&mut self) -> Vec<u8> {
        soon("end of the connection", async { while self.0.fill().await.unwrap_or(false) {} }).await;
        std::mem::take(&mut self.0.buffer)
    }

    /// Sends these bytes and returns everything that follows.
    pub async fn ask_raw(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes).await;
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }

    /// The connection must end without further bytes.
    pub async fn ends(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

pub const BOTH: [Http; 2] = [Http::One, Http::Two];

/// One request, for either version.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
    /// Trailers; the body is then chunked.
    pub trailers: Vec<(String, String)>,
}

impl Ask {
    pub fn new(method: &str, target: &str) -> Ask {
        let (method, target) = (method.to_owned(), target.to_owned());
        Ask { method, target, fields: Vec::new(), body: None, trailers: Vec::new() }
    }

    pub fn get(target: &str) -> Ask {
        Ask::new("GET", target)
    }

    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Ask {
        Ask { body: Some(body.as_ref().to_vec()), ..Ask::new("POST", target) }
    }

    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn token(self, key: &str) -> Ask {
        self.field("Authorization", format!("Token {key}"))
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Ask {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As HTTP/1.1.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: ").as_bytes());
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        match &self.body {
            None => out.extend_from_slice(b"\r\n"),
            Some(body) if self.trailers.is_empty() => {
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
            }
            Some(body) => {
                out.extend_from_slice(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
                out.extend_from_slice(b"\r\n0\r\n");
                for (name, value) in &self.trailers {
                    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }

    /// Sends it on a new TLS connection.
    pub async fn over(&self, http: Http, gateway: &Gateway) -> Answer {
        match http {
            Http::Two => soon("answer", H2::open(gateway).await.ask(self)).await,
            Http::One => {
                let mut wire = Wire::open(gateway).await;
                wire.send(self.bytes()).await;
                if self.method == "HEAD" { wire.answer_to_head().await } else { wire.answer().await }
            }
        }
    }

    /// [`Ask::over`] HTTP/1.1.
    pub async fn to(&self, gateway: &Gateway) -> Answer {
        self.over(Http::One, gateway).await
    }
}
