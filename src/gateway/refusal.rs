//! The table that turns each refusal into a response; no other code does.
//!
//! Bodies are those of Django REST Framework: `{"detail": "…"}`. The client learns the rule that it broke, and nothing
//! internal. The outcome code goes to the log and the counters.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::fields::BadField;
use super::forward_auth::Purpose;
use super::{Body, Exchange, forward_auth, grpc, reply};
use crate::auth::{AuthFailure, BadCredentials, CsrfFault, NotPermitted};
use crate::client::HeadFault;
use crate::client::forward_auth::{BadQuestion, Form};
use crate::client::forwarded::BadForwarded;
use crate::identity::Denied;
use crate::limits::Full;
use crate::route::{BadTarget, NoRoute};
use crate::telemetry::Outcome;
use crate::upstream::{BodyFault, OriginFault};

/// The methods of routes that list none.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request is not forwarded, or gets no response of its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its head is damaged, or does not say clearly where the request ends.
    Head(HeadFault),
    /// Two servers could read the target differently.
    Target(BadTarget),
    /// A trusted proxy says where the request came from in a header that cannot be read.
    Forwarded(BadForwarded),
    /// No route matches the request.
    NoRoute(NoRoute),
    /// The caller is not authenticated.
    Auth(AuthFailure),
    /// The request has a session and may come from a foreign page (CSRF).
    Csrf(CsrfFault),
    /// The caller lacks permission.
    NotPermitted(NotPermitted),
    /// The headers contradict one another.
    Field(BadField),
    /// The body is too long, too slow or damaged, or could not be buffered.
    Body(BodyFault),
    /// A rate limit was exceeded, or too many requests run at once; the client can retry after this time.
    Throttled(Duration),
    /// Too many logins and forms have begun whose bodies have not arrived.
    Pending(Full),
    /// The client uses its whole share of the upstream's connections.
    Share,
    /// The request was sent unencrypted.
    Plaintext,
    /// The request was sent unencrypted to a TLS port.
    NotTls,
    /// A browser without a valid session is sent to this login page.
    SignIn(String),
    /// The request was sent unencrypted and is redirected to this URL.
    Redirect(String),
    /// The caller's token ended during the exchange. The only refusal without a response: a response would claim that
    /// nothing was done.
    TokenEnded,
    /// The client's certificate is not accepted any more, or it has none and the listener requires one by now. No
    /// response either: the connection ends, and the next handshake tells the client why.
    NotKept,
    /// The portal of the route does not answer, or fails.
    Portal,
    /// The endpoint failed.
    Origin(OriginFault),
    /// An internal error.
    Internal,
}

