//! `POST /gettoken/`: returns a token for a username and a password, as Django REST Framework does. If it is switched on,
//! also for those in `Authorization: Basic`, by GET or POST.
//!
//! It comes before all routes. It differs from DRF on purpose: caches never store the response, chunked bodies are
//! read, no request leads to a 500 or to HTML, an old token in `Authorization` does not prevent a new login, everything
//! is UTF-8, and attempts are limited. Passwords are wiped after the comparison. Neither passwords nor usernames are
//! logged, because people type passwords into the username field.

use http::header::{ALLOW, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode, request};
use http_body::Body as _;

use super::forms::Expected;
use super::{Body, Exchange, Gateway, Refusal, reply};
use crate::auth::AuthFailure;
use crate::client::ClientBody;
use crate::config::settings::{self, BasicLogin, LoginPath, LoginResponse};
use crate::login::basic::{self, BadBasic};
use crate::login::form::{BadForm, Form, MediaType, Wanted};
use crate::login::{IssuerHandle, Login, LoginFailure};
use crate::route::{NoRoute, Target};
use crate::store::Issued;
use crate::telemetry::Outcome;

/// The dependencies of the login.
pub struct LoginEndpoint {
    /// Its settings.
    pub settings: settings::Login,
    /// Issues the tokens.
    pub issuer: IssuerHandle,
}

const METHODS: &str = "POST, OPTIONS";
/// The methods if the password may be in a header.
const METHODS_WITH_BASIC: &str = "GET, POST, OPTIONS";

/// The challenge that makes a browser ask for a password.
const PROMPT: &str = r#"Basic realm="api", charset="UTF-8""#;

/// Maximum length of the program's name in the name of a device token.
const MAX_PROGRAM: usize = 80;

/// The body of the response to `OPTIONS`, as DRF describes the view.
const METADATA: &str = concat!(
    r#"{"name":"Obtain Auth Token","description":"","renders":["application/json"],"#,
    r#""parses":["application/x-www-form-urlencoded","multipart/form-data","application/json"],"#,
    r#""actions":{"POST":{"username":{"type":"string","required":true,"read_only":false,"label":"Username"},"#,
    r#""password":{"type":"string","required":true,"read_only":false,"label":"Password"},"#,
    r#""token":{"type":"string","required":false,"read_only":true,"label":"Token"}}}}"#
);

