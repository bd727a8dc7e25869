//! The frame around a page.

use axum::http::StatusCode;

use crate::admin::operations::OperationError;
pub(super) use crate::admin::reply::page;
use crate::admin::reply::{status_of, words};
use crate::admin::session::Notice;
use crate::admin::visit::{OWN_PASSWORD, Visit};

/// A section of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Users,
    Groups,
    Tokens,
    LookUp,
    Traffic,
    Status,
    Audit,
    /// None of them.
    None,
}

/// The id of the field with the own password, where a page has one such field.
const OWN: &str = "own";

/// Navigation, signed-in user, message.
pub(super) struct Shell {
    pub section: Section,
    pub user: String,
    pub user_id: i64,
    /// Whether the user is a superuser.
    pub superuser: bool,
    /// The CSRF token for the forms of the page.
    pub csrf: String,
    pub notice: Option<Notice>,
    /// Whether the own password was entered lately, so that the forms for tokens do not ask for it.
    pub confirmed: bool,
    /// The field with an error, and the error.
    wrong: Option<(&'static str, String)>,
}

impl Shell {
    /// The frame of a page in this section. Takes the pending message.
    pub(super) fn of(visit: &Visit, section: Section) -> Shell {
        Shell {
            section,
            user: visit.caller.user.account.name.clone(),
            user_id: visit.caller.user.account.id.0,
            superuser: visit.is_superuser(),
            csrf: visit.csrf(),
            notice: visit.notice(),
            confirmed: visit.is_confirmed(),
            wrong: None,
        }
    }

    /// The same, with the error of a form.
    pub(super) fn failing(visit: &Visit, section: Section, error: &OperationError) -> Shell {
        let text = words(error);
        let wrong = error.field().map(|field| (if field == OWN_PASSWORD { OWN } else { field }, text.clone()));
        Shell { notice: Some(Notice::Failed(text)), wrong, ..Shell::of(visit, section) }
    }

    /// The same, for a form whose field of the own password has another id.
    pub(super) fn in_form(mut self, own_password: &'static str) -> Shell {
        if let Some((field @ OWN, _)) = &mut self.wrong {
            *field = own_password;
        }
        self
    }

    /// The error of this field.
    pub fn wrong(&self, field: &str) -> Option<&str> {
        self.wrong.as_ref().filter(|(wrong, _)| *wrong == field).map(|(_, text)| text.as_str())
    }

    /// Whether the error belongs to no field.
    pub fn is_wrong_as_a_whole(&self) -> bool {
        self.wrong.is_none()
    }

    /// Whether the page belongs to this section.
    pub fn is_in(&self, section: &Section) -> bool {
        self.section == *section
    }
}

/// Status and frame of a page that shows the error of its form; an error of another kind is a page of its own.
pub(super) fn refused(
    visit: &Visit,
    section: Section,
    failed: Option<OperationError>,
) -> Result<(StatusCode, Shell), OperationError> {
    match failed {
        None => Ok((StatusCode::OK, Shell::of(visit, section))),
        Some(error) if error.is_of_form() => Ok((status_of(&error), Shell::failing(visit, section, &error))),
        Some(error) => Err(error),
    }
}
