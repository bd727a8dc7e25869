//! Sends a request to an endpoint and waits for the head of the response.
//!
//! A request with effects is never sent twice. A request is sent once more, on another endpoint if there is one, only
//! if no byte of it was sent, or if it is a GET, HEAD or OPTIONS request without a body
//! (docs/decisions/0055-retries-on-another-endpoint.md).

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
use super::{Body, Exchange, Gateway, Refusal, grpc};
use crate::auth::{Permit, cookies};
use crate::config::settings::{self, HostHeader};
use crate::http1::BadAnswer;
use crate::telemetry::Outcome;
use crate::upstream::{
    EndpointPool, Failed, Lease, OriginFault, OutgoingBody, RequestBody, UpstreamPools, is_repeatable,
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
        handshake: Option<Box<WebSocketHandshake>>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let route = &permit.route().settings;
        let request_body = request.body().state();
        let user = caller_of(permit);
        let chosen = pools.begin(user).ok_or(Refusal::Internal)?;
        // If the endpoint has just closed the connection, a request that may be sent twice is sent again.
        let certainly = !(pools.retries() && is_repeatable(&request));
        let (mut lease, pool) = match chosen.lease_warm(certainly) {
            Some(lease) => (lease, Rc::clone(chosen)),
            None => Box::pin(pools.lease(user, chosen, &[], false, certainly)).await?,
        };
        name_host(&mut request, route, &pool);
        traces::name_attempt(exchange, request.headers_mut());
        let asked = Instant::now();
        let deadline = deadline(&request, route, exchange);
        let span = (!route.streaming).then_some(route.response_headers_timeout);
        let mut timer = Timer::new(&self.worker.timers, span, deadline);
        let asks = match &handshake {
            Some(handshake) => Box::pin(asks_to_switch(handshake, &lease, pools, &pool)).await?,
            None => false,
        };
        if exchange.token_has_ended() {
            return Err(Refusal::TokenEnded);
        }
        exchange.sends(&request_body);
        lease.send(request, asks);
        let answer = match wait(&mut lease, &mut timer, &request_body, exchange).await? {
            Ok(answer) => {
                pools.succeeded(&pool);
                answer
            }
            Err(fault) => {
                let first = Failed { lease, pool, fault };
                let again = send_again(pools, first, permit, handshake.as_deref(), &mut timer, &request_body, exchange);
                let answer;
                (answer, lease) = Box::pin(again).await?;
                answer
            }
        };
        let last_word = exchange.answered(asked);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Accepts a 101 only if the request asked for it; otherwise the endpoint has read something else as a
            // handshake.
            let handshake = handshake.filter(|one| one.is_accepted_by(answer.headers(), lease.is_stream()));
            return match (handshake.filter(|_| lease.is_sent()), last_word) {
                (Some(handshake), false) => {
                    timer.set(None, deadline);
                    Ok(switch(answer, &handshake, lease, timer, exchange))
                }
                (Some(_), true) => Err(Refusal::TokenEnded),
                (None, _) => Err(OriginFault::BadResponse(BadAnswer::Switch).into()),
            };
        }
        if handshake.is_some_and(|handshake| handshake.is_confused_by(answer.status())) {
            return Err(OriginFault::BadResponse(BadAnswer::NoSwitch).into());
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
        let mut head = finish(answer, exchange);
        if let Some(consent) = permit.consent() {
            consent.add_cookies(&mut head.headers);
        }
        Ok(Response::from_parts(head, Body::from_endpoint(lease, request_body, timer)))
    }
}

