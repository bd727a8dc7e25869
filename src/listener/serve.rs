//! Polls connections to their end.

use std::pin::Pin;
use std::task::Poll;

use crate::client::{Ending, Pulse};

/// Polls a connection to its end, or until its pulse ends it. `true`: it ended by itself without an error.
pub async fn drive<C, E>(mut connection: Pin<&mut C>, pulse: &Pulse, shut_down: fn(Pin<&mut C>)) -> bool
where
    C: Future<Output = Result<(), E>>,
{
    // An error of a connection concerns only its client; the access log line of the exchange shows it.
    if let Some(ended) = poll_until(connection.as_mut(), pulse, Ending::Gracefully).await {
        return ended.is_ok();
    }
    // A request that arrived before is finished, not cut.
    sockets_are_looked_at().await;
    if let Poll::Ready(ended) = std::future::poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await {
        return ended.is_ok();
    }
    shut_down(connection.as_mut());
    poll_until(connection, pulse, Ending::Now).await.is_some_and(|ended| ended.is_ok())
}

/// Polls a connection to its end, or until its pulse asks for `ending` (`None`).
pub async fn poll_until<C: Future>(mut connection: Pin<&mut C>, pulse: &Pulse, ending: Ending) -> Option<C::Output> {
    std::future::poll_fn(|cx| {
        if pulse.ending(cx.waker()) >= ending { Poll::Ready(None) } else { connection.as_mut().poll(cx).map(Some) }
    })
    .await
}

/// Bytes from a client wait in the kernel until the runtime polls the socket, between two turns of its tasks.
pub async fn sockets_are_looked_at() {
    tokio::task::yield_now().await;
}
