//! Changes the expiry and the scopes of a token.
//!
//! Either can extend what the token permits, so the caller's own password is required.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::token_add::{DAYS, after_days, read_scopes};
use super::{Answer, Id, status_of, text, told, words};
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::store::{End, Terms, TokenDetails};
use crate::token::TokenId;

/// The value of the expiry field for a token that does not expire.
const NEVER: &str = "never";

#[derive(Template)]
#[template(path = "token_terms.html")]
struct Page<'a> {
    shell: Shell,
    token: &'a TokenDetails,
    scopes: &'a str,
    ends: &'a str,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    let token = visit.acting().token(TokenId(id)).await?;
    let shell = Shell::of(&visit, Section::Tokens);
    Ok(terms_page(shell, StatusCode::OK, &token, &token.record.scopes.to_string(), ""))
}

fn terms_page(shell: Shell, status: StatusCode, token: &TokenDetails, scopes: &str, ends: &str) -> Response {
    page(status, &Page { shell, token, scopes, ends })
}

pub(in crate::admin) async fn set(Id(id): Id, sent: Sent) -> Answer {
    let Sent { visit, fields } = &sent;
    let token = visit.acting().token(TokenId(id)).await?;
    match change(&sent, &token).await {
        Ok(()) => Ok(visit.done(&format!("/tokens/{id}"), "The token was changed.")),
        Err(error @ (OperationError::Invalid(_) | OperationError::WrongPassword | OperationError::Throttled(_))) => {
            let shell = Shell::failing(visit, Section::Tokens, words(&error));
            let form = terms_page(shell, status_of(&error), &token, fields.get("scopes"), fields.get("ends"));
            Ok(told(&error, form))
        }
        Err(error) => Err(error.into()),
    }
}

async fn change(sent: &Sent, token: &TokenDetails) -> Result<(), OperationError> {
    let Sent { visit, fields } = sent;
    let scopes = Some(read_scopes(fields.get("scopes"))?);
    let end = match fields.get("ends") {
        "" => None,
        NEVER => Some(End::Never),
        days => Some(End::At(after_days(days, visit.now())?)),
    };
    sent.confirm().await?;
    visit.acting().set_terms(token.record.id, &Terms { end, scopes }).await
}
