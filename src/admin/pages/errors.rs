//! The latest requests that failed or were refused.
//!
//! Only for superusers: paths and names can be those of staff.

use askama::Template;
use axum::http::StatusCode;

use super::Answer;
use super::shell::{Section, Shell, page};
use crate::admin::visit::Visit;
use crate::clock::Timestamp;
use crate::telemetry::RefusedRequest;

/// Maximum number of requests on the page.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "errors.html")]
struct Page {
    shell: Shell,
    requests: Vec<RefusedRequest>,
    /// Number of requests that are not in the table.
    more: usize,
    /// The filter: a route, or `-` for requests without one.
    route: String,
    now: Timestamp,
}

pub(in crate::admin) async fn list(visit: Visit) -> Answer {
    visit.caller.needs_superuser()?;
    let (mut requests, route) = (visit.app.monitor.refusals(), visit.query.get("route").to_owned());
    requests.retain(|request| route.is_empty() || request.route.as_deref().unwrap_or("-") == route);
    let more = requests.len().saturating_sub(ROWS);
    requests.truncate(ROWS);
    let (shell, now) = (Shell::of(&visit, Section::Traffic), visit.now());
    Ok(page(StatusCode::OK, &Page { shell, requests, more, route, now }))
}
