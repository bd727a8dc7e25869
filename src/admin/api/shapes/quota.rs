//! What is left of quotas.

use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use crate::rates::Remaining;

/// What a token or user has left of the quotas.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct QuotaList {
    quotas: Vec<Quota>,
}

/// What is left of one quota in this day or month.
#[derive(Serialize, ToSchema)]
struct Quota {
    /// Its name in the configuration.
    name: String,
    /// What has a count of its own: `token`, `user`, `route` or two of them.
    key: String,
    /// The route, if each route has a count of its own.
    route: Option<String>,
    /// Requests in the whole period.
    #[schema(minimum = 1)]
    limit: u64,
    /// Requests that may still come.
    #[schema(minimum = 0)]
    remaining: u64,
    /// When the period ends.
    until: Time,
}

impl From<Vec<Remaining>> for QuotaList {
    fn from(all: Vec<Remaining>) -> QuotaList {
        let quota = |left: Remaining| Quota {
            name: left.quota,
            key: left.key.to_string(),
            route: left.route.as_deref().map(str::to_owned),
            limit: left.limit,
            remaining: left.left,
            until: Time(left.until),
        };
        QuotaList { quotas: all.into_iter().map(quota).collect() }
    }
}
