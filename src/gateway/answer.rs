//! The request function: carries out a [`Decision`].

use std::sync::Arc;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, request};

use super::decision::{Decision, Forwarding};
use super::forward_auth::Purpose;
use super::portal::Said;
use super::refusal::METHODS;
use super::{Body, Exchange, Gateway, Refusal, outgoing, reply};
use crate::auth::Permit;
use crate::client::ClientBody;
use crate::config::settings::LoginPath;
use crate::rates::{Exceeded, Facts};
use crate::telemetry::Outcome;

impl Gateway {
    /// Decides on a request, then answers or forwards it.
    pub(super) async fn answer(
        &self,
        head: Box<request::Parts>,
        body: ClientBody,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let forwarding = match self.decide(&head, body.declared_length(), exchange).await? {
            Decision::DescribeServer => return Ok(describe_server(exchange)),
            Decision::Prove(answer) => return Ok(prove(answer, exchange)),
            Decision::Permit(permission) => return Ok(permit(permission, exchange)),
            Decision::LogIn(login, LoginPath::LogIn) => {
                return Box::pin(self.log_in(login, &head, body, exchange)).await;
            }
            Decision::LogIn(login, path) => {
                let all = path == LoginPath::LogOutAll;
                return Box::pin(self.log_out(login, all, &head, body, exchange)).await;
            }
            Decision::Show(endpoint, page, target) => {
                return Box::pin(self.show(endpoint, page, &head, body, &target, exchange)).await;
            }
            Decision::Ask(portal, asking) => match Box::pin(self.ask(portal, &head, exchange)).await? {
                Said::Pass(consent) => {
                    self.admit_by_portal(*asking, consent, &head, body.declared_length(), exchange)? // 403 · 413
                }
                Said::Refuse(response) => return Ok(response),
            },
            Decision::Forward(forwarding) => forwarding,
        };
        let Forwarding { upstream, permit, below, handshake } = forwarding;
        self.count(&permit, exchange).await?; // 429
        if let Purpose::Check(form) = exchange.purpose() {
            return self.allow(form, head, &permit, exchange); // 400
        }
        let body = outgoing::body(body, permit.route(), exchange.grpc().is_some());
        let body = match permit.route().settings.buffer_request {
            true => Box::pin(outgoing::gather(body, &self.generation.spool, exchange)).await?, // 400 · 408 · 413 · 503
            false => body,
        };
        let request = self.prepare(head, body, below, handshake.as_deref(), &permit, exchange)?; // 400
        exchange.holds(upstream.share.enter(exchange.sender()).await?); // 429
        self.forward(request, &upstream.pools, &permit, handshake, exchange).await // 502 · 503 · 504
    }
}

impl Gateway {
    /// Counts a request for the rates of its route.
    async fn count(&self, permit: &Permit<'_>, exchange: &mut Exchange) -> Result<(), Refusal> {
        let route = permit.route();
        let caller = permit.caller().map(Arc::as_ref);
        let Some(rates) = self.generation.rates.applying(route.index, caller) else { return Ok(()) };
        let facts = Facts { route: &route.settings.name, caller, client: exchange.sender() };
        let counted = rates.admit(&facts, self.worker.clock.now()).await;
        let (fields, refused) = match counted {
            Ok(fields) => (fields, Ok(())),
            Err(Exceeded { wait, fields }) => (fields, Err(Refusal::Throttled(wait))),
        };
        exchange.counts(fields);
        refused
    }
}

/// The response to a preflight, which needs no token.
fn permit(permission: HeaderMap, exchange: &mut Exchange) -> Response<Body> {
    exchange.ends(Outcome::Answered, StatusCode::NO_CONTENT);
    let mut response = reply::text(StatusCode::NO_CONTENT, String::new(), exchange).map(|_| Body::empty());
    for (name, value) in &permission {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// The response to the challenge of a CA (RFC 8555 §8.3).
fn prove(answer: String, exchange: &mut Exchange) -> Response<Body> {
    exchange.ends(Outcome::Answered, StatusCode::OK);
    let mut response = reply::text(StatusCode::OK, answer, exchange);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// The response to `OPTIONS *`, which belongs to no route and needs no token.
fn describe_server(exchange: &mut Exchange) -> Response<Body> {
    exchange.ends(Outcome::Answered, StatusCode::NO_CONTENT);
    let mut response = reply::text(StatusCode::NO_CONTENT, String::new(), exchange).map(|_| Body::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}
