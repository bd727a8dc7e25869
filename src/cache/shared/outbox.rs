//! Delivers holds: at once, and after an outage as soon as Redis is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::SharedCache;
use super::link::{self, Failure};
use super::scripts::{self, ServerTime};
use crate::store::Cursor;
use crate::token::TokenDigest;

/// Maximum number of concurrent deliveries.
const MAX_DELIVERIES: usize = 64;
/// The timeout of one delivery. No request waits for it, so it may exceed that of a lookup.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of [`announce`].
const ANNOUNCE: Duration = Duration::from_secs(1);
/// The backoff after a failed delivery while the server answers, doubled each time.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Milliseconds added to the floor under all tokens: several servers have different clocks.
const SKEW_OF_SERVERS: u64 = 1_000;

/// Delivers owed holds until dropped.
pub(super) async fn deliver(cache: Arc<SharedCache>) {
    let mut pause = MIN_BACKOFF;
    loop {
        cache.link.until_up().await;
        let work = cache.fences().take(MAX_DELIVERIES);
        if work.floor.is_none() && work.holds.is_empty() {
            cache.work.notified().await;
            continue;
        }
        let mut all_done = true;
        if let Some(number) = work.floor {
            all_done = raise(&cache, number).await;
        }
        let mut holds = JoinSet::new();
        for (digest, change) in work.holds {
            let cache = Arc::clone(&cache);
            holds.spawn(async move { hold(&cache, digest, change).await });
        }
        while let Some(done) = holds.join_next().await {
            all_done &= done.unwrap_or(false);
        }
        if all_done {
            pause = MIN_BACKOFF;
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(MAX_BACKOFF);
        }
    }
}

/// Delivers one hold; returns whether that succeeded.
async fn hold(cache: &SharedCache, digest: TokenDigest, change: Cursor) -> bool {
    let answer = cache.link.ask(&cache.scripts.hold(digest, change.0), DELIVERY_TIMEOUT).await;
    match answer.and_then(|value| Ok(scripts::read_time(value)?)) {
        Ok(at) => {
            cache.fences().held(digest, change, at, cache.clock.instant());
            cache.counters.holds.fetch_add(1, Ordering::Relaxed);
            true
        }
        Err(failure) => {
            cache.note(&failure);
            cache.fences().failed(digest);
            false
        }
    }
}

/// Raises the floor under all tokens; returns whether that succeeded.
async fn raise(cache: &SharedCache, number: u64) -> bool {
    // Looks up an impossible key: no token has this digest, and the answer includes the server's time.
    let answer = cache.link.ask(&cache.scripts.look(TokenDigest::of(b"")), DELIVERY_TIMEOUT).await;
    match answer.and_then(|value| Ok(scripts::read_look(value)?)) {
        Ok((_, ServerTime(now))) => {
            let skew = if cache.link.servers().is_one() { 0 } else { SKEW_OF_SERVERS };
            cache.fences().raised(number, ServerTime(now.saturating_add(skew)), cache.clock.instant());
            true
        }
        Err(failure) => {
            cache.note(&failure);
            false
        }
    }
}

/// See [`SharedCache::announce`].
pub(super) async fn announce(cache: &SharedCache, changes: &[(TokenDigest, Cursor)]) {
    let all = async {
        let connection = cache.link.connect().await?;
        let mut holds = JoinSet::new();
        for (digest, change) in changes {
            if holds.len() >= MAX_DELIVERIES {
                holds.join_next().await;
            }
            let (connection, call) = (connection.clone(), cache.scripts.hold(*digest, change.0));
            holds.spawn(async move { link::ask(connection, &call).await });
        }
        while let Some(done) = holds.join_next().await {
            if let Ok(Err(error)) = done {
                return Err(Failure::Refused(error));
            }
        }
        Ok(())
    };
    let failure = timeout(ANNOUNCE, all).await.unwrap_or(Err(Failure::Slow));
    if let Err(failure) = failure {
        let why = match &failure {
            Failure::Lost(error) | Failure::Refused(error) => cache.link.servers().explain(error),
            other => other.to_string(),
        };
        tracing::warn!(code = "shared_cache_away", why, "other gateways read this change from the change log only");
    }
}
