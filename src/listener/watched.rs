//! The byte stream between the socket of an HTTP/2 connection and the HTTP library.
//!
//! It counts every frame ([`Tally`]), and holds back every header block until it is complete and checked ([`Blocks`]).
//! It reports to the connection's [`Pulse`](crate::client::Pulse) when bytes arrive, when a header block begins and
//! ends, and when the client does not read.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::blocks::Blocks;
use super::frames::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, Frame, FrameScanner, HEADERS, PADDED, PRIORITY, Piece, SETTINGS, Tally,
};
use crate::client::Pulse;
use crate::config::settings::Limits;

/// Length of the client's connection preface (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// Maximum length of a frame: the default, since no other value is announced (RFC 9113 §6.5.2).
const MAX_FRAME: usize = 16_384;
/// A header block may be this much longer than the limit of heads; the library then refuses it.
const BLOCK: usize = 4;
/// Maximum number of frames of one header block.
const CONTINUATIONS: usize = 64;

/// Why the connection must end. [`Watched`] sets it, and the task that polls the connection reads it.
pub type Verdict = Rc<Cell<Option<Reason>>>;

/// A stream whose frames are watched.
pub struct Watched<S> {
    stream: S,
    pulse: Rc<Pulse>,
    verdict: Verdict,
    walk: FrameScanner,
    first_settings: FirstSettings,
    tally: Tally,
    blocks: Blocks,
    longest: usize,
    block: Block,
    /// The bytes for the library, and how many of them it has read.
    out: Vec<u8>,
    given: usize,
}

/// How much has arrived of the client's first SETTINGS frame, which belongs to the preface (RFC 9113 §3.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstSettings {
    Awaited,
    Begun,
    Complete,
}

/// An incomplete header block.
#[derive(Default)]
struct Block {
    open: bool,
    /// The header of the HEADERS frame.
    first: Option<Frame>,
    /// All of its frames, unchanged.
    raw: Vec<u8>,
    /// The start of the current frame's payload in `raw`.
    payload: usize,
    /// The header block, without frame headers.
    fields: Vec<u8>,
    last: bool,
    frames: usize,
    /// The highest stream number of a request head.
    newest: u32,
}

impl<S> Watched<S> {
    /// Wraps a new connection.
    pub fn new(stream: S, pulse: Rc<Pulse>, limits: Arc<Limits>, verdict: Verdict) -> Watched<S> {
        Watched {
            stream,
            verdict,
            walk: FrameScanner::behind(PREFACE),
            first_settings: FirstSettings::Awaited,
            tally: Tally::new(pulse.now()),
            longest: limits.header_bytes.saturating_mul(BLOCK).saturating_add(MAX_FRAME),
            blocks: Blocks::new(limits),
            block: Block::default(),
            out: Vec::new(),
            given: 0,
            pulse,
        }
    }

    /// Whether the library can get these bytes unchanged: they contain neither a header block nor a part of a frame
    /// header.
    fn passes(&self, mut bytes: &[u8]) -> bool {
        let mut walk = self.walk;
        if self.block.open || walk.unfinished() > 0 {
            return false;
        }
        while let Some((piece, rest)) = walk.next(bytes) {
            bytes = rest;
            if matches!(piece, Piece::Header(Frame { kind: HEADERS | CONTINUATION, .. })) {
                return false;
            }
        }
        walk.unfinished() == 0
    }

    /// Processes bytes from the client. The bytes for the library are in `out`, unless it gets them unchanged.
    fn go_through(&mut self, mut bytes: &[u8], rewrite: bool) -> Result<(), Reason> {
        self.pulse.hears();
        self.tally.turn(self.pulse.now());
        while let Some((piece, rest)) = self.walk.next(bytes) {
            bytes = rest;
            match piece {
                Piece::Header(frame) => {
                    self.tally.came(frame);
                    self.begin_frame(frame, rewrite)?;
                }
                Piece::Payload(part) if self.block.open => self.block.raw.extend_from_slice(part),
                Piece::Payload(part) if rewrite => self.out.extend_from_slice(part),
                Piece::Payload(_) => {}
            }
            if self.walk.is_between_frames() {
                self.end_frame()?;
            }
        }
        if self.tally.is_flood() { Err(Reason::ENHANCE_YOUR_CALM) } else { Ok(()) }
    }

    fn begin_frame(&mut self, frame: Frame, rewrite: bool) -> Result<(), Reason> {
        if self.first_settings == FirstSettings::Awaited {
            if frame.kind != SETTINGS || frame.flags & ACK != 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            self.first_settings = FirstSettings::Begun;
        }
        let continues = self.block.open;
        if continues && (frame.kind != CONTINUATION || self.block.first.is_none_or(|f| f.stream != frame.stream)) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if continues || (frame.kind == HEADERS && frame.length <= MAX_FRAME) {
            if !continues {
                self.block.begin(frame);
                self.pulse.head_begins();
            }
            self.block.frames += 1;
            if self.block.frames > CONTINUATIONS || self.block.raw.len() + frame.length > self.longest {
                return Err(Reason::ENHANCE_YOUR_CALM);
            }
            self.block.last = frame.flags & END_HEADERS != 0;
            self.block.raw.extend_from_slice(&frame.bytes());
            self.block.payload = self.block.raw.len();
        } else if rewrite {
            self.out.extend_from_slice(&frame.bytes());
        }
        Ok(())
    }

