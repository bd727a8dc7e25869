//! Sends a request to an endpoint and begins its answer.
//!
//! A request with effects is never sent twice: what is sent once more was handed back unsent, or is idempotent, has no
//! body and went out on a reused connection that ended before a byte of the answer came (PERFORMANCE §6).

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode, Version, response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::fields::{self, forwarded::X_REQUEST_ID};
use super::timer::Timer;
use super::tunnel::FarEnd;
use super::websocket::Handshake;
use super::{Body, Exchange, Gateway, Refusal};
use crate::auth::{Permit, cookies};
use crate::config::settings;
use crate::telemetry::Outcome;
use crate::upstream::{EndpointPool, Lease, OriginFault, OutgoingBody, RequestBody, SendFault, UpstreamPools};

/// How old an exchange may be whose answer may still begin when its caller's token has ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long such an answer may take from there: enough for one that is an answer and no stream.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Gateway {
    /// Forwards a request that has its permit, and gives the answer as it begins.
    pub(super) async fn forward(
        &self,
        mut request: Request<OutgoingBody>,
        permit: &Permit<'_>,
        handshake: Option<Handshake>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let route = &permit.route().settings;
        let pools = self.pools.of(route.upstream).ok_or(Refusal::Internal)?;
        let request_body = request.body().state();
        let chosen = pools.choose().ok_or(Refusal::Internal)?;
        let (mut lease, pool) = match chosen.lease_warm() {
            Some(lease) => (lease, Rc::clone(chosen)),
            None => Box::pin(lease(pools, chosen, false)).await?,
        };
        // Only a warm connection may have ended of age, unseen by us.
        let spare = if lease.is_reused() && pools.retries() { spare(&request) } else { None };
        name_host(&mut request, route, &pool);
        let asked = Instant::now();
        let mut timer = Timer::new(
            (!route.streaming).then_some(route.response_headers_timeout),
            route.total_timeout.map(|total| exchange.started() + total),
        );
        if !lease.is_ready() {
            Box::pin(lease.ready()).await;
        }
        if exchange.token_has_ended() {
            return Err(Refusal::TokenEnded);
        }
        exchange.sends(&request_body);
        let sent = pin!(lease.send(request).ok_or(Refusal::Internal)?);
        let (answer, mut lease) = match wait(sent, &mut lease, &mut timer, &request_body, exchange).await? {
            Ok(answer) => (answer, lease),
            Err(fault) => {
                let again = fault.unsent.or(spare).filter(|_| lease.is_reused() && pools.retries());
                let Some(request) = again.filter(|_| fault.cause == OriginFault::Reset) else {
                    return Err(why(fault.cause, &request_body));
                };
                drop(lease);
                Box::pin(send_again(pools, request, route, &mut timer, &request_body, exchange)).await?
            }
        };
        let last_word = exchange.answered(asked);
        let deadline = route.total_timeout.map(|total| exchange.started() + total);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Only what was asked for; else the endpoint takes something for a handshake that is none.
            let accepted = handshake.is_some_and(|handshake| handshake.is_accepted_by(answer.headers()));
            return match (accepted, last_word) {
                (true, false) => Box::pin(switch(answer, lease, deadline, exchange)).await,
                (true, true) => Err(Refusal::TokenEnded),
                (false, _) => Err(OriginFault::BadResponse.into()),
            };
        }
        if !request_body.has_ended() {
            if answer.status().as_u16() < 400 {
                request_body.succeeded();
            }
            lease.drive_apart();
        }
        exchange.ends(Outcome::Forwarded, answer.status());
        let timer = match last_word {
            true => timer.for_body(None, Some(Instant::now() + LAST_WORD)),
            false => timer.for_body((!route.streaming).then_some(route.response_body_timeout), deadline),
        };
        let (head, incoming) = finish(answer, exchange);
        Ok(Response::from_parts(head, Body::from_endpoint(incoming, lease, request_body, timer)))
    }
}

/// What goes to the client: the endpoint's answer without what was meant for this hop.
fn finish(answer: Response<Incoming>, exchange: &Exchange) -> (response::Parts, Incoming) {
    let (mut head, incoming) = answer.into_parts();
    head.version = Version::HTTP_11;
    fields::response::finish(&mut head.headers, exchange.hsts());
    if exchange.knows_sessions() {
        cookies::remove_set_session(&mut head.headers);
    }
    head.headers.insert(X_REQUEST_ID, exchange.id().clone());
    (head, incoming)
}

