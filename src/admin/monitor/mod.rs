//! The traffic ([`traffic`]) and the status ([`status`]) of the gateway, and the charts of the traffic ([`chart`]).
//!
//! Many pages and programs can request the traffic at once. So each text is rendered once per sample and cached until
//! the next sample.

pub mod chart;
mod reload;
pub mod status;
pub mod traffic;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::limits::{Tallied, Tally};
use crate::rates::QuotaPart;
use crate::telemetry::history::Reach;
use crate::telemetry::{History, LatestRefusals, Recorder, RefusedRequest};
use crate::token::TokenId;
use chart::{Chart, Line, Unit};
pub use reload::{Asked, Outcome, ReloadHandle, ReloadRequest, Reloaded};
pub use status::Status;
use traffic::NO_ROUTE;
pub use traffic::{Figures, Moment, Names, Row, Subject, Traffic};

/// Maximum number of cached texts; one has up to 100 KB.
const MAX_TEXTS: usize = 16;

/// Returns the present state of the gateway.
pub type AskStatus = Arc<dyn Fn() -> Status + Send + Sync>;

/// Returns the routes and upstreams of the configuration in use.
pub type AskNames = Arc<dyn Fn() -> Names + Send + Sync>;

/// Returns the quotas of the configuration in use.
pub type AskQuotas = Arc<dyn Fn() -> Vec<QuotaPart> + Send + Sync>;

/// Traffic and status of the gateway.
pub struct Monitor {
    history: Arc<History>,
    recorders: Vec<Arc<Recorder>>,
    names: AskNames,
    quotas: AskQuotas,
    status: AskStatus,
    reloads: ReloadHandle,
    /// The requests of each token that rates have refused.
    refused: Arc<Tally>,
    shown: Mutex<Shown>,
}

/// The rendered texts of one sample.
#[derive(Default)]
struct Shown {
    /// The number of the sample.
    version: u64,
    texts: HashMap<(Form, Subject, Reach), Arc<str>>,
}

/// The form in which the traffic is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// The part of a page that the browser refreshes.
    Page,
    /// JSON, for programs.
    Json,
}

impl Monitor {
    /// Creates a monitor of the traffic in `history`.
    pub fn new(
        history: Arc<History>,
        recorders: Vec<Arc<Recorder>>,
        (names, quotas): (AskNames, AskQuotas),
        status: AskStatus,
        reloads: ReloadHandle,
        refused: Arc<Tally>,
    ) -> Monitor {
        Monitor { history, recorders, names, quotas, status, reloads, refused, shown: Mutex::default() }
    }

    /// Returns the latest requests that failed or were refused, newest first.
    pub fn refusals(&self) -> Vec<RefusedRequest> {
        LatestRefusals::of(&self.recorders)
    }

    /// Returns the quotas of the configuration in use.
    pub(super) fn quotas(&self) -> Vec<QuotaPart> {
        (self.quotas)()
    }

    /// The requests of a token that rates have refused; `None`: none are remembered.
    pub(super) fn refused(&self, token: TokenId) -> Option<Tallied> {
        self.refused.of(&token)
    }

    /// Reloads the configuration on behalf of this user.
    ///
    /// # Errors
    /// All problems; the running configuration stays in use.
    pub async fn reload(&self, user: &str) -> Outcome {
        self.reloads.ask(Asked::Reload { trigger: format!("the admin application, by {user}") }).await
    }

    /// Returns the present state of the gateway.
    pub fn status(&self) -> Status {
        (self.status)()
    }

    /// Returns the traffic of the last minutes.
    pub fn traffic(&self, subject: &Subject, reach: Reach) -> Traffic {
        Traffic::of(&self.history.window(reach), reach, subject, &(self.names)())
    }

    /// Returns the route of this name; `-` stands for requests that matched none.
    pub fn route(&self, name: &str) -> Option<Subject> {
        let names = (self.names)();
        let named =
            names.routes.keys().find(|route| ***route == *name).map(|route| Subject::Route(Some(Arc::clone(route))));
        named.or((name == NO_ROUTE).then_some(Subject::Route(None)))
    }

    /// Returns the upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<Subject> {
        (self.names)().upstreams.into_iter().find(|upstream| upstream == name).map(Subject::Upstream)
    }

    /// Returns the text for a subject. `draw` renders it once per sample and form.
    ///
    /// # Errors
    /// The error of `draw`.
    pub(super) async fn shown<E>(
        &self,
        form: Form,
        subject: &Subject,
        reach: Reach,
        draw: impl FnOnce(Traffic) -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        let mut shown = self.shown.lock().await;
        let version = self.history.version();
        if std::mem::replace(&mut shown.version, version) != version || shown.texts.len() >= MAX_TEXTS {
            shown.texts.clear();
        }
        let key = (form, subject.clone(), reach);
        if let Some(text) = shown.texts.get(&key) {
            return Ok(Arc::clone(text));
        }
        let text: Arc<str> = draw(self.traffic(subject, reach))?.into();
        shown.texts.insert(key, Arc::clone(&text));
        Ok(text)
    }
}

impl Traffic {
    /// Returns the charts for a subject.
    pub fn charts(&self, subject: &Subject) -> Vec<Chart> {
        let is_upstream = matches!(subject, Subject::Upstream(_));
        let figure = |pick: fn(&Figures) -> Option<f64>| self.values(|moment| pick(&moment.figures));
        let chart = |id, title, unit, lines| Chart { id, title, unit, lines, minutes: self.minutes };
        let mut rates = vec![line("All", "c1", true, figure(|figures| Some(figures.per_second)))];
        let mut shares = Vec::new();
        if !is_upstream {
            rates.push(line("4xx", "c2", false, figure(|figures| Some(figures.client_errors_per_second))));
            shares.push(line("401", "c1", false, figure(|figures| figures.unauthorized)));
            shares.push(line("403", "c2", false, figure(|figures| figures.forbidden)));
        }
        let failed = if is_upstream { "Failed" } else { "5xx" };
        rates.push(line(failed, "c3", false, figure(|figures| Some(figures.server_errors_per_second))));
        shares.push(line(failed, "c3", false, figure(|figures| figures.failed)));
        let times = vec![
            line("p50", "c1", false, figure(|figures| figures.p50)),
            line("p95", "c2", false, figure(|figures| figures.p95)),
            line("p99", "c3", false, figure(|figures| figures.p99)),
        ];
        let took = if is_upstream { "Time to first byte" } else { "Request duration" };
        let mut charts = vec![
            chart("rate", "Requests per second", Unit::PerSecond, rates),
            chart("share", "Error rate", Unit::Share, shares),
            chart("time", took, Unit::Seconds, times),
        ];
        if *subject == Subject::All {
            let hits = vec![line("Hits", "c1", true, self.values(|moment| moment.cache_hit_rate))];
            charts.push(chart("hits", "Cache hit rate", Unit::Share, hits));
            let open = vec![line("Open", "c1", true, self.values(Moment::open))];
            charts.push(chart("open", "Client connections", Unit::Count, open));
        }
        charts
    }

    fn values(&self, pick: impl Fn(&Moment) -> Option<f64>) -> Vec<Option<f64>> {
        self.points.iter().map(|moment| moment.as_ref().and_then(&pick)).collect()
    }
}

fn line(name: &'static str, look: &'static str, filled: bool, values: Vec<Option<f64>>) -> Line {
    Line { name, look, filled, values }
}