    /// A frame has arrived completely.
    fn end_frame(&mut self) -> Result<(), Reason> {
        if self.first_settings == FirstSettings::Begun {
            self.first_settings = FirstSettings::Complete;
            self.pulse.head_ends();
        }
        let block = &mut self.block;
        if !block.open {
            return Ok(());
        }
        if !block.take_fields() {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if !block.last {
            return Ok(());
        }
        block.open = false;
        self.pulse.head_ends();
        let Some(first) = block.first else { return Ok(()) };
        let is_head = first.stream > block.newest;
        block.newest = block.newest.max(first.stream);
        match self.blocks.judge(&block.fields, is_head) {
            Ok(None) => self.out.extend_from_slice(&block.raw),
            Ok(Some(fields)) => write_block(&mut self.out, first, fields),
            Err(_) => return Err(Reason::COMPRESSION_ERROR),
        }
        block.forget();
        Ok(())
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let waiting = self.out.get(self.given..).unwrap_or_default();
        let part = waiting.get(..waiting.len().min(buf.remaining())).unwrap_or_default();
        buf.put_slice(part);
        self.given += part.len();
        let some = !part.is_empty();
        if self.given == self.out.len() {
            self.given = 0;
            self.out.clear();
            self.out.shrink_to(MAX_FRAME);
        }
        some
    }

    fn end(&self, why: Reason, cx: &Context<'_>) {
        self.verdict.set(Some(why));
        cx.waker().wake_by_ref();
    }
}

impl Block {
    fn begin(&mut self, frame: Frame) {
        self.raw.clear();
        self.fields.clear();
        (self.open, self.first, self.frames) = (true, Some(frame), 0);
    }

    /// Frees the memory of unusually long blocks.
    fn forget(&mut self) {
        for bytes in [&mut self.raw, &mut self.fields] {
            if bytes.capacity() > MAX_FRAME {
                *bytes = Vec::new();
            }
        }
    }

    /// Extracts the header block fragment of the frame that has just ended; `false`: its padding or priority does not
    /// fit into it.
    fn take_fields(&mut self) -> bool {
        let mut payload = self.raw.get(self.payload..).unwrap_or_default();
        let flags = self.first.filter(|_| self.frames == 1).map_or(0, |frame| frame.flags);
        let mut padding = 0;
        if flags & PADDED != 0 {
            let Some((length, rest)) = payload.split_first() else { return false };
            (padding, payload) = (usize::from(*length), rest);
        }
        if flags & PRIORITY != 0 {
            let Some((_, rest)) = payload.split_at_checked(5) else { return false };
            payload = rest;
        }
        let Some(fields) = payload.len().checked_sub(padding).and_then(|length| payload.get(..length)) else {
            return false;
        };
        self.fields.extend_from_slice(fields);
        true
    }
}

/// Writes a header block that replaces the one which began with the frame `first`.
fn write_block(out: &mut Vec<u8>, first: Frame, fields: &[u8]) {
    let mut pieces = fields.chunks(MAX_FRAME).peekable();
    let mut frame = Frame { flags: first.flags & END_STREAM, ..first };
    // A replaced block is never empty.
    while let Some(piece) = pieces.next() {
        frame.length = piece.len();
        if pieces.peek().is_none() {
            frame.flags |= END_HEADERS;
        }
        out.extend_from_slice(&frame.bytes());
        out.extend_from_slice(piece);
        (frame.kind, frame.flags) = (CONTINUATION, 0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.hand_over(buf) {
                return Poll::Ready(Ok(()));
            }
            if this.verdict.get().is_some() {
                return Poll::Pending;
            }
            if this.tally.should_rest() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let fresh = buf.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let passes = this.passes(fresh);
            if let Err(why) = this.go_through(fresh, !passes) {
                this.end(why, cx);
            }
            if passes {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.pulse.socket_is_full(written.is_pending());
        let written = ready!(written)?;
        this.tally.sent(buf.get(..written).unwrap_or_default());
        if this.tally.is_flood() && this.verdict.get().is_none() {
            this.end(Reason::ENHANCE_YOUR_CALM, cx);
        }
        Poll::Ready(Ok(written))
    }

    /// Returns `false`: the library then copies small DATA frames into its buffer. It sends the responses of many
    /// streams, and the head and data of one response, in one TLS record and one write.
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
