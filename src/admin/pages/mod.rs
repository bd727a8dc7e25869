//! The pages. Each is a handler that asks the store and a template that shows the answer.
//!
//! To add one: a handler in a file of its own, its paths in [`routes`], and, if it has a place in the navigation, a line in
//! [`NAVIGATION`].

mod assets;
mod sign_in;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::Application;
use super::session::Notice;
use super::visit::Visit;
use crate::store::StoreError;

/// A part of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Users,
}

/// What the navigation shows, in its order.
const NAVIGATION: [(Section, &str, &str); 1] = [(Section::Users, "/users", "Users")];

/// The exact paths that there are.
pub(super) fn routes() -> Router<Arc<Application>> {
    Router::new()
        .route("/", get(start))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-out", axum::routing::post(sign_in::leave))
        .route(assets::style(), get(assets::answer_style))
        .route(assets::script(), get(assets::answer_script))
        .route(assets::ICON, get(assets::answer_icon))
}

/// What surrounds a page: navigation, who is signed in, what is to be told.
struct Shell {
    section: Option<Section>,
    user: String,
    superuser: bool,
    csrf: String,
    notice: Option<Notice>,
}

impl Shell {
    fn of(visit: &Visit, section: impl Into<Option<Section>>) -> Shell {
        Shell {
            section: section.into(),
            user: visit.user.account.name.clone(),
            superuser: visit.user.superuser,
            csrf: visit.csrf(),
            notice: visit.notice(),
        }
    }

    /// Is this part the one that the page belongs to?
    fn is_in(&self, section: &Section) -> bool {
        self.section.as_ref() == Some(section)
    }
}

/// A page that only tells something.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
}

/// A template as an answer.
fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that only tells something.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &Message { title, text })
}

pub(super) async fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}

pub(super) async fn not_allowed() -> Response {
    message(StatusCode::METHOD_NOT_ALLOWED, "Not possible", "This page cannot be asked in this way.")
}

pub(super) fn unavailable(error: &StoreError) -> Response {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(code = "store_unavailable", %error, cause, "the admin application cannot read the store");
    let text = "The store does not answer. Nothing was changed by this request unless a page says so; please try again.";
    message(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", text)
}

pub(super) fn no_directory() -> Response {
    let text = "Users and tokens of this store are looked after elsewhere.";
    message(StatusCode::NOT_IMPLEMENTED, "Not here", text)
}

/// Goes to another page of ours, by GET.
pub(super) fn see_other(path: &str) -> Response {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Goes to the sign-in, and from there to this path.
pub(super) fn to_sign_in(path: &str) -> Response {
    let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    see_other(&if path == "/" { "/sign-in".to_owned() } else { format!("/sign-in?next={next}") })
}

async fn start(_visit: Visit) -> Response {
    see_other("/users")
}
