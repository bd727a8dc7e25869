//! Being told of changes, instead of asking for them.

use async_trait::async_trait;

use super::TokenEvent;

/// Tells of changes as they happen. The change log stays the truth: a feed only makes it be read sooner.
#[async_trait]
pub trait TokenFeed: Send {
    /// The next event. Reconnects by itself, with back-off, and says [`TokenEvent::Gap`] after each connection, the first
    /// included. Never ends.
    async fn next(&mut self) -> TokenEvent;
}
