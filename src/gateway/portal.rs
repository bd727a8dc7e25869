//! Asks a portal about a request without a token (forward authentication), and obeys its answer.
//!
//! The portal gets the head of the request. Its 2xx lets the request pass; any other answer goes to the client. A
//! portal that fails is a 503.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use tokio::time::Instant;

use super::fields::{self, forwarded};
use super::handle::UpstreamHandle;
use super::timer::Timer;
use super::{Body, Exchange, Gateway, Refusal};
use crate::auth::{Consent, cookies};
use crate::config::settings::Portal;
use crate::http1::BadAnswer;
use crate::telemetry::Outcome;
use crate::upstream::{EndpointPool, Failed, Lease, OriginFault, OutgoingBody, UpstreamPools};

/// How much longer the rest of the portal's answer may take: enough for a page of a login.
const REST: Duration = Duration::from_secs(30);

/// Headers about the body of the request, or about a response that the client has: they are not about the question.
const NOT_ASKED: [HeaderName; 9] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
];

/// What is read of the body of an answer that lets a request pass, so that its connection can be used again.
const MOST_READ: usize = 64 * 1024;

/// The answer of a portal.
pub(super) enum Said {
    /// The request may pass.
    Pass(Consent),
    /// The client gets this response.
    Refuse(Response<Body>),
}

impl Gateway {
    /// Asks a portal about a request.
    ///
    /// # Errors
    /// [`Refusal::Portal`] if it does not answer, or answers with 5xx.
    pub(super) async fn ask(
        &self,
        portal: &Portal,
        head: &request::Parts,
        exchange: &mut Exchange,
    ) -> Result<Said, Refusal> {
        let upstream = self.upstreams.get(portal.upstream).ok_or(Refusal::Internal)?;
        let question = self.question(portal, head, exchange)?;
        exchange.holds(upstream.share.enter(exchange.sender()).await?); // 429
        let deadline = Instant::now() + portal.timeout + REST;
        let mut timer = Timer::new(&self.worker.timers, Some(portal.timeout), Some(deadline));
        let asked = send(upstream, question, &mut timer).await;
        let (answer, mut lease) = match asked {
            Ok((answer, lease)) if !answer.status().is_server_error() => (answer, lease),
            Ok(_) | Err(_) => return Err(Refusal::Portal),
        };
        let (mut head, ()) = answer.into_parts();
        fields::response::finish(&mut head.headers, exchange.hsts());
        if exchange.knows_sessions() {
            cookies::remove_set_session(&mut head.headers);
        }
        if let Some(consent) = Consent::read(head.status, &head.headers, &portal.headers) {
            let is_read = read_rest(&mut lease, &mut timer).await;
            lease.end(is_read);
            return Ok(Said::Pass(consent));
        }
        let outcome = match head.status.is_redirection() {
            true => Outcome::SentToLogin,
            false => Outcome::NoCredentials,
        };
        exchange.ends(outcome, head.status);
        head.headers.insert(forwarded::X_REQUEST_ID, exchange.id().clone());
        exchange.describes_route(&mut head.headers);
        let body = if exchange.is_head() { Body::empty() } else { Body::of_portal(lease, timer) };
        Ok(Said::Refuse(Response::from_parts(head, body)))
    }

    /// The question: a GET request with the head of the request, and what it asks for in headers.
    fn question(
        &self,
        portal: &Portal,
        head: &request::Parts,
        exchange: &Exchange,
    ) -> Result<Request<OutgoingBody>, Refusal> {
        let mut fields = head.headers.clone();
        let host = match fields.get(HOST) {
            Some(host) => host.clone(),
            None => head
                .uri
                .authority()
                .and_then(|host| HeaderValue::try_from(host.as_str()).ok())
                .ok_or(Refusal::Internal)?,
        };
        let target = head.uri.path_and_query().and_then(|target| HeaderValue::try_from(target.as_str()).ok());
        let method = HeaderValue::try_from(head.method.as_str()).map_err(|_| Refusal::Internal)?;
        let foreign = !self.worker.authenticator.shows_own(&self.generation.credentials, &fields);
        self.generation.fields.sift(&mut fields, &[], foreign)?;
        cookies::gather(&mut fields, self.generation.pages.is_some());
        for name in NOT_ASKED {
            fields.remove(name);
        }
        forwarded::set(&mut fields, exchange.peer(), host, None, exchange.id().clone());
        fields.insert(HeaderName::from_static("x-forwarded-method"), method);
        fields.insert(HeaderName::from_static("x-forwarded-uri"), target.ok_or(Refusal::Internal)?);
        let mut question = Request::new(OutgoingBody::empty());
        *question.method_mut() = Method::GET;
        *question.uri_mut() = Uri::from(portal.path.clone());
        *question.headers_mut() = fields;
        Ok(question)
    }
}

