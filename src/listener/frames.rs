//! Watches the frames of an HTTP/2 connection for floods.
//!
//! The HTTP library bounds what it holds for a client, not what a client may keep it busy with: pings, settings, window
//! updates, empty data, streams that are opened and reset. Here frames are counted by their headers alone, in windows
//! of ten seconds; a connection that sends more than a client has reason to is ended (HARDENING §1, ATTACKS 85).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::gateway::Pulse;

const WINDOW: Duration = Duration::from_secs(10);
/// Frames that carry no request, in one window.
const IDLE_FRAMES: u64 = 1_000;
/// As many more for each request: its window updates and its priority.
const FOR_A_REQUEST: u64 = 16;
/// One more for so many bytes that went to the client: a download is acknowledged by window updates.
const BYTES_FOR_A_FRAME: u64 = 1_024;
/// Streams reset by the client, in one window.
const RESETS: u64 = 200;

/// Length of the preface that a client begins with (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// Length of a frame's header (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Counts the frames that a client sends.
struct Tally {
    header: [u8; HEADER],
    /// Bytes of the next header that are there.
    have: usize,
    /// Bytes to pass over before it.
    skip: usize,
    since: Instant,
    idle: u64,
    allowed: u64,
    resets: u64,
}

impl Tally {
    fn new(now: Instant) -> Tally {
        let header = [0; HEADER];
        Tally { header, have: 0, skip: PREFACE, since: now, idle: 0, allowed: IDLE_FRAMES, resets: 0 }
    }

    /// Goes through what came; `false`: it is a flood.
    fn count(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.idle, self.allowed, self.resets) = (now, 0, IDLE_FRAMES, 0);
        }
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let taken = (HEADER - self.have).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            if let Some(place) = self.header.get_mut(self.have..self.have + part.len()) {
                place.copy_from_slice(part);
            }
            self.have += part.len();
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                self.frame();
            }
        }
        self.idle <= self.allowed && self.resets <= RESETS
    }

    fn frame(&mut self) {
        let [a, b, c, kind, ..] = self.header;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            // DATA that carries something, CONTINUATION: bounded by the library.
            0 if self.skip > 0 => {}
            9 => {}
            // HEADERS.
            1 => self.allowed = self.allowed.saturating_add(FOR_A_REQUEST),
            // RST_STREAM.
            3 => self.resets += 1,
            _ => self.idle += 1,
        }
    }

    fn sent(&mut self, bytes: usize) {
        let frames = u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_FOR_A_FRAME);
        self.allowed = self.allowed.saturating_add(frames);
    }
}

/// A stream whose frames are counted.
pub struct Watched<S> {
    stream: S,
    tally: Tally,
    pulse: Rc<Pulse>,
}

impl<S> Watched<S> {
    /// Watches a connection from its first byte.
    pub fn new(stream: S, pulse: Rc<Pulse>) -> Watched<S> {
        Watched { stream, tally: Tally::new(pulse.now()), pulse }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if this.tally.count(fresh, this.pulse.now()) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::other("flood of frames")))
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.tally.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        this.tally.sent(written);
        Poll::Ready(Ok(written))
    }

    /// No: then the library copies small data frames into its buffer and sends the answers of many streams in one
    /// record and one write, in place of one each. No: the library then gathers the head and the data of an answer into
    /// one buffer, which becomes one TLS record.
    fn is_write_vectored(&self) -> bool {
        false
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
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        bytes.extend(vec![0; usize::from(length)]);
        bytes
    }

    fn tally() -> Tally {
        let mut tally = Tally::new(Instant::now());
        assert!(tally.count(&[0; PREFACE], tally.since));
        tally
    }

    #[test]
    fn floods_are_seen_wherever_the_bytes_are_cut() {
        for (kind, length) in [(6, 8), (4, 0), (2, 5), (8, 4), (0, 0), (99, 3)] {
            let bytes = frame(kind, length).repeat(1_001);
            let mut whole = tally();
            assert!(!whole.count(&bytes, whole.since), "{kind}");
            let mut cut = tally();
            let at_once = bytes.chunks(7).map(|piece| cut.count(piece, cut.since)).filter(|fine| *fine).count();
            assert!(at_once > 900 && !cut.count(&[], cut.since), "{kind}");
        }
        let mut tally = tally();
        assert!(tally.count(&[frame(1, 1), frame(3, 4)].concat().repeat(200), tally.since));
        assert!(!tally.count(&frame(3, 4), tally.since));
    }

    #[test]
    fn busy_clients_are_no_floods() {
        let mut uploads = tally();
        assert!(uploads.count(&frame(0, 100).repeat(10_000), uploads.since));
        let mut requests = tally();
        assert!(
            requests
                .count(&[frame(1, 9), frame(8, 4), frame(8, 4), frame(6, 8)].concat().repeat(5_000), requests.since)
        );
        let mut download = tally();
        for _ in 0..10_000 {
            download.sent(16 << 10);
            assert!(download.count(&[frame(8, 4), frame(8, 4)].concat(), download.since));
        }
        let mut patient = tally();
        for _ in 0..10 {
            assert!(patient.count(&frame(6, 8).repeat(1_000), patient.since + WINDOW));
        }
    }
}
