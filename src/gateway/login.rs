//! `POST /gettoken/`: returns a token for a username and a password, as Django REST Framework does.
//!
//! It comes before all routes. It differs from DRF on purpose: caches never store the response, chunked bodies are read,
//! no request leads to a 500 or to HTML, an old token in `Authorization` does not prevent a new login, everything is
//! UTF-8, and attempts are limited. Passwords are wiped after the comparison. Neither passwords nor usernames are logged,
//! because people type passwords into the username field.

use http::header::ALLOW;
use http::{HeaderValue, Method, Response, StatusCode, request};
use http_body::Body as _;

use super::forms::Expected;
use super::{Body, Exchange, Gateway, Refusal, reply};
use crate::auth::AuthFailure;
use crate::client::ClientBody;
use crate::config::settings;
use crate::login::form::{BadForm, Form, MediaType, Wanted};
use crate::login::{IssuerHandle, Login, LoginFailure};
use crate::route::{NoRoute, Target};
use crate::telemetry::Outcome;

/// The dependencies of the login.
pub struct LoginEndpoint {
    /// Its settings.
    pub settings: settings::Login,
    /// Issues the tokens.
    pub issuer: IssuerHandle,
}

const METHODS: &str = "POST, OPTIONS";

/// The body of the response to `OPTIONS`, as DRF describes the view.
const METADATA: &str = concat!(
    r#"{"name":"Obtain Auth Token","description":"","renders":["application/json"],"#,
    r#""parses":["application/x-www-form-urlencoded","multipart/form-data","application/json"],"#,
    r#""actions":{"POST":{"username":{"type":"string","required":true,"read_only":false,"label":"Username"},"#,
    r#""password":{"type":"string","required":true,"read_only":false,"label":"Password"},"#,
    r#""token":{"type":"string","required":false,"read_only":true,"label":"Token"}}}}"#
);

impl Gateway {
    /// The login, if this target is its path.
    ///
    /// # Errors
    /// Only some servers would read the target as the path of the login.
    pub(super) fn login_at(&self, target: &Target<'_>) -> Result<Option<&LoginEndpoint>, NoRoute> {
        let Some(endpoint) = &self.generation.login else { return Ok(None) };
        if endpoint.settings.takes(target.decoded_path()) {
            return Ok(Some(endpoint));
        }
        match target.other_readings().any(|path| endpoint.settings.takes(path)) {
            true => Err(NoRoute::TwoReadings),
            false => Ok(None),
        }
    }

    /// Handles a login. Checks the method, the media type, the format, the fields and the password, in this order; the
    /// first error is reported.
    pub(super) async fn log_in(
        &self,
        endpoint: &LoginEndpoint,
        head: &request::Parts,
        body: ClientBody,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let unread = !body.is_end_stream();
        let mut response = match head.method {
            Method::POST => match read(endpoint, head, body, self.generation.forms.begin(exchange.sender())?).await? {
                Ok((name, password)) => {
                    exchange.has_read_body();
                    let login = Login { name, password, from: exchange.peer().address.ip() };
                    self.give(endpoint, login, exchange).await?
                }
                Err(bad) => {
                    exchange.ends(Outcome::LoginInvalid, bad.status());
                    reply::json(bad.status(), bad.to_json(), exchange)
                }
            },
            Method::OPTIONS => {
                body.discard().await;
                exchange.ends(Outcome::Answered, StatusCode::OK);
                reply::json(StatusCode::OK, METADATA.to_owned(), exchange)
            }
            _ => {
                exchange.ends(Outcome::Method, StatusCode::METHOD_NOT_ALLOWED);
                let detail = format!("Method \"{}\" not allowed.", head.method);
                reply::detail(StatusCode::METHOD_NOT_ALLOWED, &detail, exchange)
            }
        };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        let was_read = head.method == Method::POST && response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE;
        if unread && !was_read {
            reply::ends_connection(&mut response, exchange);
        }
        Ok(response)
    }

    async fn give(
        &self,
        endpoint: &LoginEndpoint,
        login: Login,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        match endpoint.issuer.log_in(login).await {
            Ok(key) => {
                exchange.ends(Outcome::LoggedIn, StatusCode::OK);
                // Serialising a text cannot fail.
                let key = serde_json::to_string(key.expose()).unwrap_or_default();
                Ok(reply::json(StatusCode::OK, format!("{{\"token\":{key}}}"), exchange))
            }
            Err(LoginFailure::Refused) => {
                exchange.ends(Outcome::LoginFailed, StatusCode::BAD_REQUEST);
                let text = r#"{"non_field_errors":["Unable to log in with provided credentials."]}"#;
                Ok(reply::json(StatusCode::BAD_REQUEST, text.to_owned(), exchange))
            }
            Err(LoginFailure::Throttled(wait)) => Err(Refusal::Throttled(wait)),
            // The password was right and the store is available, so a retry would not help.
            Err(LoginFailure::Unfulfilled(why)) => {
                exchange.ends(Outcome::NoToken, StatusCode::FORBIDDEN);
                Ok(reply::detail(StatusCode::FORBIDDEN, &why, exchange))
            }
            Err(failure @ LoginFailure::MustChange) => {
                exchange.ends(Outcome::NoToken, StatusCode::FORBIDDEN);
                let why = format!("{failure}; sign in with a browser to change it");
                Ok(reply::detail(StatusCode::FORBIDDEN, &why, exchange))
            }
            Err(LoginFailure::Unavailable) => Err(AuthFailure::StoreUnavailable.into()),
        }
    }
}

/// Reads the form in any of its formats.
async fn read(
    endpoint: &LoginEndpoint,
    head: &request::Parts,
    body: ClientBody,
    expected: Expected,
) -> Result<Result<Wanted, BadForm>, Refusal> {
    if body.is_end_stream() {
        return Ok(Form::default().check());
    }
    let media_type = match MediaType::of(&head.headers) {
        Ok(media_type) => media_type,
        // An empty body needs no media type.
        Err(_) if expected.is_empty(body, &endpoint.settings).await? => {
            return Ok(Form::default().check());
        }
        Err(bad) => return Ok(Err(bad)),
    };
    let text = expected.read(body, &endpoint.settings).await?;
    if text.is_empty() {
        return Ok(Form::default().check());
    }
    Ok(media_type.read(&text).and_then(Form::check))
}
