//! A tunnel: after a switch to WebSocket it passes bytes in both directions unchanged, until one side ends, both sides
//! have sent their Close frames, a timeout expires, or the caller's token ends.
//!
//! It is the rest of its exchange, which is counted and logged when the tunnel ends. An idle tunnel has no buffer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Exchange;
use super::close_frame::CloseFrame;
use super::timer::Timer;
use crate::client::Ending;
use crate::telemetry::Outcome;
use crate::upstream::Tunneled;

/// Maximum size of one read in bytes.
const READ_SIZE: usize = 8 << 10;
/// How long one side may take to close after the other one has closed. Until then its bytes are read and discarded,
/// because a reset would lose the last bytes that were sent to it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The far end of a tunnel: the endpoint's connection, which its pool counts until the tunnel ends.
pub struct FarEnd {
    stream: Tunneled,
    timer: Timer,
    /// What a near end that is a stream of HTTP/2 needs.
    near: Option<NearStream>,
}

/// A near end whose connection has other streams: it has a write timeout of its own, and is ended without them.
struct NearStream {
    unread: Timer,
    /// Whether bytes wait for the client.
    waits: bool,
    cut: Rc<Cut>,
}

impl NearStream {
    /// Whether the client has read nothing for too long; `passed` bytes were sent to it since the last call.
    fn is_unread(&mut self, waits: bool, passed: usize, cx: &mut Context<'_>) -> bool {
        if passed > 0 || !self.waits {
            self.unread.start();
        }
        self.waits = waits;
        waits && self.unread.poll(cx).is_ready()
    }
}

