//! The traffic of the last minutes.
//!
//! A script reloads a part of the page every two seconds. That part is equal for all users and is rendered once per
//! sample.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::shell::{Section, Shell, page};
use super::{lists, text};
use crate::admin::monitor::chart::{Chart, Unit};
use crate::admin::monitor::{Form, Monitor, Subject, Traffic};
use crate::admin::operations::OperationError;
use crate::admin::reply::message;
use crate::admin::visit::Visit;
use crate::telemetry::history::Reach;

const OTHER_PERIOD: &str = "there is no such period; choose 5, 15 or 60 minutes below";

const NO_SUBJECT: &str = "There is no route or upstream of this name. It may have been removed from the configuration.";

/// Maximum number of routes in the table.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "traffic.html")]
struct Page<'a> {
    shell: Shell,
    ask: Ask<'a>,
    live: Arc<str>,
}

/// The part that is reloaded.
#[derive(Template)]
#[template(path = "traffic_live.html")]
struct Live {
    charts: Vec<Chart>,
    traffic: Traffic,
    reach: Reach,
    /// Whether it shows all requests.
    is_all: bool,
    /// Number of routes with requests that are not in the table.
    more: usize,
}

/// The requested view.
struct Ask<'a> {
    subject: Subject,
    reach: Reach,
    /// Whether the address names another period.
    is_other_period: bool,
    route: &'a str,
    upstream: &'a str,
}

impl<'a> Ask<'a> {
    /// `None`: there is no such route or upstream.
    fn of(visit: &'a Visit, monitor: &Monitor) -> Option<Ask<'a>> {
        let (route, upstream) = (visit.query.get("route"), visit.query.get("upstream"));
        let subject = match (route, upstream) {
            ("", "") => Subject::All,
            ("", upstream) => monitor.upstream(upstream)?,
            (route, _) => monitor.route(route)?,
        };
        let minutes = visit.query.get("minutes");
        let reach = Reach::ALL.into_iter().find(|reach| reach.minutes().to_string() == minutes);
        let is_other_period = !minutes.is_empty() && reach.is_none();
        Some(Ask { subject, reach: reach.unwrap_or(Reach::Minutes15), is_other_period, route, upstream })
    }

    /// The same view for another period.
    fn with_reach(&self, reach: &Reach) -> String {
        let minutes = reach.minutes();
        match (self.route, self.upstream) {
            ("", "") => format!("minutes={minutes}"),
            ("", upstream) => format!("upstream={}&minutes={minutes}", text::escaped(upstream)),
            (route, _) => format!("route={}&minutes={minutes}", text::escaped(route)),
        }
    }

    fn is_reach(&self, reach: &Reach) -> bool {
        self.reach == *reach
    }
}

impl Live {
    fn draw(mut traffic: Traffic, subject: &Subject, reach: Reach) -> Result<String, askama::Error> {
        let charts = traffic.charts(subject);
        let more = traffic.routes.len().saturating_sub(ROWS);
        traffic.routes.truncate(ROWS);
        Live { charts, traffic, reach, is_all: *subject == Subject::All, more }.render()
    }
}

/// Formats a rate.
fn rate(per_second: &f64) -> String {
    Unit::PerSecond.words(*per_second)
}

/// Formats a percentage.
fn percent(share: &Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| Unit::Share.words(share))
}

/// Formats a duration.
fn seconds(time: &Option<f64>) -> String {
    time.map_or("–".to_owned(), |time| Unit::Seconds.words(time))
}

pub(in crate::admin) async fn show(visit: Visit) -> Response {
    let monitor = &visit.app.monitor;
    let Some(ask) = Ask::of(&visit, monitor) else { return unknown() };
    match live(monitor, &ask).await {
        Ok(live) => {
            let wrong = ask.is_other_period.then(|| OperationError::Invalid(OTHER_PERIOD.to_owned()));
            let (status, shell) = lists::frame(&visit, Section::Traffic, wrong.as_ref());
            page(status, &Page { shell, ask, live })
        }
        Err(response) => response,
    }
}

pub(in crate::admin) async fn show_live(visit: Visit) -> Response {
    let monitor = &visit.app.monitor;
    let Some(ask) = Ask::of(&visit, monitor) else { return unknown() };
    match live(monitor, &ask).await {
        Ok(live) => Html(live.to_string()).into_response(),
        Err(response) => response,
    }
}

fn unknown() -> Response {
    message(StatusCode::NOT_FOUND, "Not found", NO_SUBJECT)
}

async fn live(monitor: &Monitor, ask: &Ask<'_>) -> Result<Arc<str>, Response> {
    let Ask { subject, reach, .. } = ask;
    let reach = *reach;
    monitor.shown(Form::Page, subject, reach, |traffic| Live::draw(traffic, subject, reach)).await.map_err(|error| {
        tracing::error!(%error, "the traffic could not be rendered");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}
