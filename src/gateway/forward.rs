//! Sends a request to an endpoint and waits for the head of the response.
//!
//! A request with effects is never sent twice. A request is sent once more only if its reused connection ended before a
//! byte of the response arrived, and if no byte of the request was sent or it is a GET, HEAD or OPTIONS request without
//! a body.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode, response};
use tokio::time::Instant;

use super::fields::{self, forwarded::X_REQUEST_ID};
use super::timer::Timer;
use super::traces;
use super::tunnel::FarEnd;
use super::websocket::WebSocketHandshake;
use super::{Body, Exchange, Gateway, Refusal};
use crate::auth::{Permit, cookies};
use crate::config::settings::{self, HostHeader};
use crate::http1::BadAnswer;
use crate::telemetry::Outcome;
use crate::upstream::{
    EndpointPool, Lease, OriginFault, OutgoingBody, RequestBody, SendFault, UpstreamPools, is_repeatable,
};

/// If a token ends while its exchange waits for the response, the response may still begin until the exchange has this
/// age.
const RESPONSE_GRACE: Duration = Duration::from_secs(60);
/// How long such a response may take from its first byte: enough for any response that is not a stream.
const RESPONSE_END_GRACE: Duration = Duration::from_secs(1);

impl Gateway {
    /// Forwards a request that has a permit, and returns the response when it begins.
    pub(super) async fn forward(
        &self,
        mut request: Request<OutgoingBody>,
        pools: &UpstreamPools,
        permit: &Permit<'_>,
        handshake: Option<WebSocketHandshake>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let route = &permit.route().settings;
        let request_body = request.body().state();
        let chosen = pools.choose().ok_or(Refusal::Internal)?;
        // If the endpoint has just closed the connection, a request that may be sent twice is sent again.
        let certainly = !(pools.retries() && is_repeatable(&request));
        let (mut lease, pool) = match chosen.lease_warm(certainly) {
            Some(lease) => (lease, Rc::clone(chosen)),
            None => Box::pin(lease(pools, chosen, false, certainly)).await?,
        };
        name_host(&mut request, route, &pool);
        traces::name_attempt(exchange, request.headers_mut());
        let asked = Instant::now();
        let mut timer = Timer::new(
            &self.worker.timers,
            (!route.streaming).then_some(route.response_headers_timeout),
            route.total_timeout.map(|total| exchange.started() + total),
        );
        if exchange.token_has_ended() {
            return Err(Refusal::TokenEnded);
        }
        exchange.sends(&request_body);
        lease.send(request, handshake.is_some());
        let answer = match wait(&mut lease, &mut timer, &request_body, exchange).await? {
            Ok(answer) => answer,
            Err(SendFault { again: Some(request), .. }) if lease.is_reused() && pools.retries() => {
                drop(lease);
                let again = send_again(pools, request, handshake.is_some(), route, &mut timer, &request_body, exchange);
                let answer;
                (answer, lease) = Box::pin(again).await?;
                answer
            }
            Err(fault) => return Err(why(fault.cause, &request_body)),
        };
        let last_word = exchange.answered(asked);
        let deadline = route.total_timeout.map(|total| exchange.started() + total);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Accepts a 101 only if the request asked for it; otherwise the endpoint has read something else as a
            // handshake.
            let accepted = handshake.is_some_and(|handshake| handshake.is_accepted_by(answer.headers()));
            return match (accepted && lease.is_sent(), last_word) {
                (true, false) => {
                    timer.set(None, deadline);
                    Ok(switch(answer, lease, timer, exchange))
                }
                (true, true) => Err(Refusal::TokenEnded),
                (false, _) => Err(OriginFault::BadResponse(BadAnswer::Switch).into()),
            };
        }
        if !request_body.has_ended() && answer.status().as_u16() < 400 {
            request_body.succeeded();
        }
        if !lease.is_sent() {
            lease.send_in_background();
        }
        exchange.ends(Outcome::Forwarded, answer.status());
        match last_word {
            true => timer.set(None, Some(Instant::now() + RESPONSE_END_GRACE)),
            false => timer.set((!route.streaming).then_some(route.response_body_timeout), deadline),
        }
        let head = finish(answer, exchange);
        Ok(Response::from_parts(head, Body::from_endpoint(lease, request_body, timer)))
    }
}

/// Builds the response for the client: the head of the endpoint's response without hop-by-hop headers.
fn finish(answer: Response<()>, exchange: &Exchange) -> response::Parts {
    let (mut head, ()) = answer.into_parts();
    fields::response::finish(&mut head.headers, exchange.hsts());
    if exchange.knows_sessions() {
        cookies::remove_set_session(&mut head.headers);
    }
    head.headers.insert(X_REQUEST_ID, exchange.id().clone());
    exchange.describes_route(&mut head.headers);
    head
}

