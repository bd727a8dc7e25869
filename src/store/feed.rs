//! The push: hears of changes as they happen, so that nobody has to wait for the next look at the change log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::TokenEvent;

/// Tells what changed, soon after its commit.
///
/// Reconnects by itself, with growing pauses, and reports [`TokenEvent::Gap`] after each connection, the first
/// included: what happened before it stands in the change log only. So a `Gap` of a feed means "read the log", no more
/// and no less; a feed that cannot say what changed reports nothing else.
#[async_trait]
pub trait TokenFeed: Send {
    /// The next event; waits for it, also while there is no connection. Dropped half-way it loses nothing.
    async fn next(&mut self) -> TokenEvent;

    /// Whether it hears of what others change now. `None`: it never does, and tells what this process changes alone.
    fn hearing(&self) -> Option<Hearing> {
        None
    }
}

/// Whether a feed hears of changes now. Copies stay with their feed.
#[derive(Clone, Debug, Default)]
pub struct Hearing(Arc<AtomicBool>);

impl Hearing {
    /// Does it hear?
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Its connection was made or lost.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}
