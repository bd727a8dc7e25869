//! Changes the name, the note, the expiry, the scopes and the limits of a token.
//!
//! The last three can extend what the token permits, so the caller's own password is required.

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::token_add::{DAYS, after_days, read_scopes};
use super::token_limits::LimitFields;
use super::{Answer, Id, status_of, text, token_limits, told};
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::store::{End, LimitChanges, Terms, TokenDetails, TokenKind, TokenLimits};
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
    name: &'a str,
    note: &'a str,
    limits: LimitFields<'a>,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    let token = visit.acting().token(TokenId(id)).await?;
    let shell = Shell::of(&visit, Section::Tokens);
    let scopes = token.record.scopes.to_string();
    Ok(page(
        StatusCode::OK,
        &Page {
            shell,
            token: &token,
            scopes: &scopes,
            ends: "",
            name: &token.name,
            note: &token.note,
            limits: LimitFields::of(&TokenLimits::of(&token.record.restrictions)),
        },
    ))
}

pub(in crate::admin) async fn set(Id(id): Id, sent: Sent) -> Answer {
    let Sent { visit, fields } = &sent;
    let token = visit.acting().token(TokenId(id)).await?;
    match change(&sent, &token).await {
        Ok(true) => Ok(visit.done(&format!("/tokens/{id}"), "The token was changed.")),
        Ok(false) => Ok(visit.done(&format!("/tokens/{id}"), "Nothing was changed.")),
        Err(error) if error.is_of_form() => {
            let shell = Shell::failing(visit, Section::Tokens, &error);
            let [scopes, ends, name, note] = ["scopes", "ends", "name", "note"].map(|name| fields.get(name));
            let limits = LimitFields::sent(fields);
            let form = page(status_of(&error), &Page { shell, token: &token, scopes, ends, name, note, limits });
            Ok(told(&error, form))
        }
        Err(error) => Err(error.into()),
    }
}

async fn change(sent: &Sent, token: &TokenDetails) -> Result<bool, OperationError> {
    let Sent { visit, fields } = sent;
    let scopes = Some(read_scopes(fields.get("scopes"))?);
    let end = match fields.get("ends") {
        "" => None,
        NEVER => Some(End::Never),
        days => Some(End::At(after_days(days, visit.now())?)),
    };
    // A form that was opened before an update of the gateway has no such fields.
    let limits = if fields.is_ticked("limits") { token_limits::read(fields)?.into() } else { LimitChanges::default() };
    sent.confirm_lately().await?;
    let name = fields.all("name").next().map(|name| name.trim().to_owned());
    let name = name.filter(|_| token.kind == TokenKind::Named);
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(OperationError::InvalidField("name", "a named token needs a name".to_owned()));
    }
    let note = fields.all("note").next();
    let note = note.map(|note| note.split_whitespace().collect::<Vec<_>>().join(" "));
    visit.acting().set_terms(token.record.id, &Terms { end, scopes, name, note, limits, ..Terms::default() }).await
}