impl Refusal {
    /// Status, outcome and text of the response.
    fn row(&self, method: &Method) -> (StatusCode, Outcome, Cow<'static, str>) {
        use StatusCode as S;
        match self {
            Refusal::Head(fault) => {
                let outcome = match fault {
                    HeadFault::TooLong | HeadFault::TooManyFields => Outcome::HeadTooLarge,
                    HeadFault::TargetTooLong => Outcome::TargetTooLong,
                    HeadFault::Target | HeadFault::Scheme | HeadFault::Authority => Outcome::TargetAmbiguous,
                    HeadFault::Expectation => Outcome::ExpectationFailed,
                    _ => Outcome::BadFraming,
                };
                (fault.status(), outcome, sentence(fault))
            }
            Refusal::Target(fault) => {
                let outcome = match fault {
                    BadTarget::Method => Outcome::Method,
                    BadTarget::TooLong => Outcome::TargetTooLong,
                    BadTarget::Misdirected => Outcome::Misdirected,
                    _ => Outcome::TargetAmbiguous,
                };
                (fault.status(), outcome, sentence(fault))
            }
            Refusal::Forwarded(bad @ BadForwarded::Question(BadQuestion::Untrusted)) => {
                (S::FORBIDDEN, Outcome::Forwarding, sentence(bad))
            }
            Refusal::Forwarded(bad) => (S::BAD_REQUEST, Outcome::Forwarding, sentence(bad)),
            Refusal::NoRoute(NoRoute::NotFound) => (S::NOT_FOUND, Outcome::NoRoute, "Not found.".into()),
            Refusal::NoRoute(NoRoute::Method { .. }) => {
                (S::METHOD_NOT_ALLOWED, Outcome::Method, format!("Method \"{method}\" not allowed.").into())
            }
            Refusal::NoRoute(fault) => (S::BAD_REQUEST, Outcome::TargetAmbiguous, sentence(fault)),
            Refusal::Auth(failure) => failure_row(*failure),
            Refusal::Csrf(fault) => (S::FORBIDDEN, Outcome::Csrf, format!("CSRF Failed: {fault}").into()),
            Refusal::NotPermitted(NotPermitted::Anonymous) => failure_row(AuthFailure::NoCredentials),
            Refusal::NotPermitted(NotPermitted::MissingScope(scope)) => {
                (S::FORBIDDEN, Outcome::Scope, format!("This token lacks the scope {scope}.").into())
            }
            Refusal::NotPermitted(denied) => {
                let outcome = match denied {
                    NotPermitted::Group => Outcome::Group,
                    NotPermitted::Address => Outcome::Address,
                    _ => Outcome::Restricted,
                };
                (S::FORBIDDEN, outcome, "You do not have permission to perform this action.".into())
            }
            Refusal::Field(fault) => (S::BAD_REQUEST, Outcome::BadFraming, sentence(fault)),
            Refusal::Body(BodyFault::TooLarge) => {
                (S::PAYLOAD_TOO_LARGE, Outcome::BodyTooLarge, "The request body is too large.".into())
            }
            Refusal::Body(BodyFault::TooSlow) => {
                (S::REQUEST_TIMEOUT, Outcome::RequestTimeout, "The request body did not arrive in time.".into())
            }
            Refusal::Body(BodyFault::Broken) => {
                (S::BAD_REQUEST, Outcome::BadFraming, "The request body is damaged or incomplete.".into())
            }
            Refusal::Body(BodyFault::NoRoom) => (
                S::SERVICE_UNAVAILABLE,
                Outcome::SpoolFull,
                "Too many request bodies are in progress. Try again.".into(),
            ),
            Refusal::Body(BodyFault::NotKept) => (
                S::SERVICE_UNAVAILABLE,
                Outcome::SpoolFailed,
                "The request body cannot be buffered at the moment. Try again.".into(),
            ),
            Refusal::Throttled(wait) => throttled_row(*wait),
            Refusal::Pending(Full::ForClient) => (
                S::TOO_MANY_REQUESTS,
                Outcome::TooManyPending,
                "Too many logins from this address are incomplete. Try again.".into(),
            ),
            Refusal::Pending(Full::ForAll) => {
                (S::SERVICE_UNAVAILABLE, Outcome::TooManyPending, "Too many logins are incomplete. Try again.".into())
            }
            Refusal::Share => (
                S::TOO_MANY_REQUESTS,
                Outcome::UpstreamShare,
                "Too many requests from this address are in progress. Try again.".into(),
            ),
            Refusal::Plaintext => (
                S::FORBIDDEN,
                Outcome::PlaintextRefused,
                "HTTPS is required. A token or password that was sent without it is no longer a secret.".into(),
            ),
            Refusal::NotTls => (
                S::BAD_REQUEST,
                Outcome::PlaintextRefused,
                "This port accepts HTTPS only, but the request was sent without TLS.".into(),
            ),
            Refusal::SignIn(_) => (S::FOUND, Outcome::SentToLogin, "Please sign in.".into()),
            Refusal::Redirect(_) => (S::PERMANENT_REDIRECT, Outcome::PlaintextRedirected, "HTTPS is required.".into()),
            Refusal::TokenEnded => (S::UNAUTHORIZED, Outcome::TokenEnded, "Invalid token.".into()),
            Refusal::NotKept => {
                (S::FORBIDDEN, Outcome::TokenEnded, "This listener requires a valid client certificate.".into())
            }
            Refusal::Portal => (
                S::SERVICE_UNAVAILABLE,
                Outcome::PortalUnavailable,
                "The sign-in service cannot be reached at the moment. Try again.".into(),
            ),
            Refusal::Origin(fault) => origin_row(fault),
            Refusal::Internal => (S::INTERNAL_SERVER_ERROR, Outcome::Internal, "Internal error.".into()),
        }
    }

