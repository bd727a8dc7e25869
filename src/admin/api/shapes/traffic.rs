//! Query of the traffic.

use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::admin::api::problem::Problem;
use crate::admin::monitor::{Monitor, Subject};
use crate::telemetry::history::Reach;

/// Query of the traffic.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct TrafficParameters {
    /// Only requests of this route; `-` stands for requests that matched none.
    #[param(nullable = false)]
    route: Option<String>,
    /// Only requests sent to this upstream.
    #[param(nullable = false)]
    upstream: Option<String>,
    /// Period in minutes; default: 15.
    #[param(nullable = false, inline)]
    minutes: Option<Minutes>,
}

/// Period in minutes.
struct Minutes(Reach);

impl TrafficParameters {
    /// The selected traffic, and the period.
    pub(in crate::admin::api) fn read(self, monitor: &Monitor) -> Result<(Subject, Reach), Problem> {
        let subject = match (self.route, self.upstream) {
            (None, None) => Subject::All,
            (Some(route), None) => {
                monitor.route(&route).ok_or_else(|| Problem::invalid("route", "there is no route of this name"))?
            }
            (None, Some(upstream)) => monitor
                .upstream(&upstream)
                .ok_or_else(|| Problem::invalid("upstream", "there is no upstream of this name"))?,
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("upstream", "select a route or an upstream, not both"));
            }
        };
        Ok((subject, self.minutes.map_or(Reach::Minutes15, |Minutes(reach)| reach)))
    }
}

impl<'de> Deserialize<'de> for Minutes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Minutes, D::Error> {
        let minutes = u64::deserialize(deserializer)?;
        let found = Reach::ALL.into_iter().find(|reach| reach.minutes() == minutes);
        found.map(Minutes).ok_or_else(|| serde::de::Error::custom("use 5, 15 or 60"))
    }
}

impl ToSchema for Minutes {}

impl PartialSchema for Minutes {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some(Reach::ALL.map(Reach::minutes))).into()
    }
}
