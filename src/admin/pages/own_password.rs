//! Staff and superusers change their own password.

use askama::Template;
use axum::http::{StatusCode, header};

use super::shell::{Section, Shell, page};
use super::{Answer, status_of, told, users};
use crate::admin::again;
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::store::{MIN_PASSWORD, Password};

#[derive(Template)]
#[template(path = "own_password.html")]
struct Page {
    shell: Shell,
    revokes: bool,
}

pub(in crate::admin) async fn show(visit: Visit) -> Answer {
    let (shell, revokes) = (Shell::of(&visit, Section::None), visit.app.tokens.revoke_on_password_change);
    Ok(page(StatusCode::OK, &Page { shell, revokes }))
}

pub(in crate::admin) async fn set(sent: Sent) -> Answer {
    let visit = &sent.visit;
    match change(&sent).await {
        Ok(password) => {
            // The new password ends all sign-ins, also this one.
            let name = &visit.caller.user.account.name;
            visit.sign_out();
            let opened = again::sign_in(&visit.app, name, Some(password), visit.caller.from).await?;
            let mut response = super::see_other("/");
            response.headers_mut().append(header::SET_COOKIE, opened.cookie);
            Ok(response)
        }
        Err(error @ OperationError::Unavailable) => Err(error.into()),
        Err(error) => {
            let shell = Shell::failing(visit, Section::None, &error);
            let revokes = visit.app.tokens.revoke_on_password_change;
            Ok(told(&error, page(status_of(&error), &Page { shell, revokes })))
        }
    }
}

/// Sets the password, and returns it again for the new sign-in.
async fn change(sent: &Sent) -> Result<Password, OperationError> {
    let (visit, fields) = (&sent.visit, &sent.fields);
    let missing = || OperationError::InvalidField("password", "enter a new password".to_owned());
    let password = users::new_password(fields)?.ok_or_else(missing)?;
    sent.confirm().await?;
    visit.acting().set_own_password(password).await?;
    fields.password("password").ok_or_else(missing)
}
