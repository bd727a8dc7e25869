//! The push from a Django database, where triggers tell of changes (docs/DJANGO.md).
//!
//! They tell nothing while nobody listens, and there is no log to look up what that was. So each time that something may
//! have been missed is counted, and the count takes the place of the newest change: see [`TokenStore::changes`].
//!
//! [`TokenStore::changes`]: crate::store::TokenStore::changes

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;

use crate::store::{Hearing, TokenEvent, TokenFeed};

/// Counts what another feed may have missed.
pub(super) struct DjangoFeed {
    inner: Box<dyn TokenFeed>,
    missed: Arc<AtomicI64>,
}

impl DjangoFeed {
    pub(super) fn new(inner: Box<dyn TokenFeed>, missed: Arc<AtomicI64>) -> DjangoFeed {
        DjangoFeed { inner, missed }
    }
}

#[async_trait]
impl TokenFeed for DjangoFeed {
    async fn next(&mut self) -> TokenEvent {
        let event = self.inner.next().await;
        if event == TokenEvent::Gap {
            self.missed.fetch_add(1, Ordering::AcqRel);
        }
        event
    }

    fn hearing(&self) -> Hearing {
        self.inner.hearing()
    }
}
