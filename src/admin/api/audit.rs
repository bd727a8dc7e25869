//! The audit trail.

use axum::Json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::caller::Call;
use super::problem::Problem;
use super::request::Asked;
use super::shapes::{AuditList, AuditParameters};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Who did what, newest first
///
/// Staff sees what was done to one user who is neither staff nor superuser.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit", tag = "audit", params(AuditParameters),
    responses((status = 200, description = "A part of the trail.", body = AuditList)))]
async fn list(call: Call, Asked(asked): Asked<AuditParameters>) -> Result<Json<AuditList>, Problem> {
    Ok(Json(call.acting().audit(&asked.try_into()?).await?.into()))
}
