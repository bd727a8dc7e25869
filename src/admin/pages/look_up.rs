//! What is this token? For keys that somebody found. What was pasted is never shown again and never written down.

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::{Answer, text};
use crate::admin::desk::Found;
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;

#[derive(Template)]
#[template(path = "look_up.html")]
struct Page {
    shell: Shell,
    found: Option<Found>,
    now: Timestamp,
}

pub(in crate::admin) async fn show(visit: Visit) -> Answer {
    let shell = Shell::of(&visit, Section::LookUp);
    Ok(page(StatusCode::OK, &Page { shell, found: None, now: visit.now() }))
}

pub(in crate::admin) async fn look_up(Sent { visit, fields }: Sent) -> Answer {
    let found = Some(visit.acting().look_up_key(fields.get("pasted")).await?);
    let shell = Shell::of(&visit, Section::LookUp);
    Ok(page(StatusCode::OK, &Page { shell, found, now: visit.now() }))
}