    /// The reason for logs, and the text for the client.
    pub(super) fn told(&self, method: &Method) -> (Outcome, String) {
        let (_, outcome, detail) = self.row(method);
        (outcome, detail.into_owned())
    }

    /// Whether no further request may be read from the connection.
    fn ends_connection(&self) -> bool {
        matches!(self, Refusal::Head(_) | Refusal::Field(_) | Refusal::Body(_) | Refusal::Plaintext | Refusal::NotTls)
    }

    /// Builds the response and sets the outcome of the exchange. `close`: no further request may be read from the
    /// connection.
    pub(super) fn respond(self, mut exchange: Box<Exchange>, close: bool, challenge: &str) -> Response<Body> {
        let (status, outcome, detail) = self.row(exchange.method());
        // There is no challenge for a session or a certificate, and a 401 requires a challenge. So the status is 403,
        // as in Django REST Framework.
        let status = match status {
            StatusCode::UNAUTHORIZED if !exchange.has_challenge() => StatusCode::FORBIDDEN,
            status => status,
        };
        // gRPC says in a header of its own what went wrong.
        let call = exchange.grpc().cloned();
        exchange.ends(outcome, if call.is_some() { StatusCode::OK } else { status });
        if let Refusal::Origin(OriginFault::BadResponse(cause)) = &self {
            exchange.blames(cause.clone());
        }
        let mut response = reply::detail(status, &detail, &exchange);
        let fields = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED
            && let Ok(challenge) = HeaderValue::try_from(challenge)
        {
            fields.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || matches!(self, Refusal::Pending(_) | Refusal::Share) {
            fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        match &self {
            Refusal::NoRoute(NoRoute::Method { allow }) => {
                fields.insert(ALLOW, allow.clone());
            }
            Refusal::Target(BadTarget::Method) => {
                fields.insert(ALLOW, HeaderValue::from_static(METHODS));
            }
            Refusal::Redirect(to) | Refusal::SignIn(to) => {
                if let Ok(to) = HeaderValue::try_from(to.as_str()) {
                    fields.insert(LOCATION, to);
                }
            }
            Refusal::Throttled(wait) | Refusal::Auth(AuthFailure::Throttled(wait)) => {
                fields.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*wait)));
            }
            _ => {}
        }
        if let Some(content_type) = call {
            grpc::refuse(&mut response, &detail, content_type);
        }
        if close || self.ends_connection() {
            reply::ends_connection(&mut response, &exchange);
        }
        if exchange.purpose() == Purpose::Check(Form::AuthRequest) {
            forward_auth::put_into_fields(&mut response, &detail);
        }
        response.map(|body| body.settling(exchange))
    }
}

