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
    pub unsent: Option<Box<Request<OutgoingBody>>>,
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

    /// Can the connection take a request now? For a moment after an answer ended, until its driver has run, a warm one
    /// cannot.
    pub fn is_ready(&self) -> bool {
        !self.reused || self.connection.as_ref().is_some_and(|connection| connection.sender.is_ready())
    }

    /// Waits for [`Lease::is_ready`]. A connection that has ended is ready too, and hands the request back.
    pub async fn ready(&mut self) {
        if let Some(connection) = &mut self.connection {
            // What went wrong shows when the request is sent.
            let _ = connection.sender.ready().await;
        }
    }

    /// Sends one request; the future waits for the head of its answer. Dropping it closes the connection.
    ///
    /// A plain function, so that the request is moved once and no future of ours keeps room for it.
    ///
    /// # Errors
    /// [`SendFault`] when no answer began.
    pub fn send(
        &mut self,
        request: Request<OutgoingBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendFault>> + use<> {
        let sent = match &mut self.connection {
            Some(connection) => Ok(connection.sender.try_send_request(request)),
            None => Err(Box::new(request)),
        };
        async move {
            let sent = sent.map_err(|request| SendFault { unsent: Some(request), cause: OriginFault::Reset })?;
            sent.await.map_err(|mut error| {
                let unsent = error.take_message().map(Box::new);
                let cause = error.into_error();
                let cause = if cause.is_parse() || cause.is_parse_too_large() {
                    OriginFault::BadResponse
                } else {
                    OriginFault::Reset
                };
                SendFault { unsent, cause }
            })
        }
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
