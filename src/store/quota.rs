//! The lasting counts of quotas.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::token::TokenDigest;

/// One count: that of a quota, for one token, user or route, in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaCount {
    /// A digest of the names of the quota and of what it counts.
    pub id: TokenDigest,
    /// The beginning of the period.
    pub since: Timestamp,
}

/// Keeps the counts of quotas over restarts, and for several gateways together.
#[async_trait]
pub trait QuotaStore: Send + Sync {
    /// Adds these numbers to different counts, all in one transaction. Returns the new counts in the same order.
    ///
    /// # Errors
    /// [`StoreError`]; the numbers were not added, unless the connection was lost during the commit.
    async fn add(&self, counted: &[(QuotaCount, i64)]) -> Result<Vec<u64>, StoreError>;

    /// Returns these counts in the same order; 0 for a count that does not exist.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn used(&self, counts: &[QuotaCount]) -> Result<Vec<u64>, StoreError>;

    /// Deletes counts of periods that began before this time.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn prune_quotas(&self, before: Timestamp) -> Result<u64, StoreError>;
}
