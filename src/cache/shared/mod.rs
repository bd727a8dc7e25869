//! The cache in Redis that all gateways share.
//!
//! An entry is one record of the store, sealed, under the digest of its token. Redis is never believed beyond what a
//! gateway with our key wrote and beyond what this gateway knows of changes: see [`fence`] and
//! `docs/decisions/0014-fences-by-redis-clock.md`. Nobody waits for it longer than `cache.redis.timeout`, and while it is
//! away nobody waits at all.
//!
//! A change of a token goes [`SharedCache::changed`] → outbox → hold in Redis, which keeps late fills out and tells the
//! channel → [`SharedCache::feed`] of every gateway.

mod cause;
mod doubt;
mod entry;
mod feed;
mod fence;
mod link;
mod outbox;
mod scripts;
mod servers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::settings::RedisCache;
use crate::limits::Seldom;
use crate::store::{Cursor, SharedCacheKey, TokenEvent, TokenFeed};
use crate::token::{TokenDigest, TokenRecord};
use doubt::{Doubts, Heard};
use entry::{Entry, Opened};
use fence::Fences;
use link::{Failure, Link};
use scripts::{Scripts, ServerTime};
use servers::Servers;

/// How much clocks of gateways may differ. An entry that is older than `ttl` by more than this is not believed, nor one
/// from the future: whoever writes old entries again gains no more time.
const SKEW: Duration = Duration::from_secs(60);

/// What the shared cache did since the start of the process.
#[derive(Debug, Default)]
pub struct SharedCounters {
    /// Entries that were believed.
    pub hits: AtomicU64,
    /// Tokens without an entry.
    pub misses: AtomicU64,
    /// Entries that were not believed: fenced, or too old.
    pub stale: AtomicU64,
    /// What stood there and no gateway with our key had written.
    pub rejected: AtomicU64,
    /// Questions without an answer, apart from those that were not even asked.
    pub errors: AtomicU64,
    /// Holds delivered.
    pub holds: AtomicU64,
}

/// What the shared cache says of a token.
#[derive(Debug)]
pub enum Looked {
    /// What the store said, at most `cache.redis.ttl` ago, and unchanged as far as this gateway knows.
    Found(TokenRecord),
    /// Nothing. The store's answer may be kept.
    Nothing(Begun),
    /// It does not answer. The store is to be asked, and nothing to be kept.
    Away,
}

/// A look-up that began, by the clock of the server. Its answer may be kept for two seconds.
#[derive(Debug)]
pub struct Begun {
    digest: TokenDigest,
    at: ServerTime,
}

/// The cache in Redis that all gateways share. Control half only.
pub struct SharedCache {
    link: Link,
    scripts: Scripts,
    key: SharedCacheKey,
    clock: Clock,
    ttl: Duration,
    timeout: Duration,
    fences: Mutex<Fences>,
    doubts: Mutex<Doubts>,
    work: Notify,
    counters: SharedCounters,
    bad_entries: Seldom,
    refusals: Seldom,
}

impl SharedCache {
    /// A cache that is away until its task runs: the task makes connections and delivers holds, for ever.
    ///
    /// What changed before the start is not known, so nothing from before it is believed until
    /// [`SharedCache::caught_up`].
    pub fn new(
        settings: &RedisCache,
        key: SharedCacheKey,
        clock: Clock,
    ) -> (Arc<SharedCache>, impl Future<Output = ()> + Send + use<>) {
        let cache = Arc::new(SharedCache {
            link: Link::new(Servers::new(settings), settings.timeout),
            scripts: Scripts::new(&settings.prefix),
            key,
            clock,
            ttl: settings.ttl,
            timeout: settings.timeout,
            // Longer than the life of any entry, by every check that it has to pass.
            fences: Mutex::new(Fences::new(settings.ttl + 2 * SKEW)),
            doubts: Mutex::default(),
            work: Notify::new(),
            counters: SharedCounters::default(),
            bad_entries: Seldom::default(),
            refusals: Seldom::default(),
        });
        let task = Arc::clone(&cache);
        (cache, async move {
            tokio::join!(task.link.keep_up(), outbox::deliver(Arc::clone(&task)));
        })
    }

