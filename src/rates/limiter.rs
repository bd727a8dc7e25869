//! A rate or a quota as it applies to one request, and where it is counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::key::Key;
use super::quota::AppliedQuota;
use crate::cache::SharedRates;
use crate::clock::Timestamp;
use crate::config::settings::RateBackend;
use crate::limits::{Leases, Left, Measure, Pace, Question, Step, Throttle};
use crate::telemetry::RateCounters;
use crate::units::Rate;

/// The counts of the keys of a rate.
pub(super) struct Count {
    /// The measure of the rate, unless each key has its own.
    pub(super) measure: Measure,
    place: Place,
}

enum Place {
    Local(Throttle),
    Shared(Leases, Arc<SharedRates>),
}

/// A rate or a quota as it applies to one request.
pub(super) enum Applied<'a> {
    Rate(AppliedRate<'a>),
    Quota(AppliedQuota<'a>),
}

/// What must be asked before a request can be counted.
pub(super) enum Asked {
    /// Redis.
    Lease(Question),
    /// The store.
    Total,
}

/// A rate as it applies to one request.
pub(super) struct AppliedRate<'a> {
    pub(super) name: &'a str,
    pub(super) key: Key<'a>,
    pub(super) measure: Measure,
    pub(super) count: &'a Count,
    pub(super) counters: &'a RateCounters,
}

/// How a rate with a burst is measured.
pub(super) fn measure((rate, burst): (Rate, u32), backend: RateBackend, is_shared: bool) -> Measure {
    let pace = Pace::new(rate, burst);
    match backend {
        RateBackend::Local => Measure::new(pace, 1),
        RateBackend::Redis { gateways } if is_shared => Measure::new(pace, gateways),
        // Without a connection to Redis, which the configuration requires, the process counts its share.
        RateBackend::Redis { gateways } => Measure::new(pace.share(gateways), 1),
    }
}

impl Count {
    pub(super) fn new(
        rate: (Rate, u32),
        backend: RateBackend,
        shared: Option<&Arc<SharedRates>>,
        keys: usize,
        forgotten: Arc<AtomicU64>,
    ) -> Count {
        let shared = shared.filter(|_| backend != RateBackend::Local);
        let measure = measure(rate, backend, shared.is_some());
        let place = match shared {
            Some(shared) => {
                shared.need();
                Place::Shared(Leases::new(keys, forgotten), Arc::clone(shared))
            }
            None => Place::Local(Throttle::with(measure.pace, keys, forgotten)),
        };
        Count { measure, place }
    }

    /// Whether several gateways count together.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.place, Place::Shared(..))
    }
}

impl Applied<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Applied::Rate(rate) => rate.name,
            Applied::Quota(quota) => quota.name(),
        }
    }

    pub(super) fn counters(&self) -> &RateCounters {
        match self {
            Applied::Rate(rate) => rate.counters,
            Applied::Quota(quota) => quota.counters(),
        }
    }

    /// Counts a request, if this process can decide alone.
    pub(super) fn take(&self, now: Timestamp) -> Result<Result<Left, Duration>, Asked> {
        match self {
            Applied::Rate(rate) => rate.take(now).map_err(Asked::Lease),
            Applied::Quota(quota) => quota.take(now).ok_or(Asked::Total),
        }
    }

    /// Counts a request after asking.
    pub(super) async fn ask(&self, asked: Asked, now: Timestamp) -> Result<Left, Duration> {
        match (self, asked) {
            (Applied::Rate(rate), Asked::Lease(question)) => rate.ask(question, now).await,
            (Applied::Quota(quota), Asked::Total) => quota.begin(now).await,
            (Applied::Rate(_), Asked::Total) | (Applied::Quota(_), Asked::Lease(_)) => Err(Duration::from_secs(1)),
        }
    }

    /// The time until a request is allowed, as far as this process knows.
    pub(super) fn check(&self, now: Timestamp) -> Result<Left, Duration> {
        match self {
            Applied::Rate(rate) => rate.check(now),
            Applied::Quota(quota) => quota.check(now),
        }
    }

    /// Refunds a request that was counted.
    pub(super) fn give_back(&self, now: Timestamp) {
        match self {
            Applied::Rate(rate) => rate.give_back(now),
            Applied::Quota(quota) => quota.give_back(now),
        }
    }
}

impl AppliedRate<'_> {
    /// Counts a request, if this process can decide alone. `Err`: Redis must be asked.
    fn take(&self, now: Timestamp) -> Result<Result<Left, Duration>, Question> {
        match &self.count.place {
            Place::Local(throttle) => Ok(throttle.take_at(self.measure.pace, &self.key, now)),
            Place::Shared(leases, _) => match leases.begin(&self.measure, &self.key, now) {
                Step::Allowed(left) => Ok(Ok(left)),
                Step::Refused(wait) => Ok(Err(wait)),
                Step::Ask(question) => Err(question),
            },
        }
    }

    async fn ask(&self, question: Question, now: Timestamp) -> Result<Left, Duration> {
        let Place::Shared(leases, shared) = &self.count.place else { return Err(Duration::from_secs(1)) };
        self.counters.lookups.more();
        match shared.take(&self.key.shared(self.name).to_hex(), self.measure.pace, question).await {
            Some(granted) => leases.answered(&self.measure, &self.key, question, granted, now),
            None => {
                self.counters.alone.more();
                leases.alone(&self.measure, &self.key, question, now)
            }
        }
    }

    /// The time until a request is allowed, as far as this process knows.
    fn check(&self, now: Timestamp) -> Result<Left, Duration> {
        match &self.count.place {
            Place::Local(throttle) => throttle.look_at(self.measure.pace, &self.key, now),
            Place::Shared(..) => Ok(Left { events: 0, more_in: Duration::ZERO }),
        }
    }

    /// Refunds a request that was counted.
    fn give_back(&self, now: Timestamp) {
        match &self.count.place {
            Place::Local(throttle) => throttle.give_back_at(self.measure.pace, &self.key, now),
            Place::Shared(leases, _) => leases.give_back(&self.measure, &self.key, now),
        }
    }
}
