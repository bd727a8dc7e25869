//! Logs an outage of the store: once when it begins, once when it is over.

use super::StoreError;
use super::error::MayBeStoreError;
use crate::telemetry::Outage;

/// Sees every answer of one store.
#[derive(Default)]
pub(super) struct StoreOutage(Outage);

impl StoreOutage {
    /// Notes an answer. An error that does not concern the store, such as a name that is taken, is an answer too.
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