    /// What is known of a token. One round trip, never longer than `timeout`.
    pub async fn look(&self, digest: TokenDigest) -> Looked {
        let answer = self.link.ask(&self.scripts.look(digest), self.timeout).await;
        let looked = answer.and_then(|value| Ok(scripts::read_look(value)?));
        let (there, now) = match looked {
            Ok(looked) => looked,
            Err(failure) => {
                self.note(&failure);
                return Looked::Away;
            }
        };
        let counter = match there.map(|value| entry::open(self.key.expose(), value, digest)) {
            Some(Opened::Entry(entry)) if self.believes(digest, &entry, now) => {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                return Looked::Found(entry.record);
            }
            Some(Opened::Entry(_)) => &self.counters.stale,
            Some(Opened::Bad) => {
                self.report_bad_entry(digest);
                &self.counters.rejected
            }
            None | Some(Opened::Hold) => &self.counters.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Looked::Nothing(Begun { digest, at: now })
    }

    /// Keeps what the store said, unless the token changed since the look-up began. Best effort, never longer than
    /// `timeout`.
    pub async fn keep(&self, begun: Begun, record: &TokenRecord) {
        let Begun { digest, at: began } = begun;
        if record.digest != digest || !self.fences().let_through(digest, began) {
            return;
        }
        let Ok(value) = entry::seal(self.key.expose(), record, began, self.clock.now()) else { return };
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let call = self.scripts.keep(digest, began, &value, ttl);
        if let Err(failure) = self.link.ask(&call, self.timeout).await {
            self.note(&failure);
        }
    }

    /// A token changed. From now on its present entry is not believed here; a hold is delivered as soon as possible,
    /// and other gateways are told. Never waits.
    ///
    /// To be called for every change, by every gateway, after the change is committed.
    pub fn changed(&self, digest: TokenDigest, change: Cursor) {
        self.fences().changed(digest, change, self.clock.instant());
        self.work.notify_one();
    }

    /// Any token may have changed: changes were missed, or an older database was put back. From now on no present entry
    /// is believed here. Never waits.
    pub fn all_changed(&self) {
        self.fences().all_changed();
        self.work.notify_one();
    }

    /// Every change of the last `ttl` was told by [`SharedCache::changed`]: entries from before the start may be
    /// believed. Says nothing once [`SharedCache::all_changed`] was called.
    pub fn caught_up(&self) {
        self.fences().caught_up();
    }

    /// A feed told of a change that the change log was not read for yet. Until [`SharedCache::settled`] no entry that
    /// it may be about is believed here. Never waits.
    pub fn told(&self, event: TokenEvent) {
        self.doubts().tell(event);
    }

    /// What was told so far.
    pub fn heard(&self) -> Heard {
        self.doubts().heard()
    }

    /// All that the change log says was passed on by [`SharedCache::changed`], after this much was heard.
    pub fn settled(&self, heard: Heard) {
        self.doubts().settle(heard);
    }

    /// Delivers holds and tells other gateways now, for a process that does not run the task. Gives up after a second:
    /// gateways read the change log as well.
    pub async fn announce(&self, changes: &[(TokenDigest, Cursor)]) {
        outbox::announce(self, changes).await;
    }

    /// What other gateways tell, and this one.
    pub fn feed(self: &Arc<Self>) -> Box<dyn TokenFeed> {
        Box::new(feed::ChannelFeed::new(Arc::clone(self)))
    }

    /// Is there nobody to ask?
    pub fn is_away(&self) -> bool {
        !self.link.is_up()
    }

    /// Why there is nobody to ask, once that is known: where, what, and how to mend it.
    pub fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    /// Where it is, without anything secret.
    pub fn place(&self) -> String {
        self.link.servers().place()
    }

    /// How many holds are still to be delivered.
    pub fn owed(&self) -> usize {
        self.fences().owed()
    }

    /// What was counted.
    pub fn counters(&self) -> &SharedCounters {
        &self.counters
    }

    /// Is this entry fresh by both clocks, and did nothing change since its look-up began?
    fn believes(&self, digest: TokenDigest, entry: &Entry, now: ServerTime) -> bool {
        let Entry { began, kept, .. } = entry;
        let wall = self.clock.now();
        let age = now.0.checked_sub(began.0).map(Duration::from_millis);
        age.is_some_and(|age| age <= self.ttl + SKEW)
            && wall.since(*kept) <= self.ttl + SKEW
            && kept.since(wall) <= SKEW
            && self.fences().let_through(digest, *began)
            && !self.doubts().concern(digest, entry.record.owner.id)
    }

    fn report_bad_entry(&self, digest: TokenDigest) {
        // Fenced and owed like a change: a hold takes its place.
        self.fences().spoiled(digest, self.clock.instant());
        self.work.notify_one();
        if self.bad_entries.is_due(self.clock.instant()) {
            tracing::warn!(
                code = "shared_cache_rejected",
                ?digest,
                "the shared cache contains entries that no gateway with this key file wrote; check what else writes to these keys"
            );
        }
    }

    fn note(&self, failure: &Failure) {
        if matches!(failure, Failure::Away) {
            return;
        }
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        if let Failure::Refused(error) = failure
            && self.refusals.is_due(self.clock.instant())
        {
            let why = self.link.servers().explain(error);
            tracing::warn!(code = "shared_cache_refused", why, "the shared cache refuses a command");
        }
    }

    fn fences(&self) -> MutexGuard<'_, Fences> {
        self.fences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
