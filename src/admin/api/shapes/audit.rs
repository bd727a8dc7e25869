//! The audit trail.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::word::word;
use super::{Time, bounded, id, page_token, part};
use crate::admin::api::problem::Problem;
use crate::admin::export::Format;
use crate::store::{self, Act, AuditQuery, Listing, Via};
use crate::token::{SubjectId, TokenId};

/// Longest name of an actor.
const LONGEST_ACTOR: usize = 150;

word! {
    /// What was done.
    Deed of Act
}

word! {
    /// By which door it came.
    Door of Via
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
struct AuditEntry {
    /// Its number; later entries have higher ones.
    #[schema(minimum = 1)]
    id: i64,
    at: Time,
    actor: Actor,
    act: Deed,
    /// To which user.
    user_id: Option<i64>,
    /// The name that this user had then; empty if there was none.
    user_name: String,
    /// To which token.
    token_id: Option<i64>,
    /// More of it, in words; may be empty.
    detail: String,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
struct Actor {
    /// `null`: no user.
    id: Option<i64>,
    name: String,
    via: Door,
    /// The address of the client; `null`: from the machine itself.
    from: Option<String>,
}

/// A part of the audit trail, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct AuditList {
    entries: Vec<AuditEntry>,
    /// What to ask for the part before with; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// What to ask for the next part with; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// Which entries are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct AuditParameters {
    /// Only those of the actor with exactly this name.
    #[param(nullable = false, max_length = 150)]
    actor: Option<String>,
    /// Only those about this user. Staff has to name one.
    #[param(nullable = false, minimum = 1)]
    user_id: Option<i64>,
    /// Only those about this token.
    #[param(nullable = false, minimum = 1)]
    token_id: Option<i64>,
    /// Only these.
    #[param(nullable = false, inline)]
    act: Option<Deed>,
    /// Only those at this time or later.
    #[param(nullable = false, inline)]
    since: Option<Time>,
    /// Only those before this time.
    #[param(nullable = false, inline)]
    until: Option<Time>,
    /// Most entries; 50 if nothing is said.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another part, with the same other parameters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

word! {
    /// How a file is written.
    Writing of Format
}

// The filters of a list once more: fields that are flattened into others do not go with the refusal of unknown ones.
/// Which entries are exported, and how.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct ExportParameters {
    /// `csv` for spreadsheets, `jsonl` for programs.
    #[param(inline)]
    format: Writing,
    /// Only those of the actor with exactly this name.
    #[param(nullable = false, max_length = 150)]
    actor: Option<String>,
    /// Only those about this user. Staff has to name one.
    #[param(nullable = false, minimum = 1)]
    user_id: Option<i64>,
    /// Only those about this token.
    #[param(nullable = false, minimum = 1)]
    token_id: Option<i64>,
    /// Only these.
    #[param(nullable = false, inline)]
    act: Option<Deed>,
    /// Only those at this time or later.
    #[param(nullable = false, inline)]
    since: Option<Time>,
    /// Only those before this time.
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
                via: Door(actor.via),
                from: actor.from.map(|from| from.to_string()),
            },
            act: Deed(entry.act),
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
            previous_page_token,
            next_page_token,
        }
    }
}

impl TryFrom<AuditParameters> for AuditQuery {
    type Error = Problem;

    fn try_from(asked: AuditParameters) -> Result<AuditQuery, Problem> {
        let (limit, place) = part(asked.limit, asked.page_token.as_deref())?;
        Ok(AuditQuery {
            actor: bounded("actor", asked.actor, LONGEST_ACTOR)?,
            user: id("user_id", asked.user_id)?.map(SubjectId),
            token: id("token_id", asked.token_id)?.map(TokenId),
            act: asked.act.map(|Deed(act)| act),
            since: asked.since.map(|Time(at)| at),
            until: asked.until.map(|Time(at)| at),
            place,
            limit,
            ..AuditQuery::default()
        })
    }
}

impl ExportParameters {
    /// What is asked for, from the beginning, and how it is written.
    pub(in crate::admin::api) fn read(self) -> Result<(AuditQuery, Format), Problem> {
        let ExportParameters { format: Writing(format), actor, user_id, token_id, act, since, until } = self;
        let list = AuditParameters { actor, user_id, token_id, act, since, until, limit: None, page_token: None };
        Ok((list.try_into()?, format))
    }
}