/// Sends the question, and waits for the head of the answer. A question has no effects, so it is sent a second time if
/// the portal has just closed the connection, or if there is another endpoint.
async fn send(
    upstream: &UpstreamHandle,
    question: Request<OutgoingBody>,
    timer: &mut Timer,
) -> Result<(Response<()>, Lease), OriginFault> {
    let pools = &upstream.pools;
    timer.start();
    let mut failed = match attempt(pools, &[], question, timer).await? {
        Attempt::Answered(answer, lease) => return Ok((answer, lease)),
        Attempt::Failed(failed) => failed,
    };
    failed.record(pools);
    let again = if failed.fault == OriginFault::Timeout { None } else { failed.again(pools) };
    let Some(question) = again else { return Err(failed.fault) };
    let Failed { lease, pool, .. } = failed;
    drop(lease);
    match attempt(pools, &[pool], *question, timer).await? {
        Attempt::Answered(answer, lease) => Ok((answer, lease)),
        Attempt::Failed(failed) => {
            failed.record(pools);
            Err(failed.fault)
        }
    }
}

/// What became of one attempt to ask.
enum Attempt {
    Answered(Response<()>, Lease),
    Failed(Failed),
}

/// Sends the question on a connection to an endpoint, on a new one if it is one of `tried`.
async fn attempt(
    pools: &UpstreamPools,
    tried: &[Rc<EndpointPool>],
    mut question: Request<OutgoingBody>,
    timer: &mut Timer,
) -> Result<Attempt, OriginFault> {
    let chosen = if tried.is_empty() { pools.begin(None) } else { pools.choose(None, tried) };
    let chosen = chosen.ok_or(OriginFault::Unresolved)?;
    let mut leasing = std::pin::pin!(pools.lease(None, chosen, tried, !tried.is_empty(), true));
    let leased = std::future::poll_fn(|cx| match leasing.as_mut().poll(cx) {
        Poll::Ready(leased) => Poll::Ready(leased),
        Poll::Pending => timer.poll(cx).map(|()| Err(OriginFault::Timeout)),
    });
    let (mut lease, pool) = leased.await?;
    question.headers_mut().insert(HOST, pool.spec().host.clone());
    lease.send(question, false);
    let answer = std::future::poll_fn(|cx| match lease.poll_answer(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => timer.poll(cx).map(|()| Err(OriginFault::Timeout)),
    });
    Ok(match answer.await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Attempt::Failed(Failed { lease, pool, fault: OriginFault::BadResponse(BadAnswer::Switch) })
        }
        Ok(answer) => {
            pools.succeeded(&pool);
            Attempt::Answered(answer, lease)
        }
        Err(fault) => Attempt::Failed(Failed { lease, pool, fault }),
    })
}

/// Reads what is left of an answer. `false`: it is long, slow or broken.
async fn read_rest(lease: &mut Lease, timer: &mut Timer) -> bool {
    let mut read = 0_usize;
    loop {
        let next = std::future::poll_fn(|cx| match lease.poll_body(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => timer.poll(cx).map(|()| None),
        });
        match next.await {
            Some(None) => return true,
            Some(Some(Ok(frame))) => {
                read = read.saturating_add(frame.data_ref().map_or(0, bytes::Bytes::len));
                if read > MOST_READ {
                    return false;
                }
            }
            Some(Some(Err(_))) | None => return false,
        }
    }
}
