//! Rates: how often requests may come, for each token, user, client or route (`[rates]`).
//!
//! The gateway asks [`Rates::admit`] once for a request that has its permit. A rate with `backend = "local"` is one count
//! for all workers and answers at once. A rate with `backend = "redis"` is one count for all gateways; most requests use
//! the lease of this process (`limits::Leases`) and wait for nothing. A request that several rates apply to counts for all of
//! them or for none.

mod fields;
mod key;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::cache::SharedRates;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::config::settings::{RateBackend, RateRule};
use crate::limits::{Leases, Left, Pace, Question, Step, Throttle};
use crate::telemetry::{ProcessCounters, RateCounters};
pub use fields::RateFields;
pub use key::Facts;
use key::Key;

/// The rates of one configuration.
#[derive(Default)]
pub struct Rates {
    limiters: Vec<Arc<Limiter>>,
    /// The rates of each route, by its index.
    routes: Vec<RouteRates>,
}

/// The rates of one route.
#[derive(Default)]
pub struct RouteRates {
    limiters: Box<[Arc<Limiter>]>,
    /// `RateLimit-Policy`; `None`: the route has no rates.
    policy: Option<HeaderValue>,
}

/// One rate with its counts.
struct Limiter {
    rule: RateRule,
    pace: Pace,
    count: Count,
    counters: Arc<RateCounters>,
}

enum Count {
    Local(Throttle),
    Shared(Leases, Arc<SharedRates>),
}

/// The request exceeds a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The time until all rates allow it.
    pub wait: Duration,
    /// The headers that describe the rates.
    pub fields: RateFields,
}

impl Rates {
    /// The rates of these settings. A rate of `before` that has not changed keeps its counts.
    pub fn build(
        settings: &Settings,
        before: Option<&Rates>,
        shared: Option<&Arc<SharedRates>>,
        counters: &ProcessCounters,
    ) -> Rates {
        let build = |rule: &RateRule| {
            let kept = before.and_then(|rates| rates.limiters.iter().find(|limiter| limiter.rule == *rule));
            kept.map_or_else(|| Arc::new(Limiter::new(rule, shared, counters.rate(&rule.name))), Arc::clone)
        };
        let limiters: Vec<_> = settings.rates.iter().map(build).collect();
        counters.keep_rates(|name| settings.rates.iter().any(|rule| rule.name == name));
        let of_route = |names: &[Arc<str>]| {
            let named = |name: &Arc<str>| limiters.iter().find(|limiter| limiter.rule.name == **name).map(Arc::clone);
            let limiters: Box<[_]> = names.iter().filter_map(named).collect();
            let policy = fields::policy(limiters.iter().map(|limiter| &limiter.rule));
            RouteRates { limiters, policy }
        };
        let routes = settings.routes.iter().map(|route| of_route(&route.rates)).collect();
        Rates { limiters, routes }
    }

    /// The rates of the route with this index; `None`: it has none.
    pub fn of_route(&self, index: usize) -> Option<&RouteRates> {
        self.routes.get(index).filter(|rates| rates.policy.is_some())
    }
}

impl RouteRates {
    /// Counts a request. Returns headers that tell what is left.
    ///
    /// # Errors
    /// [`Exceeded`]; the request counts for no rate.
    pub async fn admit(&self, facts: &Facts<'_>, now: Timestamp) -> Result<RateFields, Exceeded> {
        let mut told = fields::Told::new(self.policy.as_ref());
        let mut wait = None;
        for (place, limiter) in self.limiters.iter().enumerate() {
            let key = Key::of(limiter.rule.key, facts);
            let judged = match wait {
                None => match limiter.take(&key, now) {
                    Ok(judged) => judged,
                    // Boxed: otherwise the future of every request would reserve space for it.
                    Err(question) => Box::pin(limiter.ask(&key, question, now)).await,
                },
                // Another rate has refused it: this one only says until when it would.
                Some(_) => limiter.check(&key, now),
            };
            if let Err(for_this) = &judged {
                if wait.is_none() {
                    limiter.counters.refused.more();
                    self.give_back(place, facts, now);
                }
                wait = wait.max(Some(*for_this));
            }
            told.add(&limiter.rule.name, judged);
        }
        match wait {
            None => Ok(told.fields()),
            Some(wait) => Err(Exceeded { wait, fields: told.fields() }),
        }
    }

    /// Refunds the request for the rates before this place.
    fn give_back(&self, place: usize, facts: &Facts<'_>, now: Timestamp) {
        for limiter in self.limiters.iter().take(place) {
            let key = Key::of(limiter.rule.key, facts);
            match &limiter.count {
                Count::Local(throttle) => throttle.give_back(&key, now),
                Count::Shared(leases, _) => leases.give_back(&key, now),
            }
        }
    }
}

impl Limiter {
    fn new(rule: &RateRule, shared: Option<&Arc<SharedRates>>, counters: Arc<RateCounters>) -> Limiter {
        let pace = Pace::new(rule.rate, rule.burst);
        let forgotten = Arc::clone(&counters.forgotten);
        let count = match (rule.backend, shared) {
            (RateBackend::Redis { gateways }, Some(shared)) => {
                shared.need();
                Count::Shared(Leases::new(pace, gateways, rule.max_keys, forgotten), Arc::clone(shared))
            }
            // Without a connection to Redis, which the configuration requires, the process counts its share.
            (RateBackend::Redis { gateways }, None) => {
                Count::Local(Throttle::with(pace.share(gateways), rule.max_keys, forgotten))
            }
            (RateBackend::Local, _) => Count::Local(Throttle::with(pace, rule.max_keys, forgotten)),
        };
        Limiter { rule: rule.clone(), pace, count, counters }
    }

    /// Counts a request, if this process can decide alone. `Err`: Redis must be asked.
    fn take(&self, key: &Key<'_>, now: Timestamp) -> Result<Result<Left, Duration>, Question> {
        match &self.count {
            Count::Local(throttle) => Ok(throttle.take(key, now)),
            Count::Shared(leases, _) => match leases.begin(key, now) {
                Step::Allowed(left) => Ok(Ok(left)),
                Step::Refused(wait) => Ok(Err(wait)),
                Step::Ask(question) => Err(question),
            },
        }
    }

    async fn ask(&self, key: &Key<'_>, question: Question, now: Timestamp) -> Result<Left, Duration> {
        let Count::Shared(leases, shared) = &self.count else { return Err(Duration::from_secs(1)) };
        self.counters.lookups.more();
        match shared.take(&key.shared(&self.rule.name), self.pace, question).await {
            Some(granted) => leases.answered(key, question, granted, now),
            None => {
                self.counters.alone.more();
                leases.alone(key, question, now)
            }
        }
    }

    /// The time until a request is allowed, as far as this process knows.
    fn check(&self, key: &Key<'_>, now: Timestamp) -> Result<Left, Duration> {
        let unknown = Left { events: 0, more_in: Duration::ZERO };
        match &self.count {
            Count::Local(throttle) => throttle.look(key, now),
            Count::Shared(..) => Ok(unknown),
        }
    }
}
