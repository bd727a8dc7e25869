//! Forms that arrive after their sign-in has ended.
//!
//! The response is a sign-in form that keeps what was typed, except passwords. It is sent to the path of the first
//! form: a right password opens a new sign-in, and the form is handled as if it had arrived with it. Other sites cannot
//! send such a form (`guard`), and its secret is that of the sign-in form, which is in a cookie.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use askama::Template;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::fields::Fields;
use super::operations::{Caller, OperationError};
use super::visit::{self, COOKIE, CSRF_FIELD, OWN_PASSWORD};
use super::{Application, reply};
use crate::auth::CsrfSecret;
use crate::login::Login;
use crate::store::{Password, Via};
use crate::token::TokenKey;

/// Cookie with the CSRF secret of the sign-in form: before the sign-in there is no other secret.
const FORM_COOKIE: &str = "__Host-tokengate-admin-form";

/// The fields of the new sign-in; no other form has fields of these names.
const USERNAME: &str = "again_username";
const PASSWORD: &str = "again_password";
const SECRET: &str = "again_csrf";

/// Fields that are not kept, with their labels where they have to be typed again.
const PASSWORDS: [(&str, &str); 2] = [("password", "New password"), ("password_again", "Repeat new password")];

/// The reason, at the first time.
const ENDED: &str = "Your session ended before the form arrived. Sign in to send it; nothing has been changed yet.";

const REFUSED: &str = "Please enter the username and password of an active staff account. Both are case-sensitive.";

/// Shown if the browser has no secret, or another one.
pub(super) const EXPIRED_FORM: &str = "This form has expired. Please sign in again; the browser has to accept cookies.";

/// A sign-in that was opened just now.
pub(super) struct Opened {
    pub caller: Caller,
    /// The value of the cookie.
    pub key: TokenKey,
    /// The header that sets it.
    pub cookie: HeaderValue,
}

/// A cookie that the response to this request sets.
#[derive(Clone, Default)]
pub(super) struct NewCookie(Arc<OnceLock<HeaderValue>>);

#[derive(Template)]
#[template(path = "sign_in_again.html")]
struct Page<'a> {
    csrf: String,
    path: &'a str,
    name: &'a str,
    problem: String,
    kept: Vec<(&'a str, &'a str)>,
    retyped: Vec<(&'static str, &'static str)>,
}

impl NewCookie {
    /// Sets the cookie of the response.
    fn note(extensions: &Extensions, cookie: HeaderValue) {
        if let Some(slot) = extensions.get::<NewCookie>() {
            // Set once: a request opens one sign-in.
            let _ = slot.0.set(cookie);
        }
    }

    /// Adds the cookie to the response.
    pub(super) fn add_to(&self, response: &mut Response) {
        if let Some(cookie) = self.0.get() {
            response.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
    }
}

/// Signs in with the fields of this form, if it has them. Otherwise, and if that fails, the response asks for them.
///
/// `name` is the user of a sign-in that the form does not belong to.
pub(super) async fn sign_in_again(
    app: &Application,
    parts: &Parts,
    fields: &Fields,
    name: &str,
) -> Result<Opened, Response> {
    let secret = FormSecret::of(parts);
    let ask = |name: &str, problem: String, status| {
        let path = parts.uri.path();
        let is_kept = |field: &str| {
            ![CSRF_FIELD, OWN_PASSWORD, USERNAME, PASSWORD, SECRET].contains(&field)
                && PASSWORDS.iter().all(|(password, _)| *password != field)
        };
        let kept = fields.pairs().filter(|(field, _)| is_kept(field)).collect();
        let retyped = PASSWORDS.into_iter().filter(|(field, _)| fields.all(field).any(|typed| !typed.is_empty()));
        let retyped = retyped.collect();
        secret.page(status, |csrf| Page { csrf, path, name, problem, kept, retyped })
    };
    let Some(typed) = fields.all(USERNAME).next() else {
        return Err(ask(name, ENDED.to_owned(), StatusCode::FORBIDDEN));
    };
    if !secret.is_shown_by(fields.get(SECRET)) {
        return Err(ask(typed, EXPIRED_FORM.to_owned(), StatusCode::FORBIDDEN));
    }
    match sign_in(app, typed, fields.password(PASSWORD), visit::client(parts)).await {
        Ok(opened) => {
            // As at each sign-in, the former one ends.
            visit::shown(&parts.headers).map(|former| app.sign_ins.end(former.digest()));
            NewCookie::note(&parts.extensions, opened.cookie.clone());
            Ok(opened)
        }
        Err(error) => Err(reply::told(&error, ask(typed, refused(&error), reply::status_of(&error)))),
    }
}

/// Why a sign-in failed.
pub(super) fn refused(error: &OperationError) -> String {
    if matches!(error, OperationError::WrongPassword) { REFUSED.to_owned() } else { reply::words(error) }
}

/// Signs a user in.
pub(super) async fn sign_in(
    app: &Application,
    name: &str,
    password: Option<Password>,
    from: IpAddr,
) -> Result<Opened, OperationError> {
    let password = password.ok_or(OperationError::WrongPassword)?;
    let login = Login { name: name.to_owned(), password, from };
    let (caller, mark) = app.operations.sign_in(login, Via::Admin).await?;
    let key = app.sign_ins.open(caller.user.account.id, mark, app.operations.clock().now());
    let key = key.map_err(|_| OperationError::Unavailable)?;
    let age = app.settings.session_ttl.as_secs();
    let cookie = format!("{COOKIE}={}; Max-Age={age}; Path=/; Secure; HttpOnly; SameSite=Strict", key.expose());
    let cookie = HeaderValue::try_from(cookie).map_err(|_| OperationError::Unavailable)?;
    Ok(Opened { caller, key, cookie })
}

/// The secret of the sign-in forms of a browser.
pub(super) struct FormSecret(Option<CsrfSecret>);

impl FormSecret {
    pub(super) fn of(parts: &Parts) -> FormSecret {
        FormSecret(CsrfSecret::of_cookie(&parts.headers, FORM_COOKIE))
    }

    pub(super) fn is_shown_by(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|secret| secret.is_shown_by(text))
    }

    /// A page with the masked secret, for a browser that keeps the secret, or gets its first one.
    pub(super) fn page<T: Template>(&self, status: StatusCode, page: impl FnOnce(String) -> T) -> Response {
        let secret = self.0.clone().map_or_else(CsrfSecret::draw, Ok);
        let Ok((secret, csrf)) = secret.and_then(|secret| secret.masked().map(|csrf| (secret, csrf))) else {
            return reply::failed(OperationError::Unavailable);
        };
        let mut response = reply::page(status, &page(csrf));
        let cookie = format!("{FORM_COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", secret.expose());
        // Letters and digits: a field can hold them.
        response.headers_mut().extend(HeaderValue::try_from(cookie).map(|cookie| (header::SET_COOKIE, cookie)));
        response
    }
}
