//! Issues a token with a new key in place of another one, whose key works on for a while.

use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::{Answer, Id, status_of, told};
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::store::{TokenDetails, TokenKind};
use crate::token::TokenId;

/// How long the old key can work on: hours, and words.
const OVERLAPS: [(&str, &str); 4] =
    [("24", "24 hours"), ("1", "1 hour"), ("168", "7 days"), ("0", "not at all: it is revoked at once")];

#[derive(Template)]
#[template(path = "token_rotate.html")]
struct Page<'a> {
    shell: Shell,
    token: &'a TokenDetails,
    overlap: &'a str,
}

impl Page<'_> {
    fn is_chosen(&self, hours: &str) -> bool {
        self.overlap == hours
    }
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    let token = visit.acting().token(TokenId(id)).await?;
    let shell = Shell::of(&visit, Section::Tokens);
    Ok(page(StatusCode::OK, &Page { shell, token: &token, overlap: "24" }))
}

pub(in crate::admin) async fn rotate(Id(id): Id, sent: Sent) -> Answer {
    let Sent { visit, fields } = &sent;
    let token = visit.acting().token(TokenId(id)).await?;
    let asked = fields.get("overlap");
    let done = async {
        let known = OVERLAPS.iter().find(|(hours, _)| *hours == asked).and_then(|(hours, _)| hours.parse::<u64>().ok());
        let hours = known.ok_or_else(|| {
            OperationError::InvalidField("overlap", "choose how long the old key works on".to_owned())
        })?;
        sent.confirm_lately().await?;
        visit.acting().rotate(TokenId(id), Duration::from_secs(hours * 3_600)).await.map(|issued| (issued, hours))
    };
    match done.await {
        Ok((issued, 0)) => {
            Ok(visit.show_key(issued.id, issued.key, "The token has a new key. The old key was revoked."))
        }
        Ok((issued, hours)) => {
            let text = format!("The token has a new key. The old key works for another {hours} hours at most.");
            Ok(visit.show_key(issued.id, issued.key, &text))
        }
        Err(error @ (OperationError::NotAllowed(_) | OperationError::Unavailable)) => Err(error.into()),
        Err(error) => {
            let shell = Shell::failing(visit, Section::Tokens, &error);
            Ok(told(&error, page(status_of(&error), &Page { shell, token: &token, overlap: asked })))
        }
    }
}
