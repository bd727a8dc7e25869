//! Token caches of the process, and the control tasks that keep them up to date.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};

use super::{StartError, prune};
use crate::admin::monitor::Status;
use crate::admin::monitor::status::FeedStatus;
use crate::cache::{
    ExposedTokens, IdentityCache, Quotas, Resolver, ResolverHandle, SharedCache, SharedRates, Sources, Uses, Watcher,
};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::store::{PushState, SharedCacheKey, Store, TokenEvent, TokenFeed};
use crate::telemetry::history::share;
use crate::telemetry::{ProcessCounters, Recorder, export};

/// Maximum number of events a worker may lag behind before it re-checks everything.
const EVENTS: usize = 1_024;
/// How far back a start reads the change log, in addition to the lifetime of shared cache entries.
const MARGIN: Duration = Duration::from_secs(180);

/// Handles that each worker receives.
#[derive(Clone)]
pub(super) struct TokenServices {
    pub memory: Arc<IdentityCache>,
    pub resolver: ResolverHandle,
    pub uses: Uses,
    pub exposed: ExposedTokens,
    /// Events of the change log, sent after the memory cache has dropped the affected entries.
    pub events: broadcast::Sender<TokenEvent>,
    pub counts: Arc<ProcessCounters>,
    /// The rates that gateways count together; `None`: `[cache.redis]` is not configured.
    pub shared_rates: Option<Arc<SharedRates>>,
    /// The counts of quotas; `None`: the store cannot keep them.
    pub quotas: Option<Quotas>,
    shared: Option<Arc<SharedCache>>,
    /// Name of each push feed, and whether it is connected.
    feeds: Vec<(&'static str, PushState)>,
}

/// Starts every task that maintains token data. The returned task writes last uses and counts of quotas; it ends when
/// all senders are dropped.
pub(super) async fn start(
    settings: &Settings,
    store: &Store,
    clock: &Clock,
    control: &mut JoinSet<()>,
) -> Result<(TokenServices, JoinHandle<()>), StartError> {
    let (tokens, counts) = (&store.tokens, Arc::new(ProcessCounters::default()));
    let memory = IdentityCache::new(&settings.memory, &settings.store, clock.now());
    let with_tokens = settings.redis.as_ref().filter(|redis| redis.tokens);
    let shared = match with_tokens {
        None => None,
        Some(redis) => {
            let key = SharedCacheKey::read(&settings.store.key_file)?;
            let (shared, task) = SharedCache::new(redis, key, clock.clone());
            control.spawn(task);
            Some(shared)
        }
    };
    let shared_rates = settings.redis.as_ref().map(|redis| {
        let (rates, task) = SharedRates::new(redis, clock.clone());
        control.spawn(task);
        rates
    });
    // Read from before the first cache fill, so no change falls between the two. With a shared cache, read from before
    // its oldest entry, so no outdated entry is used.
    let since = match with_tokens {
        None => tokens.newest_change().await?,
        Some(redis) => tokens.cursor_at(clock.now().before(redis.ttl + MARGIN)).await?,
    };
    let sources = Sources {
        memory: Arc::clone(&memory),
        shared: shared.clone(),
        store: Arc::clone(tokens),
        clock: clock.clone(),
    };
    let (resolver, handle) = Resolver::new(sources.clone(), &settings.store, Arc::clone(&counts));
    let (exposed, exposures) = ExposedTokens::new(Arc::clone(tokens), clock.clone());
    let every = settings.tokens.last_used_every;
    let (uses, writing) = Uses::new(Arc::clone(&store.ledger), every, clock.clone(), Arc::clone(&counts));
    let (quotas, saving) = store.quotas.as_ref().map(|quotas| Quotas::new(Arc::clone(quotas))).unzip();
    let saving = async {
        if let Some(saving) = saving {
            saving.await;
        }
    };
    let (events, _) = broadcast::channel(EVENTS);
    let from_store = tokens.feed().map(|feed| ("Push of the store", feed));
    let from_shared = shared.as_ref().map(|shared| ("Channel of the shared cache", shared.feed()));
    let named: Vec<(&str, Box<dyn TokenFeed>)> = from_store.into_iter().chain(from_shared).collect();
    let push_states = named.iter().filter_map(|(name, feed)| Some((*name, feed.push_state()?))).collect();
    let feeds = named.into_iter().map(|(_, feed)| feed).collect();
    let watcher = Watcher::new(sources, since, events.clone(), Arc::clone(&counts));
    control.spawn(resolver.run());
    control.spawn(exposures);
    control.spawn(super::clock::watch(clock.clone(), Arc::clone(&counts)));
    control.spawn(watcher.run(feeds, settings.store.poll_every));
    control.spawn(prune::run(store.clone(), clock.clone(), prune::audit_keep(settings)));
    let services = TokenServices {
        memory,
        resolver: handle,
        uses,
        exposed,
        events,
        counts,
        shared_rates,
        quotas,
        shared,
        feeds: push_states,
    };
    let writing = async {
        tokio::join!(writing, saving);
    };
    Ok((services, tokio::spawn(writing)))
}

impl TokenServices {
    /// Address of the shared cache, if one is configured.
    pub(super) fn shared_place(&self) -> Option<String> {
        self.shared.as_ref().map(|shared| shared.place())
    }

    /// Reads the key file again for the shared cache. The store does it when it needs a key.
    pub(super) fn refresh_key(&self) {
        if let Some(Err(error)) = self.shared.as_ref().map(|shared| shared.refresh_key()) {
            tracing::error!(code = "key_file_unreadable", "{error}; the keys that were read before stay in use");
        }
    }

    /// Reports the state of the store, the shared cache and the push feeds.
    pub(super) fn tell(&self, status: &mut Status, now: Timestamp) {
        let store = &mut status.store;
        (store.is_up, store.log_read) = (!self.memory.is_blind(now), self.memory.change_log_read());
        (store.questions, store.failures) = (self.counts.store_questions.get(), self.counts.store_failures.get());
        if let Some((shown, shared)) = status.shared_cache.as_mut().zip(self.shared.as_ref()) {
            let [hits, misses, stale] = [&shared.counters().hits, &shared.counters().misses, &shared.counters().stale]
                .map(|counter| counter.load(Ordering::Relaxed));
            (shown.is_up, shown.trouble, shown.owed) = (!shared.is_away(), shared.trouble(), shared.owed());
            shown.hit_rate = share(hits, hits.saturating_add(misses).saturating_add(stale));
        }
        let feeds = self.feeds.iter().map(|(name, push_state)| FeedStatus { name, is_up: push_state.is_on() });
        status.feeds = feeds.collect();
    }

    /// Writes the metrics page.
    pub(super) fn metrics(&self, recorders: &[Arc<Recorder>]) -> String {
        if let Some(shared) = &self.shared {
            let (to, from) = (&self.counts, shared.counters());
            to.shared_hits.set(from.hits.load(Ordering::Relaxed));
            to.shared_misses.set(from.misses.load(Ordering::Relaxed));
            to.shared_stale.set(from.stale.load(Ordering::Relaxed));
            to.shared_rejected.set(from.rejected.load(Ordering::Relaxed));
            to.shared_errors.set(from.errors.load(Ordering::Relaxed));
            to.shared_holds.set(from.holds.load(Ordering::Relaxed));
            to.shared_owed.set(u64::try_from(shared.owed()).unwrap_or(u64::MAX));
            to.shared_up.set(u64::from(!shared.is_away()));
        }
        export::prometheus(recorders, &self.counts)
    }
}
