//! Decides what happens to a request, before anything of it is forwarded.
//!
//! It is one sequence of steps: read the target, find the route, establish the caller, grant permission. No step calls
//! an earlier one. Only the lookup of a token that is not in memory waits. `answer.rs` carries out a decision, and
//! `explanation.rs` describes it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri, request};

use super::forward_auth::Purpose;
use super::handle::UpstreamHandle;
use super::pages::Page;
use super::websocket::{self, WebSocketHandshake};
use super::{Exchange, Gateway, LoginEndpoint, PagesEndpoint, Refusal, cors, outgoing, sign_in, traces};
use crate::auth::{Accepted, Asked, AuthFailure, Consent, CsrfFault, KeyForm, Permit, csrf};
use crate::client::forward_auth::Form;
use crate::client::framing;
use crate::config::settings::{Auth, ForwardCertificate, LoginPath, Portal};
use crate::identity::Identity;
use crate::route::{BadTarget, NoRoute, Route, Target};
use crate::token::AuthMethod;
use crate::upstream::BodyFault;

/// What is done with a request that is not refused.
pub(super) enum Decision<'g, 'r> {
    /// `OPTIONS *`: the gateway says what it can do.
    DescribeServer,
    /// A CA asks for the answer to its challenge: this one.
    Prove(String),
    /// It is a login or a logout.
    LogIn(&'g LoginEndpoint, LoginPath),
    /// It is for a page of the gateway. Boxed, so that other requests do not move its target.
    Show(&'g PagesEndpoint, Page, Box<Target<'r>>),
    /// It is a preflight: these headers tell the browser what a program may send.
    Permit(HeaderMap),
    /// It has no credentials, and the portal of its route is asked.
    Ask(&'g Portal, Box<Asking<'g>>),
    /// It is forwarded.
    Forward(Forwarding<'g>),
}

/// A request that may be forwarded if the portal of its route consents.
pub(super) struct Asking<'g> {
    route: &'g Route,
    upstream: &'g Rc<UpstreamHandle>,
    below: Option<Uri>,
}

/// A request that may be forwarded.
pub(super) struct Forwarding<'g> {
    /// Where to.
    pub upstream: &'g Rc<UpstreamHandle>,
    /// The proof that it may.
    pub permit: Permit<'g>,
    /// What its endpoint is asked for, if the route strips its prefix.
    pub below: Option<Uri>,
    /// It is a WebSocket handshake.
    pub handshake: Option<Box<WebSocketHandshake>>,
}

