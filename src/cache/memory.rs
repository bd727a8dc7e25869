//! What this process believes about tokens.
//!
//! Bounded and sharded; eviction is the library's, the rule that a fill begun before a revocation is never kept is ours:
//! every digest belongs to an epoch counter, forgetting moves it, and [`Fill::keep`] drops an answer whose epoch has
//! moved. Refusals live apart from identities, so that a flood of unknown tokens evicts nobody who is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::clock::Timestamp;
use crate::config::settings::MemoryCache;
use crate::identity::{Denied, Identity, Verdict};
use crate::token::{SubjectId, TokenDigest};

/// Counters that fence fills. A power of two; 64 keeps a forgotten token from spoiling more than 1 in 64 fills.
const EPOCHS: usize = 64;

/// What this process believes about tokens; shared by all workers.
pub struct IdentityCache {
    known: Cache<TokenDigest, Known>,
    denied: Cache<TokenDigest, DeniedUntil>,
    epochs: [AtomicU64; EPOCHS],
    ttl: Duration,
    negative_ttl: Duration,
}

#[derive(Clone)]
struct Known {
    identity: Arc<Identity>,
    until: Timestamp,
}

#[derive(Clone, Copy)]
struct DeniedUntil {
    why: Denied,
    until: Timestamp,
}

impl IdentityCache {
    /// An empty cache.
    pub fn new(settings: &MemoryCache) -> Arc<IdentityCache> {
        Arc::new(IdentityCache {
            known: Cache::new(settings.max_entries),
            denied: Cache::new((settings.max_entries / 8).max(16)),
            epochs: [const { AtomicU64::new(0) }; EPOCHS],
            ttl: settings.ttl,
            negative_ttl: settings.negative_ttl,
        })
    }

    /// What is believed about a token, if anything. Judges the entry's time and the token's own expiry at every hit.
    pub fn get(&self, digest: TokenDigest, now: Timestamp) -> Option<Verdict> {
        if let Some(known) = self.known.get(&digest) {
            // An entry ends with its token at the latest, so one comparison judges both.
            return (known.until > now).then_some(Verdict::Caller(known.identity));
        }
        let denied = self.denied.get(&digest)?;
        (denied.until > now).then_some(Verdict::Denied(denied.why))
    }

    /// To be called before a store is asked.
    pub fn begin_fill(self: &Arc<Self>, digest: TokenDigest) -> Fill {
        Fill { cache: Arc::clone(self), digest, epoch: self.epoch(digest).load(Ordering::Acquire) }
    }

    /// Forgets one token.
    pub fn forget(&self, digest: TokenDigest) {
        self.epoch(digest).fetch_add(1, Ordering::AcqRel);
        self.known.remove(&digest);
        self.denied.remove(&digest);
    }

    /// Forgets all tokens of one user.
    pub fn forget_subject(&self, subject: SubjectId) {
        // Which digests belong to the user is not known for fills in flight, so all of them are fenced.
        self.move_all_epochs();
        self.known.retain(|_, known| known.identity.subject() != subject);
        self.denied.retain(|_, denied| denied.why != Denied::OwnerInactive);
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.move_all_epochs();
        self.known.clear();
        self.denied.clear();
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.known.len() + self.denied.len()
    }

    /// Is nothing believed?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn move_all_epochs(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn epoch(&self, digest: TokenDigest) -> &AtomicU64 {
        let [first, ..] = *digest.as_bytes();
        let [fallback, ..] = &self.epochs;
        self.epochs.get(usize::from(first) % EPOCHS).unwrap_or(fallback)
    }
}

/// An answer that is on its way from a store. Dropping it unused is fine.
pub struct Fill {
    cache: Arc<IdentityCache>,
    digest: TokenDigest,
    epoch: u64,
}

impl Fill {
    /// Keeps `verdict`, unless the token was forgotten since the fill began.
    ///
    /// The lifetime is the cache's own, cut to the token's expiry.
    pub fn keep(self, verdict: &Verdict, now: Timestamp) {
        if self.is_outdated() {
            return;
        }
        match verdict {
            Verdict::Caller(identity) => {
                let end = now.after(self.cache.ttl);
                let until = identity.expires().map_or(end, |expires| expires.min(end));
                self.cache.denied.remove(&self.digest);
                self.cache.known.insert(self.digest, Known { identity: Arc::clone(identity), until });
            }
            Verdict::Denied(why) => {
                let until = now.after(self.cache.negative_ttl);
                self.cache.known.remove(&self.digest);
                self.cache.denied.insert(self.digest, DeniedUntil { why: *why, until });
            }
        }
        // A `forget` between the first look and the insertion found nothing to remove; it is made up for here.
        if self.is_outdated() {
            self.cache.known.remove(&self.digest);
            self.cache.denied.remove(&self.digest);
        }
    }

    fn is_outdated(&self) -> bool {
        self.cache.epoch(self.digest).load(Ordering::Acquire) != self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Account, ScopeSet, TokenId, TokenRecord};

    fn cache() -> Arc<IdentityCache> {
        IdentityCache::new(&MemoryCache { max_entries: 100, ..MemoryCache::default() })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn caller(subject: i64, expires: Option<Timestamp>) -> Verdict {
        let record = TokenRecord {
            id: TokenId(1),
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
        };
        Verdict::Caller(Arc::new(Identity::establish(&record, at(0)).unwrap()))
    }

    #[test]
    fn a_fill_that_began_before_a_forget_is_never_kept() {
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
    fn an_identity_is_believed_for_its_time_and_never_past_its_expiry() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        cache.begin_fill(digest).keep(&caller(1, None), at(0));
        assert!(matches!(cache.get(digest, at(59)), Some(Verdict::Caller(_))));
        assert!(cache.get(digest, at(60)).is_none());

        cache.begin_fill(digest).keep(&caller(1, Some(at(10))), at(0));
        assert!(cache.get(digest, at(9)).is_some());
        assert!(cache.get(digest, at(10)).is_none());
    }

    #[test]
    fn a_refusal_is_believed_for_a_second() {
        let (cache, digest) = (cache(), TokenDigest::of(b"k"));
        cache.begin_fill(digest).keep(&Verdict::Denied(Denied::Unknown), at(0));
        assert!(matches!(cache.get(digest, at(0)), Some(Verdict::Denied(Denied::Unknown))));
        assert!(cache.get(digest, at(1)).is_none());
    }

    #[test]
    fn forgetting_a_user_forgets_that_user_only() {
        let cache = cache();
        let (hers, his) = (TokenDigest::of(b"hers"), TokenDigest::of(b"his"));
        cache.begin_fill(hers).keep(&caller(1, None), at(0));
        cache.begin_fill(his).keep(&caller(2, None), at(0));
        cache.forget_subject(SubjectId(1));
        assert!(cache.get(hers, at(0)).is_none());
        assert!(cache.get(his, at(0)).is_some());
    }

    #[test]
    fn a_flood_of_unknown_tokens_leaves_known_ones_alone() {
        let (cache, known) = (cache(), TokenDigest::of(b"known"));
        cache.begin_fill(known).keep(&caller(1, None), at(0));
        for n in 0..10_000_u32 {
            cache.begin_fill(TokenDigest::of(&n.to_be_bytes())).keep(&Verdict::Denied(Denied::Unknown), at(0));
        }
        assert!(cache.get(known, at(0)).is_some());
        assert!(cache.len() <= 200, "{}", cache.len());
    }
}
