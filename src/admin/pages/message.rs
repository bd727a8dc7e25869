//! Adds the navigation to message pages (`admin/reply.rs`), which are created before the user is known.

use std::sync::Arc;

use askama::Template;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;

use super::NAVIGATION;
use super::shell::{Section, Shell};
use crate::admin::Application;
use crate::admin::again::NewCookie;
use crate::admin::reply::{Message, page};
use crate::admin::visit::Visit;

#[derive(Template)]
#[template(path = "message_framed.html")]
struct Framed<'a> {
    shell: Shell,
    message: &'a Message,
}

/// Middleware around all pages: adds the navigation for a signed-in user.
pub(in crate::admin) async fn framed(State(app): State<Arc<Application>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let cookie = NewCookie::default();
    parts.extensions.insert(cookie.clone());
    let mut response = next.run(Request::from_parts(parts.clone(), body)).await;
    cookie.add_to(&mut response);
    let Some(message) = response.extensions_mut().remove::<Message>() else { return response };
    if response.status().is_server_error() {
        // Reading the user would query the store that is down.
        return response;
    }
    let Ok(visit) = Visit::from_request_parts(&mut parts, &app).await else { return response };
    let path = parts.uri.path();
    let part = NAVIGATION
        .iter()
        .find(|(_, of, ..)| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let shell = Shell::of(&visit, part.map_or(Section::None, |(section, ..)| *section));
    *response.body_mut() = page(response.status(), &Framed { shell, message: &message }).into_body();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}