impl Gateway {
    /// Decides on a request. `length` is that of its body, if it is declared.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) async fn decide<'g, 'r>(
        &'g self,
        head: &'r request::Parts,
        length: Option<u64>,
        exchange: &mut Exchange,
    ) -> Result<Decision<'g, 'r>, Refusal> {
        if !exchange.is_kept() {
            return Err(Refusal::NotKept);
        }
        if let Err(refusal) = self.admit(head, exchange.client(), exchange.peer().address.ip()) {
            return self.proof(head, exchange.client()).map(Decision::Prove).ok_or(refusal); // 400 · 403 · 308
        }
        framing::check(head, self.generation.limits.header_count)?; // 400 · 417 · 431
        exchange.bad_forwarded().map_or(Ok(()), |bad| Err(Refusal::Forwarded(bad)))?; // 400
        if Target::is_server_wide(head, exchange.peer())? {
            return Ok(Decision::DescribeServer);
        }
        let target = Target::read(head, self.generation.limits.uri_bytes, exchange.peer())?; // 400 · 421
        if let Some((login, path)) = self.login_at(&target)? {
            if websocket::is_extended_connect(head) {
                return Err(BadTarget::Method.into()); // 405
            }
            exchange.purpose().allows_own()?; // 404
            exchange.matched(self.login.as_ref().ok_or(Refusal::Internal)?, &head.headers);
            return Ok(Decision::LogIn(login, path));
        }
        if let Some((endpoint, page)) = self.page_at(&target)? {
            if websocket::is_extended_connect(head) {
                return Err(BadTarget::Method.into()); // 405
            }
            exchange.purpose().allows_own()?; // 404
            exchange.matched(self.pages.as_ref().ok_or(Refusal::Internal)?, &head.headers);
            return Ok(Decision::Show(endpoint, page, Box::new(target)));
        }
        exchange.purpose().allows_routes()?; // 404
        if let Some(asked) = cors::preflight(head)
            && exchange.purpose() == Purpose::Serve
            && let Some(fields) = self.permission(&target, &asked, &head.headers, exchange)
        {
            return Ok(Decision::Permit(fields));
        }
        let from = exchange.peer().address.ip();
        let route = match self.generation.routes.find(&target) {
            Ok(route) => route,
            Err(missing) => return Err(Box::pin(self.off_the_map(missing, &head.headers, exchange)).await), // 401 · 404 · 405
        };
        let handle = self.handle(route).ok_or(Refusal::Internal)?;
        let upstream = handle.upstream.as_ref().ok_or(Refusal::Internal)?;
        exchange.matched(handle, &head.headers);
        let cut = route.settings.strip_prefix;
        let below = cut.then(|| outgoing::below_prefix(&target, &route.settings.path)).transpose()?; // 400
        let caller = self.authenticate(route.settings.auth, accepted(route, exchange), &head.headers, from);
        let caller = match traces::looking_up(exchange.trace(), caller).await {
            Ok(caller) => caller,
            Err(AuthFailure::NoCredentials)
                if exchange.purpose() == Purpose::Serve
                    && let Some(portal) = &route.settings.portal =>
            {
                if tells_certificate(route, exchange) {
                    check_page(head, &target, exchange)?; // 403
                }
                return Ok(Decision::Ask(portal, Box::new(Asking { route, upstream, below })));
            }
            Err(failure) => return Err(self.unauthenticated(failure, head, &target, exchange)), // 302 · 401 · 429 · 503
        };
        exchange.identified(caller.as_ref(), &head.headers);
        match caller.as_ref().map(|caller| caller.method()) {
            Some(AuthMethod::Session) => check_csrf(head, &target, exchange.peer().secure)?, // 403
            Some(AuthMethod::Certificate) => check_page(head, &target, exchange)?,           // 403
            None if tells_certificate(route, exchange) => check_page(head, &target, exchange)?, // 403
            Some(AuthMethod::Token) | None => {}
        }
        let permit = Permit::grant(route, caller, asked(route, head, exchange))?; // 403
        if let Some(caller) = permit.caller() {
            self.worker.authenticator.note_use(caller);
        }
        if length.is_some_and(|length| length > route.settings.body_limit) {
            return Err(BodyFault::TooLarge.into()); // 413
        }
        if matches!(exchange.purpose(), Purpose::Check(Form::ForwardAuth | Form::AuthRequest)) {
            self.generation.fields.refuse_disguised(&head.headers)?; // 400
        }
        let handshake = handshake(route, head, exchange)?; // 405
        Ok(Decision::Forward(Forwarding { upstream, permit, below, handshake }))
    }

    /// Decides on a request to which the portal of its route has consented.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn admit_by_portal<'g>(
        &'g self,
        asking: Asking<'g>,
        consent: Consent,
        head: &request::Parts,
        length: Option<u64>,
        exchange: &Exchange,
    ) -> Result<Forwarding<'g>, Refusal> {
        let Asking { route, upstream, below } = asking;
        let permit = Permit::by_portal(route, consent, asked(route, head, exchange))?; // 403
        if length.is_some_and(|length| length > route.settings.body_limit) {
            return Err(BodyFault::TooLarge.into()); // 413
        }
        let handshake = handshake(route, head, exchange)?; // 405
        Ok(Forwarding { upstream, permit, below, handshake })
    }

    /// The answer to a preflight for a request with the method `asked`; `None`: the route does not admit it or its
    /// client, so it is authenticated like any other request.
    fn permission(
        &self,
        target: &Target<'_>,
        asked: &Method,
        fields: &HeaderMap,
        exchange: &mut Exchange,
    ) -> Option<HeaderMap> {
        let route = self.generation.routes.find_for(target, asked).ok()?;
        if !route.settings.admission.admits(exchange.peer().address.ip()) {
            return None;
        }
        let handle = self.handle(route)?;
        let permission = handle.cors.as_ref()?.answer(fields, asked)?;
        exchange.matched(handle, fields);
        Some(permission)
    }

    /// Refuses a request without valid credentials. A browser that opens a page of a route for sessions is sent to the
    /// login instead.
    fn unauthenticated(
        &self,
        failure: AuthFailure,
        head: &request::Parts,
        target: &Target<'_>,
        exchange: &Exchange,
    ) -> Refusal {
        let login = self.generation.pages.as_ref().filter(|_| exchange.prefers_sessions());
        match login {
            Some(login) if failure.is_about_credentials() && sign_in::is_navigation(head) => {
                let path = login.login_path();
                Refusal::SignIn(match exchange.purpose() {
                    Purpose::Check(_) => sign_in::url(&path, target, exchange.peer().secure),
                    Purpose::Serve | Purpose::Own => sign_in::location(&path, target),
                })
            }
            _ => failure.into(),
        }
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

    /// The kinds of credentials that exist here.
    fn known_credentials<'e>(&self, exchange: &'e Exchange) -> Accepted<'e> {
        let methods: &[AuthMethod] = if self.generation.pages.is_some() {
            &[AuthMethod::Token, AuthMethod::Session, AuthMethod::Certificate]
        } else {
            &[AuthMethod::Token, AuthMethod::Certificate]
        };
        Accepted { methods, form: KeyForm::Bare, certificate: exchange.shown_certificate() }
    }

    /// Refuses a request that no route matches. If every route requires a token, a client without one gets 401 and does
    /// not learn which paths exist.
    async fn off_the_map(&self, missing: NoRoute, fields: &HeaderMap, exchange: &Exchange) -> Refusal {
        let from = exchange.peer().address.ip();
        if self.generation.routes.all_protected()
            && let Err(failure) =
                self.authenticate(Auth::Required, self.known_credentials(exchange), fields, from).await
        {
            return failure.into();
        }
        missing.into()
    }
}

