//! Rates: how often requests may come, for each token, user, client or route (`[rates]`).
//!
//! The gateway asks [`Rates::admit`] once for a request that has its permit. A rate with `backend = "local"` is one
//! count for all workers and answers at once. A rate with `backend = "redis"` is one count for all gateways; most
//! requests use the lease of this process (`limits::Leases`) and wait for nothing. A request that several rates apply
//! to counts for all of them or for none.
//!
//! A quota (`[quotas]`, `quota`) is a number of requests in a day or month. The store keeps its counts over restarts.
//!
//! A token and a user can have a rate of their own (`own`). It counts on all routes, and replaces rates of routes that
//! count by the token or by the user alone.

mod fields;
mod key;
mod limiter;
mod own;
mod quota;
mod remaining;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::cache::{Quotas, SharedRates};
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::config::settings::{RateRule, Route};
use crate::identity::Identity;
use crate::telemetry::{ProcessCounters, RateCounters};
pub use fields::RateFields;
pub use key::Facts;
use key::Key;
use limiter::{Applied, AppliedRate, Count};
use own::OwnLimits;
use quota::QuotaLimiter;
pub use remaining::{Holder, QuotaPart, Remaining};

/// The rates and quotas of one configuration.
#[derive(Default)]
pub struct Rates {
    limiters: Vec<Arc<Limiter>>,
    /// The rates of each route, by its index.
    routes: Vec<RouteRates>,
    own: Arc<OwnLimits>,
}

/// The rates and quotas of one route.
#[derive(Default)]
pub struct RouteRates {
    limiters: Box<[Arc<Limiter>]>,
    quotas: Box<[Arc<QuotaLimiter>]>,
    /// `RateLimit-Policy`; `None`: the route has neither rates nor quotas.
    policy: Option<HeaderValue>,
    own: Arc<OwnLimits>,
}

/// One rate with its counts.
struct Limiter {
    rule: RateRule,
    count: Count,
    counters: Arc<RateCounters>,
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
        (shared, kept): (Option<&Arc<SharedRates>>, Option<&Quotas>),
        counters: &ProcessCounters,
    ) -> Rates {
        let build = |rule: &RateRule| {
            let kept = before.and_then(|rates| rates.limiters.iter().find(|limiter| limiter.rule == *rule));
            kept.map_or_else(|| Arc::new(Limiter::new(rule, shared, counters.rate(&rule.name))), Arc::clone)
        };
        let limiters: Vec<_> = settings.rates.iter().map(build).collect();
        // Without a place for counts the configuration has no quotas.
        let new = |kept: &Quotas| {
            let new = |rule| Arc::new(QuotaLimiter::new(rule, kept.clone(), counters));
            settings.quotas.iter().map(new).collect::<Vec<_>>()
        };
        let quotas = kept.map(new).unwrap_or_default();
        counters.keep_rates(|name| {
            OwnLimits::has(name)
                || settings.rates.iter().any(|rule| rule.name == name)
                || settings.quotas.iter().any(|rule| rule.name == name)
        });
        let own = before.map(|rates| &rates.own).filter(|own| own.settings == settings.own_rates);
        let own = own.map_or_else(|| Arc::new(OwnLimits::new(settings.own_rates, shared, counters)), Arc::clone);
        let of_route = |route: &Route| {
            let named = |name: &Arc<str>| limiters.iter().find(|limiter| limiter.rule.name == **name).map(Arc::clone);
            let limiters: Box<[_]> = route.rates.iter().filter_map(named).collect();
            let named = |name: &Arc<str>| quotas.iter().find(|quota| quota.rule.name == **name).map(Arc::clone);
            let quotas: Box<[_]> = route.quotas.iter().filter_map(named).collect();
            let rates = RouteRates { limiters, quotas, policy: None, own: Arc::clone(&own) };
            RouteRates { policy: rates.policy(None), ..rates }
        };
        let routes = settings.routes.iter().map(of_route).collect();
        Rates { limiters, routes, own }
    }

    /// The rates and quotas that apply to a request of this caller on the route with this index; `None`: there are
    /// none.
    pub fn applying(&self, index: usize, caller: Option<&Identity>) -> Option<&RouteRates> {
        let has_own = caller.is_some_and(|caller| caller.own_rates().is_some());
        self.routes.get(index).filter(|rates| rates.policy.is_some() || has_own)
    }
}

