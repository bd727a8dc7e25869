//! One exchange: a request from its head to the end of its response.
//!
//! It is counted and logged exactly once, when it is dropped: at the end of the response body, or when the client has
//! disconnected.

mod certificate;
mod end;

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, request};
use tokio::time::Instant;

use super::fields::FieldPolicy;
use super::forward_auth::Purpose;
use super::handle::RouteHandle;
use super::timer::Timer;
use super::tunnel::FarEnd;
use super::{Gateway, cors, grpc, shares};
use crate::auth::cookies;
use crate::client::ClientConnection;
use crate::client::certificate::ClientCertificate;
use crate::client::forwarded::{self, BadForwarded, Origin};
use crate::config::settings::ProxyTrust;
use crate::http1::BadAnswer;
use crate::identity::Identity;
use crate::limits::Client;
use crate::rates::RateFields;
use crate::route::Peer;
use crate::telemetry::{Outcome, Trace};
use crate::token::AuthMethod;
use crate::upstream::RequestBody;

/// One exchange.
pub struct Exchange {
    gateway: Rc<Gateway>,
    client: Rc<ClientConnection>,
    /// Whether its listener requires a client certificate by now, and the client has shown none.
    lacks_certificate: bool,
    /// Where the request came from, if a trusted proxy forwards it.
    forwarded: Option<Box<Peer>>,
    /// A header of a trusted proxy that cannot be read.
    bad_forwarded: Option<BadForwarded>,
    id: HeaderValue,
    started: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    /// Whether its response has no body, because the method on the connection is HEAD.
    is_head: bool,
    purpose: Purpose,
    route: Option<Rc<RouteHandle>>,
    /// The caller; `None` while the exchange has an entry in [`Callers`](super::Callers), which holds the caller then.
    caller: Option<Arc<Identity>>,
    place: Option<usize>,
    /// Whether its token ended before its response began; the response then has a short time to end.
    late: bool,
    /// Whether the whole request body was read from the connection.
    read_whole: bool,
    /// The initial value stays if the client disconnects before a decision.
    outcome: Outcome,
    /// The fault in the endpoint's response.
    cause: Option<BadAnswer>,
    status: Option<StatusCode>,
    upstream: Option<Duration>,
    bytes_out: u64,
    /// The `Content-Type` of a gRPC call; `None`: it is none.
    grpc: Option<HeaderValue>,
    /// The client's share of the upstream's connections that it uses.
    share: Option<shares::ShareGuard>,
    /// What the response tells a browser about the origin of the request.
    cors: Option<cors::Said>,
    /// The headers that describe the rates of the route.
    rates: RateFields,
    /// The tunnel that the response opens.
    far_end: Option<Box<FarEnd>>,
    /// Its spans, if it is recorded.
    trace: Option<Rc<Trace>>,
}

impl Exchange {
    /// Creates the exchange. Boxed, because it is moved several times, from the request's future to the response body.
    ///
    /// If a trusted proxy forwards the host that the client asked for, the head gets it.
    pub(super) fn open(
        gateway: &Rc<Gateway>,
        client: &Rc<ClientConnection>,
        head: &mut request::Parts,
    ) -> Box<Exchange> {
        client.pulse.begin();
        let started = Instant::now();
        let version = head.version;
        let is_head = head.method == Method::HEAD;
        let policy = gateway.generation.policy(client);
        let (purpose, origin) = match policy.forward_auth {
            true => Purpose::read(&policy.trust, &client.peer, head),
            false => {
                let trust = if client.is_unknown.get() { &ProxyTrust::NONE } else { &policy.trust };
                (Purpose::Serve, forwarded::read(trust, &client.peer, &head.headers))
            }
        };
        let (forwarded, bad_forwarded) = match origin {
            Ok(None) => (None, None),
            Ok(Some(Origin { peer, host })) => {
                if let Some(host) = host {
                    head.headers.insert(HOST, host);
                    head.uri = without_authority(&head.uri);
                }
                (Some(Box::new(peer)), None)
            }
            Err(bad) => (None, Some(bad)),
        };
        Box::new(Exchange {
            lacks_certificate: policy.requires_certificate && client.certificate.get().is_none(),
            gateway: Rc::clone(gateway),
            client: Rc::clone(client),
            forwarded,
            bad_forwarded,
            id: gateway.worker.ids.next(),
            started,
            method: head.method.clone(),
            uri: head.uri.clone(),
            version,
            is_head,
            purpose,
            route: None,
            caller: None,
            place: None,
            late: false,
            read_whole: false,
            outcome: Outcome::ClientGone,
            cause: None,
            status: None,
            upstream: None,
            bytes_out: 0,
            // The proxy that asks turns a refusal into the form that a gRPC client expects.
            grpc: if purpose == Purpose::Serve { grpc::content_type(head) } else { None },
            share: None,
            cors: None,
            rates: RateFields::default(),
            far_end: None,
            trace: gateway.worker.tracer.begin(&head.headers, started),
        })
    }

