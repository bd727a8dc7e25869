//! The feed of a Django database: changes by this process, and changes by others if triggers report them
//! (docs/DJANGO.md).
//!
//! Notifications are lost while no connection listens, and there is no change log to read afterwards. So the feed
//! counts each time that notifications may have been lost. This count serves as the newest change: see
//! [`TokenStore::changes`].
//!
//! [`TokenStore::changes`]: crate::store::TokenStore::changes

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::store::{PushState, TokenEvent, TokenFeed};

/// Passes events on, and counts possible losses.
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
            event = next_pushed(self.triggers.as_deref_mut()) => event,
            event = next_own(&mut self.own) => event,
        };
        if event == TokenEvent::Gap {
            self.missed.fetch_add(1, Ordering::AcqRel);
        }
        event
    }

    fn push_state(&self) -> Option<PushState> {
        self.triggers.as_ref()?.push_state()
    }
}

async fn next_pushed(triggers: Option<&mut (dyn TokenFeed + 'static)>) -> TokenEvent {
    match triggers {
        Some(triggers) => triggers.next().await,
        None => std::future::pending().await,
    }
}

async fn next_own(own: &mut broadcast::Receiver<TokenEvent>) -> TokenEvent {
    match own.recv().await {
        Ok(event) => event,
        Err(RecvError::Lagged(_)) => TokenEvent::Gap,
        // The store was dropped, and with it every writer of this process.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
