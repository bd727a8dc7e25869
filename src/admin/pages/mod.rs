//! Pages. Each consists of a handler that runs operations, and a template.
//!
//! To add one: a handler in a file of its own, its paths in [`routes`], and, if it has a place in the navigation, a
//! [`Section`] with its line in [`NAVIGATION`].

mod audit;
mod errors;
mod groups;
mod lists;
mod look_up;
mod message;
mod own_password;
mod shell;
mod sign_in;
mod status;
mod token;
mod token_add;
mod token_limits;
mod token_rotate;
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
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::operations::OperationError;
use super::reply::{failed, not_found, see_other, status_of, told};
use super::visit::Visit;
use super::{Application, assets, text};
pub(super) use message::framed;
use shell::Section;

/// Entries of the navigation in order, and whether only superusers see them.
const NAVIGATION: [(Section, &str, &str, bool); 7] = [
    (Section::Users, "/users", "Users", false),
    (Section::Groups, "/groups", "Groups", true),
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
        .route("/users/act", post(users::act))
        .route("/groups", get(groups::list))
        .route("/password", get(own_password::show).post(own_password::set))
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
        .route("/tokens/export", get(tokens::export))
        .route("/tokens/{id}", get(token::show))
        .route("/tokens/{id}/revoke", post(token::revoke))
        .route("/tokens/{id}/login", post(token::login))
        .route("/tokens/{id}/disabled", post(token::set_disabled))
        .route("/tokens/{id}/rotate", get(token_rotate::show).post(token_rotate::rotate))
        .route("/tokens/{id}/terms", get(token_terms::show).post(token_terms::set))
        .route("/look-up", get(look_up::show).post(look_up::look_up))
        .route("/traffic", get(traffic::show))
        .route("/traffic/live", get(traffic::show_live))
        .route("/traffic/errors", get(errors::list))
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
pub(super) struct Failure(pub OperationError);

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

async fn start(_visit: Visit) -> Response {
    see_other("/users")
}
