//! Tells that this process has changed something.
//!
//! A file tells nobody of the changes of another process: those stand in the change log only.

use async_trait::async_trait;
use tokio::sync::watch;

use crate::store::{TokenEvent, TokenFeed};

/// Follows the id of the newest change that this process wrote.
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
            // The store is gone, and with it everybody who could change something here.
            std::future::pending::<()>().await;
        }
        TokenEvent::Gap
    }
}
