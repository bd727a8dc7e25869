//! Reports the changes of this process.
//!
//! SQLite does not notify of changes by other processes; those are only in the change log.

use async_trait::async_trait;
use tokio::sync::watch;

use crate::store::{TokenEvent, TokenFeed};

/// Follows the id of the newest change by this process.
pub(super) struct SqliteFeed {
    written: watch::Receiver<i64>,
}

impl SqliteFeed {
    pub(super) fn new(mut written: watch::Receiver<i64>) -> SqliteFeed {
        written.mark_changed();
        SqliteFeed { written }
    }
}

#[async_trait]
impl TokenFeed for SqliteFeed {
    async fn next(&mut self) -> TokenEvent {
        if self.written.changed().await.is_err() {
            // The store was dropped, and with it every writer of this process.
            std::future::pending::<()>().await;
        }
        TokenEvent::Gap
    }
}
