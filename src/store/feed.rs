//! Feeds: push notifications of changes, so that invalidation does not wait for the next poll of the change log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::TokenEvent;

/// A feed of changes, soon after each commit.
///
/// Reconnects by itself, with a backoff. It reports [`TokenEvent::Gap`] after each connect, the first included, because
/// earlier changes are only in the change log. A `Gap` of a feed therefore means exactly "read the log". A feed that
/// cannot tell what changed reports only gaps.
#[async_trait]
pub trait TokenFeed: Send {
    /// Waits for the next event, also while disconnected. Cancel safe: dropping the future loses no event.
    async fn next(&mut self) -> TokenEvent;

    /// Reports whether the feed currently receives changes of other processes. `None`: it only reports this process's
    /// own changes.
    fn push_state(&self) -> Option<PushState> {
        None
    }
}

/// Whether a feed is connected. Copies share the state of their feed.
#[derive(Clone, Debug, Default)]
pub struct PushState(Arc<AtomicBool>);

impl PushState {
    /// Returns whether the feed is connected.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Records that the connection was made or lost.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}
