//! One token, and once after it was issued, its key.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::{Answer, Id, text};
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::store::{AuditEntry, AuditQuery, TokenDetails};
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
    now: Timestamp,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    let (id, acting) = (TokenId(id), visit.acting());
    let token = acting.token(id).await?;
    let user = Some(token.record.owner.id);
    let query = AuditQuery { user, token: Some(id), limit: ENTRIES, ..AuditQuery::default() };
    let entries = acting.audit(&query).await?.entries;
    let key = visit.take_key(id);
    let shell = Shell::of(&visit, Section::Tokens);
    let example = example(&visit);
    Ok(page(StatusCode::OK, &Page { shell, token, key, example, entries, now: visit.now() }))
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
