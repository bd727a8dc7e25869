//! JSON API: the operations of the pages, for programs.
//!
//! A request passes the [`guard`](super::guard), is authenticated by its token ([`caller`]), and acts through the
//! [`operations`](super::operations). The response is one of the [`shapes`] or a [`problem`]. One list of routes and
//! descriptions also produces the [`document`].

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
use super::MAX_BODY;
use super::monitor::Monitor;
use super::operations::Operations;
use super::record::RequestId;
use crate::auth::WrongKeys;
use crate::cache::Uses;

/// Prefix of every path.
pub(super) const PREFIX: &str = "/api/v1";

/// Shared state of the API.
pub struct Api {
    operations: Operations,
    monitor: Arc<Monitor>,
    wrong_keys: WrongKeys,
    uses: Uses,
    once: Arc<Once>,
}

type Shared = Arc<Api>;

impl Api {
    /// Its own `wrong_keys` limit, so requests to the public listeners cannot lock operators out.
    pub fn new(operations: Operations, monitor: Arc<Monitor>, wrong_keys: WrongKeys, uses: Uses) -> Api {
        let once = Once::new(operations.clock().clone());
        Api { operations, monitor, wrong_keys, uses, once }
    }

    /// Returns all routes below [`PREFIX`], without the prefix. The guard wraps `guarded`.
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
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::clone(&api));
        guarded(router).layer(from_fn(complete))
    }
}

/// Location of a created resource.
fn at(path: &str) -> String {
    format!("{PREFIX}{path}")
}

/// Served without authentication: the document is the same for all callers and contains no secret.
async fn show(document: Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// Adds the request id to every problem and writes its body.
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

/// Response to a method that the path does not support.
pub(super) fn forbidden() -> Response {
    let detail = "this request comes from a page of another site, or calls the application by a name that it does not know; \
                  further names are set with `hosts` in [admin]";
    Problem::new(Code::NotAllowed, detail).into_response()
}

/// Response to a path with more than one spelling.
pub(super) fn no_such_path() -> Response {
    Problem::new(Code::NotFound, "there is no such path; see /api/v1/openapi.json").into_response()
}

/// Response to a request that timed out.
pub(super) fn too_slow() -> Response {
    Problem::unavailable().into_response()
}
