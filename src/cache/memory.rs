//! The token cache of this process.
//!
//! Bounded and sharded. The library evicts entries; this module prevents stale fills: a lookup that began before a
//! revocation is never cached. Every digest belongs to an epoch counter, which an invalidation increments.
//! [`Fill::keep`] drops an answer whose epoch has changed. Refusals are cached apart from identities, so a flood of
//! unknown tokens evicts no known caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::change_log_state::ChangeLogState;
use crate::clock::Timestamp;
use crate::config::settings::{self, MemoryCache};
use crate::identity::{Denied, Identity, Verdict};
use crate::token::{SubjectId, TokenDigest};

/// The number of epoch counters. A power of two; with 64, an invalidated token spoils at most 1 in 64 fills.
const EPOCHS: usize = 64;

/// The token cache of this process; shared by all workers.
pub struct IdentityCache {
    known: Cache<TokenDigest, Known>,
    denied: Cache<TokenDigest, DeniedUntil>,
    /// Invalidated tokens that were valid, until this time: not served, but looked up with the priority of known
    /// tokens.
    once_good: Cache<TokenDigest, ()>,
    epochs: [AtomicU64; EPOCHS],
    change_log: ChangeLogState,
    ttl: Duration,
    negative_ttl: Duration,
    blind_ttl: Duration,
}

#[derive(Clone)]
struct Known {
    identity: Arc<Identity>,
    /// When it was cached.
    since: Timestamp,
    until: Timestamp,
}

#[derive(Clone, Copy)]
struct DeniedUntil {
    why: Denied,
    until: Timestamp,
}

impl IdentityCache {
    /// Creates an empty cache. The change log counts as read up to `now`.
    pub fn new(settings: &MemoryCache, store: &settings::Store, now: Timestamp) -> Arc<IdentityCache> {
        Arc::new(IdentityCache {
            known: Cache::new(settings.max_entries),
            denied: Cache::new((settings.max_entries / 8).max(16)),
            once_good: Cache::new(settings.max_entries),
            epochs: [const { AtomicU64::new(0) }; EPOCHS],
            change_log: ChangeLogState::new(settings, store, now),
            ttl: settings.ttl,
            negative_ttl: settings.negative_ttl,
            blind_ttl: settings.blind_ttl,
        })
    }

    /// Returns the cached verdict of a token. Checks the age of the entry and the token's expiry at every hit.
    pub fn get(&self, digest: TokenDigest, now: Timestamp) -> Option<Verdict> {
        if let Some(known) = self.known.get(&digest) {
            // An entry expires with its token at the latest, so one comparison checks both.
            let counts = known.until > now && (self.change_log.is_clear(now) || self.is_young(&known, now));
            return counts.then_some(Verdict::Caller(known.identity));
        }
        let denied = self.denied.get(&digest)?;
        (denied.until > now).then_some(Verdict::Denied(denied.why))
    }

    /// Returns the last known caller of this token, for use while the store is unreachable. Ignores the age of the
    /// entry, but respects the token's expiry and `serve_known_for`.
    pub fn remembered(&self, digest: TokenDigest, now: Timestamp) -> Option<Arc<Identity>> {
        let known = self.known.get(&digest)?;
        let lives = known.identity.expires().is_none_or(|end| end > now);
        (lives && self.change_log.lets_known_pass(now)).then_some(known.identity)
    }

    /// Reports whether revocations may have been missed because the change log was not read for a while.
    pub fn is_blind(&self, now: Timestamp) -> bool {
        !self.change_log.is_clear(now)
    }

    /// Reports whether known callers pass although the store is unreachable.
    pub fn lets_known_pass(&self, now: Timestamp) -> bool {
        self.change_log.lets_known_pass(now)
    }

    /// Reports whether this token was valid at its last lookup. It may be invalid now.
    pub fn knew(&self, digest: TokenDigest) -> bool {
        self.known.contains_key(&digest) || self.once_good.contains_key(&digest)
    }

    /// Records that all changes before `at` have been applied.
    pub fn saw(&self, at: Timestamp) {
        self.change_log.saw(at);
    }

    /// The last time passed to [`IdentityCache::saw`].
    pub fn change_log_read(&self) -> Timestamp {
        self.change_log.last()
    }

    /// Begins a fill; call it before the store is queried.
    pub fn begin_fill(self: &Arc<Self>, digest: TokenDigest) -> Fill {
        Fill { cache: Arc::clone(self), digest, epoch: self.epoch(digest) }
    }

    /// Invalidates one token.
    pub fn forget(&self, digest: TokenDigest) {
        self.counter(digest).fetch_add(1, Ordering::AcqRel);
        if self.known.remove(&digest).is_some() {
            self.once_good.insert(digest, ());
        }
        self.denied.remove(&digest);
    }

