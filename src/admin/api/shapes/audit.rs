//! The audit trail.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::word::word;
use super::{Time, Unreadable, bounded, id, page_token, part};
use crate::admin::api::problem::Problem;
use crate::admin::export::Format;
use crate::store::{self, Act, AuditQuery, Listing, Via};
use crate::token::{SubjectId, TokenId};

/// Maximum length of an actor's name.
const MAX_ACTOR: usize = 150;

word! {
    /// The action.
    Action of Act
}

word! {
    /// The interface that was used.
    Interface of Via
}

/// Entry of the audit trail.
#[derive(Serialize, ToSchema)]
struct AuditEntry {
    /// Number of the entry; later entries have higher numbers.
    #[schema(minimum = 1)]
    id: i64,
    at: Time,
    actor: Actor,
    act: Action,
    /// The affected user.
    user_id: Option<i64>,
    /// The user's name at that time; empty if there was none.
    user_name: String,
    /// The affected token.
    token_id: Option<i64>,
    /// Details in words; may be empty.
    detail: String,
}

/// The user who acted.
#[derive(Serialize, ToSchema)]
struct Actor {
    /// `null`: no signed-in user.
    id: Option<i64>,
    name: String,
    via: Interface,
    /// The client's address; `null`: this machine.
    from: Option<String>,
}

/// A page of the audit trail, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct AuditList {
    entries: Vec<AuditEntry>,
    /// Rows of this page that cannot be read, and are not among the entries.
    unreadable: Vec<Unreadable>,
    /// Token of the previous page; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// Token of the next page; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// Filter of the audit trail.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct AuditParameters {
    /// Only entries of actors with this text in their name, case-insensitive.
    #[param(nullable = false, max_length = 150)]
    actor: Option<String>,
    /// Only entries about this user. Required for staff.
    #[param(nullable = false, minimum = 1)]
    user_id: Option<i64>,
    /// Only entries about this token.
    #[param(nullable = false, minimum = 1)]
    token_id: Option<i64>,
    /// Only entries with this action.
    #[param(nullable = false, inline)]
    act: Option<Action>,
    /// Only entries at this time or later.
    #[param(nullable = false, inline)]
    since: Option<Time>,
    /// Only entries before this time.
    #[param(nullable = false, inline)]
    until: Option<Time>,
    /// Page size; default: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another page with the same filters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

word! {
    /// File format.
    Writing of Format
}

// Repeats the fields of the list's filter: serde's `flatten` cannot be combined with `deny_unknown_fields`.
/// Filter and format of an export.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct ExportParameters {
    /// `csv` for spreadsheets, `jsonl` for programs.
    #[param(inline)]
    format: Writing,
    /// Only entries of actors with this text in their name, case-insensitive.
    #[param(nullable = false, max_length = 150)]
    actor: Option<String>,
    /// Only entries about this user. Required for staff.
    #[param(nullable = false, minimum = 1)]
    user_id: Option<i64>,
    /// Only entries about this token.
    #[param(nullable = false, minimum = 1)]
    token_id: Option<i64>,
    /// Only entries with this action.
    #[param(nullable = false, inline)]
    act: Option<Action>,
    /// Only entries at this time or later.
    #[param(nullable = false, inline)]
    since: Option<Time>,
    /// Only entries before this time.
    #[param(nullable = false, inline)]
    until: Option<Time>,
}

impl From<store::AuditEntry> for AuditEntry {
    fn from(entry: store::AuditEntry) -> AuditEntry {
        let actor = entry.actor;
        AuditEntry {
            id: entry.id,
            at: Time(entry.at),
            actor: Actor {
                id: actor.id.map(|id| id.0),
                name: actor.name,
                via: Interface(actor.via),
                from: actor.from.map(|from| from.to_string()),
            },
            act: Action(entry.act),
            user_id: entry.user.map(|id| id.0),
            user_name: entry.user_name,
            token_id: entry.token.map(|id| id.0),
            detail: entry.detail,
        }
    }
}

impl From<Listing<store::AuditEntry>> for AuditList {
    fn from(listing: Listing<store::AuditEntry>) -> AuditList {
        let [previous_page_token, next_page_token] = [&listing.previous, &listing.next].map(page_token);
        AuditList {
            entries: listing.entries.into_iter().map(AuditEntry::from).collect(),
            unreadable: listing.unreadable.into_iter().map(Unreadable::from).collect(),
            previous_page_token,
            next_page_token,
        }
    }
}

impl TryFrom<AuditParameters> for AuditQuery {
    type Error = Problem;

    fn try_from(asked: AuditParameters) -> Result<AuditQuery, Problem> {
        let (limit, position) = part(asked.limit, asked.page_token.as_deref())?;
        Ok(AuditQuery {
            actor: bounded("actor", asked.actor, MAX_ACTOR)?,
            user: id("user_id", asked.user_id)?.map(SubjectId),
            token: id("token_id", asked.token_id)?.map(TokenId),
            act: asked.act.map(|Action(act)| act),
            since: asked.since.map(|Time(at)| at),
            until: asked.until.map(|Time(at)| at),
            position,
            limit,
            ..AuditQuery::default()
        })
    }
}

impl ExportParameters {
    /// The query from its first entry, and the format.
    pub(in crate::admin::api) fn read(self) -> Result<(AuditQuery, Format), Problem> {
        let ExportParameters { format: Writing(format), actor, user_id, token_id, act, since, until } = self;
        let list = AuditParameters { actor, user_id, token_id, act, since, until, limit: None, page_token: None };
        Ok((list.try_into()?, format))
    }
}
