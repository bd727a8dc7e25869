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
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

/// A field of the body, or a parameter, that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// The field of the body, as a JSON Pointer in a URI fragment, such as `#/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// The query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong with it, in words.
    detail: String,
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Body,
    Query,
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
    /// The fields and parameters that are not valid, where the problem is about some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// The request id, as in `X-Request-Id`.
    request_id: String,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    fn at(self, place: Place, name: &str, detail: String) -> Problem {
        let (pointer, parameter) = match place {
            Place::Body => (Some(pointer(name)), None),
            Place::Query => (None, Some(name.to_owned())),
        };
        Problem { errors: vec![FieldError { pointer, parameter, detail }], ..self }
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

    /// An invalid parameter, with the reason.
    pub(super) fn invalid(name: &str, what: impl std::fmt::Display) -> Problem {
        Problem::new(Code::Invalid, format!("{name}: {what}")).at(Place::Query, name, what.to_string())
    }

    /// An invalid field of the body, with the reason.
    pub(super) fn invalid_field(name: &str, what: impl std::fmt::Display) -> Problem {
        Problem::new(Code::Invalid, format!("{name}: {what}")).at(Place::Body, name, what.to_string())
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
            errors: self.errors,
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
            OperationError::NotAllowed(_)
            | OperationError::WrongPassword
            | OperationError::Unconfirmed
            | OperationError::MustChange => Code::NotAllowed,
            OperationError::UnknownUser(_) | OperationError::UnknownToken => Code::NotFound,
            OperationError::InvalidField(field, what) => return Problem::invalid_field(field, what),
            OperationError::Taken(field, what) => {
                return Problem::new(Code::Conflict, what.clone()).at(Place::Body, field, what);
            }
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
            Code::Invalid => return unacceptable(Place::Body, "the body", &rejection),
            Code::UnsupportedMediaType => "the body must be JSON: send `Content-Type: application/json`".to_owned(),
            Code::TooLarge => return Problem::too_large(),
            _ => format!("the body is not JSON: {}", plain(&cause(&rejection))),
        };
        Problem::new(code, detail)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        unacceptable(Place::Query, "the query", &rejection)
    }
}

/// A body or query that does not have the wanted fields.
fn unacceptable(place: Place, what: &str, rejection: &dyn std::error::Error) -> Problem {
    let told = plain(&cause(rejection));
    // The reader names a field that is missing or unknown in its message only.
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| told.strip_prefix(start)?.split_once('`').map(|(name, _)| name.to_owned()));
    let path = std::iter::successors(rejection.source(), |error| error.source()).find_map(|error| {
        let json = error.downcast_ref::<serde_path_to_error::Error<serde_json::Error>>().map(|error| error.path());
        json.map(ToString::to_string).or_else(|| error.to_string().split_once(": ").map(|(path, _)| path.to_owned()))
    });
    match named.or(path).filter(|name| !name.is_empty() && name != "." && !name.contains(' ')) {
        Some(name) => {
            let told = told.strip_prefix(&format!("{name}: ")).map_or(told.clone(), str::to_owned);
            Problem::new(Code::Invalid, format!("{name}: {told}")).at(place, &name, told)
        }
        None => Problem::new(Code::Invalid, format!("{what} is not acceptable: {told}")),
    }
}

/// The JSON Pointer (RFC 6901) of a path such as `a.b[0]`.
fn pointer(path: &str) -> String {
    let escaped = |part: &str| format!("/{}", part.replace('~', "~0").replace('/', "~1"));
    let mut pointer = "#".to_owned();
    for part in path.split('.') {
        let entry = part.strip_suffix(']').and_then(|part| part.split_once('['));
        match entry.filter(|(_, place)| place.bytes().all(|b| b.is_ascii_digit())) {
            Some((list, place)) => pointer.extend([escaped(list), escaped(place)]),
            None => pointer.push_str(&escaped(part)),
        }
    }
    pointer
}

/// The message of a reader in the words of JSON, without its position in the text.
fn plain(told: &str) -> String {
    let told = told.split_once(" at line ").map_or(told, |(told, _)| told);
    if told.contains("expected struct") {
        return "must be an object".to_owned();
    }
    let mut text = told.to_owned();
    for (word, plain) in [
        ("EOF while parsing", "it ends within"),
        ("invalid type: ", "must not be "),
        ("sequence", "a list"),
        ("a a list", "a list"),
        ("map,", "an object,"),
        ("boolean `", "`"),
        ("integer `", "the number `"),
        ("floating point `", "the number `"),
        ("string \"", "the text \""),
        (", expected a string", "; write a text"),
        (", expected a boolean", "; write true or false"),
        (", expected a list", "; write a list"),
        (", expected i64", "; write a whole number"),
        (", expected u32", "; write a whole number"),
        ("invalid digit found in string", "must be a whole number"),
        ("provided string was not `true` or `false`", "must be true or false"),
        ("unknown variant ", "unknown word "),
        ("expected one of", "use one of"),
    ] {
        text = text.replace(word, plain);
    }
    text
}

/// The root cause of an error: which field, and what is wrong with it.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}
