//! Removes what the store has kept for long enough: old entries of the change log and of the audit trail.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::Admin;
use crate::store::Store;

/// Entries of the change log that are older serve nobody: no gateway is blind for so long and still believes anything.
const KEEP_CHANGES: Duration = Duration::from_secs(7 * 86_400);
/// How often old entries are removed.
const EVERY: Duration = Duration::from_secs(3_600);

/// For how long the audit trail is kept. It grows with every failed login, also where no admin application shows it.
pub(super) fn audit_keep(settings: &Settings) -> Duration {
    settings.admin.as_ref().map_or(Admin::AUDIT_KEEP, |admin| admin.audit_keep)
}

/// Runs for ever.
pub(super) async fn run(store: Store, clock: Clock, audit_keep: Duration) {
    let mut interval = tokio::time::interval(EVERY);
    loop {
        interval.tick().await;
        if let Err(error) = store.tokens.prune_changes(clock.now().before(KEEP_CHANGES)).await {
            tracing::debug!(%error, "the change log could not be pruned");
        }
        if let Some(audit) = &store.audit
            && let Err(error) = audit.prune_audit(clock.now().before(audit_keep)).await
        {
            tracing::debug!(%error, "the audit trail could not be pruned");
        }
    }
}
