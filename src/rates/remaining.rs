//! What is left of quotas, for people: on pages, in the API and on the command line.

use std::sync::Arc;

use super::key::Key;
use super::quota::id;
use crate::clock::Timestamp;
use crate::config::settings::{QuotaRule, RateFact, RateKey, Route};
use crate::store::{QuotaCount, QuotaStore, StoreError};
use crate::token::{SubjectId, TokenDigest};

/// A quota, or the part of it that counts one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaPart {
    rule: QuotaRule,
    /// The route, if each route has a count of its own.
    route: Option<Arc<str>>,
}

/// A token or user that has something left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The token; `None`: the sessions and certificates of the user, which count together.
    pub token: Option<TokenDigest>,
    /// The user.
    pub user: SubjectId,
}

/// What a token or user has left of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The name of the quota.
    pub quota: String,
    /// What has a count of its own.
    pub key: RateKey,
    /// The route, if it has a count of its own.
    pub route: Option<Arc<str>>,
    /// The limit.
    pub limit: u64,
    /// Number of requests that may still come.
    pub left: u64,
    /// When the period ends.
    pub until: Timestamp,
}

impl QuotaPart {
    /// All parts of these quotas.
    pub fn all(quotas: &[QuotaRule], routes: &[Route]) -> Vec<QuotaPart> {
        let parts = |rule: &QuotaRule| -> Vec<QuotaPart> {
            if !has(rule.key, RateFact::Route) {
                return vec![QuotaPart { rule: rule.clone(), route: None }];
            }
            let routes = routes.iter().filter(|route| route.quotas.iter().any(|name| **name == *rule.name));
            routes.map(|route| QuotaPart { rule: rule.clone(), route: Some(Arc::clone(&route.name)) }).collect()
        };
        quotas.iter().flat_map(parts).collect()
    }

    fn count(&self, holder: Holder, now: Timestamp) -> QuotaCount {
        let key = Key::held(self.rule.key, holder, self.route.as_deref().unwrap_or_default());
        QuotaCount { id: id(&self.rule, &key), since: self.rule.quota.period.at(now).since }
    }
}

impl Remaining {
    /// What a token or user has left, as the store knows it.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    pub async fn of(
        store: &dyn QuotaStore,
        parts: &[QuotaPart],
        holder: Holder,
        now: Timestamp,
    ) -> Result<Vec<Remaining>, StoreError> {
        let counts: Vec<_> = parts.iter().map(|part| part.count(holder, now)).collect();
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let used = store.used(&counts).await?;
        let remaining = |(QuotaPart { rule, route }, used): (&QuotaPart, u64)| Remaining {
            quota: rule.name.clone(),
            key: rule.key,
            route: route.as_ref().map(Arc::clone),
            limit: rule.quota.limit,
            left: rule.quota.limit.saturating_sub(used),
            until: rule.quota.period.at(now).end,
        };
        Ok(parts.iter().zip(used).map(remaining).collect())
    }

    /// What is counted, for people: `daily, for each token`.
    pub fn described(&self) -> String {
        match &self.route {
            Some(route) => format!("{}, for each {} on {route}", self.quota, self.key),
            None => format!("{}, for each {}", self.quota, self.key),
        }
    }
}

fn has(key: RateKey, fact: RateFact) -> bool {
    key.0 == fact || key.1 == Some(fact)
}
