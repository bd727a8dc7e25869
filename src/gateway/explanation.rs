//! Tells what would happen to a request, and why. Nothing is sent, counted or written.
//!
//! The decision is [`Gateway::decide`]'s own. What is told beside it comes from the functions that it calls too.

use std::rc::Rc;
use std::sync::Arc;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, Request, StatusCode, request};

use super::decision::{Decision, Forwarding, accepted};
use super::{Exchange, Gateway, Refusal, forward};
use crate::auth::{AuthFailure, NotPermitted};
use crate::client::{ClientConnection, HeadFault};
use crate::config::settings::HostPattern;
use crate::identity::Identity;
use crate::route::{NoRoute, Route, Target};
use crate::telemetry::Outcome;
use crate::upstream::OutgoingBody;

/// What would happen to a request, and why.
pub struct Explanation {
    /// The target as it was read; `None`: the head or the target is refused.
    pub target: Option<TargetRead>,
    /// The routes whose host and path match, the most specific one first.
    pub candidates: Vec<Candidate>,
    /// The name of the route that takes the request, as in logs and metrics.
    pub route: Option<Arc<str>>,
    /// What the credentials that the route accepts gave; `None`: no configured route takes the request.
    pub caller: Option<Result<Option<Arc<Identity>>, AuthFailure>>,
    /// What happens to it.
    pub end: End,
}

/// A target as it was read.
pub struct TargetRead {
    /// The host, by which routes are compared.
    pub host: String,
    /// The path, by which routes are compared.
    pub path: String,
    /// How some upstreams could read it besides.
    pub other_readings: Vec<String>,
}

/// A route whose host and path match.
pub struct Candidate {
    /// Its name.
    pub route: Arc<str>,
    /// Why it takes the request, or does not.
    pub standing: Standing,
}

/// Why a route takes a request, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes the request: its host is the most specific one, then its path, then its methods.
    Takes,
    /// It would, but two servers could read the target differently.
    Refuses(NoRoute),
    /// It does not accept the method.
    OtherMethod,
    /// Another route with the same host and path lists the method.
    MethodListed,
    /// The host of another route is more specific.
    LessSpecificHost,
    /// The path of another route is more specific.
    LessSpecificPath,
    /// The login and its pages come before all routes.
    Precedence,
}

/// What happens to a request.
pub enum End {
    /// It is forwarded.
    Forwarded(Box<Forwarded>),
    /// The gateway answers it itself, depending on its body: a login, or a page.
    Answered,
    /// The portal of the route is asked, and decides.
    Asked(Arc<str>),
    /// It is refused.
    Refused(Refused),
}

/// A forwarded request.
pub struct Forwarded {
    /// The upstream.
    pub upstream: String,
    /// Its endpoints.
    pub endpoints: Vec<String>,
    /// What one of them would receive.
    pub request: Request<()>,
}

/// A refused request.
pub struct Refused {
    /// The status of the response.
    pub status: StatusCode,
    /// The reason, as in logs and metrics.
    pub outcome: Outcome,
    /// The text for the client.
    pub detail: String,
    /// What the client is not told: why the route or the token does not admit it.
    pub reason: Option<NotPermitted>,
    /// The headers of the response.
    pub headers: HeaderMap,
}