    /// The id of the request, for its headers and its log line.
    pub fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// When the request head was complete.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The sender: the client that a trusted proxy names, else the other end of the connection.
    pub fn peer(&self) -> &Peer {
        self.forwarded.as_deref().unwrap_or(&self.client.peer)
    }

    /// The header of a trusted proxy that cannot be read.
    pub(super) fn bad_forwarded(&self) -> Option<BadForwarded> {
        self.bad_forwarded
    }

    /// The sender, as limits count it.
    pub(super) fn sender(&self) -> Client {
        Client::of(self.peer().address.ip())
    }

    pub(super) fn client(&self) -> &ClientConnection {
        &self.client
    }

    pub(super) fn hsts(&self) -> Option<&HeaderValue> {
        self.gateway.generation.policy(&self.client).hsts.as_ref()
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Whether its response has no body.
    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }

    /// What the gateway does with it.
    pub(super) fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub(super) fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// Its spans, if it is recorded.
    pub(super) fn trace(&self) -> Option<&Rc<Trace>> {
        self.trace.as_ref()
    }

    /// The `Content-Type` of a gRPC call, if it is one.
    pub(super) fn grpc(&self) -> Option<&HeaderValue> {
        self.grpc.as_ref()
    }

    /// The rules for the trailers of its response, if that is one to a gRPC call over HTTP/2.
    pub(super) fn metadata_rules(&self) -> Option<&FieldPolicy> {
        (self.grpc.is_some() && self.is_http2()).then(|| &self.gateway.generation.fields)
    }

    /// Sets the route of the request, whose headers are `fields`.
    pub(super) fn matched(&mut self, route: &Rc<RouteHandle>, fields: &HeaderMap) {
        self.cors = route.cors.as_ref().map(|cors| cors.say(fields));
        self.route = Some(Rc::clone(route));
    }

    /// The name of that route.
    pub(super) fn route_name(&self) -> Option<&Arc<str>> {
        self.route.as_ref().map(|route| &route.name)
    }

    /// Sets the caller, who was established by the credentials in `fields`.
    pub(super) fn identified(&mut self, caller: Option<&Arc<Identity>>, fields: &HeaderMap) {
        let Some(caller) = caller.map(Arc::clone) else { return };
        let credentials = match caller.method() {
            AuthMethod::Token => fields.get(AUTHORIZATION),
            AuthMethod::Session => cookies::session_line(fields),
            AuthMethod::Certificate => self.client.certificate.get().and_then(ClientCertificate::user),
        };
        match credentials {
            Some(credentials) => {
                let connection = (!self.is_http2()).then(|| Rc::clone(&self.client.pulse));
                self.place = Some(self.gateway.worker.callers.enter(caller, credentials.clone(), connection));
            }
            None => self.caller = Some(caller),
        }
    }

