//! Logs each outage of the store: one line at its beginning, one at its end.

use super::StoreError;
use super::error::MayBeStoreError;
use crate::telemetry::Outage;

/// Observes every answer of one store.
#[derive(Default)]
pub(super) struct StoreOutage(Outage);

impl StoreOutage {
    /// Records an answer. An error that is not an outage, such as a taken name, counts as an answer too.
    pub(super) fn note<T, E: MayBeStoreError>(&self, answer: &Result<T, E>) {
        match answer.as_ref().err().and_then(MayBeStoreError::store_error) {
            Some(error @ StoreError::Unavailable(cause)) => {
                if self.0.failed() {
                    let source = cause.source().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(code = "store_unavailable", %error, %cause, source, "the store does not answer");
                }
            }
            Some(StoreError::Broken(_)) => {}
            None => {
                if let Some(ended) = self.0.succeeded() {
                    let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                    tracing::info!(code = "store_unavailable", failures, lasted_ms, "the store answers again");
                }
            }
        }
    }
}
