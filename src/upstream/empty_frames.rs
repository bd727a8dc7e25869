//! Hides empty DATA frames from the HTTP/2 library.
//!
//! A DATA frame without data and without END_STREAM says nothing. Some applications cause one with each flush. The
//! library permits a hundred of them in the life of a connection, then it ends the connection, with the requests of
//! other clients. So such a frame gets an undefined type here, and the library ignores it (RFC 9113 §5.5).
//!
//! After many short frames, other tasks get a turn before the next read. The library keeps what it has read for each
//! stream, and a short frame costs it many times its bytes, until the task of the stream has taken it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A frame type that no version of HTTP/2 defines.
const UNDEFINED: u8 = 0xff;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
/// After a read with this many frames, other tasks get a turn.
const MANY: usize = 500;

/// A connection to an endpoint, without its empty DATA frames.
pub(super) struct WithoutEmpties<S> {
    stream: S,
    frames: Frames,
    /// The type of an empty DATA frame was read, and not given: the next byte decides.
    is_held: bool,
    /// That byte, if it was read.
    flags: Option<u8>,
}

/// Where the next byte stands in its frame.
#[derive(Default)]
struct Frames {
    /// How many bytes of the head have passed.
    at: usize,
    /// The length of the payload, as far as it is known; then the part of it that has not passed.
    length: usize,
    /// How many frames have begun since other tasks had a turn.
    begun: usize,
}

const HEAD: usize = 9;
const TYPE: usize = 3;

impl Frames {
    /// Passes these bytes, and changes the types of empty DATA frames. Returns whether the last byte is such a type,
    /// for which the next byte is needed.
    fn pass(&mut self, mut rest: &mut [u8]) -> bool {
        loop {
            if self.at == HEAD {
                let skipped = self.length.min(rest.len());
                self.length -= skipped;
                rest = rest.get_mut(skipped..).unwrap_or_default();
                if self.length > 0 {
                    return false;
                }
                self.at = 0;
            }
            let Some((byte, behind)) = rest.split_first_mut() else { return false };
            match self.at {
                0 => (self.length, self.begun) = (usize::from(*byte), self.begun + 1),
                1 | 2 => self.length = self.length << 8 | usize::from(*byte),
                TYPE if *byte == DATA && self.length == 0 => match behind.first() {
                    Some(flags) if flags & END_STREAM == 0 => *byte = UNDEFINED,
                    Some(_) => {}
                    None => return true,
                },
                _ => {}
            }
            self.at += 1;
            rest = behind;
        }
    }

    /// The type of the frame that begins with the bytes so far and these flags.
    fn pass_held(&mut self, flags: Option<u8>) -> u8 {
        self.at = TYPE + 2;
        if flags.is_some_and(|flags| flags & END_STREAM == 0) { UNDEFINED } else { DATA }
    }
}

impl<S> WithoutEmpties<S> {
    pub(super) fn new(stream: S) -> WithoutEmpties<S> {
        WithoutEmpties { stream, frames: Frames::default(), is_held: false, flags: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithoutEmpties<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let WithoutEmpties { stream, frames, is_held, flags } = self.get_mut();
        if let Some(flags) = flags.take() {
            buf.put_slice(&[flags]);
            return Poll::Ready(Ok(()));
        }
        if !*is_held {
            if frames.begun >= MANY {
                frames.begun = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            *is_held = frames.pass(buf.filled_mut().get_mut(before..).unwrap_or_default());
            if !*is_held {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(buf.filled().len() - 1);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        let mut next = [0];
        let mut next = ReadBuf::new(&mut next);
        ready!(Pin::new(stream).poll_read(cx, &mut next))?;
        *flags = next.filled().first().copied();
        buf.put_slice(&[frames.pass_held(*flags)]);
        *is_held = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithoutEmpties<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Bytes that arrive in pieces of this size.
    struct Pieces<'a>(&'a [u8], usize);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            let (piece, rest) = this.0.split_at(this.1.min(this.0.len()).min(buf.remaining()));
            buf.put_slice(piece);
            this.0 = rest;
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn other_tasks_get_a_turn_after_a_read_with_many_frames() {
        let sent = frame(DATA, 0, b"x").repeat(4 * MANY);
        let mut stream = WithoutEmpties::new(Pieces(&sent, 10 * MANY));
        let mut room = vec![0; 64 << 10];
        let mut read = || {
            let mut buf = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
            polled.is_ready().then(|| buf.filled().len())
        };
        for _ in 0..4 {
            assert_eq!(read(), Some(10 * MANY));
            assert_eq!(read(), None);
        }
    }

    #[tokio::test]
    async fn only_empty_frames_of_data_that_end_nothing_are_hidden_wherever_a_read_ends() {
        const PADDED: u8 = 8;
        let (empty, hidden) = (frame(DATA, 0, b""), frame(UNDEFINED, 0, b""));
        let around = [
            frame(DATA, 0, b"hello"),
            frame(DATA, END_STREAM, b""),
            frame(DATA, PADDED, &[2, 0, 0]),
            frame(4, 0, b""),
            frame(1, 5, &[0; 200]),
            frame(DATA, 0, &frame(DATA, 0, b"")),
        ];
        let sent: Vec<u8> = around.iter().flat_map(|other| [&empty[..], &empty, other].concat()).collect();
        let wanted: Vec<u8> = around.iter().flat_map(|other| [&hidden[..], &hidden, other].concat()).collect();
        for cut in 0..sent.len() {
            for size in [1, 2, 3, 9, 10, 1_000] {
                for room in [1, 2, 64] {
                    let mut stream = WithoutEmpties::new(Pieces(&sent[..cut], size));
                    let (mut read, mut piece) = (Vec::new(), vec![0; room]);
                    while let Ok(count @ 1..) = stream.read(&mut piece).await {
                        read.extend_from_slice(&piece[..count]);
                    }
                    // A connection that ends right after a type leaves it unchanged.
                    let same = read.iter().zip(&wanted).filter(|(one, other)| one == other).count();
                    assert!(read.len() == cut && same + 1 >= cut, "{cut} {size} {room}");
                }
            }
        }
    }
}
