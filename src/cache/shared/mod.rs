//! The shared cache in Redis.
//!
//! An entry is one sealed record of the store under the digest of its token. A gateway trusts only entries that a
//! gateway with the same key wrote, and only if it knows of no later change: see [`fence`] and
//! `docs/decisions/0014-fences-by-redis-clock.md`. No lookup waits for Redis longer than `cache.redis.timeout`; while
//! Redis is down, none waits at all.
//!
//! A change of a token takes this path: [`SharedCache::changed`], the outbox, a hold in Redis, [`SharedCache::feed`] of
//! every gateway. The hold rejects late fills and publishes the change on the channel.

mod cause;
mod unconfirmed;
mod entry;
mod feed;
mod fence;
mod link;
mod outbox;
mod rates;
mod scripts;
mod servers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::settings::RedisCache;
use crate::limits::LogLimiter;
use crate::store::{Cursor, KeyFileError, SharedCacheKey, TokenEvent, TokenFeed};
use crate::token::{TokenDigest, TokenRecord};
use entry::{Entry, Opened};
use fence::Fences;
use link::{Failure, Link, Purpose};
pub use rates::SharedRates;
use scripts::{Scripts, ServerTime};
use servers::Servers;
use unconfirmed::{Heard, Unconfirmed};

/// Tolerated clock difference between gateways. An entry older than `ttl` by more than this, or from the future, is
/// rejected. So an attacker who replays old entries gains no more time.
const SKEW: Duration = Duration::from_secs(60);

/// Counters of the shared cache since the start of the process.
#[derive(Debug, Default)]
pub struct SharedCounters {
    /// Cache hits.
    pub hits: AtomicU64,
    /// Cache misses.
    pub misses: AtomicU64,
    /// Entries rejected because a fence applied or they were too old.
    pub stale: AtomicU64,
    /// Entries that no gateway with our key wrote.
    pub rejected: AtomicU64,
    /// Lookups without an answer, not counting those that were never sent.
    pub errors: AtomicU64,
    /// Holds delivered.
    pub holds: AtomicU64,
}

/// The result of a lookup in the shared cache.
#[derive(Debug)]
pub enum Looked {
    /// The store's answer, at most `cache.redis.ttl` old, and unchanged as far as this gateway knows.
    Found(Box<TokenRecord>),
    /// No entry. The store's answer may be cached.
    Nothing(Begun),
    /// Redis does not answer. Ask the store, and do not cache the answer here.
    Away,
}

/// The start of a lookup, by the clock of the Redis server. Its answer may be cached within two seconds.
#[derive(Debug)]
pub struct Begun {
    digest: TokenDigest,
    at: ServerTime,
}

/// The shared cache in Redis. Used only in the control half.
pub struct SharedCache {
    link: Link,
    scripts: Scripts,
    key: SharedCacheKey,
    clock: Clock,
    ttl: Duration,
    timeout: Duration,
    fences: Mutex<Fences>,
    unconfirmed: Mutex<Unconfirmed>,
    work: Notify,
    counters: SharedCounters,
    bad_entries: LogLimiter,
    refusals: LogLimiter,
}

impl SharedCache {
    /// Creates a cache that is down until its task runs. The task keeps the connection up and delivers holds until
    /// dropped.
    ///
    /// Changes before the start are unknown, so no older entry is trusted until [`SharedCache::caught_up`].
    pub fn new(
        settings: &RedisCache,
        key: SharedCacheKey,
        clock: Clock,
    ) -> (Arc<SharedCache>, impl Future<Output = ()> + Send + use<>) {
        let cache = Arc::new(SharedCache {
            link: Link::new(Servers::new(settings), Purpose::Tokens, settings.timeout),
            scripts: Scripts::new(&settings.prefix),
            key,
            clock,
            ttl: settings.ttl,
            timeout: settings.timeout,
            // Longer than any entry is accepted.
            fences: Mutex::new(Fences::new(settings.ttl + 2 * SKEW)),
            unconfirmed: Mutex::default(),
            work: Notify::new(),
            counters: SharedCounters::default(),
            bad_entries: LogLimiter::default(),
            refusals: LogLimiter::default(),
        });
        let task = Arc::clone(&cache);
        (cache, async move {
            tokio::join!(task.link.keep_up(), outbox::deliver(Arc::clone(&task)));
        })
    }

    /// Reads the key file again if it has changed.
    ///
    /// # Errors
    /// [`KeyFileError`]; the keys stay.
    pub fn refresh_key(&self) -> Result<(), KeyFileError> {
        self.key.refresh()
    }