impl RouteRates {
    /// Counts a request. Returns headers that tell what is left.
    ///
    /// # Errors
    /// [`Exceeded`]; the request counts for no rate.
    pub async fn admit(&self, facts: &Facts<'_>, now: Timestamp) -> Result<RateFields, Exceeded> {
        let with_own =
            facts.caller.filter(|caller| caller.own_rates().is_some()).and_then(|caller| self.policy(Some(caller)));
        let mut told = fields::Told::new(with_own.as_ref().or(self.policy.as_ref()));
        let mut wait = None;
        for (place, applied) in self.applied(facts).enumerate() {
            let judged = match wait {
                None => match applied.take(now) {
                    Ok(judged) => judged,
                    // Boxed: otherwise the future of every request would reserve space for it.
                    Err(asked) => Box::pin(applied.ask(asked, now)).await,
                },
                // Another rate has refused it: this one only says until when it would.
                Some(_) => applied.check(now),
            };
            if let Err(for_this) = &judged {
                if wait.is_none() {
                    applied.counters().refused.more();
                    self.own.refuse(facts, now);
                    // The request does not count for the rates before this one.
                    self.applied(facts).take(place).for_each(|before| before.give_back(now));
                }
                wait = wait.max(Some(*for_this));
            }
            told.add(applied.name(), judged);
        }
        match wait {
            None => Ok(told.fields()),
            Some(wait) => Err(Exceeded { wait, fields: told.fields() }),
        }
    }

    /// The rates and quotas that apply to a request. Quotas are last: they last longest.
    fn applied<'a>(&'a self, facts: &'a Facts<'_>) -> impl Iterator<Item = Applied<'a>> {
        let own = facts.caller.filter(|caller| caller.own_rates().is_some());
        let of_route =
            self.limiters.iter().filter(move |limiter| !own.is_some_and(|own| own::replaces(own, limiter.rule.key)));
        let of_route = of_route.map(|limiter| AppliedRate {
            name: &limiter.rule.name,
            key: Key::of(limiter.rule.key, facts),
            measure: limiter.count.measure,
            count: &limiter.count,
            counters: &limiter.counters,
        });
        let rates = of_route.chain(own.into_iter().flat_map(|caller| self.own.applied(caller)));
        rates.map(Applied::Rate).chain(self.quotas.iter().map(|quota| Applied::Quota(quota.applied(facts))))
    }

    /// `RateLimit-Policy`. `caller` has rates of its own.
    fn policy(&self, caller: Option<&Identity>) -> Option<HeaderValue> {
        let is_replaced = |rule: &RateRule| caller.is_some_and(|caller| own::replaces(caller, rule.key));
        let rules = self.limiters.iter().map(|limiter| &limiter.rule).filter(|rule| !is_replaced(rule));
        let rates = rules.map(|rule| fields::rate(&rule.name, rule.rate, rule.burst));
        let own = caller.into_iter().flat_map(own::rates).map(|(name, own)| fields::rate(name, own.rate, own.burst));
        let quotas = self.quotas.iter().map(|quota| fields::quota(&quota.rule.name, quota.rule.quota));
        fields::policy(rates.chain(own).chain(quotas))
    }
}

impl Limiter {
    fn new(rule: &RateRule, shared: Option<&Arc<SharedRates>>, counters: Arc<RateCounters>) -> Limiter {
        let forgotten = Arc::clone(&counters.forgotten);
        let count = Count::new((rule.rate, rule.burst), rule.backend, shared, rule.max_keys, forgotten);
        Limiter { rule: rule.clone(), count, counters }
    }
}
