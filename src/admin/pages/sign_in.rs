//! Signing in and out.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::super::Application;
use super::super::fields::Fields;
use super::super::visit::{self, COOKIE, Sent, Visit};
use super::{page, see_other, unavailable};
use crate::auth::{Login, LoginFailure};
use crate::store::{Act, Actor, Password, Via};

const REFUSED: &str = "Please enter the user name and password of an active staff account. Both are case-sensitive.";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page<'a> {
    next: &'a str,
    name: &'a str,
    problem: Option<String>,
}

pub(in crate::admin) async fn show(State(app): State<Arc<Application>>, request: Request) -> Response {
    let query = Fields::read(request.uri().query().unwrap_or_default().as_bytes());
    let next = own_path(query.get("next"));
    let (mut parts, _) = request.into_parts();
    match Visit::from_request_parts(&mut parts, &app).await {
        Ok(_) => see_other(next),
        Err(_) => page(StatusCode::OK, &Page { next, name: "", problem: None }),
    }
}

pub(in crate::admin) async fn submit(State(app): State<Arc<Application>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (from, former) = (visit::client(&parts), visit::shown(&parts.headers).map(|key| key.digest()));
    let fields = match visit::read_form(Request::from_parts(parts, body), &app).await {
        Ok(fields) => fields,
        Err(response) => return response,
    };
    let (next, name) = (own_path(fields.get("next")), fields.get("username"));
    match sign_in(&app, name, fields.password("password"), from).await {
        Ok(cookie) => {
            // A browser has one sign-in, and never one that somebody else had chosen for it.
            former.map(|former| app.sign_ins.end(former));
            let mut response = see_other(next);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        Err(failure) => {
            let (status, problem) = told(&failure);
            page(status, &Page { next, name, problem: Some(problem) })
        }
    }
}

pub(in crate::admin) async fn leave(Sent { visit, .. }: Sent) -> Response {
    visit.sign_out();
    if let Some(audit) = visit.app.store.acting_as(visit.actor()).audit
        && let Err(error) = audit.note(Act::SignedOut, &visit.user.account.name, None, "").await
    {
        return unavailable(&error);
    }
    let mut response = see_other("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(OVER));
    response
}

async fn sign_in(
    app: &Application,
    name: &str,
    password: Option<Password>,
    from: IpAddr,
) -> Result<HeaderValue, LoginFailure> {
    let password = password.ok_or(LoginFailure::Refused)?;
    let answer = app.issuer.sign_in(Login { name: name.to_owned(), password, from }).await;
    let actor = match &answer {
        Ok((user, _)) => visit::actor(user, from),
        Err(LoginFailure::Refused) => Actor { id: None, name: "admin".to_owned(), via: Via::Admin, from: Some(from) },
        Err(_) => return Err(answer.err().unwrap_or(LoginFailure::Unavailable)),
    };
    let act = if answer.is_ok() { Act::SignedIn } else { Act::LoginFailed };
    if let Some(audit) = app.store.acting_as(actor).audit {
        audit.note(act, name, None, "").await.map_err(|error| {
            tracing::error!(%error, "a sign-in cannot be written down");
            LoginFailure::Unavailable
        })?;
    }
    let (user, mark) = answer?;
    let key = app.sign_ins.open(user.account.id, mark, app.clock.now()).map_err(|_| LoginFailure::Unavailable)?;
    let age = app.settings.session_ttl.as_secs();
    let cookie = format!("{COOKIE}={}; Max-Age={age}; Path=/; Secure; HttpOnly; SameSite=Strict", key.expose());
    HeaderValue::try_from(cookie).map_err(|_| LoginFailure::Unavailable)
}

/// Ends the cookie.
const OVER: &str = "__Host-tokengate-admin=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict";

/// What is said of a failure.
pub(super) fn told(failure: &LoginFailure) -> (StatusCode, String) {
    match failure {
        LoginFailure::Refused => (StatusCode::FORBIDDEN, REFUSED.to_owned()),
        LoginFailure::Throttled(wait) => {
            let seconds = wait.as_secs().saturating_add(1);
            (StatusCode::TOO_MANY_REQUESTS, format!("Too many attempts. Please try again in {seconds} s."))
        }
        LoginFailure::Unavailable => {
            let text = "Passwords cannot be checked at the moment. Please try again.";
            (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
        }
        LoginFailure::Unfulfilled(why) => (StatusCode::BAD_REQUEST, why.clone()),
    }
}

/// A path of ours to go on to; the start for anything that could be read as another place.
fn own_path(next: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-?=&%+~".contains(&byte);
    let is_ours = next.starts_with('/') && !next.starts_with("//") && next.bytes().all(plain);
    if is_ours { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn a_sign_in_goes_on_to_own_pages_only() {
        for own in ["/", "/users", "/tokens?view=live&kind=named", "/users/7"] {
            assert_eq!(own_path(own), own);
        }
        for other in ["", "users", "//evil.example", "/\\evil.example", "https://evil.example/", "/\t/evil.example", "/a\r\nb"] {
            assert_eq!(own_path(other), "/", "{other:?}");
        }
    }
}