    /// Whether its route checks for a session before a token.
    pub(super) fn prefers_sessions(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.prefers_sessions)
    }

    /// Whether there is a challenge for the credentials that its route checks first.
    pub(super) fn has_challenge(&self) -> bool {
        self.route.as_ref().is_none_or(|route| route.has_challenge)
    }

    /// Whether sessions are configured.
    pub(super) fn knows_sessions(&self) -> bool {
        self.gateway.generation.pages.is_some()
    }

    /// Records that the request is being sent to the endpoint.
    pub(super) fn sends(&self, body: &RequestBody) {
        if let Some(place) = self.place.filter(|_| !body.has_ended()) {
            self.gateway.worker.callers.uploads(place, body.clone());
        }
    }

    /// Records that the endpoint's response has begun. `true`: the token has ended meanwhile, and the response has only
    /// a short time to end.
    pub(super) fn answered(&mut self, asked: Instant) -> bool {
        self.upstream = Some(Instant::now().duration_since(asked));
        self.late = self.token_has_ended();
        if self.late {
            self.leave_callers();
        } else if let Some(place) = self.place {
            self.gateway.worker.callers.answered(place);
        }
        self.late
    }

    /// Whether the caller's token has ended since the exchange was admitted.
    pub(super) fn token_has_ended(&self) -> bool {
        self.place.is_some_and(|place| self.gateway.worker.callers.has_ended(place))
    }

    /// The same; also wakes the task when the token ends.
    pub(super) fn poll_token_end(&self, cx: &Context<'_>) -> bool {
        self.place.is_some_and(|place| self.gateway.worker.callers.poll_ended(place, cx))
    }

    fn leave_callers(&mut self) {
        if let Some(place) = self.place.take() {
            self.caller = self.gateway.worker.callers.leave(place);
        }
    }

    /// Sets the status that the client gets, and the outcome if nothing fails from now on.
    pub(super) fn ends(&mut self, outcome: Outcome, status: StatusCode) {
        (self.outcome, self.status) = (outcome, Some(status));
    }

    /// Records the rule that the endpoint's response breaks.
    pub(super) fn blames(&mut self, cause: BadAnswer) {
        self.cause = Some(cause);
    }

    /// Records that the endpoint's response broke off.
    pub(super) fn breaks_off(&mut self, outcome: Outcome) {
        self.outcome = if self.late { Outcome::TokenEnded } else { outcome };
    }

    /// Records that the client did not read the whole response, unless the endpoint's response broke off.
    pub(super) fn leaves(&mut self) {
        if self.outcome == Outcome::Forwarded {
            self.outcome = if self.token_has_ended() { Outcome::TokenEnded } else { Outcome::ClientGone };
        }
    }

    /// Holds a share of the upstream's connections until the exchange ends.
    pub(super) fn holds(&mut self, place: shares::ShareGuard) {
        self.share = Some(place);
    }

    /// Records what the rates of the route have left.
    pub(super) fn counts(&mut self, rates: RateFields) {
        self.rates = rates;
    }

    /// Adds the headers that every response of the route has.
    pub(super) fn describes_route(&self, fields: &mut HeaderMap) {
        self.rates.add_to(fields);
        if let Some(cors) = &self.cors {
            cors.add_to(fields);
        }
    }

    /// Sets the tunnel that the response opens.
    pub(super) fn switches(&mut self, mut far_end: FarEnd) {
        if self.is_http2() {
            let span = Some(self.client.pulse.write_timeout());
            far_end.is_on_stream(Timer::new(&self.gateway.worker.timers, span, None));
        }
        if let Some(route) = &self.route {
            route.opens_tunnel(&self.client.pulse, far_end.cut());
        }
        self.far_end = Some(Box::new(far_end));
    }

    /// Records that the gateway itself has read the whole body: the connection can be used again, whatever the
    /// response.
    pub(super) fn has_read_body(&mut self) {
        self.read_whole = true;
    }

    /// Whether the whole request body was read from the connection.
    pub(super) fn is_read_whole(&self) -> bool {
        self.read_whole
    }

    /// Takes the tunnel that the response opens, if there is one.
    pub(super) fn far_end(&mut self) -> Option<Box<FarEnd>> {
        self.far_end.take()
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out = self.bytes_out.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// The target without its host, which a trusted proxy has replaced.
fn without_authority(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // `*` and a path are valid targets.
    path.parse().unwrap_or_default()
}
