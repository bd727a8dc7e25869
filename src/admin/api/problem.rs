//! Error responses of the API in one shape (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::MAX_BODY;
use crate::admin::operations::OperationError;

/// Media type.
const TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// `WWW-Authenticate` challenge of a 401.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Token");

/// Machine-readable error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// 400: the request cannot be read.
    Malformed,
    /// 401: no valid token.
    Unauthenticated,
    /// 403: the token, or its owner, has no permission for the request.
    NotAllowed,
    /// 404: there is no such user, token or path.
    NotFound,
    /// 405: the path has no such method.
    MethodNotAllowed,
    /// 409: the change conflicts with existing data.
    Conflict,
    /// 409: the first request with this `Idempotency-Key` is still in progress.
    UnderWay,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 422: the values are not valid.
    Invalid,
    /// 409: the configuration file cannot be taken over; the running one stays.
    NotReloaded,
    /// 409: this `Idempotency-Key` was used for a different request.
    KeyReused,
    /// 429: too many attempts, or the server is busy.
    Throttled,
    /// 503: the store is unavailable; the change may have been made.
    Unavailable,
}

/// An error response. Its body is written where the request id is known: see [`Problem::write`].
#[derive(Clone, Debug)]
pub(super) struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
}

/// JSON form of a problem.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Written {
    /// Always `about:blank`: `code` distinguishes problems.
    r#type: &'static str,
    /// Standard text of the status.
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, in words.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    code: Code,
    /// The request id, as in `X-Request-Id`.
    request_id: String,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), retry_after: None }
    }

    /// Too many attempts; retry after this time.
    pub(super) fn throttled(wait: Duration) -> Problem {
        let detail = "too many attempts, or the server is busy; try again later";
        Problem { retry_after: Some(wait), ..Problem::new(Code::Throttled, detail) }
    }

    /// The first request with the same key is still in progress.
    pub(super) fn under_way() -> Problem {
        let detail = "the first request with this Idempotency-Key is still in progress; retry later";
        Problem { retry_after: Some(Duration::from_secs(1)), ..Problem::new(Code::UnderWay, detail) }
    }

    /// The body exceeds the maximum size.
    pub(super) fn too_large() -> Problem {
        Problem::new(Code::TooLarge, format!("a body can have at most {} KiB", MAX_BODY >> 10))
    }

    /// The store is unavailable.
    pub(super) fn unavailable() -> Problem {
        let detail = "the store does not answer; the change may have been made";
        Problem { retry_after: Some(Duration::from_secs(1)), ..Problem::new(Code::Unavailable, detail) }
    }

    /// An invalid field or parameter, with the reason.
    pub(super) fn invalid(name: &str, what: impl std::fmt::Display) -> Problem {
        Problem::new(Code::Invalid, format!("{name}: {what}"))
    }

    fn status(&self) -> StatusCode {
        match self.code {
            Code::Malformed => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::NotAllowed => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::Conflict | Code::UnderWay | Code::KeyReused | Code::NotReloaded => StatusCode::CONFLICT,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Code::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Writes the body of the response.
    pub(super) fn write(self, request_id: &str, response: Response) -> Response {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or_default();
        let written = Written {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: self.detail,
            code: self.code,
            request_id: request_id.to_owned(),
        };
        let (mut parts, _) = response.into_parts();
        parts.headers.insert(header::CONTENT_TYPE, TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        // Texts and a number are always JSON.
        Response::from_parts(parts, serde_json::to_vec(&written).unwrap_or_default().into())
    }
}

/// The response without its body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if self.code == Code::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(wait) = self.retry_after {
            // Rounded up, so that a retry exactly at that second is not too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Problem {
        let code = match error {
            OperationError::Throttled(wait) => return Problem::throttled(wait),
            OperationError::Unavailable => return Problem::unavailable(),
            OperationError::NotAllowed(_) | OperationError::WrongPassword => Code::NotAllowed,
            OperationError::UnknownUser(_) | OperationError::UnknownToken => Code::NotFound,
            OperationError::Invalid(_) => Code::Invalid,
            OperationError::Conflict(_) | OperationError::LastSuperuser => Code::Conflict,
        };
        Problem::new(code, error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        let code = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => Code::Invalid,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
            _ => Code::Malformed,
        };
        let detail = match code {
            Code::Invalid => format!("the body is not acceptable: {}", cause(&rejection)),
            Code::UnsupportedMediaType => "the body must be JSON: send `Content-Type: application/json`".to_owned(),
            Code::TooLarge => return Problem::too_large(),
            _ => format!("the body is not JSON: {}", cause(&rejection)),
        };
        Problem::new(code, detail)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::new(Code::Invalid, format!("the query is not valid: {}", cause(&rejection)))
    }
}

/// The root cause of an error: which field, and what is wrong with it.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}
