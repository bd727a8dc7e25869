//! Configuration and status of the gateway.

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::{Answer, text};
use crate::admin::monitor::chart::Unit;
use crate::admin::monitor::status::{AcmeStatus, CertificateStatus, EndpointState, SharedCacheStatus};
use crate::admin::monitor::{Reloaded, Status};
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;

#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    shell: Shell,
    status: Status,
    now: Timestamp,
}

/// Style and word of the badge for a component that is up or down.
fn up(is_up: &bool) -> (&'static str, &'static str) {
    if *is_up { ("good", "Up") } else { ("bad", "Down") }
}

fn endpoint(state: &EndpointState) -> (&'static str, &'static str) {
    match state {
        EndpointState::Untried => ("off", "Unused"),
        EndpointState::Reachable => ("good", "Reachable"),
        EndpointState::Unreachable => ("bad", "Unreachable"),
        EndpointState::Ejected => ("bad", "Ejected"),
        EndpointState::Unhealthy => ("bad", "Unhealthy"),
    }
}

fn certificate(certificate: &CertificateStatus) -> (&'static str, String) {
    match &certificate.acme {
        Some(AcmeStatus { waiting: true, failure: None, .. }) => return ("warn", "Waiting for the CA".to_owned()),
        Some(AcmeStatus { waiting: true, failure: Some(_), .. }) => return ("bad", "Not issued".to_owned()),
        _ => {}
    }
    match certificate.days_left {
        ..0 => ("bad", "Expired".to_owned()),
        0 => ("bad", "Expires today".to_owned()),
        1 => ("warn", "1 day left".to_owned()),
        days => (if certificate.ends_soon { "warn" } else { "good" }, format!("{days} days left")),
    }
}

/// Hit rate of the shared cache.
fn found(shared: &SharedCacheStatus) -> String {
    shared.hit_rate.map_or("no lookups yet".to_owned(), |rate| format!("{} of tokens", Unit::Share.words(rate)))
}

/// Joins words, or returns `none` if there are none.
fn list(words: &[impl AsRef<str>], none: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

pub(in crate::admin) async fn show(visit: Visit) -> Answer {
    visit.caller.needs_superuser()?;
    let status = visit.app.monitor.status();
    Ok(page(StatusCode::OK, &Page { shell: Shell::of(&visit, Section::Status), status, now: visit.now() }))
}

pub(in crate::admin) async fn reload(Sent { visit, .. }: Sent) -> Answer {
    visit.caller.needs_superuser()?;
    let path = "/status";
    Ok(match visit.app.monitor.reload(&visit.caller.user.account.name).await {
        Ok(Reloaded { changes, .. }) if changes.is_empty() => {
            visit.done(path, "The configuration was reloaded. Nothing has changed.")
        }
        Ok(Reloaded { changes, .. }) => {
            visit.done(path, format!("The configuration was reloaded: {}.", changes.join("; ")))
        }
        Err(_) => visit.failed(path, "The configuration was not reloaded. The problems are listed below."),
    })
}
