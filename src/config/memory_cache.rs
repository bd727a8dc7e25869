//! `[cache.memory]`: the token cache of each process.

use std::time::Duration;

use super::reader::Table;
use super::value::MANY;

/// The token cache of each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCache {
    /// Maximum number of entries.
    pub max_entries: usize,
    /// How long an identity is cached.
    pub ttl: Duration,
    /// How long a refusal is cached.
    pub negative_ttl: Duration,
    /// How long the change log may be unreadable before `blind_ttl` applies to cached identities.
    pub blind_after: Duration,
    /// How long an identity is cached while revocations cannot be read.
    pub blind_ttl: Duration,
}

impl Default for MemoryCache {
    fn default() -> MemoryCache {
        MemoryCache {
            max_entries: 100_000,
            ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(1),
            blind_after: Duration::from_secs(2),
            blind_ttl: Duration::from_secs(5),
        }
    }
}

/// `[cache.memory]`
pub(super) fn read(cache: &Table<'_>) -> MemoryCache {
    cache.table("memory", |table| {
        let default = MemoryCache::default();
        MemoryCache {
            max_entries: table.key("max_entries").count(1..=MANY, default.max_entries),
            ttl: table.key("ttl").duration(default.ttl),
            negative_ttl: table.key("negative_ttl").duration(default.negative_ttl),
            blind_after: table.key("blind_after").duration(default.blind_after),
            blind_ttl: table.key("blind_ttl").duration(default.blind_ttl),
        }
    })
}
