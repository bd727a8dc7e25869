//! One token, and once after it was issued, its key.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::{Answer, Id, text};
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
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
    entries: Vec<AuditEntry>,
    /// The last 30 days, and whether the token was used on each.
    days: Vec<(Timestamp, bool)>,
    now: Timestamp,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    let (id, acting) = (TokenId(id), visit.acting());
    let token = acting.token(id).await?;
    let user = Some(token.record.owner.id);
    let query = AuditQuery { user, token: Some(id), limit: ENTRIES, ..AuditQuery::default() };
    let entries = acting.audit(&query).await?.entries;
    let used = acting.days_of_use(id).await?;
    let key = visit.take_key(id);
    let shell = Shell::of(&visit, Section::Tokens);
    let example = example(&visit);
    Ok(page(
        StatusCode::OK,
        &Page { shell, token, key, example, entries, days: days(visit.now(), &used), now: visit.now() },
    ))
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

pub(in crate::admin) async fn set_disabled(Id(id): Id, Sent { visit, fields }: Sent) -> Response {
    let (path, disabled) = (format!("/tokens/{id}"), fields.get("disabled") == "yes");
    let terms = Terms { disabled: Some(disabled), ..Terms::default() };
    match visit.acting().set_terms(TokenId(id), &terms).await {
        Ok(false) => visit.done(&path, "Nothing was changed."),
        Ok(true) if disabled => {
            visit.done(&path, "The token was disabled. It does not work until you enable it again.")
        }
        Ok(true) => visit.done(&path, "The token was enabled and works again."),
        Err(error) => visit.refused(&path, error),
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

pub(in crate::admin) async fn revoke(Id(id): Id, Sent { visit, .. }: Sent) -> Response {
    let path = format!("/tokens/{id}");
    match visit.acting().revoke(TokenId(id)).await {
        Ok(revocation) if revocation.was_live => visit.done(&path, "The token was revoked and no longer works."),
        Ok(_) => visit.done(&path, "The token was already revoked or expired."),
        Err(error) => visit.refused(&path, error),
    }
}
