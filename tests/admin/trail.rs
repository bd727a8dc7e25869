//! Retention of the audit trail.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokengate::clock::Timestamp;
use tokengate::config::settings::Admin;
use tokengate::store::{Act, Actor, AuditEntry, AuditQuery, AuditTrail, Listing, Store, StoreError};
use tokengate::token::TokenId;
use tokio::sync::mpsc;

use super::site;
use crate::support::{Origin, Site, soon};

/// A store that reports the time before which the trail is deleted.
struct Pruned {
    inner: Arc<dyn AuditTrail>,
    told: mpsc::UnboundedSender<Timestamp>,
}

#[async_trait]
impl AuditTrail for Pruned {
    fn acting_as(&self, actor: Actor) -> Store {
        self.inner.acting_as(actor)
    }

    async fn note(&self, act: Act, user: &str) -> Result<(), StoreError> {
        self.inner.note(act, user).await
    }

    async fn note_revealed(&self, token: TokenId) -> Result<(), StoreError> {
        self.inner.note_revealed(token).await
    }

    async fn entries(&self, query: &AuditQuery) -> Result<Listing<AuditEntry>, StoreError> {
        self.inner.entries(query).await
    }

    async fn prune_audit(&self, before: Timestamp) -> Result<u64, StoreError> {
        let _ = self.told.send(before);
        self.inner.prune_audit(before).await
    }
}

/// The retention time.
async fn kept(site: Site) -> Duration {
    let (told, mut pruned) = mpsc::unbounded_channel();
    let wrap = |store: Store| {
        let inner = Arc::clone(store.audit.as_ref().unwrap());
        Store { audit: Some(Arc::new(Pruned { inner, told })), ..store }
    };
    let gateway = site.start_with(wrap).await;
    let before = soon("a sweep of the trail", pruned.recv()).await.unwrap();
    gateway.clock().now().since(before)
}

#[tokio::test]
async fn old_entries_are_deleted_with_and_without_an_admin_application() {
    let origin = Origin::answering("hello").await;
    let day = Duration::from_secs(86_400);
    assert_eq!(kept(Site::before(&origin)).await, Admin::AUDIT_KEEP);
    assert_eq!(kept(site(&origin, |admin| admin.audit_keep = 7 * day)).await, 7 * day);
}
