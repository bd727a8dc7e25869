//! One connection on loan.

use std::rc::{Rc, Weak};

use http::{Request, Response};
use hyper::body::Incoming;

use super::connect::Connection;
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
    pub unsent: Option<Request<OutgoingBody>>,
    /// What went wrong.
    pub cause: OriginFault,
}

impl Lease {
    pub(super) fn new(connection: Connection, home: &Rc<EndpointPool>, reused: bool) -> Lease {
        Lease { connection: Some(connection), home: Rc::downgrade(home), reused }
    }

    /// Did the connection serve a request before?
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends one request and waits for the head of its answer. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`SendFault`] when no answer began.
    pub async fn send(&mut self, request: Request<OutgoingBody>) -> Result<Response<Incoming>, SendFault> {
        let Some(Connection { sender, .. }) = &mut self.connection else {
            return Err(SendFault { unsent: Some(request), cause: OriginFault::Reset });
        };
        // For a moment after an answer ended, until its driver has run, a connection is not ready for the next request
        // and would hand it back.
        if self.reused && !sender.is_ready() && sender.ready().await.is_err() {
            return Err(SendFault { unsent: Some(request), cause: OriginFault::Reset });
        }
        sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message();
            let cause = error.into_error();
            let cause = if cause.is_parse() || cause.is_parse_too_large() {
                OriginFault::BadResponse
            } else {
                OriginFault::Reset
            };
            SendFault { unsent, cause }
        })
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