/// The credentials that a route accepts.
pub(super) fn accepted<'r>(route: &'r Route, exchange: &'r Exchange) -> Accepted<'r> {
    let form = if route.settings.token_parameter { KeyForm::Parameter } else { KeyForm::Bare };
    Accepted { methods: &route.settings.credentials, form, certificate: exchange.shown_certificate() }
}

/// The facts that a permit depends on.
fn asked<'r>(route: &Route, head: &'r request::Parts, exchange: &Exchange) -> Asked<'r> {
    let reads = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    // Whether a proxy that asks would open a tunnel does not depend on the route.
    let may_open = route.settings.streaming || exchange.purpose() != Purpose::Serve;
    // A tunnel carries messages in both directions, so opening one is not a read-only request.
    let reads = reads && !(may_open && websocket::is_asked_for(head));
    Asked { method: &head.method, reads, from: exchange.peer().address.ip() }
}

/// The WebSocket handshake of a request, if its route permits one. Boxed, so that other requests do not move it.
fn handshake(
    route: &Route,
    head: &request::Parts,
    exchange: &Exchange,
) -> Result<Option<Box<WebSocketHandshake>>, Refusal> {
    let read = || WebSocketHandshake::read(head, exchange.client());
    let handshake = route.settings.streaming.then(read).flatten();
    if handshake.is_none() && websocket::is_extended_connect(head) {
        return Err(BadTarget::Method.into());
    }
    Ok(handshake)
}

/// Whether the upstream learns the certificate of the client, so that it may act on it.
fn tells_certificate(route: &Route, exchange: &Exchange) -> bool {
    route.settings.forward_certificate != ForwardCertificate::Never && exchange.certificate().is_some()
}

/// CSRF check: a browser shows its certificate with requests of any page.
fn check_page(head: &request::Parts, target: &Target<'_>, exchange: &Exchange) -> Result<(), CsrfFault> {
    csrf::check_page(&head.headers, target, exchange.peer().secure, websocket::is_asked_for(head))
}

/// CSRF check: a browser sends its session with requests of any page.
fn check_csrf(head: &request::Parts, target: &Target<'_>, secure: bool) -> Result<(), CsrfFault> {
    if websocket::is_asked_for(head) {
        csrf::check_handshake(&head.headers, target, secure)?;
    }
    csrf::check(&head.headers, target, secure)
}
