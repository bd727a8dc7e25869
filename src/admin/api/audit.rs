//! Audit trail: pages of the list, and export as a file.

use axum::Json;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::caller::Call;
use super::problem::Problem;
use super::request::Asked;
use super::shapes::{AuditList, AuditParameters, ExportParameters};
use crate::admin::export;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
}

/// The audit trail, newest first
///
/// Staff sees only entries about one user who is neither staff nor superuser.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit", tag = "audit", params(AuditParameters),
    responses((status = 200, description = "A page of the audit trail.", body = AuditList)))]
async fn list(call: Call, Asked(asked): Asked<AuditParameters>) -> Result<Json<AuditList>, Problem> {
    Ok(Json(call.acting().audit(&asked.try_into()?).await?.into()))
}

/// The audit trail as a file
///
/// Exports all matching entries, newest first, without pages. An incomplete transfer means an incomplete file.
#[utoipa::path(get, path = "/audit/export", operation_id = "export_audit", tag = "audit", params(ExportParameters),
    responses((status = 200, description = "The file.",
        content((String = "text/csv"), (String = "application/jsonl")),
        headers(("Content-Disposition" = String, description = "A name for the file.")))))]
async fn export(call: Call, Asked(asked): Asked<ExportParameters>) -> Result<Response, Problem> {
    let (query, format) = asked.read()?;
    Ok(export::export(call.api.operations.clone(), call.caller().clone(), query, format).await?)
}