fn failure_row(failure: AuthFailure) -> (StatusCode, Outcome, Cow<'static, str>) {
    use StatusCode as S;
    match failure {
        AuthFailure::NoCredentials => {
            (S::UNAUTHORIZED, Outcome::NoCredentials, "Authentication credentials were not provided.".into())
        }
        AuthFailure::Malformed(BadCredentials::NotAKey) => (S::UNAUTHORIZED, Outcome::Unknown, "Invalid token.".into()),
        AuthFailure::Malformed(fault) => (fault.status(), Outcome::MalformedCredentials, fault.to_string().into()),
        // One text for all of these, so that a client cannot distinguish a revoked token from one that never existed.
        AuthFailure::Denied(Denied::Unknown) => (S::UNAUTHORIZED, Outcome::Unknown, "Invalid token.".into()),
        AuthFailure::Denied(Denied::Revoked) => (S::UNAUTHORIZED, Outcome::Revoked, "Invalid token.".into()),
        AuthFailure::Denied(Denied::Expired | Denied::Unused) => {
            (S::UNAUTHORIZED, Outcome::Expired, "Invalid token.".into())
        }
        AuthFailure::Denied(Denied::OwnerInactive) => {
            (S::UNAUTHORIZED, Outcome::Inactive, "User inactive or deleted.".into())
        }
        AuthFailure::NoUser(why) => {
            let outcome = if why == Denied::OwnerInactive { Outcome::Inactive } else { Outcome::Unknown };
            (S::UNAUTHORIZED, outcome, "The client certificate belongs to no active user.".into())
        }
        AuthFailure::StoreUnavailable => (
            S::SERVICE_UNAVAILABLE,
            Outcome::StoreUnavailable,
            "Tokens cannot be checked at the moment. Try again.".into(),
        ),
        AuthFailure::Throttled(wait) => throttled_row(wait),
    }
}

fn throttled_row(wait: Duration) -> (StatusCode, Outcome, Cow<'static, str>) {
    let seconds = whole_seconds(wait);
    let unit = if seconds == 1 { "second" } else { "seconds" };
    let detail = format!("Request was throttled. Expected available in {seconds} {unit}.").into();
    (StatusCode::TOO_MANY_REQUESTS, Outcome::TooManyRequests, detail)
}

/// Rounded up, so that a client that waits exactly this long is not too early.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

fn origin_row(fault: &OriginFault) -> (StatusCode, Outcome, Cow<'static, str>) {
    use StatusCode as S;
    match fault {
        OriginFault::Unresolved => {
            (S::SERVICE_UNAVAILABLE, Outcome::OriginConnect, "The upstream cannot be reached. Try again.".into())
        }
        OriginFault::Connect => (S::BAD_GATEWAY, Outcome::OriginConnect, "The upstream cannot be reached.".into()),
        OriginFault::ConnectTimeout => (
            S::GATEWAY_TIMEOUT,
            Outcome::OriginConnectTimeout,
            "The upstream did not accept the connection in time.".into(),
        ),
        OriginFault::Tls(_) => {
            (S::BAD_GATEWAY, Outcome::OriginTls, "The TLS connection to the upstream failed.".into())
        }
        OriginFault::Reset => (S::BAD_GATEWAY, Outcome::OriginReset, "The upstream closed the connection.".into()),
        OriginFault::BadResponse(_) => {
            (S::BAD_GATEWAY, Outcome::OriginBadResponse, "The upstream's response is invalid.".into())
        }
        OriginFault::Timeout => {
            (S::GATEWAY_TIMEOUT, Outcome::OriginTimeout, "The upstream did not respond in time.".into())
        }
        OriginFault::Overloaded => {
            (S::SERVICE_UNAVAILABLE, Outcome::OriginOverloaded, "The upstream is overloaded. Try again.".into())
        }
    }
}

/// Turns an error text into a sentence.
fn sentence(error: &dyn std::error::Error) -> Cow<'static, str> {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str()).into()
}

macro_rules! from { ($($error:ty => $variant:ident)+) => { $(
    impl From<$error> for Refusal {
        fn from(error: $error) -> Refusal {
            Refusal::$variant(error)
        }
    }
)+ } }

from! {
    HeadFault => Head
    BadTarget => Target
    NoRoute => NoRoute
    AuthFailure => Auth
    CsrfFault => Csrf
    NotPermitted => NotPermitted
    BadField => Field
    BodyFault => Body
    OriginFault => Origin
}