    /// Looks a token up: one round trip, never longer than `timeout`.
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
        let counter = match there.map(|value| entry::open(&self.key.expose(), value, digest)) {
            Some(Opened::Entry(entry)) if self.believes(digest, &entry, now) => {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                return Looked::Found(Box::new(entry.record));
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

    /// Caches the store's answer, unless the token changed since the lookup began. Best effort, never longer than
    /// `timeout`.
    pub async fn keep(&self, begun: Begun, record: &TokenRecord) {
        let Begun { digest, at: began } = begun;
        if record.digest != digest || !self.fences().allows(digest, began) {
            return;
        }
        let keys = self.key.expose();
        let sealed = keys.last().map(|key| entry::seal(key, record, began, self.clock.now()));
        let Some(Ok(value)) = sealed else { return };
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let call = self.scripts.keep(digest, began, &value, ttl);
        if let Err(failure) = self.link.ask(&call, self.timeout).await {
            self.note(&failure);
        }
    }

    /// Records that a token changed. This gateway rejects its current entry from now on. A hold is delivered and other
    /// gateways are told as soon as possible. Never waits.
    ///
    /// Every gateway calls it for every change, after the commit.
    pub fn changed(&self, digest: TokenDigest, change: Cursor) {
        self.fences().changed(digest, change, self.clock.instant());
        self.work.notify_one();
    }

    /// Records that any token may have changed: changes were missed, or a database backup was restored. This gateway
    /// rejects all current entries from now on. Never waits.
    pub fn all_changed(&self) {
        self.fences().all_changed();
        self.work.notify_one();
    }

    /// Records that [`SharedCache::changed`] was called for every change of the last `ttl`: entries from before the
    /// start may now be trusted. Has no effect after [`SharedCache::all_changed`].
    pub fn caught_up(&self) {
        self.fences().caught_up();
    }

    /// Records a change that a feed reported before the change log was read. Until [`SharedCache::settled`], this
    /// gateway rejects every entry that it may affect. Never waits.
    pub fn told(&self, event: TokenEvent) {
        self.unconfirmed().tell(event);
    }

    /// The changes that feeds have reported so far.
    pub fn heard(&self) -> Heard {
        self.unconfirmed().heard()
    }

    /// Records that the change log was read, and passed to [`SharedCache::changed`], after these reports.
    pub fn settled(&self, heard: Heard) {
        self.unconfirmed().settle(heard);
    }

    /// Delivers holds and tells other gateways now, for a process that does not run the task. Gives up after a second:
    /// gateways read the change log as well.
    pub async fn announce(&self, changes: &[(TokenDigest, Cursor)]) {
        outbox::announce(self, changes).await;
    }

    /// The feed of changes from all gateways, this one included.
    pub fn feed(self: &Arc<Self>) -> Box<dyn TokenFeed> {
        Box::new(feed::ChannelFeed::new(Arc::clone(self)))
    }

    /// Connects once, for a command that asks whether the servers answer.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn probe(&self) -> Result<(), String> {
        self.link.connect().await.map(|_| ()).map_err(|failure| failure.to_string())
    }

    /// Reports whether there is no connection.
    pub fn is_away(&self) -> bool {
        !self.link.is_up()
    }

    /// Why there is no connection, once known: where, what, and how to fix it.
    pub fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    /// The address, without secrets.
    pub fn place(&self) -> String {
        self.link.servers().place()
    }

    /// The number of holds still to be delivered.
    pub fn owed(&self) -> usize {
        self.fences().owed()
    }

    /// The counters.
    pub fn counters(&self) -> &SharedCounters {
        &self.counters
    }

    /// Reports whether this entry is fresh by both clocks, and no change was recorded since its lookup began.
    fn believes(&self, digest: TokenDigest, entry: &Entry, now: ServerTime) -> bool {
        let Entry { began, kept, .. } = entry;
        let wall = self.clock.now();
        let age = now.0.checked_sub(began.0).map(Duration::from_millis);
        age.is_some_and(|age| age <= self.ttl + SKEW)
            && wall.since(*kept) <= self.ttl + SKEW
            && kept.since(wall) <= SKEW
            && self.fences().allows(digest, *began)
            && !self.unconfirmed().concern(digest, entry.record.owner.id)
    }

    fn report_bad_entry(&self, digest: TokenDigest) {
        // Handled like a change: a hold overwrites it.
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

    fn unconfirmed(&self) -> MutexGuard<'_, Unconfirmed> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
