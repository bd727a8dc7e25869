//! The rates of single tokens and users, which administrators set (`[own_rates]`).

use std::sync::{Arc, OnceLock};

use super::key::{Facts, Key};
use super::limiter::{AppliedRate, Count, measure};
use crate::cache::SharedRates;
use crate::clock::Timestamp;
use crate::config::settings::{OwnRateRule, RateFact, RateKey};
use crate::identity::Identity;
use crate::limits::Tally;
use crate::telemetry::{ProcessCounters, RateCounters};
use crate::token::{AuthMethod, OwnRate};

/// The names in headers and metrics.
const TOKEN: &str = "own-token";
const USER: &str = "own-user";

/// The counts of all tokens and users with rates of their own. They take no memory before the first one.
#[derive(Default)]
pub(super) struct OwnLimits {
    pub(super) settings: OwnRateRule,
    shared: Option<Arc<SharedRates>>,
    count: OnceLock<Count>,
    tokens: Arc<RateCounters>,
    users: Arc<RateCounters>,
    refused: Arc<Tally>,
}

/// The rates of a caller, with their names.
pub(super) fn rates(caller: &Identity) -> impl Iterator<Item = (&'static str, OwnRate)> {
    let own = caller.own_rates();
    // A session has no token.
    let token = own.and_then(|own| own.token).filter(|_| caller.method() == AuthMethod::Token);
    let user = own.and_then(|own| own.user);
    token.map(|rate| (TOKEN, rate)).into_iter().chain(user.map(|rate| (USER, rate)))
}

/// Whether a rate of a caller replaces a rate of a route with this key.
pub(super) fn replaces(caller: &Identity, key: RateKey) -> bool {
    let Some(own) = caller.own_rates() else { return false };
    match (key, caller.method()) {
        (RateKey(RateFact::Token, None), AuthMethod::Token) => own.token.is_some(),
        // A session counts for its user, and so does a certificate.
        (RateKey(RateFact::Token, None), AuthMethod::Session | AuthMethod::Certificate)
        | (RateKey(RateFact::User, None), _) => own.user.is_some(),
        _ => false,
    }
}

impl OwnLimits {
    pub(super) fn new(
        settings: OwnRateRule,
        shared: Option<&Arc<SharedRates>>,
        counters: &ProcessCounters,
    ) -> OwnLimits {
        OwnLimits {
            settings,
            shared: shared.map(Arc::clone),
            count: OnceLock::new(),
            tokens: counters.rate(TOKEN),
            users: counters.rate(USER),
            refused: Arc::clone(&counters.refused_tokens),
        }
    }

    /// Whether a rate has this name.
    pub(super) fn has(name: &str) -> bool {
        [TOKEN, USER].contains(&name)
    }

    /// Records for the pages of the admin application that a rate has refused a request of a token.
    pub(super) fn refuse(&self, facts: &Facts<'_>, now: Timestamp) {
        if let Some(token) = facts.caller.and_then(Identity::token) {
            self.refused.add(&token, now);
        }
    }

    /// The rates of a caller.
    pub(super) fn applied(&self, caller: &Identity) -> impl Iterator<Item = AppliedRate<'_>> {
        rates(caller).map(|(name, own)| {
            let (backend, rate) = (self.settings.backend, (own.rate, own.burst));
            let count = self.count.get_or_init(|| {
                let forgotten = Arc::clone(&self.tokens.forgotten);
                Count::new(rate, backend, self.shared.as_ref(), self.settings.max_keys, forgotten)
            });
            let measure = measure(rate, backend, count.is_shared());
            let (key, counters) = match name {
                TOKEN => (Key::token(caller.digest()), &*self.tokens),
                _ => (Key::user(caller.subject()), &*self.users),
            };
            AppliedRate { name, key, measure, count, counters }
        })
    }
}
