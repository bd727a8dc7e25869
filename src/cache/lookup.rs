//! A single token lookup: the shared cache, then the store, then expired knowledge during an outage.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::Breaker;
use super::budget::Budget;
use super::memory::IdentityCache;
use super::shared::{Begun, Looked, SharedCache};
use crate::clock::{Clock, Timestamp};
use crate::config::settings;
use crate::identity::{Denied, Identity, Verdict};
use crate::limits::LogLimiter;
use crate::store::{self, StoreError, TokenStore};
use crate::telemetry::ProcessCounters;
use crate::token::{AuthMethod, TokenDigest, TokenKey, TokenRecord};

/// Longest pause between probes of an unreachable store; bounds how late the recovery is noticed.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The validity of the token is unknown. Never means that the token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token store cannot be reached")]
pub struct StoreUnavailable;

/// The sources of a lookup.
#[derive(Clone)]
pub struct Sources {
    /// The cache of this process.
    pub memory: Arc<IdentityCache>,
    /// The cache that all gateways share, if configured.
    pub shared: Option<Arc<SharedCache>>,
    /// The store, which is authoritative.
    pub store: Arc<dyn TokenStore>,
    /// The clock.
    pub clock: Clock,
}

/// Looks tokens up.
pub(super) struct Lookup {
    sources: Sources,
    breaker: Breaker,
    budget: Budget,
    counts: Arc<ProcessCounters>,
    broken: LogLimiter,
}

/// Whether this process has seen the token as valid before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Known,
    Unknown,
}

impl Lookup {
    pub(super) fn new(sources: Sources, settings: &settings::Store, counts: Arc<ProcessCounters>) -> Lookup {
        let (breaker, budget) = (Breaker::new(MAX_BACKOFF), Budget::new(settings.unknown_per_second));
        Lookup { sources, breaker, budget, counts, broken: LogLimiter::default() }
    }

    /// Changes whenever the token is invalidated.
    pub(super) fn epoch(&self, digest: TokenDigest) -> u64 {
        self.sources.memory.epoch(digest)
    }

    /// Looks a token up. The answer is in memory on return, unless the token was invalidated meanwhile.
    pub(super) async fn run(
        &self,
        key: TokenKey,
        digest: TokenDigest,
        asker: Asker,
    ) -> Result<Verdict, StoreUnavailable> {
        let Sources { memory, shared, clock, .. } = &self.sources;
        // Changes of a user evict the tokens of the user from the shared cache. A certificate is none of them.
        let shared = shared.as_ref().filter(|_| key.method() != AuthMethod::Certificate);
        let fill = memory.begin_fill(digest);
        let (shared_record, begun) = match shared {
            None => (None, None),
            Some(shared) => match shared.look(digest).await {
                Looked::Found(record) => (Some(*record), None),
                Looked::Nothing(begun) => (None, Some(begun)),
                Looked::Away => (None, None),
            },
        };
        let now = clock.now();
        if let Some(record) = &shared_record
            && !memory.is_blind(now)
        {
            let verdict = judge(Some(record), now);
            // The entry does not know of uses since it was written, so the store decides.
            if !matches!(verdict, Verdict::Denied(Denied::Unused)) {
                fill.keep(&verdict, now);
                return Ok(verdict);
            }
        }
        // While the change log is unread, a shared entry may have been revoked unnoticed; ask the store.
        let asked = self.ask_store(&key, asker).await;
        let now = clock.now();
        match asked {
            Ok(record) => {
                let verdict = judge(record.as_ref(), now);
                fill.keep(&verdict, now);
                self.share(begun, record);
                Ok(verdict)
            }
            Err(NotAsked) => {
                // Known callers pass for as long as the settings allow.
                let shared = shared_record.filter(|_| memory.lets_known_pass(now));
                let shared = shared.and_then(|record| Identity::establish(&record, now).ok()).map(Arc::new);
                let identity = shared.or_else(|| memory.remembered(digest, now)).ok_or(StoreUnavailable)?;
                self.counts.served_unasked.more();
                fill.keep_unasked(&identity, now);
                Ok(Verdict::Caller(identity))
            }
        }
    }

    /// Logs at a limited rate: a single broken row may be looked up a thousand times a second.
    fn report(&self, error: &StoreError) {
        let is_due = matches!(error, StoreError::Unavailable(_)) || self.broken.is_due(self.sources.clock.instant());
        if is_due {
            store::report("a token could not be looked up", error);
        }
    }

    /// Writes the store's answer to the shared cache. Does not wait.
    fn share(&self, begun: Option<Begun>, record: Option<TokenRecord>) {
        if let (Some(shared), Some(begun), Some(record)) = (&self.sources.shared, begun, record) {
            let shared = Arc::clone(shared);
            tokio::spawn(async move { shared.keep(begun, &record).await });
        }
    }

    async fn ask_store(&self, key: &TokenKey, asker: Asker) -> Result<Option<TokenRecord>, NotAsked> {
        let pass = self.breaker.lets_through().ok_or(NotAsked)?;
        if asker == Asker::Unknown && !self.budget.take() {
            self.counts.unknown_skipped.more();
            return Err(NotAsked);
        }
        self.counts.store_questions.more();
        let found = self.sources.store.find(key).await;
        match &found {
            Ok(record) => {
                self.breaker.succeeded();
                if asker == Asker::Unknown && record.is_some() {
                    self.budget.give_back();
                }
            }
            Err(error) => {
                self.counts.store_failures.more();
                self.report(error);
                // A corrupt answer does not open the breaker: a single row may be broken.
                if matches!(error, StoreError::Unavailable(_)) {
                    self.breaker.failed(pass);
                }
            }
        }
        found.map_err(|_| NotAsked)
    }
}

/// The store did not answer.
struct NotAsked;

fn judge(record: Option<&TokenRecord>, now: Timestamp) -> Verdict {
    match record.map(|record| Identity::establish(record, now)) {
        Some(Ok(identity)) => Verdict::Caller(Arc::new(identity)),
        Some(Err(denied)) => Verdict::Denied(denied),
        None => Verdict::Denied(Denied::Unknown),
    }
}
