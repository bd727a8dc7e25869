//! One connection to an endpoint, and who drives it.
//!
//! Whoever waits for an answer drives the connection in its own task: a task of the connection's own would cost every
//! request four hand-overs (docs/PERFORMANCE.md). Only where the endpoint answers before it has the whole request does
//! a task take over, since nobody may be waiting for the answer then who could bring the rest of the request on its
//! way. An idle connection is driven by nobody; it is looked at when it is leased and at the worker's tick.

use std::pin::Pin;
use std::task::{Context, Waker};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::OutgoingBody;
use super::connect::Stream;

/// A connection to an endpoint. Dropping it closes the socket at once, whatever is under way.
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<OutgoingBody>,
    driver: Driver,
}

enum Driver {
    /// A trait object, since the library has no name for a connection that may switch protocols.
    Waiting(Pin<Box<dyn Future<Output = hyper::Result<()>>>>),
    Task(AbortHandle),
    Ended,
}

impl Connection {
    pub(super) fn new(
        sender: http1::SendRequest<OutgoingBody>,
        connection: http1::Connection<TokioIo<Stream>, OutgoingBody>,
    ) -> Connection {
        Connection { sender, driver: Driver::Waiting(Box::pin(connection.with_upgrades())) }
    }

    /// Brings on its way what can be: bytes of a request, bytes of an answer. Wakes `cx` when there is more to do.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Driver::Waiting(connection) = &mut self.driver
            && connection.as_mut().poll(cx).is_ready()
        {
            // What went wrong has reached the exchange that was on it.
            self.driver = Driver::Ended;
        }
    }

    /// Does it still stand? Notices that the endpoint has closed it, or has sent what nobody asked for.
    pub(super) fn stands(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.sender.is_closed()
    }

    /// Waits until it can take a request, or has ended.
    pub(super) async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            self.drive(cx);
            self.sender.poll_ready(cx).map(drop)
        })
        .await;
    }

    /// From here on a task of its own drives it.
    pub(super) fn hand_to_task(&mut self) {
        if let Driver::Waiting(connection) = std::mem::replace(&mut self.driver, Driver::Ended) {
            let task = tokio::task::spawn_local(async move {
                // As above.
                let _ = connection.await;
            });
            self.driver = Driver::Task(task.abort_handle());
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Dropping the sender alone leaves a connection behind whose answer came before its request was sent whole
        // (hyper#4176).
        if let Driver::Task(task) = &self.driver {
            task.abort();
        }
    }
}