/// Prepares the tunnel after the endpoint has switched to WebSocket. The tunnel begins when the client has its
/// response.
fn switch(answer: Response<()>, lease: Lease, timer: Timer, exchange: &mut Exchange) -> Response<Body> {
    exchange.ends(Outcome::Forwarded, answer.status());
    let mut head = finish(answer, exchange);
    WebSocketHandshake::ask(&mut head.headers);
    exchange.switches(FarEnd::new(lease.into_tunnel(), timer));
    Response::from_parts(head, Body::full(Bytes::new()))
}

/// Leases a connection to the chosen endpoint; if that is unreachable, to the first other endpoint that is reachable.
async fn lease(
    pools: &UpstreamPools,
    chosen: &Rc<EndpointPool>,
    fresh: bool,
    certainly: bool,
) -> Result<(Lease, Rc<EndpointPool>), Refusal> {
    match chosen.lease(fresh, certainly).await {
        Ok(lease) => Ok((lease, Rc::clone(chosen))),
        Err(mut fault) => {
            for other in pools.others(chosen) {
                match other.lease(fresh, certainly).await {
                    Ok(lease) => return Ok((lease, Rc::clone(other))),
                    Err(next) => fault = next,
                }
            }
            Err(fault.into())
        }
    }
}

/// Sets another `Host` in place of the client's, if the route says so.
pub(super) fn name_host(request: &mut Request<OutgoingBody>, route: &settings::Route, pool: &EndpointPool) {
    let host = match &route.host_header {
        HostHeader::Keep => return,
        HostHeader::Upstream => &pool.spec().host,
        HostHeader::Name(name) => name,
    };
    request.headers_mut().insert(HOST, host.clone());
}

/// Waits for the head of a response, at most as long as `timer` allows after the last piece of the request body.
async fn wait(
    lease: &mut Lease,
    timer: &mut Timer,
    body: &RequestBody,
    exchange: &Exchange,
) -> Result<Result<Response<()>, SendFault>, Refusal> {
    let attempt = traces::Attempt::begin(exchange);
    timer.start();
    loop {
        let pieces = body.pieces();
        let waited = std::future::poll_fn(|cx| match lease.poll_answer(cx) {
            Poll::Ready(answer) => Poll::Ready(Waited::Answer(answer)),
            Poll::Pending if exchange.poll_token_end(cx) && !may_answer(exchange, body) => {
                Poll::Ready(Waited::TokenEnded)
            }
            Poll::Pending => timer.poll(cx).map(|()| Waited::Enough),
        });
        match waited.await {
            // Whatever the error, its cause is the end of the token.
            Waited::Answer(Err(_)) if exchange.token_has_ended() => return Err(Refusal::TokenEnded),
            Waited::Answer(answer) => {
                attempt.ends(answer.as_ref().ok());
                return Ok(answer);
            }
            Waited::TokenEnded => return Err(Refusal::TokenEnded),
            // The endpoint has received all of the body that has arrived; the body itself checks the silence of the
            // client.
            Waited::Enough if (body.is_awaited() || body.pieces() != pieces) && !timer.is_over() => timer.start(),
            Waited::Enough => return Ok(Err(SendFault::new(OriginFault::Timeout))),
        }
    }
}

enum Waited {
    Answer(Result<Response<()>, SendFault>),
    TokenEnded,
    Enough,
}

/// Whether the response may still begin although the caller's token has ended: the endpoint has the whole request and
/// acts on it in any case.
fn may_answer(exchange: &Exchange, body: &RequestBody) -> bool {
    body.has_ended() && exchange.started().elapsed() < RESPONSE_GRACE
}

/// The second and last attempt, on a new connection.
async fn send_again(
    pools: &UpstreamPools,
    mut request: Box<Request<OutgoingBody>>,
    asks_to_switch: bool,
    route: &settings::Route,
    timer: &mut Timer,
    body: &RequestBody,
    exchange: &Exchange,
) -> Result<(Response<()>, Lease), Refusal> {
    let chosen = pools.choose().ok_or(Refusal::Internal)?;
    let (mut lease, pool) = lease(pools, chosen, true, true).await?;
    name_host(&mut request, route, &pool);
    traces::name_attempt(exchange, request.headers_mut());
    if exchange.token_has_ended() {
        return Err(Refusal::TokenEnded);
    }
    lease.send(*request, asks_to_switch);
    match wait(&mut lease, timer, body, exchange).await? {
        Ok(answer) => Ok((answer, lease)),
        Err(fault) => Err(why(fault.cause, body)),
    }
}

/// If the request body failed, the client is at fault, whatever error the connection reports.
fn why(cause: OriginFault, body: &RequestBody) -> Refusal {
    body.fault().map_or(Refusal::Origin(cause), Refusal::Body)
}
