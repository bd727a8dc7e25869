//! A request that got no response, and whether it may be sent once more.

use std::rc::Rc;

use http::Request;

use super::{EndpointPool, Lease, OriginFault, OutgoingBody, UpstreamPools};

/// A request that got no response.
pub struct Failed {
    /// The connection or stream on which it was sent.
    pub lease: Lease,
    /// The endpoint.
    pub pool: Rc<EndpointPool>,
    /// Why there is no response.
    pub fault: OriginFault,
}

impl Failed {
    /// Records the failure of the endpoint, unless the endpoint may not have seen the request. A connection on which it
    /// did not respond in time gets no further requests.
    pub fn record(&self, pools: &UpstreamPools) {
        if self.fault == OriginFault::Timeout {
            self.lease.distrust();
        }
        if !self.is_unseen() {
            pools.failed(&self.pool, &self.fault);
        }
    }

    /// Takes the request back if it may be sent once more: on another endpoint if there is one that gets requests. On
    /// the same one only if it has just closed a connection that it had kept open, or if another response has ended the
    /// connection.
    pub fn again(&mut self, pools: &UpstreamPools) -> Option<Box<Request<OutgoingBody>>> {
        let is_safe = self.is_unseen() || self.lease.may_be_innocent();
        let may = (is_safe || pools.has_other(&self.pool)) && pools.retries();
        let request = if may { self.lease.take_back() } else { None };
        request.filter(|_| pools.may_retry(&self.pool))
    }

    /// Whether the endpoint had closed the connection, or says that it has not processed the request.
    fn is_unseen(&self) -> bool {
        (self.fault == OriginFault::Reset && self.lease.was_stale()) || self.lease.is_unprocessed()
    }
}
