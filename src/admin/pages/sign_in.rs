//! Sign-in and sign-out.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::super::Application;
use super::super::again::{EXPIRED_FORM, FormSecret, Opened, refused, sign_in};
use super::super::fields::Fields;
use super::super::operations::OperationError;
use super::super::reply::message;
use super::super::visit::{self, CSRF_FIELD, Visit};
use super::{see_other, status_of, told};
use crate::login::{Login, next};
use crate::store::Act;

const FIRST_START: &str = "There is no superuser with a password yet. Create one at the command line of this machine: \
                           tokengate user create NAME --superuser";

const SIGN_IN_TO_CONTINUE: &str = "Sign in to continue. Your session has ended, or you have not signed in yet.";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page<'a> {
    csrf: String,
    next: &'a str,
    name: &'a str,
    problem: Option<String>,
    /// Whether a new password has to be entered as well.
    must_change: bool,
    /// Whether the problem is about the new password.
    is_of_new: bool,
}

pub(in crate::admin) async fn show(State(app): State<Arc<Application>>, request: Request) -> Response {
    let query = Fields::read(request.uri().query().unwrap_or_default().as_bytes());
    let next = &own_path(query.get("next"));
    let (mut parts, _) = request.into_parts();
    let secret = FormSecret::of(&parts);
    match Visit::from_request_parts(&mut parts, &app).await {
        Ok(_) => see_other(next),
        Err(_) => {
            let first = app.operations.lacks_superuser().await.then(|| FIRST_START.to_owned());
            let ended = (next != "/").then(|| SIGN_IN_TO_CONTINUE.to_owned());
            form(&secret, StatusCode::OK, next, "", first.or(ended))
        }
    }
}

pub(in crate::admin) async fn submit(State(app): State<Arc<Application>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (from, former) = (visit::client(&parts), visit::shown(&parts.headers).map(|key| key.digest()));
    let secret = FormSecret::of(&parts);
    let fields = match visit::read_form(Request::from_parts(parts, body), &app).await {
        Ok(fields) => fields,
        Err(response) => return response,
    };
    // Names are compared exactly as typed.
    let (next, name) = (&own_path(fields.get("next")), fields.all("username").next().unwrap_or_default());
    if !secret.is_shown_by(fields.get(CSRF_FIELD)) {
        return form(&secret, StatusCode::FORBIDDEN, next, name, Some(EXPIRED_FORM.to_owned()));
    }
    let must_change =
        ["new_password", "new_password_again"].iter().any(|field| fields.all(field).any(|text| !text.is_empty()));
    let signed_in = if must_change {
        change_and_sign_in(&app, name, &fields, from).await
    } else {
        sign_in(&app, name, fields.password("password"), from).await
    };
    match signed_in {
        Ok(Opened { cookie, .. }) => {
            // Ends the old sign-in: a browser has one, and never one that an attacker planted (session fixation).
            former.map(|former| app.sign_ins.end(former));
            let mut response = see_other(next);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        Err(error) => {
            let must_change = must_change || matches!(error, OperationError::MustChange);
            let is_of_new = matches!(error, OperationError::MustChange) || error.field() == Some("new_password");
            let problem = Some(refused(&error));
            told(
                &error,
                secret.page(status_of(&error), |csrf| Page { csrf, next, name, problem, must_change, is_of_new }),
            )
        }
    }
}

/// The form for a browser that keeps this secret, or gets its first one.
fn form(secret: &FormSecret, status: StatusCode, next: &str, name: &str, problem: Option<String>) -> Response {
    secret.page(status, |csrf| Page { csrf, next, name, problem, must_change: false, is_of_new: false })
}

pub(in crate::admin) async fn leave(State(app): State<Arc<Application>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let visit = match Visit::from_request_parts(&mut parts, &app).await {
        Ok(visit) => visit,
        Err(response) => return response,
    };
    match visit::read_form(Request::from_parts(parts, body), &app).await {
        Ok(fields) if visit.wrote(&fields) => {}
        Ok(_) => {
            let text = "The form belongs to another sign-in. Go back, reload the page and try again.";
            return message(StatusCode::FORBIDDEN, "Forbidden", text);
        }
        Err(response) => return response,
    }
    visit.sign_out();
    // The sign-out succeeds even if the audit entry cannot be written.
    if let Err(error) = visit.acting().note(Act::SignedOut).await {
        tracing::warn!(code = "audit_failed", %error, "a sign-out is missing in the audit trail");
    }
    let mut response = see_other("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(REMOVED_COOKIE));
    response
}

/// Changes a password that has to be changed, and signs in with the new one.
async fn change_and_sign_in(
    app: &Application,
    name: &str,
    fields: &Fields,
    from: IpAddr,
) -> Result<Opened, OperationError> {
    let typed = |name| fields.all(name).next().unwrap_or_default();
    if typed("new_password") != typed("new_password_again") {
        let text = "the new passwords do not match; enter them again".to_owned();
        return Err(OperationError::InvalidField("new_password", text));
    }
    let password = fields.password("password").ok_or(OperationError::WrongPassword)?;
    let missing = || OperationError::InvalidField("new_password", "enter a new password".to_owned());
    let new = fields.password("new_password").ok_or_else(missing)?;
    app.operations.change_password(Login { name: name.to_owned(), password, from }, new).await?;
    sign_in(app, name, fields.password("new_password"), from).await
}

/// Removes the cookie.
const REMOVED_COOKIE: &str = "__Host-tokengate-admin=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict";

/// Returns a path of this application; anything that could lead elsewhere becomes the home page.
fn own_path(next: &str) -> String {
    next::safe_path(next).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn a_sign_in_redirects_only_to_own_pages() {
        for own in ["/", "/users", "/tokens?view=live&kind=named", "/users/7"] {
            assert_eq!(own_path(own), own);
        }
        for other in
            ["", "users", "//evil.example", "/\\evil.example", "https://evil.example/", "/\t/evil.example", "/a\r\nb"]
        {
            assert_eq!(own_path(other), "/", "{other:?}");
        }
    }
}
