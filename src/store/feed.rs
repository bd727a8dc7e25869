//! The push: hears of changes as they happen, so that nobody has to wait for the next look at the change log.

use async_trait::async_trait;

use super::TokenEvent;

/// Tells what changed, soon after its commit.
///
/// Reconnects by itself, with growing pauses, and reports [`TokenEvent::Gap`] after each connection, the first included:
/// what happened before it stands in the change log only. So a `Gap` of a feed means "read the log", no more and no less;
/// a feed that cannot say what changed reports nothing else.
#[async_trait]
pub trait TokenFeed: Send {
    /// The next event; waits for it, also while there is no connection. Dropped half-way it loses nothing.
    async fn next(&mut self) -> TokenEvent;
}
