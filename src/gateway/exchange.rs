//! The record of one request, from its head to the end of its answer.
//!
//! Counts and logs exactly once, when it is dropped: at the end of the response's body, or when the client has left.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri, Version, request};
use tokio::time::Instant;

use super::{ClientConnection, Gateway};
use crate::config::settings;
use crate::identity::Identity;
use crate::route::{Peer, Route};
use crate::telemetry::{Entry, Outcome, RouteIndex, StatusClass};

/// The record of one request.
pub struct Exchange {
    gateway: Rc<Gateway>,
    client: Rc<ClientConnection>,
    id: HeaderValue,
    started: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    route: Option<usize>,
    caller: Option<Arc<Identity>>,
    /// Stays as it is while nothing has been decided: then the client left.
    outcome: Outcome,
    status: Option<StatusCode>,
    upstream: Option<Duration>,
    bytes_out: u64,
}

impl Exchange {
    /// Opens the record. Boxed: it is handed on several times, from the request's future to the response's body.
    pub(super) fn open(gateway: &Rc<Gateway>, client: &Rc<ClientConnection>, head: &request::Parts) -> Box<Exchange> {
        client.pulse.begin();
        Box::new(Exchange {
            gateway: Rc::clone(gateway),
            client: Rc::clone(client),
            id: gateway.ids.next(),
            started: Instant::now(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            route: None,
            caller: None,
            outcome: Outcome::ClientGone,
            status: None,
            upstream: None,
            bytes_out: 0,
        })
    }

    /// The id of the request, for its fields and its log line.
    pub fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// When the head of the request was complete.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Who sent it.
    pub fn peer(&self) -> &Peer {
        &self.client.peer
    }

    pub(super) fn client(&self) -> &ClientConnection {
        &self.client
    }

    pub(super) fn hsts(&self) -> Option<&HeaderValue> {
        self.client.door.hsts.as_ref()
    }

    pub(super) fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    pub(super) fn matched(&mut self, route: &Route) {
        self.route = Some(route.index);
    }

    /// It is for the login, which stands behind the last route in the counters.
    pub(super) fn matched_login(&mut self) {
        self.route = Some(self.gateway.routes.routes().len());
    }

    pub(super) fn identified(&mut self, caller: Option<&Arc<Identity>>) {
        self.caller = caller.map(Arc::clone);
    }

    /// The endpoint's answer has begun.
    pub(super) fn answered(&mut self, asked: Instant) {
        self.upstream = Some(Instant::now().duration_since(asked));
    }

    /// The status that the client gets, and how the request ends if nothing goes wrong from here on.
    pub(super) fn ends(&mut self, outcome: Outcome, status: StatusCode) {
        (self.outcome, self.status) = (outcome, Some(status));
    }

    /// The endpoint did not bring its answer to an end.
    pub(super) fn breaks_off(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// The client did not take its answer to the end, unless the endpoint broke it off.
    pub(super) fn leaves(&mut self) {
        if self.outcome == Outcome::Forwarded {
            self.outcome = Outcome::ClientGone;
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out = self.bytes_out.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.client.pulse.end();
        let total = Instant::now().duration_since(self.started);
        let route = self.route.and_then(|index| u32::try_from(index).ok()).map_or(RouteIndex::NONE, RouteIndex);
        let status = self.status.map(|status| status.as_u16());
        self.gateway.recorder.request(route, self.outcome, status.map(StatusClass::of), total, self.upstream);
        let Some(log) = &self.gateway.access_log else { return };
        let caller = self.caller.as_deref();
        log.write(&Entry {
            time: self.gateway.clock.now(),
            request_id: self.id.to_str().unwrap_or_default(),
            peer: self.client.peer.address,
            version: Some(self.version),
            method: self.method.as_str(),
            path: self.uri.path(),
            has_query: self.uri.query().is_some(),
            status,
            outcome: self.outcome,
            route: self.route.map(|index| {
                self.gateway.routes.routes().get(index).map_or(settings::Login::NAME, |route| &route.settings.name)
            }),
            user_id: caller.map(|identity| identity.subject().0),
            user_name: caller.and_then(|identity| identity.values().user_name.to_str().ok()),
            token_id: caller.map(|identity| identity.token().0),
            bytes_out: self.bytes_out,
            total,
            upstream: self.upstream,
        });
    }
}
