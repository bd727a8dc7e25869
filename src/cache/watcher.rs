//! Invalidates cache entries when tokens change.
//!
//! The store's change log is authoritative and is polled (`store.poll_every`). Feeds only make invalidation faster. A
//! change that a feed reports is invalidated at once, and not trusted in the shared cache until the log, which is read
//! right after, confirms it. A feed that lost its connection may have missed changes, so the log is then read too.
//! Unchanged entries stay cached.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::lookup::Sources;
use super::memory::IdentityCache;
use super::shared::SharedCache;
use crate::store::{self, Changes, Cursor, StoreError, TokenEvent, TokenFeed, TokenStore};
use crate::telemetry::{Outage, ProcessCounters};

/// Reads the change log and passes its changes on.
pub struct Watcher {
    sources: Sources,
    since: Cursor,
    spread: Arc<Spread>,
}

/// The receivers of each change.
struct Spread {
    memory: Arc<IdentityCache>,
    /// Exchanges in flight.
    workers: broadcast::Sender<TokenEvent>,
    counts: Arc<ProcessCounters>,
}

impl Watcher {
    /// Creates a watcher that starts after `since`, which must be older than the first cache fill.
    pub fn new(
        sources: Sources,
        since: Cursor,
        workers: broadcast::Sender<TokenEvent>,
        counts: Arc<ProcessCounters>,
    ) -> Watcher {
        let spread = Arc::new(Spread { memory: Arc::clone(&sources.memory), workers, counts });
        Watcher { sources, since, spread }
    }

    /// Watches until dropped.
    pub async fn run(mut self, feeds: Vec<Box<dyn TokenFeed>>, every: Duration) {
        let told = Arc::new(Notify::new());
        let mut listening = JoinSet::new();
        for feed in feeds {
            let (spread, shared) = (Arc::clone(&self.spread), self.sources.shared.clone());
            listening.spawn(listen(feed, spread, shared, Arc::clone(&told)));
        }
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outage = Outage::default();
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = told.notified() => {}
            }
            match self.read_on().await {
                Ok(()) => {
                    if let Some(ended) = outage.succeeded() {
                        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                        tracing::debug!(
                            code = "store_unavailable",
                            failures,
                            lasted_ms,
                            "the change log can be read again"
                        );
                    }
                }
                Err(error) => {
                    self.spread.counts.change_failures.more();
                    if outage.failed() {
                        store::report("the change log cannot be read", &error);
                    }
                }
            }
        }
    }

    /// Passes on all unread entries of the change log.
    ///
    /// # Errors
    /// [`StoreError`] if the end of the log was not reached.
    pub async fn read_on(&mut self) -> Result<(), StoreError> {
        let began = self.sources.clock.now();
        let heard = self.sources.shared.as_ref().map(|shared| shared.heard());
        loop {
            let changes = self.sources.store.changes(self.since).await?;
            if changes.events.is_empty() {
                break;
            }
            self.spread.counts.changes.add(u64::try_from(changes.events.len()).unwrap_or(0));
            for event in changes.events {
                // This comes first: otherwise memory could be refilled from the shared cache with the old entry.
                self.fence(event, changes.next).await?;
                self.spread.pass_on(event);
            }
            self.since = changes.next;
        }
        if let Some((shared, heard)) = self.sources.shared.as_ref().zip(heard) {
            shared.caught_up();
            shared.settled(heard);
        }
        self.spread.memory.saw(began);
        self.spread.counts.change_log_read.set(u64::try_from(began.as_seconds()).unwrap_or(0));
        Ok(())
    }

    /// Makes the shared cache reject entries from before the change.
    async fn fence(&self, event: TokenEvent, change: Cursor) -> Result<(), StoreError> {
        let Some(shared) = &self.sources.shared else { return Ok(()) };
        match event {
            TokenEvent::Changed(digest) => shared.changed(digest, change),
            TokenEvent::SubjectChanged(subject) => {
                for digest in self.sources.store.tokens_of(subject).await? {
                    shared.changed(digest, change);
                }
            }
            TokenEvent::Gap => shared.all_changed(),
        }
        Ok(())
    }
}

/// Tells other gateways about changes after `since`. For a process that runs no watcher: the command line. Best effort:
/// the other gateways read the change log as well.
///
/// # Errors
/// [`StoreError`] if the change log cannot be read.
pub async fn announce(store: &dyn TokenStore, shared: &SharedCache, since: Cursor) -> Result<(), StoreError> {
    let (mut since, mut changed) = (since, Vec::new());
    loop {
        let Changes { events, next } = store.changes(since).await?;
        if events.is_empty() {
            break;
        }
        for event in events {
            match event {
                TokenEvent::Changed(digest) => changed.push((digest, next)),
                TokenEvent::SubjectChanged(subject) => {
                    changed.extend(store.tokens_of(subject).await?.into_iter().map(|digest| (digest, next)));
                }
                // A gap cannot be announced as one message; the other gateways read the change log.
                TokenEvent::Gap => {}
            }
        }
        since = next;
    }
    shared.announce(&changed).await;
    Ok(())
}

impl Spread {
    fn pass_on(&self, event: TokenEvent) {
        match event {
            TokenEvent::Changed(digest) => self.memory.forget(digest),
            TokenEvent::SubjectChanged(subject) => self.memory.forget_subject(subject),
            TokenEvent::Gap => self.memory.forget_all(),
        }
        // Fails when no worker runs, which is fine.
        let _ = self.workers.send(event);
    }
}

async fn listen(
    mut feed: Box<dyn TokenFeed>,
    spread: Arc<Spread>,
    shared: Option<Arc<SharedCache>>,
    told: Arc<Notify>,
) {
    loop {
        match feed.next().await {
            // Changes that were missed are in the change log.
            TokenEvent::Gap => {}
            event => {
                // This comes first: if the log cannot be read now, memory must not be refilled from the shared cache.
                if let Some(shared) = &shared {
                    shared.told(event);
                }
                spread.pass_on(event);
            }
        }
        told.notify_one();
    }
}