/// The endpoint speaks WebSocket from here on: prepares the tunnel, which begins once the client has its answer.
async fn switch(
    mut answer: Response<Incoming>,
    mut lease: Lease,
    deadline: Option<Instant>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Refusal> {
    // What is left of HTTP on it ends without anybody's wait.
    lease.drive_apart();
    let stream = hyper::upgrade::on(&mut answer).await.map_err(|_| OriginFault::Reset)?;
    exchange.ends(Outcome::Forwarded, answer.status());
    let (mut head, _none) = finish(answer, exchange);
    Handshake::ask(&mut head.headers);
    exchange.switches(FarEnd::new(stream, lease, deadline));
    Ok(Response::from_parts(head, Body::full(Bytes::new())))
}

/// A second copy of a request that may be sent twice without any effect.
fn spare(request: &Request<OutgoingBody>) -> Option<Box<Request<OutgoingBody>>> {
    let repeatable =
        request.body().is_empty() && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    repeatable.then(|| {
        let mut copy = Request::new(OutgoingBody::empty());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        Box::new(copy)
    })
}

/// A connection to the chosen endpoint; if that cannot be reached, to the first other one that can.
async fn lease(
    pools: &UpstreamPools,
    chosen: &Rc<EndpointPool>,
    fresh: bool,
) -> Result<(Lease, Rc<EndpointPool>), Refusal> {
    match chosen.lease(fresh).await {
        Ok(lease) => Ok((lease, Rc::clone(chosen))),
        Err(mut fault) => {
            for other in pools.others(chosen) {
                match other.lease(fresh).await {
                    Ok(lease) => return Ok((lease, Rc::clone(other))),
                    Err(next) => fault = next,
                }
            }
            Err(fault.into())
        }
    }
}

fn name_host(request: &mut Request<OutgoingBody>, route: &settings::Route, pool: &EndpointPool) {
    if route.upstream_host {
        request.headers_mut().insert(HOST, pool.spec().host.clone());
    }
}

/// Waits for the head of an answer as long as `timer` allows after the last piece of the request body.
async fn wait(
    mut answer: Pin<&mut impl Future<Output = Result<Response<Incoming>, impl Into<SendFault>>>>,
    lease: &mut Lease,
    timer: &mut Timer,
    body: &RequestBody,
    exchange: &Exchange,
) -> Result<Result<Response<Incoming>, SendFault>, Refusal> {
    timer.start();
    loop {
        let pieces = body.pieces();
        let waited = std::future::poll_fn(|cx| {
            lease.drive(cx);
            match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Waited::Answer(answer)),
                Poll::Pending if exchange.poll_token_end(cx) && !may_answer(exchange, body) => {
                    Poll::Ready(Waited::TokenEnded)
                }
                Poll::Pending => timer.poll(cx).map(|()| Waited::Enough),
            }
        });
        match waited.await {
            // Whatever it was, its cause is the end of the token.
            Waited::Answer(Err(_)) if exchange.token_has_ended() => return Err(Refusal::TokenEnded),
            Waited::Answer(answer) => return Ok(answer.map_err(Into::into)),
            Waited::TokenEnded => return Err(Refusal::TokenEnded),
            // The endpoint takes what there is of the body; the client's own silence is watched by the body.
            Waited::Enough if (body.is_awaited() || body.pieces() != pieces) && !timer.is_over() => timer.start(),
            Waited::Enough => return Ok(Err(SendFault { unsent: None, cause: OriginFault::Timeout })),
        }
    }
}

enum Waited<A> {
    Answer(A),
    TokenEnded,
    Enough,
}

/// May the answer still come, though the caller's token has ended? The endpoint has the whole request and will act on
/// it in any case.
fn may_answer(exchange: &Exchange, body: &RequestBody) -> bool {
    body.has_ended() && exchange.started().elapsed() < PATIENCE
}

/// The second and last try, on a connection of its own.
async fn send_again(
    pools: &UpstreamPools,
    mut request: Box<Request<OutgoingBody>>,
    route: &settings::Route,
    timer: &mut Timer,
    body: &RequestBody,
    exchange: &Exchange,
) -> Result<(Response<Incoming>, Lease), Refusal> {
    let chosen = pools.choose().ok_or(Refusal::Internal)?;
    let (mut lease, pool) = lease(pools, chosen, true).await?;
    name_host(&mut request, route, &pool);
    if exchange.token_has_ended() {
        return Err(Refusal::TokenEnded);
    }
    let sent = pin!(lease.send(*request).ok_or(Refusal::Internal)?);
    match wait(sent, &mut lease, timer, body, exchange).await? {
        Ok(answer) => Ok((answer, lease)),
        Err(fault) => Err(why(fault.cause, body)),
    }
}

/// A body that the client broke is the client's fault, whatever it looked like from the connection.
fn why(cause: OriginFault, body: &RequestBody) -> Refusal {
    body.fault().map_or(Refusal::Origin(cause), Refusal::Body)
}
