//! Sessions: what a browser that logged in shows in place of a token.

use std::time::Duration;

use async_trait::async_trait;

use super::{AccountError, Password, StoreError};
use crate::token::{TokenDigest, TokenKey};

/// Opens and ends sessions. What one means, [`TokenStore::find`](super::TokenStore::find) says.
///
/// A session ends with its time, when the user gets another password, is switched off or deleted, and by
/// [`SessionStore::end`]; its end is in the change log when the call that brings it returns. In a Django database it is
/// looked at only when the session is looked up, and a user who is switched on again has it back (docs/decisions/0025).
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Opens a session for the active user of this name, if the password fits, and gives its key, which nobody sees
    /// again. Takes as long for users that do not exist. A password that is changed meanwhile opens none.
    ///
    /// # Errors
    /// [`AccountError::Hashing`] and [`AccountError::Store`].
    async fn open(&self, name: &str, password: Password, ttl: Duration) -> Result<Option<TokenKey>, AccountError>;

    /// Ends a session. One that is not there has ended already.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn end(&self, session: TokenDigest) -> Result<(), StoreError>;
}
