//! All groups, with the number of their members.

use askama::Template;
use axum::http::StatusCode;

use super::Answer;
use super::shell::{Section, Shell, page};
use super::text;
use crate::admin::visit::Visit;

/// Maximum number of groups on the page.
const GROUPS: u32 = 1_000;

#[derive(Template)]
#[template(path = "groups.html")]
struct Page {
    shell: Shell,
    groups: Vec<(String, u32)>,
    is_cut: bool,
}

pub(in crate::admin) async fn list(visit: Visit) -> Answer {
    let groups = visit.acting().group_sizes(GROUPS).await?;
    let shell = Shell::of(&visit, Section::Groups);
    let is_cut = u32::try_from(groups.len()).is_ok_and(|count| count >= GROUPS);
    Ok(page(StatusCode::OK, &Page { shell, groups, is_cut }))
}
