//! Issues a token for a user; shows or resets the login token.
//!
//! Showing or creating a key requires the caller's own password, so that an unattended browser gives no access to keys.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::token_limits::LimitFields;
use super::{Answer, Id, status_of, text, token_limits, told};
use crate::admin::fields::Fields;
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::store::{Issued, NamedToken, User};
use crate::token::{ScopeSet, SubjectId};
use crate::units::HumanDuration;

/// The offered lifetimes, in days.
pub(super) const DAYS: [u64; 5] = [1, 7, 30, 90, 365];

#[derive(Template)]
#[template(path = "token_add.html")]
struct Page<'a> {
    shell: Shell,
    user: User,
    fields: &'a Fields,
    /// The default expiry.
    default_end: String,
    recoverable: bool,
    limits: LimitFields<'a>,
}

pub(in crate::admin) async fn show(Id(id): Id, visit: Visit) -> Answer {
    let shell = Shell::of(&visit, Section::Users);
    add_page(id, &visit, shell, &Fields::read(b""), StatusCode::OK).await
}

async fn add_page(id: i64, visit: &Visit, shell: Shell, fields: &Fields, status: StatusCode) -> Answer {
    let user = visit.acting().user(SubjectId(id)).await?;
    let default_end = match visit.app.tokens.default_ttl {
        None => "Never".to_owned(),
        Some(span) => format!("After {} (the default)", HumanDuration(span)),
    };
    let (recoverable, limits) = (visit.app.tokens.recoverable, LimitFields::sent(fields));
    Ok(page(status, &Page { shell, user, fields, default_end, recoverable, limits }))
}

pub(in crate::admin) async fn add(Id(id): Id, sent: Sent) -> Answer {
    let Sent { visit, fields } = &sent;
    match issue(id, &sent).await {
        Ok(issued) => Ok(visit.show_key(issued.id, issued.key, "The token was issued.")),
        Err(error @ (OperationError::NotAllowed(_) | OperationError::UnknownUser(_) | OperationError::Unavailable)) => {
            Err(error.into())
        }
        Err(error) => {
            let shell = Shell::failing(visit, Section::Users, &error);
            Ok(told(&error, add_page(id, visit, shell, fields, status_of(&error)).await?))
        }
    }
}

async fn issue(id: i64, sent: &Sent) -> Result<Issued, OperationError> {
    let Sent { visit, fields } = sent;
    let scopes = read_scopes(fields.get("scopes"))?;
    let expires = match fields.get("ends") {
        "" => None,
        days => Some(after_days(days, visit.now())?),
    };
    let limits = token_limits::read(fields)?;
    // Checks the permission before the password: without the permission, no password is needed.
    visit.acting().user(SubjectId(id)).await?;
    sent.confirm_lately().await?;
    let order = NamedToken { name: fields.get("name").to_owned(), expires, scopes, limits };
    visit.acting().issue_named(SubjectId(id), &order).await
}

pub(super) fn read_scopes(text: &str) -> Result<ScopeSet, OperationError> {
    ScopeSet::parse(text).map_err(|error| OperationError::InvalidField("scopes", error.to_string()))
}

/// A time this many days from now.
pub(super) fn after_days(days: &str, now: Timestamp) -> Result<Timestamp, OperationError> {
    let days = days.parse().map_err(|_| OperationError::InvalidField("expires", "not a number of days".to_owned()))?;
    Ok(now.after(text::days(days)))
}

pub(in crate::admin) async fn login_token(Id(id): Id, sent: Sent) -> Answer {
    match login_key(&sent, SubjectId(id)).await {
        Ok(response) => Ok(response),
        Err(error) if error.is_of_form() => {
            let visit = &sent.visit;
            let shell = Shell::failing(visit, Section::Users, &error).in_form("own-login");
            Ok(told(&error, add_page(id, visit, shell, &Fields::read(b""), status_of(&error)).await?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows or resets the login token of this user, as the form says, and redirects to its page.
pub(super) async fn login_key(sent: &Sent, owner: SubjectId) -> Result<Response, OperationError> {
    let (visit, reset) = (&sent.visit, sent.fields.get("action") == "reset");
    visit.acting().user(owner).await?;
    sent.confirm_lately().await?;
    let issued = match reset {
        true => visit.acting().reset_login(owner).await?,
        false => visit.acting().login_token(owner).await?,
    };
    let text = match (reset, issued.fresh) {
        (true, _) => "The login token was reset. The old one no longer works.",
        (false, true) => "The login token was issued.",
        (false, false) => "This is the login token.",
    };
    Ok(visit.show_key(issued.id, issued.key, text))
}
