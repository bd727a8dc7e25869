//! Responses that need no user: messages, errors and redirects.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::operations::OperationError;
use super::text;

/// Content of a message page.
#[derive(Clone)]
pub(super) struct Message {
    pub title: String,
    pub text: String,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Plain<'a> {
    message: &'a Message,
}

/// Renders a template as a response.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that shows only a message.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    let message = Message { title: title.to_owned(), text: text.to_owned() };
    let mut response = page(status, &Plain { message: &message });
    response.extensions_mut().insert(message);
    response
}

/// Renders a failed request as a page.
pub(super) fn failed(error: OperationError) -> Response {
    let status = status_of(&error);
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::SERVICE_UNAVAILABLE => "Unavailable",
        _ => "Error",
    };
    told(&error, message(status, title, &words(&error)))
}

/// Builds the response to an error, with `Retry-After`.
pub(super) fn told(error: &OperationError, mut response: Response) -> Response {
    if let OperationError::Throttled(wait) = error {
        // Rounded up like the text, so that a retry exactly at that second is not too early.
        response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().saturating_add(1).into());
    }
    response
}

/// Returns the status of an error.
pub(super) fn status_of(error: &OperationError) -> StatusCode {
    match error {
        OperationError::NotAllowed(_)
        | OperationError::WrongPassword
        | OperationError::Unconfirmed
        | OperationError::MustChange => StatusCode::FORBIDDEN,
        OperationError::UnknownUser(_) | OperationError::UnknownToken => StatusCode::NOT_FOUND,
        OperationError::Invalid(_) | OperationError::InvalidField(..) => StatusCode::BAD_REQUEST,
        OperationError::Conflict(_) | OperationError::Taken(..) | OperationError::LastSuperuser => StatusCode::CONFLICT,
        OperationError::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        OperationError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Formats an error as a sentence.
pub(super) fn words(error: &OperationError) -> String {
    match error {
        OperationError::WrongPassword => "Your password was wrong. Nothing was changed.".to_owned(),
        OperationError::Unconfirmed => "Enter your own password. Nothing was changed.".to_owned(),
        OperationError::Throttled(wait) => {
            format!("Too many attempts. Please try again in {} s.", wait.as_secs().saturating_add(1))
        }
        error => text::sentence(&error.to_string()),
    }
}

pub(super) fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}

pub(super) async fn not_allowed() -> Response {
    message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "This page does not accept this method.")
}

/// Response to a cross-site request, or to one with an unknown host.
pub(super) fn forbidden() -> Response {
    let text = "This request does not come from a page of this application, or uses a host name that is not configured. \
                Add host names with `hosts` in [admin].";
    message(StatusCode::FORBIDDEN, "Forbidden", text)
}

pub(super) fn too_large() -> Response {
    message(StatusCode::PAYLOAD_TOO_LARGE, "Too large", "A form can have at most 64 KiB. Nothing was changed.")
}

pub(super) fn too_slow() -> Response {
    message(StatusCode::SERVICE_UNAVAILABLE, "This took too long", "Please try again.")
}

/// Redirects to another page of the application, by GET.
pub(super) fn see_other(path: &str) -> Response {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Redirects to the sign-in page, which leads back to this path.
pub(super) fn to_sign_in(path: &str) -> Response {
    see_other(&if path == "/" { "/sign-in".to_owned() } else { format!("/sign-in?next={}", text::escaped(path)) })
}