/// Ends a tunnel over HTTP/2 from outside.
#[derive(Default)]
pub struct Cut {
    is_due: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Cut {
    /// Ends the tunnel.
    pub(super) fn cut(&self) {
        self.is_due.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether the tunnel must end; wakes the task when it must.
    fn poll(&self, cx: &Context<'_>) -> bool {
        self.waker.set(Some(cx.waker().clone()));
        self.is_due.get()
    }
}

impl FarEnd {
    pub(super) fn new(stream: Tunneled, timer: Timer) -> FarEnd {
        FarEnd { stream, timer, near: None }
    }

    /// Records that the near end is a stream of HTTP/2. `unread` limits how long its client may read nothing.
    pub(super) fn is_on_stream(&mut self, unread: Timer) {
        self.near = Some(NearStream { unread, waits: false, cut: Rc::default() });
    }

    /// What ends the tunnel if its near end is a stream of HTTP/2.
    pub(super) fn cut(&self) -> Option<&Rc<Cut>> {
        self.near.as_ref().map(|near| &near.cut)
    }
}

/// A tunnel that waits for its near end, the client's connection.
pub struct Tunnel {
    far_end: Box<FarEnd>,
    exchange: Box<Exchange>,
    /// Whether the client has not read all bytes that were sent to it.
    offered: bool,
    ended: bool,
}

impl Tunnel {
    pub(super) fn new(far_end: Box<FarEnd>, exchange: Box<Exchange>) -> Tunnel {
        Tunnel { far_end, exchange, offered: false, ended: false }
    }

    /// Whether the caller's token has ended or the time of the exchange is over; wakes the task when that happens. For
    /// a connection that is still writing the 101.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> bool {
        self.far_end.stream.keep(cx);
        self.exchange.poll_token_end(cx) || self.far_end.timer.poll(cx).is_ready()
    }

    /// Passes bytes on until the tunnel ends; `early` are the bytes that the client has sent already. Dropping the
    /// future closes both connections.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, mut client: S, early: Vec<u8>) {
        let (mut up, mut down) = (Pump::holding(early), Pump::default());
        let Ended { outcome, by } = std::future::poll_fn(|cx| self.poll(cx, &mut client, &mut up, &mut down)).await;
        self.ended = true;
        if outcome == Outcome::Forwarded {
            if by == Side::Client && self.far_end.near.is_some() {
                // Browsers end their direction of a stream with their Close frame, and wait for that of the endpoint.
                // The end is not passed on before: some servers then send no Close frame.
                let last_words =
                    std::future::poll_fn(|cx| match down.poll(cx, &mut self.far_end.stream, &mut client) {
                        Poll::Pending if down.has_closed() => Poll::Ready(Ok(())),
                        polled => polled,
                    });
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, last_words).await;
            }
            // It does not matter if they take longer.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
                tokio::join!(part(&mut client), part(&mut self.far_end.stream));
            })
            .await;
        } else {
            self.exchange.breaks_off(outcome);
        }
    }

    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut S,
        up: &mut Pump,
        down: &mut Pump,
    ) -> Poll<Ended> {
        if self.exchange.poll_token_end(cx) {
            return Poll::Ready(Ended::at_once(Outcome::TokenEnded));
        }
        let is_cut = match &self.far_end.near {
            Some(near) => near.cut.poll(cx),
            None => self.exchange.client().pulse.ending(cx.waker()) == Ending::Now,
        };
        if is_cut {
            return Poll::Ready(Ended::at_once(Outcome::ClientGone));
        }
        if self.far_end.timer.poll(cx).is_ready() {
            return Poll::Ready(Ended::at_once(Outcome::OriginTimeout));
        }
        // Polls the endpoint's bytes first: its last bytes may be readable although it accepts none.
        let passed = down.passed;
        let ended = down.poll(cx, &mut self.far_end.stream, client);
        let passed = down.passed - passed;
        self.note(passed, down.holds());
        if down.holds() {
            self.far_end.stream.keep(cx);
        }
        if let Some(near) = &mut self.far_end.near
            && near.is_unread(down.holds(), passed, cx)
        {
            return Poll::Ready(Ended::at_once(Outcome::ClientGone));
        }
        if let Poll::Ready(ended) = ended {
            let outcome = outcome(ended, Outcome::OriginReset, Outcome::ClientGone);
            return Poll::Ready(Ended { outcome, by: Side::Endpoint });
        }
        match up.poll(cx, client, &mut self.far_end.stream) {
            Poll::Ready(ended) => {
                let outcome = outcome(ended, Outcome::ClientGone, Outcome::OriginReset);
                Poll::Ready(Ended { outcome, by: Side::Client })
            }
            // Servers of HTTP/2 may leave the stream open now.
            Poll::Pending if up.has_closed() && down.has_closed() => Poll::Ready(Ended::at_once(Outcome::Forwarded)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reports to the connection's pulse whether its client reads.
    fn note(&mut self, passed: usize, holds: bool) {
        self.exchange.sent(passed);
        if self.offered && (passed > 0 || !holds) {
            self.offered = false;
            self.exchange.client().pulse.take();
        }
        if holds && !self.offered {
            self.offered = true;
            self.exchange.client().pulse.offer();
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if self.offered {
            self.exchange.client().pulse.take();
        }
        if !self.ended {
            self.exchange.leaves();
        }
    }
}

/// Closes our direction, and waits until the other side closes its own.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let mut scratch = [0; 512];
    // Fails if the other side has closed already.
    let _ = stream.shutdown().await;
    while stream.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
}

/// How a tunnel has ended.
struct Ended {
    outcome: Outcome,
    /// The side that has ended it.
    by: Side,
}

impl Ended {
    fn at_once(outcome: Outcome) -> Ended {
        Ended { outcome, by: Side::Gateway }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Endpoint,
    Gateway,
}

/// The end of one direction that failed.
enum Broken {
    From,
    To,
}

fn outcome(ended: Result<(), Broken>, from: Outcome, to: Outcome) -> Outcome {
    match ended {
        Ok(()) => Outcome::Forwarded,
        Err(Broken::From) => from,
        Err(Broken::To) => to,
    }
}

/// One direction.
#[derive(Default)]
struct Pump {
    /// The bytes that were read and not yet written, from `at` on.
    waiting: Vec<u8>,
    at: usize,
    unflushed: bool,
    ended: bool,
    passed: usize,
    close: CloseFrame,
}

impl Pump {
    fn holding(waiting: Vec<u8>) -> Pump {
        let mut close = CloseFrame::default();
        close.follow(&waiting);
        Pump { waiting, close, ..Pump::default() }
    }

    /// Whether the Close frame has passed. The side that has sent it sends nothing more.
    fn has_closed(&self) -> bool {
        self.close.has_passed() && !self.holds()
    }

    /// Whether some bytes were not written yet.
    fn holds(&self) -> bool {
        self.at < self.waiting.len() || self.unflushed
    }

    /// Ready when one side has ended and all of its bytes were sent to the other one.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write(cx, to)).map_err(|_| Broken::To)?;
            if self.ended {
                return Pin::new(to).poll_flush(cx).map_err(|_| Broken::To);
            }
            let mut scratch = [0; READ_SIZE];
            let mut piece = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *from).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if piece.filled().is_empty() => self.ended = true,
                Poll::Ready(Ok(())) => {
                    self.close.follow(piece.filled());
                    self.waiting.extend_from_slice(piece.filled());
                }
                // The end of TLS without a close notify: many clients close like that.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::From)),
                Poll::Pending => {
                    self.waiting = Vec::new();
                    if self.unflushed {
                        ready!(Pin::new(to).poll_flush(cx)).map_err(|_| Broken::To)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes the waiting bytes.
    fn poll_write<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.at..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.at, self.passed, self.unflushed) = (self.at + count, self.passed + count, true);
        }
        self.waiting.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }
}
