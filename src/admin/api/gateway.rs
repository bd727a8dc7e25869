//! Traffic and status of the gateway.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::caller::Call;
use super::problem::{Code, Problem};
use super::request::Asked;
use super::shapes::TrafficParameters;
use crate::admin::monitor::{Form, Reloaded, Status, Traffic};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(traffic)).routes(routes!(status)).routes(routes!(reload))
}

/// The traffic of the last minutes
///
/// Traffic of this gateway since its start, up to the last hour.
#[utoipa::path(get, path = "/traffic", operation_id = "get_traffic", tag = "gateway", params(TrafficParameters),
    responses((status = 200, description = "The traffic.", body = Traffic)))]
async fn traffic(call: Call, Asked(asked): Asked<TrafficParameters>) -> Result<Response, Problem> {
    let monitor = &call.api.monitor;
    let (subject, reach) = asked.read(monitor)?;
    let shown = monitor.shown(Form::Json, &subject, reach, |traffic| serde_json::to_string(&traffic)).await;
    let text = shown.map_err(|error| {
        tracing::error!(%error, "the traffic could not be rendered");
        Problem::unavailable()
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response())
}

/// Configuration and status of the gateway
///
/// For superusers.
#[utoipa::path(get, path = "/status", operation_id = "get_status", tag = "gateway",
    responses((status = 200, description = "Its state at this moment.", body = Status)))]
async fn status(call: Call) -> Result<Json<Status>, Problem> {
    call.caller().needs_superuser()?;
    Ok(Json(call.api.monitor.status()))
}

/// Reloads the configuration
///
/// For superusers. Returns when the new configuration is in use. If anything is wrong, nothing changes; `detail` has
/// every problem.
#[utoipa::path(post, path = "/reload", operation_id = "reload_configuration", tag = "gateway",
    responses((status = 200, description = "The configuration is in use.", body = Reloaded)))]
async fn reload(call: Call) -> Result<Json<Reloaded>, Problem> {
    call.caller().needs_superuser()?;
    match call.api.monitor.reload(&call.caller().user.account.name).await {
        Ok(reloaded) => Ok(Json(reloaded)),
        Err(problems) => Err(Problem::new(Code::NotReloaded, problems.join("\n"))),
    }
}