impl Gateway {
    /// The login or a logout, if this target is its path.
    ///
    /// # Errors
    /// Only some servers would read the target as this path.
    pub(super) fn login_at(&self, target: &Target<'_>) -> Result<Option<(&LoginEndpoint, LoginPath)>, NoRoute> {
        let Some(endpoint) = &self.generation.login else { return Ok(None) };
        let found = endpoint.settings.at(target.decoded_path());
        if found.is_none() && target.other_readings().any(|path| endpoint.settings.at(path).is_some()) {
            return Err(NoRoute::TwoReadings);
        }
        Ok(found.map(|path| (endpoint, path)))
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
        let accepts_basic = endpoint.settings.basic != BasicLogin::Off;
        let in_header = if accepts_basic { basic::read(&head.headers) } else { None };
        let has_header = in_header.is_some();
        let mut response = match (&head.method, in_header) {
            (&Method::GET | &Method::POST, Some(read)) => {
                body.discard().await;
                self.log_in_with_basic(endpoint, head, read, exchange).await?
            }
            (&Method::GET, None) if accepts_basic => {
                body.discard().await;
                let detail = "Authentication credentials were not provided.";
                self.ask_for_basic(endpoint, detail, Outcome::NoCredentials, exchange)
            }
            (&Method::POST, None) => {
                match read(endpoint, head, body, self.generation.forms.begin(exchange.sender())?).await? {
                    Ok((name, password)) => {
                        exchange.has_read_body();
                        let login = Login { name, password, from: exchange.peer().address.ip() };
                        let given = endpoint.issuer.log_in(login, device(head)).await;
                        self.give(endpoint, given, exchange)?
                    }
                    Err(bad) => {
                        exchange.ends(Outcome::LoginInvalid, bad.status());
                        reply::json(bad.status(), bad.to_json(), exchange)
                    }
                }
            }
            (&Method::OPTIONS, _) => {
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
        let methods = if accepts_basic { METHODS_WITH_BASIC } else { METHODS };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        let was_read =
            head.method == Method::POST && !has_header && response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE;
        if unread && !was_read {
            reply::ends_connection(&mut response, exchange);
        }
        Ok(response)
    }

    /// A login with the username and password in a header. Its errors are those of Django REST Framework.
    async fn log_in_with_basic(
        &self,
        endpoint: &LoginEndpoint,
        head: &request::Parts,
        read: Result<Form, BadBasic>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        const WRONG: &str = "Invalid username/password.";
        let form = match read {
            Ok(form) => form,
            Err(bad @ BadBasic::Twice) => {
                exchange.ends(Outcome::LoginInvalid, bad.status());
                return Ok(reply::detail(bad.status(), &bad.to_string(), exchange));
            }
            Err(bad) => return Ok(self.ask_for_basic(endpoint, &bad.to_string(), Outcome::LoginInvalid, exchange)),
        };
        let Ok((name, password)) = form.check() else {
            return Ok(self.ask_for_basic(endpoint, WRONG, Outcome::LoginInvalid, exchange));
        };
        let login = Login { name, password, from: exchange.peer().address.ip() };
        match endpoint.issuer.log_in(login, device(head)).await {
            Err(LoginFailure::Refused) => Ok(self.ask_for_basic(endpoint, WRONG, Outcome::LoginFailed, exchange)),
            given => self.give(endpoint, given, exchange),
        }
    }

    /// Refuses a login without a password that fits. The challenge of Basic is sent only if browsers shall ask for a
    /// password.
    fn ask_for_basic(
        &self,
        endpoint: &LoginEndpoint,
        detail: &str,
        outcome: Outcome,
        exchange: &mut Exchange,
    ) -> Response<Body> {
        exchange.ends(outcome, StatusCode::UNAUTHORIZED);
        let mut response = reply::detail(StatusCode::UNAUTHORIZED, detail, exchange);
        let challenge = match endpoint.settings.basic {
            BasicLogin::Prompt => PROMPT,
            BasicLogin::Quiet | BasicLogin::Off => self.generation.credentials.challenge(),
        };
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// Answers a login.
    fn give(
        &self,
        endpoint: &LoginEndpoint,
        given: Result<Issued, LoginFailure>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        match given {
            Ok(issued) => {
                let (status, text) = shape(endpoint.settings.response, &issued);
                exchange.ends(Outcome::LoggedIn, status);
                Ok(reply::json(status, text, exchange))
            }
            Err(LoginFailure::Refused) => {
                exchange.ends(Outcome::LoginFailed, StatusCode::BAD_REQUEST);
                let text = r#"{"non_field_errors":["Unable to log in with provided credentials."]}"#;
                Ok(reply::json(StatusCode::BAD_REQUEST, text.to_owned(), exchange))
            }
            Err(LoginFailure::Throttled(wait)) => Err(Refusal::Throttled(wait)),
            // The password was right and the store is available, so a retry would not help.
            Err(LoginFailure::Unfulfilled(why) | LoginFailure::InvalidField(_, why)) => {
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

/// The status and the body of the response to a login that succeeded.
fn shape(response: LoginResponse, issued: &Issued) -> (StatusCode, String) {
    // Serialising texts cannot fail.
    let key = serde_json::to_string(issued.key.expose()).unwrap_or_default();
    let end = issued.expires.map_or_else(|| "null".to_owned(), |end| format!("\"{end}\""));
    match response {
        LoginResponse::Drf => (StatusCode::OK, format!("{{\"token\":{key}}}")),
        LoginResponse::Djoser => (StatusCode::OK, format!("{{\"auth_token\":{key}}}")),
        LoginResponse::DjRestAuth => (StatusCode::OK, format!("{{\"key\":{key}}}")),
        LoginResponse::Knox => (StatusCode::OK, format!("{{\"expiry\":{end},\"token\":{key}}}")),
        LoginResponse::Netbox => {
            (StatusCode::CREATED, format!("{{\"id\":{},\"expires\":{end},\"key\":{key}}}", issued.id))
        }
    }
}

/// The name of a token for one device: the program that asks for it.
fn device(head: &request::Parts) -> String {
    let program = head.headers.get(USER_AGENT).and_then(|program| program.to_str().ok()).unwrap_or_default();
    let program: String = program.chars().filter(|character| !character.is_control()).take(MAX_PROGRAM).collect();
    if program.trim().is_empty() { "login".to_owned() } else { format!("login: {}", program.trim()) }
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
