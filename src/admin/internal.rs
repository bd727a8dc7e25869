//! Health and metrics, for those who watch the gateway.
//!
//! [`internal_router`] is made from what it is given and knows nothing of the gateway; [`serve`] answers with it on a
//! listener of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::door::{Bounds, Door};

/// Whether the gateway can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ok,
    /// It cannot, or not all of it: what is wrong, one sentence each.
    Failing(Vec<String>),
}

/// Tells how the gateway is, now.
pub type AskHealth = Arc<dyn Fn() -> Health + Send + Sync>;

/// Writes the metrics in the text format of Prometheus.
pub type WriteMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What an internal listener answers: `/health` and `/metrics`, each if it is given.
pub fn internal_router(health: Option<AskHealth>, metrics: Option<WriteMetrics>) -> Router {
    let mut router = Router::new();
    if let Some(health) = health {
        router = router.merge(Router::new().route("/health", get(answer_health)).with_state(health));
    }
    if let Some(metrics) = metrics {
        router = router.merge(Router::new().route("/metrics", get(answer_metrics)).with_state(metrics));
    }
    router
}

/// Answers on `listener` with `router` until `shutdown` is done and the answers in flight are sent.
///
/// That last wait has no bound of its own: a caller that must end in time drops the future.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    // One request for each connection: a client that asks every ten seconds never meets the end of the time for a head.
    let bounds = Bounds { keep_alive: false, ..Bounds::new(Duration::ZERO) };
    Door { acceptor: None, router, bounds }.serve(listener, shutdown).await;
}

async fn answer_health(State(health): State<AskHealth>) -> Response {
    let (status, body) = match health() {
        Health::Ok => (StatusCode::OK, json!({"status": "ok"})),
        Health::Failing(problems) => {
            (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "failing", "problems": problems}))
        }
    };
    (status, [UNCACHED], Json(body)).into_response()
}

async fn answer_metrics(State(metrics): State<WriteMetrics>) -> Response {
    ([UNCACHED, (header::CONTENT_TYPE, METRICS_TYPE)], metrics()).into_response()
}

/// Both answers are true for one moment only.
const UNCACHED: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");
