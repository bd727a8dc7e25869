//! One user: facts, tokens, history and actions.

use askama::Template;

use super::shell::{Section, Shell, page, refused};
use super::{Answer, Failure, Id, text};
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::rates::Remaining;
use crate::store::{AuditEntry, AuditQuery, TokenDetails, TokenQuery, User};
use crate::token::SubjectId;

/// Number of tokens and of audit entries on the page.
const TOKENS: u32 = 25;
const ENTRIES: u32 = 10;

#[derive(Template)]
#[template(path = "user.html")]
struct Page {
    shell: Shell,
    user: User,
    /// True if this is the caller.
    own: bool,
    tokens: Vec<TokenDetails>,
    more_tokens: bool,
    /// True if one of the tokens may still be valid.
    revocable: bool,
    entries: Vec<AuditEntry>,
    /// What the user has left of the quotas.
    remaining: Vec<Remaining>,
    now: Timestamp,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    match page_of(id, &visit, None).await {
        Err(Failure(OperationError::UnknownUser(id))) if visit.is_superuser() => what_was_done(id, &visit).await,
        answer => answer,
    }
}

/// Renders the page, with the error of an action that was refused.
async fn page_of(id: i64, visit: &Visit, failed: Option<OperationError>) -> Answer {
    let (id, acting) = (SubjectId(id), visit.acting());
    let (status, shell) = refused(visit, Section::Users, failed)?;
    let user = acting.user(id).await?;
    let remaining = acting.left_for_user(&user, &visit.app.monitor.quotas()).await?;
    let tokens = acting.tokens(&TokenQuery { owner: Some(id), limit: TOKENS, ..TokenQuery::default() }).await?;
    let entries = acting.audit(&AuditQuery { user: Some(id), limit: ENTRIES, ..AuditQuery::default() }).await?;
    let (now, more_tokens) = (visit.now(), tokens.next != crate::store::PagePosition::Start);
    Ok(page(
        status,
        &Page {
            shell,
            own: visit.caller.user.account.id == id,
            user,
            more_tokens,
            revocable: more_tokens || tokens.entries.iter().any(|token| text::can_be_revoked(token, &now)),
            tokens: tokens.entries,
            entries: entries.entries,
            remaining,
            now,
        },
    ))
}

/// Shown for an unknown id. If the user was deleted, it shows their history.
async fn what_was_done(id: SubjectId, visit: &Visit) -> Answer {
    let query = AuditQuery { user: Some(id), limit: 1, ..AuditQuery::default() };
    if visit.acting().audit(&query).await?.entries.is_empty() {
        return Err(OperationError::UnknownUser(id).into());
    }
    Ok(visit.done(&format!("/audit?user=%23{id}"), format!("User {id} was deleted. This is their history.")))
}

pub(in crate::admin) async fn revoke_all(Id(id): Id, sent: Sent) -> Answer {
    let (path, visit) = (format!("/users/{id}"), &sent.visit);
    let done = async {
        sent.confirm().await?;
        visit.acting().revoke_all(SubjectId(id)).await
    };
    match done.await {
        Ok(1) => Ok(visit.done(&path, "1 token was revoked.")),
        Ok(ended) => Ok(visit.done(&path, format!("{ended} tokens were revoked."))),
        Err(error) => page_of(id, visit, Some(error)).await,
    }
}

pub(in crate::admin) async fn set_active(Id(id): Id, Sent { visit, fields }: Sent) -> Answer {
    let (path, active) = (format!("/users/{id}"), fields.get("active") == "yes");
    match visit.acting().set_active(SubjectId(id), active).await {
        Ok(false) => Ok(visit.done(&path, "Nothing was changed.")),
        Ok(true) if active => Ok(visit.done(&path, "The user was activated. Their tokens work again.")),
        Ok(true) => Ok(visit.done(&path, "The user was deactivated. Their tokens and password no longer work.")),
        Err(error) => page_of(id, &visit, Some(error)).await,
    }
}
