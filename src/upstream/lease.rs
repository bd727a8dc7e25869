//! One connection on loan.

use std::rc::{Rc, Weak};
use std::task::Context;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::connection::Connection;
use super::{EndpointPool, OriginFault, OutgoingBody};

/// One connection on loan.
///
/// Goes home by [`Lease::end`] with `reusable`; dropped in any other way it closes its connection, and the pool learns
/// that there is room for another.
pub struct Lease {
    connection: Option<Connection>,
    home: Weak<EndpointPool>,
    reused: bool,
}

/// A request that was not answered.
pub struct SendFault {
    /// The request as it was, if nothing of it was sent: sending it again cannot repeat anything.
    pub unsent: Option<Box<Request<OutgoingBody>>>,
    /// What went wrong.
    pub cause: OriginFault,
}

impl From<TrySendError<Request<OutgoingBody>>> for SendFault {
    fn from(mut error: TrySendError<Request<OutgoingBody>>) -> SendFault {
        let unsent = error.take_message().map(Box::new);
        let cause = error.into_error();
        let damaged = cause.is_parse() || cause.is_parse_too_large();
        SendFault { unsent, cause: if damaged { OriginFault::BadResponse } else { OriginFault::Reset } }
    }
}

impl Lease {
    pub(super) fn new(connection: Connection, home: &Rc<EndpointPool>, reused: bool) -> Lease {
        Lease { connection: Some(connection), home: Rc::downgrade(home), reused }
    }

    /// Did the connection serve a request before?
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Can the connection take a request now? For a moment after an answer ended, until its driver has run, a warm one
    /// cannot.
    pub fn is_ready(&self) -> bool {
        !self.reused || self.connection.as_ref().is_some_and(|connection| connection.sender.is_ready())
    }

    /// Waits for [`Lease::is_ready`]. A connection that has ended is ready too, and hands the request back.
    pub async fn ready(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.ready().await;
        }
    }

    /// Brings the request and its answer on their way. To be called by whoever waits for one of them.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection {
            connection.drive(cx);
        }
    }

    /// The answer has begun before the request was sent whole: from here on both go their own ways.
    pub fn drive_apart(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.hand_to_task();
        }
    }

    /// Sends one request; the future, with [`Lease::drive`], waits for the head of its answer. Dropping it closes the
    /// connection. `None` only after the loan has ended.
    ///
    /// The library's own future, since each one of ours around it would keep room for the request once more. Its error
    /// becomes a [`SendFault`].
    pub fn send(
        &mut self,
        request: Request<OutgoingBody>,
    ) -> Option<impl Future<Output = Result<Response<Incoming>, TrySendError<Request<OutgoingBody>>>> + use<>> {
        self.connection.as_mut().map(|connection| connection.sender.try_send_request(request))
    }

    /// Ends the loan. `reusable`: both bodies have ended cleanly.
    pub fn end(mut self, reusable: bool) {
        if let (true, Some(home)) = (reusable, self.home.upgrade())
            && let Some(connection) = self.connection.take()
        {
            home.take_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(_closed), Some(home)) = (self.connection.take(), self.home.upgrade()) {
            home.lost_one();
        }
    }
}
