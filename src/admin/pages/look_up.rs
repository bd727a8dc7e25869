//! Finds the owners of leaked keys. The pasted text is neither shown again nor stored.

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::{Answer, status_of, text};
use crate::admin::operations::{Found, OperationError};
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
    let (status, shell, found) = match visit.acting().look_up(fields.get("pasted")).await {
        Ok(found) => (StatusCode::OK, Shell::of(&visit, Section::LookUp), Some(found)),
        Err(error @ OperationError::NotAllowed(_)) => {
            (status_of(&error), Shell::failing(&visit, Section::LookUp, &error), None)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(page(status, &Page { shell, found, now: visit.now() }))
}
