//! WebSocket over HTTP/2 (RFC 8441): a stream that an extended CONNECT has opened carries bytes in both directions.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Inbox;

/// Marks a request as an extended CONNECT for WebSocket. Its method is set to GET, the method of the same handshake
/// over HTTP/1.1, so that all checks apply to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedConnect;

/// An HTTP/2 stream as one end of a tunnel. Dropping it resets the stream.
///
/// It holds at most the flow-control window of what the other side sends, and passes on what the other side's window
/// permits.
pub struct ByteStream {
    from: Rc<Inbox>,
    to: SendStream<Bytes>,
    /// What was taken from the stream, but not read.
    piece: Bytes,
    is_shut: bool,
}

impl ByteStream {
    /// A client's stream, whose task keeps what arrives in an inbox.
    pub fn of_client(from: Rc<Inbox>, to: SendStream<Bytes>) -> ByteStream {
        ByteStream { from, to, piece: Bytes::new(), is_shut: false }
    }

    /// A stream to an endpoint.
    pub fn of_endpoint(from: RecvStream, to: SendStream<Bytes>) -> ByteStream {
        ByteStream::of_client(Rc::new(Inbox::new(from, None, false)), to)
    }

    /// Keeps what arrives, while it is not read. Wakes the task when more arrives.
    pub fn keep(&self, cx: &mut Context<'_>) {
        self.from.keep(cx);
    }

    /// Whether our direction has ended. If not, dropping it resets the stream.
    pub fn is_shut(&self) -> bool {
        self.is_shut
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match ready!(this.from.poll(cx)) {
                Some(Ok(piece)) => this.piece = piece,
                Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.piece.len().min(buf.remaining());
        buf.put_slice(this.piece.get(..count).unwrap_or_default());
        this.piece.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let to = &mut self.get_mut().to;
        to.reserve_capacity(buf.len());
        loop {
            let part = buf.get(..to.capacity().min(buf.len())).unwrap_or_default();
            if !part.is_empty() || buf.is_empty() {
                let sent = to.send_data(Bytes::copy_from_slice(part), false);
                return Poll::Ready(sent.map(|()| part.len()).map_err(|_| io::ErrorKind::BrokenPipe.into()));
            }
            match ready!(to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// The task of the connection writes what was sent.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.is_shut, true) {
            // Fails only on a stream that has ended.
            let _ = this.to.send_data(Bytes::new(), true);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ByteStream {
    fn drop(&mut self) {
        if !self.is_shut {
            self.to.send_reset(Reason::CANCEL);
        }
    }
}
