//! Answers the questions of proxies: may this request of my client pass?
//!
//! `decision.rs` decides as on a request of the client itself. An allowed request is not forwarded; the answer has the
//! headers that the proxy adds to it.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{Body, Exchange, Gateway, Refusal, reply};
use crate::auth::Permit;
use crate::client::forward_auth::{self, Form};
use crate::client::forwarded::{BadForwarded, Origin};
use crate::config::settings::ProxyTrust;
use crate::route::{NoRoute, Peer};
use crate::telemetry::Outcome;
use crate::upstream::OutgoingBody;

/// The status that the client is to get, for proxies that do not understand it.
const STATUS: HeaderName = HeaderName::from_static("x-tokengate-status");
/// The body that the client is to get.
const BODY: HeaderName = HeaderName::from_static("x-tokengate-body");

/// What the gateway does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It forwards it.
    Serve,
    /// It tells a proxy whether the request that it describes may pass.
    Check(Form),
    /// It answers it itself, or not at all: a login or a page, beside questions.
    Own,
}

impl Purpose {
    /// Reads a request on a listener for questions.
    pub(super) fn read(
        trust: &ProxyTrust,
        peer: &Peer,
        head: &mut Parts,
    ) -> (Purpose, Result<Option<Origin>, BadForwarded>) {
        let (form, origin) = forward_auth::read(trust, peer, head);
        (form.map_or(Purpose::Own, Purpose::Check), origin)
    }

    /// The login and the pages are answered by the gateway alone, so no proxy may send them to an upstream.
    pub(super) fn allows_own(self) -> Result<(), NoRoute> {
        if matches!(self, Purpose::Check(_)) { Err(NoRoute::NotFound) } else { Ok(()) }
    }

    /// Whether a route may take it.
    pub(super) fn allows_routes(self) -> Result<(), NoRoute> {
        if self == Purpose::Own { Err(NoRoute::NotFound) } else { Ok(()) }
    }
}

impl Gateway {
    /// Tells a proxy that a request may pass, and how an upstream learns who the caller is.
    pub(super) fn allow(
        &self,
        form: Form,
        head: Box<Parts>,
        permit: &Permit<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let policy = &self.generation.fields;
        let removes = form == Form::ExtAuthz;
        let sent: Vec<HeaderName> = if removes { head.headers.keys().cloned().collect() } else { Vec::new() };
        let prepared = self.prepare(head, OutgoingBody::empty(), None, None, permit, exchange)?; // 400
        exchange.ends(Outcome::Answered, StatusCode::OK);
        let mut response = reply::text(StatusCode::OK, String::new(), exchange).map(|_| Body::empty());
        policy.tell(prepared.headers(), response.headers_mut());
        if removes {
            policy.tell_removed(&sent, prepared.headers(), response.headers_mut());
        }
        Ok(response)
    }
}

/// Gives a refusal the form that nginx understands: 401 or 403, with the status and the body for the client in headers.
pub(super) fn put_into_fields(response: &mut Response<Body>, detail: &str) {
    let status = response.status();
    let fields = response.headers_mut();
    fields.insert(STATUS, HeaderValue::from(status.as_u16()));
    if let Ok(body) = HeaderValue::try_from(reply::detail_text(detail)) {
        fields.insert(BODY, body);
    }
    if status != StatusCode::UNAUTHORIZED {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
}
