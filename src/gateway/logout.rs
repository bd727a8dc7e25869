//! `POST` to the paths of a logout: revokes the token of the request, or all tokens from logins of its user.
//!
//! The paths come before all routes, as that of the login. A session is no credential here: it has a page of its own.

use http::header::ALLOW;
use http::{HeaderValue, Method, Response, StatusCode, request};
use http_body::Body as _;

use super::login::LoginEndpoint;
use super::{Body, Exchange, Gateway, Refusal, reply};
use crate::auth::{Accepted, AuthFailure, KeyForm, NotPermitted, ShownCertificate};
use crate::client::ClientBody;
use crate::config::settings::Auth;
use crate::identity::{Identity, decode};
use crate::login::{LogOut, LoginFailure};
use crate::telemetry::Outcome;
use crate::token::AuthMethod;

const METHODS: &str = "POST, OPTIONS";

impl Gateway {
    /// Handles a logout. `all`: of all tokens from logins of the user.
    pub(super) async fn log_out(
        &self,
        endpoint: &LoginEndpoint,
        all: bool,
        head: &request::Parts,
        body: ClientBody,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let unread = !body.is_end_stream();
        let mut response = match head.method {
            Method::POST => {
                let asked = self.leaving(all, head, exchange).await?;
                self.end(endpoint, asked, exchange).await?
            }
            Method::OPTIONS => {
                exchange.ends(Outcome::Answered, StatusCode::OK);
                reply::text(StatusCode::OK, String::new(), exchange)
            }
            _ => {
                exchange.ends(Outcome::Method, StatusCode::METHOD_NOT_ALLOWED);
                let detail = format!("Method \"{}\" not allowed.", head.method);
                reply::detail(StatusCode::METHOD_NOT_ALLOWED, &detail, exchange)
            }
        };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        // The body means nothing.
        body.discard().await;
        if unread {
            reply::ends_connection(&mut response, exchange);
        }
        Ok(response)
    }

    /// Whose tokens are revoked. A token outside of its networks can do nothing, and a read-only token cannot end others.
    async fn leaving(&self, all: bool, head: &request::Parts, exchange: &mut Exchange) -> Result<LogOut, Refusal> {
        let from = exchange.peer().address.ip();
        let accepted =
            Accepted { methods: &[AuthMethod::Token], form: KeyForm::Bare, certificate: ShownCertificate::None };
        let caller = self.authenticate(Auth::Required, accepted, &head.headers, from).await?;
        let caller = caller.ok_or(AuthFailure::NoCredentials)?;
        exchange.identified(Some(&caller), &head.headers);
        if !caller.may_come_from(from) {
            return Err(NotPermitted::Network.into());
        }
        if all && caller.is_read_only() {
            return Err(NotPermitted::ReadOnly.into());
        }
        self.worker.authenticator.note_use(&caller);
        let name = caller.values().user_name.to_str().map(decode).unwrap_or_default();
        let token = Identity::token(&caller).ok_or(AuthFailure::NoCredentials)?;
        Ok(LogOut { user: caller.subject(), name, token, from, all })
    }

    async fn end(
        &self,
        endpoint: &LoginEndpoint,
        asked: LogOut,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        match endpoint.issuer.log_out(asked).await {
            Ok(()) => {
                exchange.ends(Outcome::Answered, StatusCode::NO_CONTENT);
                Ok(reply::text(StatusCode::NO_CONTENT, String::new(), exchange).map(|_| Body::empty()))
            }
            Err(LoginFailure::Throttled(wait)) => Err(Refusal::Throttled(wait)),
            Err(LoginFailure::Unfulfilled(why) | LoginFailure::InvalidField(_, why)) => {
                exchange.ends(Outcome::Restricted, StatusCode::FORBIDDEN);
                Ok(reply::detail(StatusCode::FORBIDDEN, &why, exchange))
            }
            Err(LoginFailure::Refused | LoginFailure::MustChange | LoginFailure::Unavailable) => {
                Err(AuthFailure::StoreUnavailable.into())
            }
        }
    }
}
