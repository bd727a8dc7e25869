//! Reads on after the last answer of a connection, and throws away what comes (RFC 9112 §9.6).
//!
//! Many clients send their request whole before they look for an answer. If the connection were closed at once, the
//! system would answer what they send with a reset, and the reset would take the answer with it: they would report a
//! broken connection in place of a 401 or 413. So only our direction is closed, and the rest of the request is read
//! within bounds. The answer does not wait for any of this.

use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::client::{Ending, Pulse};
use crate::limits::Place;

/// For how long in all. Together with [`MOST`] it allows uploads of 11 MiB at 3 Mbit/s.
const IN_ALL: Duration = Duration::from_secs(30);
/// For how long without a byte.
const SILENCE: Duration = Duration::from_secs(5);
/// For how long once the process is asked to stop.
const WHEN_STOPPING: Duration = Duration::from_secs(1);
/// How many bytes.
const MOST: usize = 128 << 20;
/// How many bytes at once.
const AT_ONCE: usize = 16 << 10;

/// Reads on until the client closes its direction, a bound is reached, or the place is taken away.
pub async fn linger<S: AsyncRead + Unpin>(mut stream: S, pulse: &Pulse, mut place: Place) {
    tokio::select! {
        biased;
        () = place.taken_away() => {}
        () = throw_away(&mut stream, pulse) => {}
    }
}

async fn throw_away<S: AsyncRead + Unpin>(stream: &mut S, pulse: &Pulse) {
    let (mut end, mut silence) = (pin!(sleep(IN_ALL)), pin!(sleep(SILENCE)));
    let (mut left, mut stops) = (MOST, false);
    std::future::poll_fn(|cx| {
        match pulse.ending(cx.waker()) {
            Ending::Not => {}
            Ending::Gracefully if stops => {}
            Ending::Gracefully => {
                stops = true;
                end.as_mut().reset(Instant::now() + WHEN_STOPPING);
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
            silence.as_mut().reset(Instant::now() + SILENCE);
        }
        silence.as_mut().poll(cx)
    })
    .await;
}

/// Reads some bytes; 0 at the end and after an error.
fn poll_some<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<usize> {
    let mut scratch = [MaybeUninit::uninit(); AT_ONCE];
    let mut buf = ReadBuf::uninit(&mut scratch);
    let read = ready!(Pin::new(stream).poll_read(cx, &mut buf));
    Poll::Ready(if read.is_err() { 0 } else { buf.filled().len() })
}
