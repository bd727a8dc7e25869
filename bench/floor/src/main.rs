//! The least that a gateway of this kind can do with a request: `bench/compare --targets floor` shows its cost.
//!
//! floor PORT UPSTREAM_PORT CERTIFICATE KEY TOKEN USER
//!
//! One thread, TLS 1.2 and 1.3, HTTP/1.1 on both sides. It checks one fixed token by its SHA-256 and tells the upstream
//! whose it is. It is no gateway: it has no timeouts and no limits but the size of a head, does not check what it
//! forwards, has no log, no metrics, no routes, no store, and never retries. Never use it for anything but measuring.

mod codec;

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use codec::{Answer, Request};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A piece of a body.
const PIECE: usize = 64 << 10;
const MAX_HEAD: usize = 64 << 10;
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Token\r\nContent-Length: 0\r\n\r\n";

type Failure = Box<dyn Error>;

/// What all connections share.
struct Floor {
    upstream: u16,
    token: Vec<u8>,
    identity: Vec<u8>,
    idle: RefCell<Vec<TcpStream>>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, upstream, cert, key, token, user] = arguments.as_slice() else {
        return Err("usage: floor PORT UPSTREAM_PORT CERTIFICATE KEY TOKEN USER".into());
    };
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let mut tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.send_tls13_tickets = 1;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let floor = Rc::new(Floor {
        upstream: upstream.parse()?,
        token: digest(&SHA256, token.as_bytes()).as_ref().to_vec(),
        identity: format!("X-User-Name: {user}\r\nX-Forwarded-Proto: https\r\n").into_bytes(),
        idle: RefCell::default(),
    });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
        loop {
            let (plain, peer) = listener.accept().await?;
            let (acceptor, floor) = (acceptor.clone(), Rc::clone(&floor));
            let forwarded = format!("X-Forwarded-For: {}\r\n", peer.ip()).into_bytes();
            tokio::task::spawn_local(async move {
                // A connection that fails is closed; the load generator counts it.
                let _ = floor.serve(acceptor, plain, &forwarded).await;
            });
        }
    })
}

impl Floor {
    async fn serve(&self, acceptor: TlsAcceptor, plain: TcpStream, forwarded: &[u8]) -> Result<(), Failure> {
        plain.set_nodelay(true)?;
        let mut client = acceptor.accept(plain).await?;
        let (mut incoming, mut outgoing, mut answer) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let Some(size) = read_head(&mut client, &mut incoming).await? else { return Ok(()) };
            outgoing.clear();
            let request = Request::read(&incoming[..size], &mut outgoing).ok_or("a request that is not understood")?;
            let key = request.token.strip_prefix(b"Token ").unwrap_or_default();
            let known = digest(&SHA256, key).as_ref() == self.token;
            let (length, close) = (request.body, request.close);
            if !known {
                client.write_all(UNAUTHORIZED).await?;
                return Ok(client.shutdown().await?);
            }
            outgoing.extend_from_slice(forwarded);
            outgoing.extend_from_slice(&self.identity);
            outgoing.extend_from_slice(b"\r\n");

            let mut upstream = self.connection().await?;
            let here = length.min(incoming.len() - size);
            outgoing.extend_from_slice(&incoming[size..size + here]);
            incoming.drain(..size + here);
            upstream.write_all(&outgoing).await?;
            copy(&mut client, &mut upstream, length - here).await?;

            answer.clear();
            let size = read_head(&mut upstream, &mut answer).await?.ok_or("the upstream has closed")?;
            outgoing.clear();
            let (head, piece) = answer.split_at(size);
            let length = Answer::read(head, close, &mut outgoing).ok_or("an answer that is not understood")?.body;
            outgoing.extend_from_slice(piece);
            let rest = length.checked_sub(piece.len()).ok_or("an answer that is too long")?;
            client.write_all(&outgoing).await?;
            copy(&mut upstream, &mut client, rest).await?;
            client.flush().await?;
            self.idle.borrow_mut().push(upstream);
            if close {
                return Ok(client.shutdown().await?);
            }
        }
    }

    async fn connection(&self) -> Result<TcpStream, Failure> {
        // A statement of its own, so that the borrow ends here.
        let idle = self.idle.borrow_mut().pop();
        if let Some(idle) = idle {
            return Ok(idle);
        }
        let made = TcpStream::connect(("127.0.0.1", self.upstream)).await?;
        made.set_nodelay(true)?;
        Ok(made)
    }
}

/// Reads until `buffer` has a whole head. Returns its size, or nothing if the connection ended before it began.
async fn read_head(from: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> Result<Option<usize>, Failure> {
    loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if buffer.len() > MAX_HEAD {
            return Err("a head that is too large".into());
        }
        buffer.reserve(4 << 10);
        if from.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err("a head that ends early".into()) };
        }
    }
}

/// Copies `length` bytes of a body.
async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut length: usize,
) -> Result<(), Failure> {
    if length == 0 {
        return Ok(());
    }
    let mut buffer = vec![0; length.min(PIECE)];
    while length > 0 {
        let most = length.min(buffer.len());
        let read = from.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err("a body that ends early".into());
        }
        to.write_all(&buffer[..read]).await?;
        length -= read;
    }
    Ok(())
}
