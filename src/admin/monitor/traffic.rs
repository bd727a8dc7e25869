//! The traffic of the last minutes as plain figures: what the page draws, and what a program may read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::telemetry::StatusClass;
use crate::telemetry::history::{Counts, Durations, Point, Reach, RouteName, Window, float, per_second, share};

/// Shown in place of a name for requests that matched no route.
pub(super) const NO_ROUTE: &str = "-";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All requests.
    All,
    /// Requests of the route with this name; `None` stands for requests that matched no route.
    Route(RouteName),
    /// Requests for the upstream with this name.
    Upstream(String),
}

/// The traffic of the last minutes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Traffic {
    /// How far back it reaches.
    pub minutes: u64,
    /// How long each point lasts.
    pub seconds_per_point: u64,
    /// Of what was asked for, oldest first; `null` where nothing is known.
    pub points: Vec<Option<Moment>>,
    /// All of that time together, of each route that had requests, the busiest first.
    pub routes: Vec<Row>,
    /// The same of each upstream, in the order of the configuration.
    pub upstreams: Vec<Row>,
}

/// What happened in the time of one point.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Moment {
    /// Of requests.
    #[serde(flatten)]
    pub figures: Figures,
    /// Share of tokens whose meaning was in memory; of all requests alone.
    pub cache_hit_rate: Option<f64>,
    /// Client connections that were open; of all requests alone.
    pub connections: Option<u64>,
}

/// A route or an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TrafficRow)]
pub struct Row {
    /// Its name; of requests that matched no route `-`.
    pub name: String,
    /// How many requests.
    pub requests: u64,
    /// The rest.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures of some requests in some time. Shares are from 0 to 1, times in seconds; `None` where there was no request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Figures {
    /// Requests in a second.
    pub per_second: f64,
    /// Answers with a 4xx in a second.
    pub client_errors_per_second: f64,
    /// Answers with a 5xx in a second.
    pub server_errors_per_second: f64,
    /// Share of answers with 401.
    pub unauthorized: Option<f64>,
    /// Share of answers with 403.
    pub forbidden: Option<f64>,
    /// Share of answers with 429.
    pub limited: Option<f64>,
    /// Share of answers with a 5xx; of an upstream, of requests that it failed, with or without such an answer.
    pub failed: Option<f64>,
    /// The time that half of the requests did not pass; of an upstream, until its answer began.
    pub p50: Option<f64>,
    /// The same of 95 in 100.
    pub p95: Option<f64>,
    /// The same of 99 in 100.
    pub p99: Option<f64>,
}

/// The routes and upstreams that the gateway has now.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The name of each route, with the name of its upstream if it has one.
    pub routes: HashMap<Arc<str>, Option<String>>,
    /// In the order of the configuration.
    pub upstreams: Vec<String>,
}

impl Traffic {
    /// Returns the traffic of a subject in a window.
    pub(super) fn of(window: &Window, reach: Reach, subject: &Subject, names: &Names) -> Traffic {
        let points = match subject {
            Subject::All => window.all(),
            Subject::Route(name) => window.of(|route| route == name.as_deref()),
            Subject::Upstream(upstream) => window.of(|route| names.leads_to(route, upstream)),
        };
        let (sums, span) = window.by_route();
        let by_upstream = names.upstreams.iter().map(|name| {
            let mut sum = Counts::default();
            let leading = sums.iter().filter(|(route, _)| names.leads_to(route.as_deref(), name));
            leading.for_each(|(_, counts)| sum += counts);
            Row { name: name.clone(), requests: sum.asked(), figures: Figures::of_upstream(&sum, span) }
        });
        let seen = sums.iter().filter(|(_, counts)| counts.requests() > 0);
        let row = |(name, counts): (&RouteName, &Counts)| Row {
            name: name.as_deref().unwrap_or(NO_ROUTE).to_owned(),
            requests: counts.requests(),
            figures: Figures::of_clients(counts, span),
        };
        let mut by_route: Vec<Row> = seen.map(row).collect();
        by_route.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.name.cmp(&b.name)));
        Traffic {
            minutes: reach.minutes(),
            seconds_per_point: reach.seconds_per_point(),
            points: points.iter().map(|point| point.as_ref().map(|point| Moment::of(point, subject))).collect(),
            upstreams: by_upstream.collect(),
            routes: by_route,
        }
    }
}

impl Names {
    fn leads_to(&self, route: Option<&str>, upstream: &str) -> bool {
        let leads_to = route.and_then(|route| self.routes.get(route)?.as_deref());
        leads_to == Some(upstream)
    }
}

impl Moment {
    fn of(point: &Point, subject: &Subject) -> Moment {
        let figures = match subject {
            Subject::Upstream(_) => Figures::of_upstream(&point.counts, point.span),
            Subject::All | Subject::Route(_) => Figures::of_clients(&point.counts, point.span),
        };
        let all = *subject == Subject::All;
        Moment {
            figures,
            cache_hit_rate: point.hit_rate().filter(|_| all),
            connections: all.then_some(point.connections),
        }
    }
}

impl Figures {
    /// As clients see it.
    fn of_clients(counts: &Counts, span: Duration) -> Figures {
        let failed = counts.status(StatusClass::ServerError);
        Figures::new(counts, span, counts.requests(), failed, &counts.total)
    }

    /// As the gateway sees an upstream.
    fn of_upstream(counts: &Counts, span: Duration) -> Figures {
        Figures::new(counts, span, counts.asked(), counts.origin_failures, &counts.upstream)
    }

    fn new(counts: &Counts, span: Duration, all: u64, failed: u64, took: &Durations) -> Figures {
        let answers = counts.requests();
        Figures {
            per_second: per_second(all, span),
            client_errors_per_second: per_second(counts.status(StatusClass::ClientError), span),
            server_errors_per_second: per_second(failed, span),
            unauthorized: share(counts.watched(401), answers),
            forbidden: share(counts.watched(403), answers),
            limited: share(counts.watched(429), answers),
            failed: share(failed, all),
            p50: took.percentile(0.5),
            p95: took.percentile(0.95),
            p99: took.percentile(0.99),
        }
    }
}

impl Moment {
    /// The connections, as a chart has them.
    pub(super) fn open(&self) -> Option<f64> {
        self.connections.map(float)
    }
}
