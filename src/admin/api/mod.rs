//! The JSON API: what the pages do, for programs.
//!
//! A request passes the [`guard`](super::guard), is somebody's by its token ([`caller`]), and is done at the
//! [`desk`](super::desk). Its answer is one of the [`shapes`] or a [`problem`]. Routes and their descriptions are one
//! list, of which the [`document`] is made.

mod audit;
mod caller;
mod document;
mod gateway;
mod once;
mod problem;
mod request;
mod shapes;
mod tokens;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::once::Once;
use self::problem::{Code, Problem};
use super::LONGEST_BODY;
use super::desk::Desk;
use super::monitor::Monitor;
use super::record::RequestId;
use crate::auth::WrongKeys;
use crate::cache::Uses;

/// Before every path.
pub(super) const PREFIX: &str = "/api/v1";

/// What the API works with.
pub struct Api {
    desk: Desk,
    monitor: Arc<Monitor>,
    wrong_keys: WrongKeys,
    uses: Uses,
    once: Arc<Once>,
}

type Shared = Arc<Api>;

impl Api {
    /// `wrong_keys` of its own, so that nobody locks operators out from the public side.
    pub fn new(desk: Desk, monitor: Arc<Monitor>, wrong_keys: WrongKeys, uses: Uses) -> Api {
        let once = Once::new(desk.clock().clone());
        Api { desk, monitor, wrong_keys, uses, once }
    }

    /// Everything below [`PREFIX`], without it; the guard goes around `guarded`.
    pub(super) fn router(self, guarded: impl FnOnce(Router) -> Router) -> Router {
        let api = Arc::new(self);
        let creations = users::creations().merge(tokens::creations());
        let described = creations.get_openapi().clone();
        let routes = OpenApiRouter::with_openapi(document::Document::openapi())
            .merge(creations)
            .merge(users::routes())
            .merge(tokens::routes())
            .merge(audit::routes())
            .merge(gateway::routes())
            .route_layer(from_fn_with_state(Arc::clone(&api), caller::authenticate));
        let (routes, document) = routes.split_for_parts();
        let document: Arc<str> = document::complete(document, &described).into();
        let router = routes
            .route("/openapi.json", get(move || show(Arc::clone(&document))))
            .method_not_allowed_fallback(not_allowed)
            .fallback(not_found)
            .layer(DefaultBodyLimit::max(LONGEST_BODY))
            .with_state(Arc::clone(&api));
        guarded(router).layer(from_fn(complete))
    }
}

/// Where something is.
fn at(path: &str) -> String {
    format!("{PREFIX}{path}")
}

/// For everybody who reaches the door: it is the same for all, and holds no secret.
async fn show(document: Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// Gives every problem its body, with the name of the request.
async fn complete(request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.write(&id, response);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no such path; see /api/v1/openapi.json")
}

async fn not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this path has no such method; see /api/v1/openapi.json")
}

/// It does not come in a way that is answered.
pub(super) fn forbidden() -> Response {
    let detail = "this request comes from a page of another site, or calls the application by a name that it does not know; \
                  further names are set with `hosts` in [admin]";
    Problem::new(Code::NotAllowed, detail).into_response()
}

/// A path is written in one way only.
pub(super) fn no_such_path() -> Response {
    Problem::new(Code::NotFound, "there is no such path; see /api/v1/openapi.json").into_response()
}

/// It took too long.
pub(super) fn too_slow() -> Response {
    Problem::unavailable().into_response()
}
