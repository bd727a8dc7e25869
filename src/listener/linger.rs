//! Reads and discards what a client sends after the last response of a connection (RFC 9112 §9.6).
//!
//! Many clients send their whole request before they read the response. If the connection were closed at once, the
//! system would answer these bytes with a reset, and the client would lose the response: it would report a broken
//! connection instead of a 401 or 413. So only our direction is closed, and the rest of the request is read within
//! limits. The response does not wait for this.

use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::client::{Ending, Pulse};
use crate::limits::Place;

/// Timeout of the whole. Together with [`MAX_BYTES`] it allows uploads of 11 MiB at 3 Mbit/s.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout without a byte.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the whole during a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of bytes.
const MAX_BYTES: usize = 128 << 20;
/// Size of one read in bytes.
const READ_SIZE: usize = 16 << 10;

/// Reads until the client closes its direction, a limit is reached, or the place is evicted.
pub async fn linger<S: AsyncRead + Unpin>(mut stream: S, pulse: &Pulse, mut place: Place) {
    tokio::select! {
        biased;
        () = place.evicted() => {}
        () = throw_away(&mut stream, pulse) => {}
    }
}

async fn throw_away<S: AsyncRead + Unpin>(stream: &mut S, pulse: &Pulse) {
    let (mut end, mut silence) = (pin!(sleep(TIMEOUT)), pin!(sleep(SILENCE_TIMEOUT)));
    let (mut left, mut stops) = (MAX_BYTES, false);
    std::future::poll_fn(|cx| {
        match pulse.ending(cx.waker()) {
            Ending::Not | Ending::WithNextResponse => {}
            Ending::Gracefully if stops => {}
            Ending::Gracefully => {
                stops = true;
                end.as_mut().reset(Instant::now() + SHUTDOWN_TIMEOUT);
            }
            Ending::Now => return Poll::Ready(()),
        }
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Poll::Ready(count) = poll_some(stream, cx) {
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                return Poll::Ready(());
            }
            silence.as_mut().reset(Instant::now() + SILENCE_TIMEOUT);
        }
        silence.as_mut().poll(cx)
    })
    .await;
}

/// Reads some bytes; returns 0 at the end and after an error.
fn poll_some<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<usize> {
    let mut scratch = [MaybeUninit::uninit(); READ_SIZE];
    let mut buf = ReadBuf::uninit(&mut scratch);
    let read = ready!(Pin::new(stream).poll_read(cx, &mut buf));
    Poll::Ready(if read.is_err() { 0 } else { buf.filled().len() })
}
