//! The bytes of one HTTP/1 connection: what was read and not yet parsed, and what waits to be written.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::Pulse;
use crate::http1::Unwritten;

/// Maximum size of one read in bytes; a TLS record has at most as much data.
const READ_SIZE: usize = 16 << 10;

/// A connection and its buffers. An idle connection holds none.
pub struct Wire<S> {
    stream: S,
    /// What was read and not parsed.
    pub input: BytesMut,
    /// What was not written.
    pub output: Unwritten,
    /// Whether the stream may hold bytes that it did not write.
    is_unflushed: bool,
    pulse: Rc<Pulse>,
    /// Whether the pulse knows that bytes wait for the client.
    is_offered: bool,
}

impl<S> Wire<S> {
    /// A connection on which nothing was read.
    pub fn new(stream: S, pulse: Rc<Pulse>) -> Wire<S> {
        let (input, output) = (BytesMut::new(), Unwritten::default());
        Wire { stream, input, output, is_unflushed: false, pulse, is_offered: false }
    }

    /// Returns the connection, and the bytes that were read and not parsed.
    pub fn into_parts(mut self) -> (S, BytesMut) {
        self.offer(false);
        (self.stream, self.input)
    }

    /// Records whether bytes wait for the client, for the write timeout. Each call with `false` begins the timeout again.
    fn offer(&mut self, waits: bool) {
        match (self.is_offered, waits) {
            (false, true) => self.pulse.offer(),
            (true, false) => self.pulse.take(),
            (false, false) | (true, true) => {}
        }
        self.is_offered = waits;
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads into `input`. Returns the number of bytes, 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // On the stack, so that a connection that waits for bytes holds no buffer.
        let mut scratch = [MaybeUninit::uninit(); READ_SIZE];
        let mut buf = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.input.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written =
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &self.output.parts().map(IoSlice::new)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            self.is_unflushed = true;
            self.offer(false);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all of `output`. Ready when the stream itself holds nothing back.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_all(cx);
        self.offer(flushed.is_pending());
        flushed
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx))?;
        if self.is_unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
