//! A connected socket, with or without TLS.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connected socket. An enum and not a boxed trait, which would cost a virtual call per read.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, because the state of TLS is large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The address at the other end; `None` for a Unix socket, and for a connection that has ended.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Whether the endpoint has chosen HTTP/2. Without TLS there is no choice.
    pub(super) fn speaks_http2(&self) -> bool {
        match self {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Stream::Tcp(_) | Stream::Unix(_) => true,
        }
    }

    /// Ready when a read may give bytes. With TLS it is always ready: the library may hold bytes that were read from the
    /// socket before.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            Stream::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the connection is open and no byte for us has arrived. `certainly` asks the system; otherwise only what
    /// the runtime was notified of is considered, which costs no system call.
    pub(super) fn is_quiet(&mut self, certainly: bool) -> bool {
        let looked = match self {
            Stream::Tls(stream) => return is_quiet(stream, certainly),
            _ if certainly => self.socket().peek(&mut [MaybeUninit::uninit()]),
            Stream::Tcp(stream) => stream.try_read(&mut [0]),
            Stream::Unix(stream) => stream.try_read(&mut [0]),
        };
        matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
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
            Stream::Tls(stream) => SockRef::from(stream.get_ref().0),
        }
    }
}

/// [`Stream::is_quiet`] with TLS. Records without content, such as session tickets, do not count.
fn is_quiet(stream: &mut TlsStream<TcpStream>, certainly: bool) -> bool {
    let (socket, session) = stream.get_mut();
    let has_nothing = |state: rustls::IoState| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed();
    // Also bytes that were decrypted before count: they followed the last response.
    while session.process_new_packets().is_ok_and(has_nothing) {
        let read = match certainly {
            true => session.read_tls(&mut &*SockRef::from(&*socket)),
            false => session.read_tls(&mut Notified(socket)),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) | Ok(0) => return false,
            Ok(_) => {}
        }
    }
    false
}

/// Reads from a socket only if the runtime was notified that it may be readable.
struct Notified<'a>(&'a TcpStream);

impl Read for Notified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
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
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
