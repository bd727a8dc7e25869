//! The request function.
//!
//! It is one sequence of steps: read the target, find the route, establish the caller, grant permission, prepare the
//! request, forward it. No step calls an earlier one, and steps share only their arguments.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};

use super::websocket::{self, WebSocketHandshake};
use super::{Body, Exchange, Gateway, Refusal, outgoing, reply};
use crate::auth::{Accepted, Asked, AuthFailure, CsrfFault, KeyForm, Permit, csrf};
use crate::client::{ClientBody, framing};
use crate::config::settings::Auth;
use crate::identity::Identity;
use crate::route::{NoRoute, Route, Target};
use crate::telemetry::Outcome;
use crate::token::AuthMethod;

/// The methods of routes that list none.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Gateway {
    /// Reads the target, finds the route, establishes the caller, checks permission, and forwards the request.
    pub(super) async fn answer(
        &self,
        head: request::Parts,
        body: ClientBody,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        self.admit(&head, exchange.client())?; // 400 · 403 · 308
        framing::check(&head, self.generation.limits.header_count)?; // 400 · 417 · 431
        if Target::is_server_wide(&head, exchange.peer())? {
            return Ok(describe_server(exchange));
        }
        let target = Target::read(&head, self.generation.limits.uri_bytes, exchange.peer())?; // 400 · 421
        if let Some(login) = self.login_at(&target)? {
            exchange.matched(self.login.as_ref().ok_or(Refusal::Internal)?);
            return Box::pin(self.log_in(login, &head, body, exchange)).await;
        }
        if let Some((endpoint, page)) = self.page_at(&target)? {
            exchange.matched(self.pages.as_ref().ok_or(Refusal::Internal)?);
            return Box::pin(self.show(endpoint, page, &head, body, &target, exchange)).await;
        }
        let from = exchange.peer().address.ip();
        let route = match self.generation.routes.find(&target) {
            Ok(route) => route,
            Err(missing) => return Err(Box::pin(self.off_the_map(missing, &head.headers, from)).await), // 401 · 404 · 405
        };
        let handle = self.handle(route).ok_or(Refusal::Internal)?;
        let upstream = handle.upstream.as_ref().ok_or(Refusal::Internal)?;
        exchange.matched(handle);
        let cut = route.settings.strip_prefix;
        let below = cut.then(|| outgoing::below_prefix(&target, &route.settings.path)).transpose()?; // 400
        let caller = self.authenticate(route.settings.auth, accepted(route), &head.headers, from).await?; // 401 · 429 · 503
        exchange.identified(caller.as_ref(), &head.headers);
        if caller.as_ref().is_some_and(|caller| caller.method() == AuthMethod::Session) {
            check_csrf(&head, &target, exchange.peer().secure)?; // 403
        }
        let reads = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        // A tunnel carries messages in both directions, so opening one is not a read-only request.
        let reads = reads && !(route.settings.streaming && websocket::is_asked_for(&head));
        let permit = Permit::grant(route, caller, Asked { reads, from })?; // 403
        let body = outgoing::body(body, route)?; // 413
        let body = match route.settings.buffer_request {
            true => Box::pin(outgoing::gather(body, &self.generation.spool, exchange)).await?, // 400 · 408 · 413 · 503
            false => body,
        };
        let handshake =
            if route.settings.streaming { WebSocketHandshake::read(&head, exchange.client()) } else { None };
        let mut request = self.prepare(head, body, below, &permit, exchange)?; // 400
        if handshake.is_some() {
            WebSocketHandshake::ask(request.headers_mut());
        }
        exchange.holds(upstream.share.enter(exchange.sender()).await?); // 429
        self.forward(request, &upstream.pools, &permit, handshake, exchange).await // 502 · 503 · 504
    }

    /// Establishes the caller.
    pub(super) async fn authenticate(
        &self,
        auth: Auth,
        accepted: Accepted<'_>,
        fields: &HeaderMap,
        from: IpAddr,
    ) -> Result<Option<Arc<Identity>>, AuthFailure> {
        let rules = &self.generation.credentials;
        self.worker.authenticator.authenticate(rules, auth, accepted, fields, from).await
    }

    /// A caller without credentials.
    fn known_credentials(&self) -> Accepted<'static> {
        let methods: &[AuthMethod] = if self.generation.pages.is_some() {
            &[AuthMethod::Token, AuthMethod::Session]
        } else {
            &[AuthMethod::Token]
        };
        Accepted { methods, form: KeyForm::Bare }
    }

    /// Refuses a request that no route matches. If every route requires a token, a client without one gets 401 and does
    /// not learn which paths exist.
    async fn off_the_map(&self, missing: NoRoute, fields: &HeaderMap, from: IpAddr) -> Refusal {
        if self.generation.routes.all_protected()
            && let Err(failure) = self.authenticate(Auth::Required, self.known_credentials(), fields, from).await
        {
            return failure.into();
        }
        missing.into()
    }
}

/// The credentials that a route accepts.
fn accepted(route: &Route) -> Accepted<'_> {
    let form = if route.settings.token_parameter { KeyForm::Parameter } else { KeyForm::Bare };
    Accepted { methods: &route.settings.credentials, form }
}

/// The response to `OPTIONS *`, which belongs to no route and needs no token.
fn describe_server(exchange: &mut Exchange) -> Response<Body> {
    exchange.ends(Outcome::Answered, StatusCode::NO_CONTENT);
    let mut response = reply::text(StatusCode::NO_CONTENT, String::new(), exchange).map(|_| Body::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}

/// CSRF check: a browser sends its session with requests of any page.
fn check_csrf(head: &request::Parts, target: &Target<'_>, secure: bool) -> Result<(), CsrfFault> {
    if websocket::is_asked_for(head) {
        csrf::check_handshake(&head.headers, target, secure)?;
    }
    csrf::check(&head.headers, target, secure)
}
