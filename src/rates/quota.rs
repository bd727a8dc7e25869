//! Quotas: how many requests may come in a day or month (`[quotas]`).

use std::sync::Arc;
use std::time::Duration;

use super::key::{Facts, Key};
use crate::cache::Quotas;
use crate::clock::Timestamp;
use crate::config::settings::QuotaRule;
use crate::limits::{Left, QuotaCounts};
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
pub(super) fn id(rule: &QuotaRule, key: &Key<'_>) -> TokenDigest {
    key.shared(&format!("quota {} {}", rule.quota.period, rule.name))
}
