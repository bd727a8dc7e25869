//! Pushed news of changes.

use async_trait::async_trait;

use super::TokenEvent;

/// Says what changed, as soon as somebody pushes it. Never the truth by itself: the change log stands behind it.
#[async_trait]
pub trait TokenFeed: Send {
    /// The next event. Reconnects by itself; the first event after each connection is [`TokenEvent::Gap`].
    ///
    /// Dropping the future loses no event.
    async fn next(&mut self) -> TokenEvent;
}