    /// Invalidates all tokens of one user.
    pub fn forget_subject(&self, subject: SubjectId) {
        // The owner of a lookup in flight is unknown, so all fills in flight are dropped.
        self.move_all_epochs();
        self.known.retain(|digest, known| {
            let stays = known.identity.subject() != subject;
            if !stays {
                self.once_good.insert(*digest, ());
            }
            stays
        });
        self.denied.retain(|_, denied| denied.why != Denied::OwnerInactive);
    }

    /// Invalidates everything.
    pub fn forget_all(&self) {
        self.move_all_epochs();
        for (digest, _) in self.known.iter() {
            self.once_good.insert(digest, ());
        }
        self.known.clear();
        self.denied.clear();
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.known.len() + self.denied.len()
    }

    /// Reports whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_young(&self, known: &Known, now: Timestamp) -> bool {
        self.change_log.trusts_recent() && now.since(known.since) < self.blind_ttl
    }

    fn move_all_epochs(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Changes whenever the token is invalidated, and sometimes with another token.
    pub(super) fn epoch(&self, digest: TokenDigest) -> u64 {
        self.counter(digest).load(Ordering::Acquire)
    }

    fn counter(&self, digest: TokenDigest) -> &AtomicU64 {
        let [first, ..] = *digest.as_bytes();
        let [fallback, ..] = &self.epochs;
        self.epochs.get(usize::from(first) % EPOCHS).unwrap_or(fallback)
    }
}

/// A lookup in flight. It may be dropped unused.
pub struct Fill {
    cache: Arc<IdentityCache>,
    digest: TokenDigest,
    epoch: u64,
}

impl Fill {
    /// Caches `verdict`, unless the token was invalidated since the fill began.
    ///
    /// The entry lives for the configured time, but never beyond the token's expiry.
    pub fn keep(self, verdict: &Verdict, now: Timestamp) {
        let ttl = self.cache.ttl;
        self.keep_for(verdict, now, ttl);
    }

    /// Caches an identity for a short time although the store did not answer, so that not every request retries.
    pub fn keep_unasked(self, identity: &Arc<Identity>, now: Timestamp) {
        let ttl = self.cache.blind_ttl;
        self.keep_for(&Verdict::Caller(Arc::clone(identity)), now, ttl);
    }

    fn keep_for(self, verdict: &Verdict, now: Timestamp, ttl: Duration) {
        if self.is_outdated() {
            return;
        }
        match verdict {
            Verdict::Caller(identity) => {
                let end = now.after(identity.unused_for().map_or(ttl, |span| span.min(ttl)));
                let until = identity.expires().map_or(end, |expires| expires.min(end));
                self.cache.denied.remove(&self.digest);
                self.cache.once_good.remove(&self.digest);
                self.cache.known.insert(self.digest, Known { identity: Arc::clone(identity), since: now, until });
            }
            Verdict::Denied(why) => {
                let until = now.after(self.cache.negative_ttl);
                self.cache.known.remove(&self.digest);
                self.cache.once_good.remove(&self.digest);
                self.cache.denied.insert(self.digest, DeniedUntil { why: *why, until });
            }
        }
        // An invalidation between the check and the insertion found no entry to remove; remove it here.
        if self.is_outdated() {
            if self.cache.known.remove(&self.digest).is_some() {
                self.cache.once_good.insert(self.digest, ());
            }
            self.cache.denied.remove(&self.digest);
        }
    }

