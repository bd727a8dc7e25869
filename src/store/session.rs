//! Sessions: the credentials of browsers that signed in.

use std::time::Duration;

use async_trait::async_trait;

use super::{AccountError, Password, StoreError};
use crate::token::{TokenDigest, TokenKey};

/// Opens and ends sessions. [`TokenStore::find`](super::TokenStore::find) looks them up.
///
/// A session ends when it expires, when the user's password changes, when the user is deactivated or deleted, and by
/// [`SessionStore::end`]. The change log contains the end when the call that causes it returns. A Django database
/// checks this only at the lookup of a session, and reactivating a user revives the session (docs/decisions/0025).
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Opens a session for the active user of this name if the password is right. Returns its key, which is never shown
    /// again. Takes as long for unknown users. Fails if the password changes meanwhile.
    ///
    /// # Errors
    /// [`AccountError::Hashing`] and [`AccountError::Store`].
    async fn open(&self, name: &str, password: Password, ttl: Duration) -> Result<Option<TokenKey>, AccountError>;

    /// Ends a session. An unknown session counts as ended.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn end(&self, session: TokenDigest) -> Result<(), StoreError>;
}