/// When the whole exchange must have ended: by the settings of the route, and by the deadline of a gRPC call.
fn deadline(request: &Request<OutgoingBody>, route: &settings::Route, exchange: &Exchange) -> Option<Instant> {
    let of_call = exchange.grpc().and_then(|_| grpc::timeout(request.headers()));
    let total = of_call.into_iter().chain(route.total_timeout).min();
    total.and_then(|total| exchange.started().checked_add(total))
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
fn switch(
    answer: Response<()>,
    handshake: &WebSocketHandshake,
    lease: Lease,
    timer: Timer,
    exchange: &mut Exchange,
) -> Response<Body> {
    let mut head = finish(answer, exchange);
    handshake.confirm(&mut head);
    exchange.ends(Outcome::Forwarded, head.status);
    exchange.switches(FarEnd::new(lease.into_tunnel(), timer));
    Response::from_parts(head, Body::full(Bytes::new()))
}

/// The user, by whom an endpoint may be chosen.
fn caller_of(permit: &Permit<'_>) -> Option<i64> {
    permit.caller().map(|caller| caller.subject().0)
}

/// Whether the endpoint is asked for WebSocket. One that does not say in time whether it may be asked has failed.
async fn asks_to_switch(
    handshake: &WebSocketHandshake,
    lease: &Lease,
    pools: &UpstreamPools,
    pool: &Rc<EndpointPool>,
) -> Result<bool, OriginFault> {
    let asked = handshake.may_ask(lease).await;
    if let Err(fault @ (OriginFault::ConnectTimeout | OriginFault::Reset)) = &asked {
        lease.distrust();
        pools.failed(pool, fault);
    }
    asked
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
) -> Result<Result<Response<()>, OriginFault>, Refusal> {
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
            Waited::Enough => return Ok(Err(OriginFault::Timeout)),
        }
    }
}

enum Waited {
    Answer(Result<Response<()>, OriginFault>),
    TokenEnded,
    Enough,
}

/// Whether the response may still begin although the caller's token has ended: the endpoint has the whole request and
/// acts on it in any case.
fn may_answer(exchange: &Exchange, body: &RequestBody) -> bool {
    body.has_ended() && exchange.started().elapsed() < RESPONSE_GRACE
}

/// The second and last attempt, if the first one `failed` in a way that permits it.
async fn send_again(
    pools: &UpstreamPools,
    mut failed: Failed,
    permit: &Permit<'_>,
    handshake: Option<&WebSocketHandshake>,
    timer: &mut Timer,
    body: &RequestBody,
    exchange: &Exchange,
) -> Result<(Response<()>, Lease), Refusal> {
    if let Some(fault) = body.fault() {
        return Err(Refusal::Body(fault));
    }
    // A deadline that the client may have set says nothing about the endpoint.
    let is_late = timer.is_over();
    if !is_late {
        failed.record(pools);
    }
    let again = if is_late { None } else { failed.again(pools) };
    let Failed { lease, pool, fault } = failed;
    let alone = !lease.is_unprocessed();
    drop(lease);
    let Some(mut request) = again else { return Err(fault.into()) };
    let (user, tried) = (caller_of(permit), [pool]);
    let chosen = pools.choose(user, &tried).ok_or(Refusal::Internal)?;
    let (mut lease, pool) = pools.lease(user, chosen, &tried, alone, true).await?;
    name_host(&mut request, &permit.route().settings, &pool);
    traces::name_attempt(exchange, request.headers_mut());
    let asks = match handshake {
        Some(handshake) => asks_to_switch(handshake, &lease, pools, &pool).await?,
        None => false,
    };
    if exchange.token_has_ended() {
        return Err(Refusal::TokenEnded);
    }
    lease.send(*request, asks);
    match wait(&mut lease, timer, body, exchange).await? {
        Ok(answer) => {
            pools.succeeded(&pool);
            Ok((answer, lease))
        }
        Err(fault) => {
            let failed = Failed { lease, pool, fault };
            if !timer.is_over() {
                failed.record(pools);
            }
            Err(why(failed.fault, body))
        }
    }
}

/// If the request body failed, the client is at fault, whatever error the connection reports.
fn why(cause: OriginFault, body: &RequestBody) -> Refusal {
    body.fault().map_or(Refusal::Origin(cause), Refusal::Body)
}
