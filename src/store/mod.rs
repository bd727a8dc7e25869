//! Where users and tokens live: the truth.
//!
//! Three traits, for the control half only: [`TokenStore`] answers what a token means, [`TokenLedger`] issues and
//! withdraws, [`AccountStore`] keeps users. [`open`] gives all three for the database that the settings name. Nothing
//! here caches, and workers never call any of it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenDigest, TokenKey, TokenRecord};

/// Answers what a token means. Reads only.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// `Ok(None)`: the store is sure that no such token exists. An outage is always an error.
    ///
    /// Takes the key, not the digest: a Django database keeps keys in clear, our own store digests first.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError>;

    /// Changes after `since`, oldest first, at most some thousand at a time.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError>;

    /// The cursor of the newest change: where a reader that knows nothing yet begins.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn newest_change(&self) -> Result<Cursor, StoreError>;

    /// Notes that a token was sent in clear, if it exists.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn mark_exposed(&self, digest: TokenDigest, at: Timestamp) -> Result<(), StoreError>;

    /// Revokes a token by its digest, if it exists and is live.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn revoke_exposed(&self, digest: TokenDigest, at: Timestamp) -> Result<(), StoreError>;
}

/// A place in the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub i64);

/// A page of the change log.
#[derive(Clone, Debug)]
pub struct Changes {
    /// What changed, oldest first.
    pub events: Vec<TokenEvent>,
    /// Where to go on reading.
    pub next: Cursor,
}

/// Something happened to a token. Says only "forget", never "believe": a lost, doubled or forged event cannot grant
/// access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// This token was issued, revoked or changed.
    Changed(TokenDigest),
    /// Something about this user changed: all of the user's tokens.
    SubjectChanged(SubjectId),
    /// Events may have been missed.
    Gap,
}

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or not in time. May be tried again.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers, but not what was agreed: a damaged file, another schema. Trying again does not help.
    #[error("the store is broken")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An opened store.
#[derive(Clone)]
pub struct Store {
    /// What a token means.
    pub tokens: Arc<dyn TokenStore>,
}
