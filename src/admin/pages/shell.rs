//! What surrounds a page.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::admin::session::Notice;
use crate::admin::visit::Visit;

/// A part of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Users,
    Tokens,
    LookUp,
    Traffic,
    Status,
    Audit,
    /// None of them.
    None,
}

/// Navigation, who is signed in, what is to be told.
pub(super) struct Shell {
    pub section: Section,
    pub user: String,
    pub user_id: i64,
    /// May they do everything?
    pub superuser: bool,
    /// For the forms of the page.
    pub csrf: String,
    pub notice: Option<Notice>,
}

impl Shell {
    /// For a page of this part. What is to be told is told by it.
    pub(super) fn of(visit: &Visit, section: Section) -> Shell {
        Shell {
            section,
            user: visit.caller.user.account.name.clone(),
            user_id: visit.caller.user.account.id.0,
            superuser: visit.is_superuser(),
            csrf: visit.csrf(),
            notice: visit.notice(),
        }
    }

    /// The same, telling that something did not work.
    pub(super) fn failing(visit: &Visit, section: Section, text: String) -> Shell {
        Shell { notice: Some(Notice::Failed(text)), ..Shell::of(visit, section) }
    }

    /// Is this part the one that the page belongs to?
    pub fn is_in(&self, section: &Section) -> bool {
        self.section == *section
    }
}

/// A template as an answer.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
