//! Removes old entries of the change log and of the audit trail, and old counts of quotas. Expires tokens that were not
//! used for their days.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::Admin;
use crate::store::Store;

/// Retention of the change log. A gateway that was cut off for longer has already dropped its whole cache.
const CHANGES_RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// Retention of the counts of quotas: longer than a month.
const QUOTAS_RETENTION: Duration = Duration::from_secs(62 * 86_400);
/// How often old entries are removed.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// Retention of the audit trail. Every failed login adds an entry, even without an admin application.
pub(super) fn audit_keep(settings: &Settings) -> Duration {
    settings.admin.as_ref().map_or(Admin::AUDIT_KEEP, |admin| admin.audit_keep)
}

/// Prunes until dropped.
pub(super) async fn run(store: Store, clock: Clock, audit_keep: Duration) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = store.tokens.prune_changes(clock.now().before(CHANGES_RETENTION)).await {
            tracing::debug!(%error, "the change log could not be pruned");
        }
        if let Err(error) = store.ledger.expire_unused().await {
            tracing::debug!(%error, "tokens that were not used could not be expired");
        }
        if let Some(quotas) = &store.quotas
            && let Err(error) = quotas.prune_quotas(clock.now().before(QUOTAS_RETENTION)).await
        {
            tracing::debug!(%error, "the counts of quotas could not be pruned");
        }
        if let Some(audit) = &store.audit
            && let Err(error) = audit.prune_audit(clock.now().before(audit_keep)).await
        {
            tracing::debug!(%error, "the audit trail could not be pruned");
        }
    }
}
