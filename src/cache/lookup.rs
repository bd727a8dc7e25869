//! The way of one question: the store, and what memory still knows if the store is away.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::Breaker;
use super::budget::Budget;
use super::memory::{Fill, IdentityCache};
use crate::clock::{Clock, Timestamp};
use crate::config::settings;
use crate::identity::{Denied, Identity, Verdict};
use crate::store::{StoreError, TokenStore};
use crate::telemetry::Knowledge;
use crate::token::{TokenDigest, TokenKey, TokenRecord};

/// Longest pause between probes of a store that is away: it is noticed so soon that it is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// It is not known whether the token counts. Never means that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token store cannot be reached")]
pub struct StoreUnavailable;

/// Everybody who can be asked about a token.
pub(super) struct Lookup {
    memory: Arc<IdentityCache>,
    store: Arc<dyn TokenStore>,
    breaker: Breaker,
    budget: Budget,
    clock: Clock,
    counts: Arc<Knowledge>,
}

/// Whether this process has known the token before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Known,
    Stranger,
}

impl Lookup {
    pub(super) fn new(
        memory: Arc<IdentityCache>,
        store: Arc<dyn TokenStore>,
        settings: &settings::Store,
        clock: Clock,
        counts: Arc<Knowledge>,
    ) -> Lookup {
        let (breaker, budget) = (Breaker::new(LONGEST_PAUSE), Budget::new(settings.unknown_per_second));
        Lookup { memory, store, breaker, budget, clock, counts }
    }

    /// Moves whenever the token is forgotten.
    pub(super) fn epoch(&self, digest: TokenDigest) -> u64 {
        self.memory.epoch(digest)
    }

    /// What a token means. The answer is in memory when this returns, unless the token was forgotten meanwhile.
    pub(super) async fn run(
        &self,
        key: TokenKey,
        digest: TokenDigest,
        asker: Asker,
    ) -> Result<Verdict, StoreUnavailable> {
        let fill = self.memory.begin_fill(digest);
        match self.ask_store(&key, asker).await {
            Ok(record) => {
                let now = self.clock.now();
                let verdict = judge(record.as_ref(), now);
                fill.keep(&verdict, now);
                Ok(verdict)
            }
            Err(NotAsked) => self.remember(fill, digest),
        }
    }

    async fn ask_store(&self, key: &TokenKey, asker: Asker) -> Result<Option<TokenRecord>, NotAsked> {
        if !self.breaker.lets_through() {
            return Err(NotAsked);
        }
        if asker == Asker::Stranger && !self.budget.take() {
            self.counts.strangers_put_off.more();
            return Err(NotAsked);
        }
        self.counts.store_questions.more();
        let found = self.store.find(key).await;
        match &found {
            Ok(record) => {
                self.breaker.succeeded();
                if asker == Asker::Stranger && record.is_some() {
                    self.budget.give_back();
                }
            }
            Err(error) => {
                self.counts.store_failures.more();
                report(error);
                // A broken store answers; it is not spared, since what is broken may be one row.
                if matches!(error, StoreError::Unavailable(_)) {
                    self.breaker.failed();
                }
            }
        }
        found.map_err(|_| NotAsked)
    }

    /// Nobody could be asked: those who are known may pass for as long as the settings say.
    fn remember(&self, fill: Fill, digest: TokenDigest) -> Result<Verdict, StoreUnavailable> {
        let now = self.clock.now();
        let identity = self.memory.remembered(digest, now).ok_or(StoreUnavailable)?;
        self.counts.served_unasked.more();
        fill.keep_unasked(&identity, now);
        Ok(Verdict::Caller(identity))
    }
}

/// The store gave no answer.
struct NotAsked;

fn judge(record: Option<&TokenRecord>, now: Timestamp) -> Verdict {
    match record.map(|record| Identity::establish(record, now)) {
        Some(Ok(identity)) => Verdict::Caller(Arc::new(identity)),
        Some(Err(denied)) => Verdict::Denied(denied),
        None => Verdict::Denied(Denied::Unknown),
    }
}

fn report(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(code = "store_unavailable", %error, cause, "a token could not be looked up");
}
