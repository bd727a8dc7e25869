//! A store between a gateway and the real one: a test can delay it, make it fail, and count its reads.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use std::time::Duration;

use async_trait::async_trait;
use tokengate::clock::Timestamp;
use tokengate::store::{Changes, Cursor, Store, StoreError, TokenEvent, TokenFeed, TokenStore};
use tokengate::token::{SubjectId, TokenDigest, TokenKey, TokenRecord};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Gateway, PATIENCE, Site, eventually};

/// Longer than a change usually takes to be applied.
const LATE: Duration = Duration::from_millis(40);

/// The store that the gateway uses.
pub struct Watched {
    store: Arc<dyn TokenStore>,
    away: AtomicBool,
    mute: AtomicBool,
    deaf: bool,
    news: std::sync::Mutex<Vec<TokenEvent>>,
    reads: AtomicUsize,
    answers: Arc<Mutex<()>>,
    /// One of this many lookups is delayed; 0: none.
    late: AtomicUsize,
    /// The position up to which the change log was read and applied; `i64::MIN` before the first read.
    applied: AtomicI64,
}

impl Watched {
    /// A gateway with such a store.
    pub async fn start(site: Site) -> (Gateway, Arc<Watched>) {
        Watched::start_hearing(site, true).await
    }

    /// The same without a feed: changes are found only in the log.
    pub async fn start_deaf(site: Site) -> (Gateway, Arc<Watched>) {
        Watched::start_hearing(site, false).await
    }

    async fn start_hearing(site: Site, hears: bool) -> (Gateway, Arc<Watched>) {
        let mut watched = None;
        let wrap = |store: Store| {
            let watched = watched.insert(Arc::new(Watched {
                store: Arc::clone(&store.tokens),
                away: AtomicBool::new(false),
                mute: AtomicBool::new(false),
                deaf: !hears,
                news: std::sync::Mutex::default(),
                reads: AtomicUsize::new(0),
                answers: Arc::default(),
                late: AtomicUsize::new(0),
                applied: AtomicI64::new(i64::MIN),
            }));
            Store { tokens: Arc::<Watched>::clone(watched), ..store }
        };
        let gateway = site.start_with(wrap).await;
        (gateway, watched.unwrap())
    }

    /// Makes the store unreachable or reachable for the gateway. The test itself can always use it.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    /// Makes lookups fail while the change log can still be read.
    pub fn set_mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::Release);
    }

    /// Adds an event to the next read of the change log.
    pub fn tell(&self, event: TokenEvent) {
        self.news.lock().unwrap().push(event);
    }

    /// Whether all added events were read.
    pub fn all_is_told(&self) -> bool {
        self.news.lock().unwrap().is_empty()
    }

    /// How many lookups have read the store.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Acquire)
    }

    /// Delays the responses of one in `one_of` lookups, after they have read.
    pub fn answers_late(&self, one_of: usize) {
        self.late.store(one_of, Ordering::Release);
    }

    /// Lookups read at once, but respond only when this is dropped.
    pub fn hold_answers(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.answers).try_lock_owned().unwrap()
    }

    /// Waits until the gateway has applied all changes up to now.
    pub async fn changes_are_applied(&self) {
        let newest = self.store.newest_change().await.unwrap().0;
        eventually(PATIENCE, "the changes are applied", || async { self.applied.load(Ordering::Acquire) >= newest })
            .await;
    }

    fn reach(&self) -> Result<&dyn TokenStore, StoreError> {
        if self.away.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("the test made it unreachable".into()));
        }
        Ok(&*self.store)
    }
}

#[async_trait]
impl TokenStore for Watched {
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError> {
        if self.mute.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("the test made lookups fail".into()));
        }
        let found = self.reach()?.find(key).await;
        let number = self.reads.fetch_add(1, Ordering::AcqRel);
        let late = self.late.load(Ordering::Acquire);
        if late > 0 && number.is_multiple_of(late) {
            // Simulates a slow store; not a wait for an event.
            tokio::time::sleep(LATE).await;
        }
        drop(self.answers.lock().await);
        found
    }

    async fn tokens_of(&self, subject: SubjectId) -> Result<Vec<TokenDigest>, StoreError> {
        self.reach()?.tokens_of(subject).await
    }

    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError> {
        let mut changes = self.reach()?.changes(since).await?;
        changes.events.append(&mut self.news.lock().unwrap());
        // A gateway that asks for changes after this position has applied those before it.
        self.applied.fetch_max(since.0, Ordering::AcqRel);
        Ok(changes)
    }

    async fn newest_change(&self) -> Result<Cursor, StoreError> {
        self.reach()?.newest_change().await
    }

    async fn cursor_at(&self, at: Timestamp) -> Result<Cursor, StoreError> {
        self.reach()?.cursor_at(at).await
    }

    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        if self.deaf { None } else { self.store.feed() }
    }

    async fn prune_changes(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.reach()?.prune_changes(before).await
    }

    async fn mark_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError> {
        self.reach()?.mark_exposed(digest, from, at).await
    }

    async fn revoke_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError> {
        self.reach()?.revoke_exposed(digest, from, at).await
    }
}
