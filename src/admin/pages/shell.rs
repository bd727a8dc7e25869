//! The frame around a page.

pub(super) use crate::admin::reply::page;
use crate::admin::session::Notice;
use crate::admin::visit::Visit;

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
        }
    }

    /// The same, with an error message.
    pub(super) fn failing(visit: &Visit, section: Section, text: String) -> Shell {
        Shell { notice: Some(Notice::Failed(text)), ..Shell::of(visit, section) }
    }

    /// Whether the page belongs to this section.
    pub fn is_in(&self, section: &Section) -> bool {
        self.section == *section
    }
}
