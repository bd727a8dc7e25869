//! One token, and once after it was issued, its key.

use askama::Template;

use super::shell::{Section, Shell, page, refused};
use super::{Answer, Id, text, token_add};
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::limits::Tallied;
use crate::rates::Remaining;
use crate::store::{AuditEntry, AuditQuery, Terms, TokenDetails, TokenKind};
use crate::token::{TokenId, TokenKey};

const ENTRIES: u32 = 10;

#[derive(Template)]
#[template(path = "token.html")]
struct Page {
    shell: Shell,
    token: TokenDetails,
    /// The key, if this page shows it.
    key: Option<TokenKey>,
    /// A command that tries the key: the parts before and after the key.
    example: (String, String),
    /// Whether keys can be shown again.
    recoverable: bool,
    entries: Vec<AuditEntry>,
    /// The last 30 days, and whether the token was used on each.
    days: Vec<(Timestamp, bool)>,
    /// The requests that rates have refused.
    refused: Option<Tallied>,
    /// What it has left of the quotas.
    remaining: Vec<Remaining>,
    now: Timestamp,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    page_of(id, &visit, None).await
}

/// Renders the page, with the error of an action that was refused.
async fn page_of(id: i64, visit: &Visit, failed: Option<OperationError>) -> Answer {
    let (id, acting) = (TokenId(id), visit.acting());
    let (status, shell) = refused(visit, Section::Tokens, failed)?;
    let token = acting.token(id).await?;
    let user = Some(token.record.owner.id);
    let query = AuditQuery { user, token: Some(id), limit: ENTRIES, ..AuditQuery::default() };
    let entries = acting.audit(&query).await?.entries;
    let used = acting.days_of_use(id).await?;
    let remaining = acting.left_for_token(&token, &visit.app.monitor.quotas()).await?;
    let key = visit.take_key(id);
    let (recoverable, refused) = (visit.app.tokens.recoverable, visit.app.monitor.refused(id));
    let (example, days, now) = (example(visit), days(visit.now(), &used), visit.now());
    Ok(page(status, &Page { shell, token, key, example, recoverable, entries, days, refused, remaining, now }))
}

impl Page {
    fn days_used(&self) -> usize {
        self.days.iter().filter(|(_, used)| *used).count()
    }
}

/// The last 30 days, with those on which the token was used.
fn days(now: Timestamp, used: &[Timestamp]) -> Vec<(Timestamp, bool)> {
    const DAY: i64 = 86_400_000_000;
    let today = now.as_micros().div_euclid(DAY);
    let day = |back: i64| Timestamp::from_micros((today - back) * DAY);
    (0..30).rev().map(day).map(|day| (day, used.contains(&day))).collect()
}

pub(in crate::admin) async fn set_disabled(Id(id): Id, Sent { visit, fields }: Sent) -> Answer {
    let (path, disabled) = (format!("/tokens/{id}"), fields.get("disabled") == "yes");
    let terms = Terms { disabled: Some(disabled), ..Terms::default() };
    match visit.acting().set_terms(TokenId(id), &terms).await {
        Ok(false) => Ok(visit.done(&path, "Nothing was changed.")),
        Ok(true) if disabled => {
            Ok(visit.done(&path, "The token was disabled. It does not work until you enable it again."))
        }
        Ok(true) => Ok(visit.done(&path, "The token was enabled and works again.")),
        Err(error) => page_of(id, &visit, Some(error)).await,
    }
}

/// Shows the key of a login token again, or resets it.
pub(in crate::admin) async fn login(Id(id): Id, sent: Sent) -> Answer {
    let visit = &sent.visit;
    let token = visit.acting().token(TokenId(id)).await?;
    if token.kind != TokenKind::Login || !text::can_be_revoked(&token, &visit.now()) {
        let error = OperationError::Conflict("only the key of a live login token can be shown or reset".to_owned());
        return page_of(id, visit, Some(error)).await;
    }
    match token_add::login_key(&sent, token.record.owner.id).await {
        Ok(response) => Ok(response),
        Err(error) => page_of(id, visit, Some(error)).await,
    }
}

fn example(visit: &Visit) -> (String, String) {
    let app = &visit.app;
    let scheme = app.tokens.schemes.first().map_or("", String::as_str);
    let authority = app.settings.authority.as_ref().map(|file| {
        let file = file.display().to_string();
        let is_plain = file.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
        if is_plain { format!("--cacert {file} ") } else { format!("--cacert '{}' ", file.replace('\'', r"'\''")) }
    });
    (format!("curl {}-H 'Authorization: {scheme} ", authority.unwrap_or_default()), format!("' {}", app.example))
}

pub(in crate::admin) async fn revoke(Id(id): Id, Sent { visit, .. }: Sent) -> Answer {
    let path = format!("/tokens/{id}");
    match visit.acting().revoke(TokenId(id)).await {
        Ok(revocation) if revocation.was_live => Ok(visit.done(&path, "The token was revoked and no longer works.")),
        Ok(_) => Ok(visit.done(&path, "The token was already revoked or expired.")),
        Err(error) => page_of(id, &visit, Some(error)).await,
    }
}
