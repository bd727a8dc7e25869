//! Pages. Each consists of a handler that runs operations, and a template.
//!
//! To add one: a handler in a file of its own, its paths in [`routes`], and, if it has a place in the navigation, a
//! [`Section`] with its line in [`NAVIGATION`].

mod assets;
mod audit;
mod look_up;
mod message;
mod shell;
mod sign_in;
mod status;
mod text;
mod token;
mod token_add;
mod token_terms;
mod tokens;
mod traffic;
mod user;
mod user_forms;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::Application;
use super::operations::OperationError;
use super::visit::Visit;
pub(super) use message::{framed, message};
use shell::{Section, page};

/// Entries of the navigation in order, and whether only superusers see them.
const NAVIGATION: [(Section, &str, &str, bool); 6] = [
    (Section::Users, "/users", "Users", false),
    (Section::Tokens, "/tokens", "Tokens", false),
    (Section::LookUp, "/look-up", "Look up", false),
    (Section::Traffic, "/traffic", "Traffic", false),
    (Section::Status, "/status", "Status", true),
    (Section::Audit, "/audit", "Audit", true),
];

/// Entries per page of a list.
const ENTRIES: u32 = 50;

/// All exact paths.
pub(super) fn routes() -> Router<Arc<Application>> {
    Router::new()
        .route("/", get(start))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-out", post(sign_in::leave))
        .route("/users", get(users::list))
        .route("/users/add", get(users::show_add).post(users::add))
        .route("/users/{id}", get(user::show))
        .route("/users/{id}/active", post(user::set_active))
        .route("/users/{id}/edit", get(user_forms::show_edit).post(user_forms::edit))
        .route("/users/{id}/groups", get(user_forms::show_groups).post(user_forms::set_groups))
        .route("/users/{id}/password", get(user_forms::show_password).post(user_forms::set_password))
        .route("/users/{id}/rights", get(user_forms::show_rights).post(user_forms::set_rights))
        .route("/users/{id}/delete", get(user_forms::show_delete).post(user_forms::delete))
        .route("/users/{id}/tokens/add", get(token_add::show).post(token_add::add))
        .route("/users/{id}/tokens/revoke", post(user::revoke_all))
        .route("/users/{id}/login-token", post(token_add::login_token))
        .route("/tokens", get(tokens::list))
        .route("/tokens/revoke", post(tokens::revoke))
        .route("/tokens/{id}", get(token::show))
        .route("/tokens/{id}/revoke", post(token::revoke))
        .route("/tokens/{id}/terms", get(token_terms::show).post(token_terms::set))
        .route("/look-up", get(look_up::show).post(look_up::look_up))
        .route("/traffic", get(traffic::show))
        .route("/traffic/live", get(traffic::show_live))
        .route("/status", get(status::show))
        .route("/status/reload", post(status::reload))
        .route("/audit", get(audit::list))
        .route("/audit/export", get(audit::export))
        .route(assets::style(), get(assets::answer_style))
        .route(assets::script(), get(assets::answer_script))
        .route(assets::ICON, get(assets::answer_icon))
}

/// The number in a path.
pub(super) struct Id(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Response> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text).unwrap_or_default();
        // Only one spelling for each id: no sign, no leading zeros.
        let id = text.parse::<i64>().ok().filter(|id| *id > 0 && id.to_string() == text);
        id.map(Id).ok_or_else(not_found)
    }
}

/// A page, or the error that prevented it.
pub(super) type Answer = Result<Response, Failure>;

/// A failed request.
pub(super) struct Failure(OperationError);

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        failed(self.0)
    }
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
fn told(error: &OperationError, mut response: Response) -> Response {
    if let OperationError::Throttled(wait) = error {
        // Rounded up like the text, so that a retry exactly at that second is not too early.
        response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().saturating_add(1).into());
    }
    response
}

/// Returns the status of an error.
fn status_of(error: &OperationError) -> StatusCode {
    match error {
        OperationError::NotAllowed(_) | OperationError::WrongPassword => StatusCode::FORBIDDEN,
        OperationError::UnknownUser(_) | OperationError::UnknownToken => StatusCode::NOT_FOUND,
        OperationError::Invalid(_) => StatusCode::BAD_REQUEST,
        OperationError::Conflict(_) | OperationError::LastSuperuser => StatusCode::CONFLICT,
        OperationError::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
        OperationError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Formats an error as a sentence.
fn words(error: &OperationError) -> String {
    match error {
        OperationError::WrongPassword => "Your password was wrong. Nothing was changed.".to_owned(),
        OperationError::Throttled(wait) => {
            format!("Too many attempts. Please try again in {} s.", wait.as_secs().saturating_add(1))
        }
        error => text::sentence(&error.to_string()),
    }
}

impl Visit {
    /// Response to a failed form: redirects back to its page if that helps.
    fn refused(&self, path: &str, error: OperationError) -> Response {
        match error {
            OperationError::WrongPassword
            | OperationError::Invalid(_)
            | OperationError::Conflict(_)
            | OperationError::Throttled(_) => self.failed(path, words(&error)),
            error => failed(error),
        }
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

async fn start(_visit: Visit) -> Response {
    see_other("/users")
}
