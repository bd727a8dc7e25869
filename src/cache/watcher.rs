//! Reads the store's change log and makes memory forget what changed.
//!
//! Polling is the base of every feed: it needs nothing but the store. A change is forgotten here at the latest one
//! interval (`store.poll_every`) after its commit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::memory::IdentityCache;
use crate::store::{Cursor, StoreError, TokenEvent, TokenStore};

/// Polls the change log for ever.
///
/// `since` must be a cursor that was taken before the first fill of `memory`. While the store does not answer, memory
/// keeps to its own lifetimes; whatever happened meanwhile is read from the log afterwards.
/// Each event goes to `events` as well, once memory has forgotten what it is about.
pub async fn watch(
    store: Arc<dyn TokenStore>,
    memory: Arc<IdentityCache>,
    events: broadcast::Sender<TokenEvent>,
    mut since: Cursor,
    every: Duration,
) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut blind = false;
    loop {
        interval.tick().await;
        match read_on(&*store, &memory, &events, &mut since).await {
            Ok(()) if blind => {
                blind = false;
                tracing::info!("the change log can be read again");
            }
            Ok(()) => {}
            Err(error) if !blind => {
                blind = true;
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(code = "store_unavailable", %error, cause, "the change log cannot be read");
            }
            Err(_) => {}
        }
    }
}

/// Applies everything that stands in the log after `since`, and moves it.
async fn read_on(
    store: &dyn TokenStore,
    memory: &IdentityCache,
    events: &broadcast::Sender<TokenEvent>,
    since: &mut Cursor,
) -> Result<(), StoreError> {
    loop {
        let changes = store.changes(*since).await?;
        if changes.events.is_empty() {
            // An older database was put back: what we believe may be of a future that did not happen.
            if store.newest_change().await? < *since {
                memory.forget_all();
                let _ = events.send(TokenEvent::Gap);
                *since = store.newest_change().await?;
            }
            return Ok(());
        }
        for event in &changes.events {
            match event {
                TokenEvent::Changed(digest) => memory.forget(*digest),
                TokenEvent::SubjectChanged(subject) => memory.forget_subject(*subject),
                TokenEvent::Gap => memory.forget_all(),
            }
            // Nobody listens before the workers have begun.
            let _ = events.send(*event);
        }
        *since = changes.next;
    }
}