    fn is_outdated(&self) -> bool {
        self.cache.epoch(self.digest) != self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::OnOutage;
    use crate::token::{Account, AuthMethod, Restrictions, ScopeSet, TokenId, TokenRecord};

    fn cache_that(on_outage: OnOutage) -> Arc<IdentityCache> {
        let memory = MemoryCache { max_entries: 100, ..MemoryCache::default() };
        let url = settings::StoreUrl::Sqlite("unused".into());
        let store = settings::Store { on_outage, ..settings::Store::at(url, "unused".into()) };
        IdentityCache::new(&memory, &store, at(0))
    }

    fn cache() -> Arc<IdentityCache> {
        cache_that(OnOutage::ServeKnown(Duration::from_secs(300)))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn caller(subject: i64, expires: Option<Timestamp>) -> Verdict {
        let record = TokenRecord {
            id: TokenId(1),
            method: AuthMethod::Token,
            digest: TokenDigest::of(b"k"),
            owner: Account {
                id: SubjectId(subject),
                name: "alice".to_owned(),
                email: String::new(),
                groups: Vec::new(),
                active: true,
            },
            scopes: ScopeSet::default(),
            created: at(0),
            expires,
            revoked: None,
            restrictions: Restrictions::default(),
        };
        Verdict::Caller(Arc::new(Identity::establish(&record, at(0)).unwrap()))
    }

    #[test]
    fn a_fill_that_began_before_an_eviction_is_never_stored() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        let fill = cache.begin_fill(digest);
        cache.forget(digest);
        fill.keep(&caller(1, None), at(0));
        assert!(cache.get(digest, at(0)).is_none());

        for forget in [IdentityCache::forget_all, |cache: &IdentityCache| cache.forget_subject(SubjectId(1))] {
            let fill = cache.begin_fill(digest);
            forget(&cache);
            fill.keep(&caller(1, None), at(0));
            assert!(cache.get(digest, at(0)).is_none());
        }
    }

    #[test]
    fn an_identity_is_cached_for_its_lifetime_and_never_past_its_expiry() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        cache.begin_fill(digest).keep(&caller(1, None), at(0));
        cache.saw(at(60));
        assert!(matches!(cache.get(digest, at(59)), Some(Verdict::Caller(_))));
        assert!(cache.get(digest, at(60)).is_none());

        cache.begin_fill(digest).keep(&caller(1, Some(at(10))), at(0));
        assert!(cache.get(digest, at(9)).is_some());
        assert!(cache.get(digest, at(10)).is_none());
    }

    #[test]
    fn a_refusal_is_cached_for_a_second() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        cache.begin_fill(digest).keep(&Verdict::Denied(Denied::Unknown), at(0));
        assert!(matches!(cache.get(digest, at(0)), Some(Verdict::Denied(Denied::Unknown))));
        assert!(cache.get(digest, at(1)).is_none());
    }

    #[test]
    fn an_identity_is_cached_for_a_shorter_time_while_the_change_log_is_unread() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        cache.begin_fill(digest).keep(&caller(1, None), at(0));
        assert!(cache.get(digest, at(4)).is_some(), "blind, but young");
        assert!(cache.get(digest, at(5)).is_none());
        cache.saw(at(5));
        assert!(cache.get(digest, at(5)).is_some(), "nothing was revoked meanwhile");
        assert!(cache.get(digest, at(7)).is_some());
        assert!(cache.get(digest, at(8)).is_none());

        let cache = cache_that(OnOutage::Refuse);
        cache.begin_fill(digest).keep(&caller(1, None), at(0));
        assert!(cache.get(digest, at(2)).is_some());
        assert!(cache.get(digest, at(3)).is_none(), "the change log is unread for too long");
    }

    #[test]
    fn cached_callers_pass_during_an_outage_for_the_configured_time() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        cache.begin_fill(digest).keep(&caller(1, Some(at(200))), at(0));
        assert!(cache.get(digest, at(100)).is_none());
        let identity = cache.remembered(digest, at(199)).unwrap();
        cache.begin_fill(digest).keep_unasked(&identity, at(100));
        assert!(cache.get(digest, at(104)).is_some());
        assert!(cache.get(digest, at(105)).is_none());
        assert!(cache.remembered(digest, at(200)).is_none(), "expired");

        cache.begin_fill(digest).keep(&caller(1, None), at(0));
        assert!(cache.remembered(digest, at(300)).is_some());
        assert!(cache.remembered(digest, at(301)).is_none());
        cache.forget(digest);
        assert!(cache.remembered(digest, at(0)).is_none(), "revoked");

        let cache = cache_that(OnOutage::Refuse);
        cache.begin_fill(digest).keep(&caller(1, None), at(0));
        assert!(cache.remembered(digest, at(0)).is_none());
    }

    #[test]
    fn evicting_a_user_evicts_only_that_user() {
        let cache = cache();
        let (hers, his) = (TokenDigest::of(b"hers"), TokenDigest::of(b"his"));
        cache.begin_fill(hers).keep(&caller(1, None), at(0));
        cache.begin_fill(his).keep(&caller(2, None), at(0));
        cache.forget_subject(SubjectId(1));
        assert!(cache.get(hers, at(0)).is_none());
        assert!(cache.get(his, at(0)).is_some());
    }

    #[test]
    fn a_flood_of_unknown_tokens_evicts_no_valid_ones() {
        let (cache, known) = (cache(), TokenDigest::of(b"known"));
        cache.begin_fill(known).keep(&caller(1, None), at(0));
        for n in 0..10_000_u32 {
            cache.begin_fill(TokenDigest::of(&n.to_be_bytes())).keep(&Verdict::Denied(Denied::Unknown), at(0));
        }
        assert!(cache.get(known, at(0)).is_some());
        assert!(cache.len() <= 200, "{}", cache.len());
    }
}
