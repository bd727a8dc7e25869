//! Health and metrics for monitoring.
//!
//! [`internal_router`] depends only on its arguments, not on the gateway; [`serve`] runs it on a listener of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use super::server::{AdminListener, Bounds, Stop};
use crate::limits::TurnedAway;
use crate::telemetry::{export, open_metrics};

/// Health of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Healthy.
    Ok,
    /// Unhealthy or degraded: the problems, one sentence each.
    Failing(Vec<String>),
}

/// Reports the current health of the gateway.
pub type AskHealth = Arc<dyn Fn() -> Health + Send + Sync>;

/// Writes the metrics in the text format of Prometheus.
pub type WriteMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Builds the router of an internal listener: `/health`, `/readyz` and `/livez`, and `/metrics`, each if given.
pub fn internal_router(health: Option<AskHealth>, metrics: Option<WriteMetrics>) -> Router {
    let mut router = Router::new();
    if let Some(health) = health {
        let asked = Router::new().route("/health", get(answer_health)).route("/readyz", get(answer_health));
        router = router.merge(asked.with_state(health)).route("/livez", get(answer_live));
    }
    if let Some(metrics) = metrics {
        router = router.merge(Router::new().route("/metrics", get(answer_metrics)).with_state(metrics));
    }
    router
}

/// Serves `router` on `listener` until `stop` completes and the connections have ended.
///
/// Draining has no timeout of its own: a caller with a deadline drops the future.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    turned_away: Arc<TurnedAway>,
    stop: impl Future<Output = Stop>,
) {
    // No keep-alive: a client that polls every ten seconds would run into the timeout of a request head.
    let bounds = Bounds { keep_alive: false, ..Bounds::new(Duration::ZERO) };
    AdminListener { acceptor: None, router, bounds, turned_away }.serve(listener, stop).await;
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

/// Always 200: the process runs, and a restart would not solve any problem.
async fn answer_live() -> Response {
    (StatusCode::OK, [UNCACHED], Json(json!({"status": "ok"}))).into_response()
}

/// In the format that the scrape prefers: OpenMetrics if its `Accept` names it, as Prometheus' does.
async fn answer_metrics(State(metrics): State<WriteMetrics>, fields: HeaderMap) -> Response {
    let page = metrics();
    let mut accepted = fields.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (media_type, page) = if accepted.any(|value| value.contains("application/openmetrics-text")) {
        (open_metrics::MEDIA_TYPE, open_metrics::from_prometheus(&page))
    } else {
        (export::MEDIA_TYPE, page)
    };
    ([UNCACHED, (header::CONTENT_TYPE, media_type)], page).into_response()
}

/// The responses describe one moment and must not be cached.
const UNCACHED: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");
