//! The demo's upstream: a product service as a Django REST Framework project would have it.
//!
//! List, retrieve, create, update, partial update and delete at `/product_api/`, and at the misspelling
//! `/porduct_api/`, which legacy clients use. The service does not authenticate: the gateway does. `whoami/` shows the
//! identity headers of the gateway. [`super::live`] adds exchanges without an end.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as Segment, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::live;
use super::product::{Completeness, Draft, read_draft};
use super::products_store::ProductsStore;

/// The paths of the service.
const PREFIXES: [&str; 2] = ["/product_api/", "/porduct_api/"];

/// How long a stop waits for requests in flight.
const GRACE: Duration = Duration::from_secs(5);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProductsError {
    /// The address cannot be bound.
    #[error("{address}: the product service cannot listen here")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The product database cannot be opened.
    #[error("the product database cannot be opened")]
    Store(#[from] sqlx::Error),
}

/// A running product service.
///
/// Dropping it without [`RunningProducts::stop`] ends it at once.
#[derive(Debug)]
pub struct RunningProducts {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Starts the service with its database in `dir`. Port 0 takes any free one.
///
/// # Errors
/// See [`ProductsError`].
pub async fn start(dir: &Path, address: SocketAddr) -> Result<RunningProducts, ProductsError> {
    let store = ProductsStore::open(&dir.join("products.db")).await?;
    let listen_error = |source| ProductsError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let router = router(store.clone());
    let task = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        // axum retries accept errors itself: there is nothing to report.
        let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        store.close().await;
    });
    Ok(RunningProducts { address, stop, task })
}

impl RunningProducts {
    /// The address that the service listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, and waits a few seconds for requests in flight.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// The service as a router.
pub fn router(store: ProductsStore) -> Router {
    let mut router = Router::new();
    for prefix in PREFIXES {
        router = router
            .route(prefix, any(collection))
            .route(&format!("{prefix}whoami/"), any(whoami))
            .route(&format!("{prefix}{{id}}/"), any(item));
    }
    router.merge(live::router()).fallback(elsewhere).with_state(store)
}

/// Query parameters of a list.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    search: String,
}

async fn collection(
    State(store): State<ProductsStore>,
    method: Method,
    Query(wanted): Query<Wanted>,
    fields: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    match method {
        Method::GET | Method::HEAD => Ok(Json(store.list(&wanted.search).await?).into_response()),
        Method::POST => {
            let product = store.create(&draft(&fields, &body, Completeness::Whole)?).await?;
            Ok((StatusCode::CREATED, Json(product)).into_response())
        }
        _ => Err(Refusal::MethodNotAllowed(method, "GET, HEAD, POST")),
    }
}

async fn item(
    State(store): State<ProductsStore>,
    method: Method,
    Segment(id): Segment<String>,
    fields: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE];
    if !known.contains(&method) {
        return Err(Refusal::MethodNotAllowed(method, "GET, HEAD, PUT, PATCH, DELETE"));
    }
    let id: i64 = id.parse().map_err(|_| Refusal::NotFound)?;
    // As in DRF: a missing product is reported before errors in the body.
    let product = store.find(id).await?.ok_or(Refusal::NoProduct)?;
    let changed = match method {
        Method::PUT => store.update(id, &draft(&fields, &body, Completeness::Whole)?).await?,
        Method::PATCH => store.update(id, &draft(&fields, &body, Completeness::Partial)?).await?,
        Method::DELETE => {
            let deleted = store.delete(id).await?;
            return if deleted { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(Refusal::NoProduct) };
        }
        _ => Some(product),
    };
    changed.map(|product| Json(product).into_response()).ok_or(Refusal::NoProduct)
}

/// Shows every identity header, in any spelling, so that a forged one would be visible.
async fn whoami(fields: HeaderMap) -> Json<Map<String, Value>> {
    let mut shown = Map::new();
    for name in fields.keys() {
        let plain = name.as_str().replace('_', "-");
        let tells = ["x-user-", "x-token-", "x-auth-", "x-forwarded-"].iter().any(|start| plain.starts_with(start))
            || ["authorization", "forwarded", "x-request-id"].contains(&plain.as_str());
        if tells {
            let lines: Vec<_> =
                fields.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
            shown.insert(name.as_str().to_owned(), lines.join(", ").into());
        }
    }
    Json(shown)
}

/// As in Django: a path that lacks only its trailing slash is redirected, any other path is not found.
async fn elsewhere(uri: Uri) -> Result<Response, Refusal> {
    let path = uri.path();
    let ours = |prefix: &&str| format!("{path}/").starts_with(*prefix);
    if path.ends_with('/') || !PREFIXES.iter().any(ours) {
        return Err(Refusal::NotFound);
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{path}/{query}")).map_err(|_| Refusal::NotFound)?;
    Ok((StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response())
}

fn draft(fields: &HeaderMap, body: &[u8], completeness: Completeness) -> Result<Draft, Refusal> {
    let sent = fields.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let sent = sent.unwrap_or_default();
    let media_type = sent.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::MediaType(sent.into_owned()));
    }
    read_draft(body, completeness).map_err(Refusal::Invalid)
}

/// Why the service refuses a request.
enum Refusal {
    NotFound,
    NoProduct,
    Invalid(Value),
    MediaType(String),
    MethodNotAllowed(Method, &'static str),
    Broken(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Refusal {
        Refusal::Broken(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let detail = |text: String| Json(json!({"detail": text}));
        match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, detail("Not found.".to_owned())).into_response(),
            Refusal::NoProduct => {
                (StatusCode::NOT_FOUND, detail("No Product matches the given query.".to_owned())).into_response()
            }
            Refusal::Invalid(complaints) => (StatusCode::BAD_REQUEST, Json(complaints)).into_response(),
            Refusal::MediaType(sent) => {
                let text = format!("Unsupported media type \"{sent}\" in request.");
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, detail(text)).into_response()
            }
            Refusal::MethodNotAllowed(method, allowed) => {
                let body = detail(format!("Method \"{method}\" not allowed."));
                (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], body).into_response()
            }
            Refusal::Broken(error) => {
                tracing::error!(%error, "the product database failed");
                (StatusCode::INTERNAL_SERVER_ERROR, detail("A server error occurred.".to_owned())).into_response()
            }
        }
    }
}
