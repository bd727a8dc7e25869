//! Quotas: how many requests may come in a day or month (`[quotas]`).

use std::sync::Arc;
use std::time::Duration;

use super::key::{Facts, Key};
use crate::cache::Quotas;
use crate::clock::Timestamp;
use crate::config::settings::{QuotaRule, RateFact, RateKey};
use crate::limits::{Left, QuotaCounts};
use crate::store::{QuotaCount, QuotaStore, StoreError};
use crate::telemetry::{ProcessCounters, RateCounters};
use crate::token::TokenDigest;

/// One quota with its counts.
pub(super) struct QuotaLimiter {
    pub(super) rule: QuotaRule,
    counts: Arc<QuotaCounts>,
    kept: Quotas,
    counters: Arc<RateCounters>,
}

/// A quota as it applies to one request.
pub(super) struct AppliedQuota<'a> {
    limiter: &'a QuotaLimiter,
    key: Key<'a>,
}

/// What a token has left of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The name of the quota.
    pub quota: String,
    /// Its limit.
    pub limit: u64,
    /// Number of requests that may still come.
    pub left: u64,
    /// When the period ends.
    pub until: Timestamp,
}

impl QuotaLimiter {
    pub(super) fn new(rule: &QuotaRule, kept: Quotas, counters: &ProcessCounters) -> QuotaLimiter {
        let counters = counters.rate(&rule.name);
        QuotaLimiter { rule: rule.clone(), counts: kept.table(rule, &counters), kept, counters }
    }

    pub(super) fn applied<'a>(&'a self, facts: &Facts<'a>) -> AppliedQuota<'a> {
        AppliedQuota { limiter: self, key: Key::of(self.rule.key, facts) }
    }
}

impl AppliedQuota<'_> {
    pub(super) fn name(&self) -> &str {
        &self.limiter.rule.name
    }

    pub(super) fn counters(&self) -> &RateCounters {
        &self.limiter.counters
    }

    /// Counts a request; `None`: the store must be asked.
    pub(super) fn take(&self, now: Timestamp) -> Option<Result<Left, Duration>> {
        self.limiter.counts.take(self.limiter.rule.quota, &self.key, now)
    }

    /// Asks the store, and counts the request.
    pub(super) async fn begin(&self, now: Timestamp) -> Result<Left, Duration> {
        let QuotaLimiter { rule, counts, kept, counters } = self.limiter;
        let id = id(rule, &self.key);
        counters.lookups.more();
        let used = kept.used(id, rule.quota.period.at(now).since).await;
        if used.is_none() {
            counters.alone.more();
        }
        counts.begin(rule.quota, &self.key, (*id.as_bytes(), used.unwrap_or(0)), now)
    }

    /// The time until a request is allowed, as far as this process knows.
    pub(super) fn check(&self, now: Timestamp) -> Result<Left, Duration> {
        let looked = self.limiter.counts.look(self.limiter.rule.quota, &self.key, now);
        looked.unwrap_or(Ok(Left { events: 0, more_in: Duration::ZERO }))
    }

    /// Refunds a request that was counted.
    pub(super) fn give_back(&self, now: Timestamp) {
        self.limiter.counts.give_back(self.limiter.rule.quota, &self.key, now);
    }
}

/// The name of a count in the store. The period is a part of it, so that a quota with another period begins with zero.
fn id(rule: &QuotaRule, key: &Key<'_>) -> TokenDigest {
    key.shared(&format!("quota {} {}", rule.quota.period, rule.name))
}

impl Remaining {
    /// What a token has left of the quotas that count by token alone, as the store knows it.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    pub async fn of_token(
        store: &dyn QuotaStore,
        rules: &[QuotaRule],
        token: TokenDigest,
        now: Timestamp,
    ) -> Result<Vec<Remaining>, StoreError> {
        let rules: Vec<_> = rules.iter().filter(|rule| rule.key == RateKey(RateFact::Token, None)).collect();
        let count = |rule: &&QuotaRule| {
            let since = rule.quota.period.at(now).since;
            QuotaCount { id: id(rule, &Key::token(token)), since }
        };
        let counts: Vec<_> = rules.iter().map(count).collect();
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let used = store.used(&counts).await?;
        let remaining = |(rule, used): (&QuotaRule, u64)| Remaining {
            quota: rule.name.clone(),
            limit: rule.quota.limit,
            left: rule.quota.limit.saturating_sub(used),
            until: rule.quota.period.at(now).end,
        };
        Ok(rules.into_iter().zip(used).map(remaining).collect())
    }
}