impl Gateway {
    /// Explains a request. `length` is that of its body; `None`: the body is chunked.
    ///
    /// Its lookups, counts and reports go where the worker of this gateway leads them: for an explanation, nowhere.
    pub async fn explain(
        self: &Rc<Self>,
        client: &Rc<ClientConnection>,
        mut head: Box<request::Parts>,
        length: Option<u64>,
    ) -> Explanation {
        let mut exchange = Exchange::open(self, client, &mut head);
        let decision = self.decide(&head, length, &mut exchange).await;
        let route = exchange.route_name().map(Arc::clone);
        let routes = self.generation.routes.routes();
        let configured = route.as_ref().and_then(|name| routes.iter().find(|route| route.settings.name == *name));
        let target = Target::read(&head, self.generation.limits.uri_bytes, exchange.peer());
        let target = target.ok().filter(|_| head.extensions.get::<HeadFault>().is_none());
        let candidates = target.as_ref().map(|target| self.candidates(target, route.is_some() && configured.is_none()));
        let candidates = candidates.unwrap_or_default();
        let read = target.map(|target| TargetRead {
            host: target.host().to_owned(),
            path: target.decoded_path().to_owned(),
            other_readings: target.other_readings().map(str::to_owned).collect(),
        });
        let caller = match configured {
            None => None,
            Some(route) => {
                let from = exchange.peer().address.ip();
                Some(self.authenticate(route.settings.auth, accepted(route, &exchange), &head.headers, from).await)
            }
        };
        if let Ok(Decision::Ask(portal, _)) = &decision {
            let end = End::Asked(Arc::clone(&portal.name));
            return Explanation { target: read, candidates, route, caller, end };
        }
        let forwarding = match decision {
            Ok(Decision::Forward(forwarding)) => Ok(Some(forwarding)),
            Ok(
                Decision::LogIn(..)
                | Decision::Show(..)
                | Decision::DescribeServer
                | Decision::Prove(_)
                | Decision::Permit(_)
                | Decision::Ask(..),
            ) => Ok(None),
            Err(refusal) => Err(refusal),
        };
        let end = match forwarding {
            Ok(None) => End::Answered,
            Ok(Some(forwarding)) => match self.would_forward(head, length, forwarding, &exchange) {
                Ok(forwarded) => End::Forwarded(Box::new(forwarded)),
                Err(refusal) => self.would_refuse(refusal, exchange, length),
            },
            Err(refusal) => self.would_refuse(refusal, exchange, length),
        };
        Explanation { target: read, candidates, route, caller, end }
    }

    fn would_forward(
        &self,
        head: Box<request::Parts>,
        length: Option<u64>,
        forwarding: Forwarding<'_>,
        exchange: &Exchange,
    ) -> Result<Forwarded, Refusal> {
        let Forwarding { upstream, permit, below, handshake } = forwarding;
        let route = &permit.route().settings;
        let mut request = self.prepare(head, OutgoingBody::empty(), below, handshake.as_deref(), &permit, exchange)?;
        let user = permit.caller().map(|caller| caller.subject().0);
        forward::name_host(&mut request, route, upstream.pools.choose(user, &[]).ok_or(Refusal::Internal)?);
        if length.is_none() && !route.buffer_request {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(Forwarded {
            upstream: upstream.name.clone(),
            endpoints: upstream.pools.all().map(|pool| pool.spec().authority.clone()).collect(),
            request: request.map(drop),
        })
    }

    fn would_refuse(&self, refusal: Refusal, exchange: Box<Exchange>, length: Option<u64>) -> End {
        let (outcome, detail) = refusal.told(exchange.method());
        let reason = if let Refusal::NotPermitted(why) = &refusal { Some(why.clone()) } else { None };
        let has_body = length != Some(0);
        let response = refusal.respond(exchange, has_body, self.generation.credentials.challenge());
        let (head, _) = response.into_parts();
        End::Refused(Refused { status: head.status, outcome, detail, reason, headers: head.headers })
    }

    /// The routes whose host and path match. `is_own`: the gateway answers itself.
    fn candidates(&self, target: &Target<'_>, is_own: bool) -> Vec<Candidate> {
        let table = &self.generation.routes;
        let found = table.find(target);
        let groups = table.candidates(target);
        let host_of = |group: &[&Route]| group.first().map(|route| route.settings.host.clone());
        let best: Option<HostPattern> = groups.first().and_then(|group| host_of(group));
        let mut candidates = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            for route in group {
                let standing = match (&found, place) {
                    _ if is_own => Standing::Precedence,
                    (Ok(taken), _) if taken.index == route.index => Standing::Takes,
                    (_, 0) if !route.takes(target.method()) => Standing::OtherMethod,
                    (Ok(_), 0) => Standing::MethodListed,
                    (Err(missing), 0) => Standing::Refuses(missing.clone()),
                    _ if Some(&route.settings.host) == best.as_ref() => Standing::LessSpecificPath,
                    _ => Standing::LessSpecificHost,
                };
                candidates.push(Candidate { route: Arc::clone(&route.settings.name), standing });
            }
        }
        candidates
    }
}
