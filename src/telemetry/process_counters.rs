//! Process-wide counters: store lookups, the state of the change log, the spool.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::endpoints::EndpointGauge;
use crate::clock::Timestamp;
use crate::limits::{Tally, TurnedAway};

macro_rules! counts { ($($(#[doc = $help:literal])* $name:ident: $kind:literal $metric:literal,)+) => {
    /// Counters of the process; shared by its tasks.
    #[derive(Default)]
    pub struct ProcessCounters {
        /// The refusals of limits.
        pub turned_away: Arc<TurnedAway>,
        /// The certificates in use.
        pub certificates: Mutex<Vec<CertificateGauge>>,
        /// The requests of each token that a rate refused, by the id of the token.
        pub refused_tokens: Arc<Tally>,
        rates: Mutex<BTreeMap<String, Arc<RateCounters>>>,
        /// The listeners with revocation lists, and when the first of their lists expires: seconds since 1970.
        pub revocation_lists: Mutex<Vec<(String, i64)>>,
        /// The certificates that a CA issues, by name.
        pub acme: Mutex<BTreeMap<String, AcmeState>>,
        /// The upstream of each route.
        pub upstreams: Mutex<BTreeMap<Arc<str>, String>>,
        /// The endpoints in use.
        pub endpoints: Mutex<Vec<EndpointGauge>>,
        $($(#[doc = $help])* pub $name: Count,)+
    }

    impl ProcessCounters {
        /// Name, kind, help and value of each.
        pub(super) fn all(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
            vec![$(($metric, $kind, concat!($($help),+).trim_ascii_start(), self.$name.get()),)+]
        }
    }
} }

counts! {
    /// Token lookups in the store.
    store_questions: "counter" "tokengate_store_questions_total",
    /// Token lookups in the store that failed.
    store_failures: "counter" "tokengate_store_failures_total",
    /// Lookups of unknown tokens that were skipped because of `store.unknown_per_second`.
    unknown_skipped: "counter" "tokengate_unknown_not_asked_total",
    /// Requests of cached callers served while the store was unavailable.
    served_unasked: "counter" "tokengate_served_unasked_total",
    /// Entries of the change log that were applied.
    changes: "counter" "tokengate_changes_applied_total",
    /// Failed reads of the change log.
    change_failures: "counter" "tokengate_change_log_failures_total",
    /// When the change log was last read to its end, in seconds since 1970.
    change_log_read: "gauge" "tokengate_change_log_read_timestamp_seconds",
    /// Tokens found in the shared cache.
    shared_hits: "counter" "tokengate_shared_cache_hits_total",
    /// Tokens not found in the shared cache.
    shared_misses: "counter" "tokengate_shared_cache_misses_total",
    /// Entries of the shared cache that were older than a change.
    shared_stale: "counter" "tokengate_shared_cache_stale_total",
    /// Entries of the shared cache that were forged, damaged or foreign.
    shared_rejected: "counter" "tokengate_shared_cache_rejected_total",
    /// Lookups in the shared cache that failed.
    shared_errors: "counter" "tokengate_shared_cache_errors_total",
    /// Holds delivered to the shared cache.
    shared_holds: "counter" "tokengate_shared_cache_holds_total",
    /// Holds that wait to be delivered to the shared cache.
    shared_owed: "gauge" "tokengate_shared_cache_holds_owed",
    /// Whether the shared cache is connected; 0 also if there is none.
    shared_up: "gauge" "tokengate_shared_cache_up",
    /// Last uses of tokens that were stored.
    uses_written: "counter" "tokengate_uses_written_total",
    /// Last uses of tokens that were lost because the queue was full.
    uses_lost: "counter" "tokengate_uses_lost_total",
    /// Seconds by which the clock of the machine was moved and that token expiry does not follow yet.
    clock_step: "gauge" "tokengate_clock_step_seconds",
    /// Whether the last reload succeeded; 1 also before the first one.
    config_reload_ok: "gauge" "tokengate_config_reload_ok",
    /// Number of the configuration in use; 1 is the one of the start.
    config_generation: "gauge" "tokengate_config_generation",
    /// When the configuration in use was loaded, in seconds since 1970.
    config_loaded: "gauge" "tokengate_config_loaded_timestamp_seconds",
    /// Bytes of request bodies that wait in the spool.
    spooled: "gauge" "tokengate_spooled_bytes",
    /// Traces of requests that were dropped: the collector is away or too slow.
    traces_dropped: "counter" "tokengate_traces_dropped_total",
}

/// The counters of one rate or quota.
#[derive(Debug, Default)]
pub struct RateCounters {
    /// Requests that it refused.
    pub refused: Count,
    /// Questions to Redis, or to the store about a quota.
    pub lookups: Count,
    /// Questions that were not answered, so this gateway counted alone.
    pub alone: Count,
    /// Keys that were evicted before they had recovered, or before their counts were saved.
    pub forgotten: Arc<AtomicU64>,
}

impl ProcessCounters {
    /// The counters of the rate with this name, which go on from one configuration to the next.
    pub fn rate(&self, name: &str) -> Arc<RateCounters> {
        Arc::clone(self.rates.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    /// Drops the counters of other rates than these.
    pub fn keep_rates(&self, is_kept: impl Fn(&str) -> bool) {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_kept(name));
    }

    /// The name and the counters of each rate.
    pub(super) fn rates(&self) -> Vec<(String, Arc<RateCounters>)> {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.iter().map(|(name, counters)| (name.clone(), Arc::clone(counters))).collect()
    }
}

/// A certificate in use.
#[derive(Clone, Debug)]
pub struct CertificateGauge {
    /// Its name in the configuration.
    pub name: String,
    /// When it expires: seconds since 1970.
    pub not_after: i64,
    /// Whether its files could be read when they last changed.
    pub is_current: bool,
}

/// What is known about a certificate that a CA issues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeState {
    /// How often it was issued since the start.
    pub issued: u64,
    /// How often it was not issued since the start.
    pub failures: u64,
    /// How often the CA did not answer when to renew it, since the start.
    pub unanswered: u64,
    /// When it is to be renewed; `None`: not known yet.
    pub renewal: Option<Timestamp>,
    /// Why the last attempt failed; `None`: it did not.
    pub failure: Option<String>,
    /// Why the CA could not be asked when to renew it; `None`: it answered, or was not asked.
    pub unreachable: Option<String>,
}

/// One counter or gauge.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn more(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds an amount, unless the sum would exceed `most`. Returns `true` if the amount was added.
    pub fn add_within(&self, count: u64, most: u64) -> bool {
        let more = |value: u64| value.checked_add(count).filter(|value| *value <= most);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Subtracts an amount that was added before.
    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
