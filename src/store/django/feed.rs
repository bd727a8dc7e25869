//! The push from a Django database: what this process changes itself, and where triggers tell of changes
//! (docs/DJANGO.md), what everybody else does.
//!
//! Triggers tell nothing while nobody listens, and there is no log to look up what that was. So each time that
//! something may have been missed is counted, and the count takes the place of the newest change: see
//! [`TokenStore::changes`].
//!
//! [`TokenStore::changes`]: crate::store::TokenStore::changes

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::store::{Hearing, TokenEvent, TokenFeed};

/// Passes events on, and counts what may have been missed.
pub(super) struct DjangoFeed {
    triggers: Option<Box<dyn TokenFeed>>,
    own: broadcast::Receiver<TokenEvent>,
    missed: Arc<AtomicI64>,
}

impl DjangoFeed {
    pub(super) fn new(
        triggers: Option<Box<dyn TokenFeed>>,
        own: broadcast::Receiver<TokenEvent>,
        missed: Arc<AtomicI64>,
    ) -> DjangoFeed {
        DjangoFeed { triggers, own, missed }
    }
}

#[async_trait]
impl TokenFeed for DjangoFeed {
    async fn next(&mut self) -> TokenEvent {
        let event = tokio::select! {
            event = heard(self.triggers.as_deref_mut()) => event,
            event = told(&mut self.own) => event,
        };
        if event == TokenEvent::Gap {
            self.missed.fetch_add(1, Ordering::AcqRel);
        }
        event
    }

    fn hearing(&self) -> Option<Hearing> {
        self.triggers.as_ref()?.hearing()
    }
}

async fn heard(triggers: Option<&mut (dyn TokenFeed + 'static)>) -> TokenEvent {
    match triggers {
        Some(triggers) => triggers.next().await,
        None => std::future::pending().await,
    }
}

async fn told(own: &mut broadcast::Receiver<TokenEvent>) -> TokenEvent {
    match own.recv().await {
        Ok(event) => event,
        Err(RecvError::Lagged(_)) => TokenEvent::Gap,
        // The store is gone, and with it everybody who could change something here.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
