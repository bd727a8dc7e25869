//! The traffic of the last minutes as plain figures, for the page and for the API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::telemetry::StatusClass;
use crate::telemetry::history::{Counts, Durations, Point, Reach, RouteName, Window, float, per_second, share};

/// Shown in place of a name for requests that matched no route.
pub(super) const NO_ROUTE: &str = "-";

/// The requests that are shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All requests.
    All,
    /// Requests of the route with this name; `None` stands for requests that matched no route.
    Route(RouteName),
    /// Requests sent to the upstream with this name.
    Upstream(String),
}

/// The traffic of the last minutes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Traffic {
    /// The period, in minutes.
    pub minutes: u64,
    /// The length of each point, in seconds.
    pub seconds_per_point: u64,
    /// The points of the selected requests, oldest first; `null` for a gap.
    pub points: Vec<Option<Moment>>,
    /// The totals of the period for each route that had requests, the busiest first.
    pub routes: Vec<Row>,
    /// The totals of the period for each upstream, in the order of the configuration.
    pub upstreams: Vec<Row>,
}

/// One point.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Moment {
    /// The figures of the requests.
    #[serde(flatten)]
    pub figures: Figures,
    /// Cache hit rate of token lookups; only for all requests.
    pub cache_hit_rate: Option<f64>,
    /// Number of open client connections; only for all requests.
    pub connections: Option<u64>,
}

/// A route or an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TrafficRow)]
pub struct Row {
    /// The name; `-` for requests that matched no route.
    pub name: String,
    /// Number of requests.
    pub requests: u64,
    /// The other figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures of a set of requests in a period. Shares are from 0 to 1, durations in seconds; `None` without requests.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Figures {
    /// Requests per second.
    pub per_second: f64,
    /// 4xx responses per second.
    pub client_errors_per_second: f64,
    /// 5xx responses per second.
    pub server_errors_per_second: f64,
    /// Share of all 4xx responses.
    pub client_errors: Option<f64>,
    /// Share of 401 responses.
    pub unauthorized: Option<f64>,
    /// Share of 403 responses.
    pub forbidden: Option<f64>,
    /// Share of 429 responses.
    pub limited: Option<f64>,
    /// Share of 5xx responses; for an upstream, share of requests that failed there, with or without a response.
    pub failed: Option<f64>,
    /// Median duration (50th percentile); for an upstream, of the time to first byte.
    pub p50: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

/// The routes and upstreams of the configuration in use.
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
    /// Figures from the point of view of clients.
    fn of_clients(counts: &Counts, span: Duration) -> Figures {
        let failed = counts.status(StatusClass::ServerError);
        Figures::new(counts, span, counts.requests(), failed, &counts.total)
    }

    /// Figures of an upstream.
    fn of_upstream(counts: &Counts, span: Duration) -> Figures {
        Figures::new(counts, span, counts.asked(), counts.origin_failures, &counts.upstream)
    }

    fn new(counts: &Counts, span: Duration, all: u64, failed: u64, took: &Durations) -> Figures {
        let answers = counts.requests();
        Figures {
            per_second: per_second(all, span),
            client_errors_per_second: per_second(counts.status(StatusClass::ClientError), span),
            server_errors_per_second: per_second(failed, span),
            client_errors: share(counts.status(StatusClass::ClientError), answers),
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
    /// The number of connections, as a value of a chart.
    pub(super) fn open(&self) -> Option<f64> {
        self.connections.map(float)
    }
}
