//! The stores of users and tokens.
//!
//! Four traits, used only in the control half: [`TokenStore`] looks tokens up, [`TokenLedger`] issues and revokes them,
//! [`AccountStore`] keeps users, [`SessionStore`] keeps browser sessions. [`open`] creates them for the configured
//! database. Nothing here caches, and workers never call any of it.
//!
//! Every call ends within `store.timeout`. A call that ends in [`StoreError::Unavailable`], or whose future is dropped,
//! took effect completely or not at all; only the store knows which.

mod arrival;
mod audit;
mod batch;
mod changes;
mod directory;
mod django;
mod error;
mod feed;
mod keyfile;
mod ledger;
mod listing;
mod open;
mod opened;
mod outage;
mod password;
mod pool;
mod postgres;
mod quota;
mod rotation;
mod seal;
mod session;
mod sql;
mod sqlite;
mod user;

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenDigest, TokenId, TokenKey, TokenRecord};

pub use arrival::{
    Arrival, ArrivingToken, DeletedUser, Import, NotImportable, Origin, Stale, Taken, TokenLabel, TokenTaken, UserTaken,
};
pub use audit::{Act, Actor, AuditEntry, AuditQuery, AuditTrail, Via};
pub use batch::{Batch, Unreadable};
pub use changes::{Changes, Cursor, TokenEvent};
pub use directory::{Directory, MAX_TOTAL, PasswordMark, TokenOrder, TokenQuery, TokenView, UserOrder, UserQuery};
pub use django::{Arrivals, DjangoUsers, django_triggers};
pub use error::{AccountError, LedgerError, NoSessions, OpenError, StoreError, report};
pub use feed::{PushState, TokenFeed};
pub use keyfile::{KeyFileError, SharedCacheKey};
pub use ledger::{
    End, Issued, LimitChanges, NamedToken, OnConflict, Page, Revocation, Terms, TokenDetails, TokenFilter, TokenKind,
    TokenLimits, TokenRef,
};
pub use listing::{BadPosition, ListId, Listing, Mark, PagePosition, SortKey};
pub use open::{Migration, migrate, migrate_to_new_key, open, open_prepared, pending};
pub use opened::Store;
pub use password::{EmptyPassword, HashingFailed, MIN_PASSWORD, Names, Password, WeakPassword};
pub use quota::{QuotaCount, QuotaStore};
pub use rotation::{Progress, RotationError, Steps, rotate_key};
pub use session::SessionStore;
pub use sqlite::{Backup, BackupError, PART, back_up, restore};
pub use user::{DetailsChange, InvalidUser, NewUser, PersonalDetails, User};

/// Looks tokens up. Read-only, except for recording exposed tokens.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Looks a token up. `Ok(None)`: the token certainly does not exist. An outage is always an error.
    ///
    /// Takes the key, not the digest: a Django database stores plain keys; our own store digests them first.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError>;

    /// Returns all tokens of a user that are not revoked, including expired ones, and all sessions. A store that would
    /// have to read every session to find the owner omits sessions. Empty for an unknown user.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn tokens_of(&self, subject: SubjectId) -> Result<Vec<TokenDigest>, StoreError>;

    /// Returns changes after `since`, oldest first, at most a few thousand at a time.
    ///
    /// A reader that missed pruned changes ([`TokenStore::prune_changes`]), or whose cursor is ahead of the store, gets
    /// [`TokenEvent::Gap`] and continues after the newest change.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError>;

    /// Returns the cursor of the newest change: the start for a new reader.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn newest_change(&self) -> Result<Cursor, StoreError>;

    /// Returns the cursor just before the first change at or after this time, by the store's own clock.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn cursor_at(&self, at: Timestamp) -> Result<Cursor, StoreError>;

    /// Returns a feed of changes as they happen; `None` from a store without one.
    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        None
    }

    /// Deletes the change log before the first change at or after this time; returns the number of deleted entries. The
    /// newest change always stays. Also deletes the days of use of tokens that no page shows any more.
    ///
    /// # Errors
    /// [`StoreError`] if some entries could not be deleted.
    async fn prune_changes(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Records that a token was sent unencrypted, and the client's address. Keeps the first time. Ignores unknown
    /// tokens.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn mark_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError>;

    /// Revokes a token by its digest and records the exposure and the client's address. Ignores unknown and revoked
    /// tokens.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn revoke_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError>;
}

/// Issues, revokes and lists tokens. Every change is in the change log when the call returns.
#[async_trait]
pub trait TokenLedger: Send + Sync {
    /// Returns the login token of a user: the existing one, or a new one.
    ///
    /// With `recoverable = false` the store does not keep the key, so a new token replaces the existing one, which is
    /// revoked.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::Unsealable`] and [`LedgerError::Store`].
    async fn issue_login(&self, owner: SubjectId) -> Result<Issued, LedgerError>;

    /// Returns the token for a login of this user: the login token, or with `tokens.per_login = "device"` a new token
    /// for this device, whose name it gets. If the user has as many tokens as are allowed, the device token that was
    /// not used for the longest time is revoked.
    ///
    /// # Errors
    /// As [`TokenLedger::issue_login`], and [`LedgerError::TooMany`].
    async fn log_in(&self, owner: SubjectId, _device: &str) -> Result<Issued, LedgerError> {
        self.issue_login(owner).await
    }

    /// Revokes all tokens of a user that logins have issued; returns their number.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`] and [`LedgerError::Store`].
    async fn log_out_all(&self, owner: SubjectId) -> Result<usize, LedgerError> {
        self.revoke_all(owner).await
    }

    /// Revokes the login token of a user, if any, and issues a new one.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`] and [`LedgerError::Store`].
    async fn reset_login(&self, owner: SubjectId) -> Result<Issued, LedgerError>;

    /// Issues a named token. Its key is never stored.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::TooMany`], an invalid name, expiry or set of scopes,
    /// [`LedgerError::Store`].
    async fn issue_named(&self, owner: SubjectId, order: &NamedToken) -> Result<Issued, LedgerError>;

    /// Imports an existing key as the login token of a user. Idempotent.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::LoginExists`] (unless it is to be replaced),
    /// [`LedgerError::KeyTaken`], [`LedgerError::KeySpent`], [`LedgerError::Store`].
    async fn import(&self, owner: SubjectId, key: TokenKey, conflict: OnConflict) -> Result<Issued, LedgerError>;

    /// Imports an existing key as a named token of a user. Idempotent.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::InvalidName`], [`LedgerError::InvalidEnd`],
    /// [`LedgerError::ScopesTooLong`], [`LedgerError::TooMany`], [`LedgerError::KeyTaken`], [`LedgerError::KeySpent`],
    /// [`LedgerError::OnlyLogin`], [`LedgerError::Store`].
    async fn import_named(&self, owner: SubjectId, key: TokenKey, order: &NamedToken) -> Result<Issued, LedgerError>;

    /// Revokes one token. Idempotent.
    ///
    /// # Errors
    /// [`LedgerError::UnknownToken`] and [`LedgerError::Store`].
    async fn revoke(&self, token: TokenRef) -> Result<Revocation, LedgerError>;

    /// Revokes all tokens of a user; returns how many of them were live.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`] and [`LedgerError::Store`].
    async fn revoke_all(&self, owner: SubjectId) -> Result<usize, LedgerError>;

    /// Changes the terms of a token; returns whether that changed anything. Fields that are not named keep their
    /// values, even under concurrent changes. A revoked token stays revoked.
    ///
    /// # Errors
    /// [`LedgerError::UnknownToken`], [`LedgerError::InvalidEnd`] for a year with five digits,
    /// [`LedgerError::ScopesTooLong`], [`LedgerError::InvalidName`], [`LedgerError::InvalidNote`],
    /// [`LedgerError::InvalidNetworks`], [`LedgerError::InvalidDays`], [`LedgerError::Nameless`],
    /// [`LedgerError::Store`].
    async fn set_terms(&self, token: TokenId, terms: &Terms) -> Result<bool, LedgerError>;

    /// Issues a token with a new key in place of a live one: with the same kind, name, scopes, note, limits and
    /// lifetime. The old key works on for `overlap`, as a named token if it was the login token.
    ///
    /// # Errors
    /// [`LedgerError::UnknownToken`], [`LedgerError::NotLive`], [`LedgerError::TooMany`], [`LedgerError::Store`].
    async fn rotate(&self, token: TokenId, overlap: Duration) -> Result<Issued, LedgerError>;

    /// Lists tokens by id.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn list(&self, filter: TokenFilter, page: Page) -> Result<Batch<TokenDetails>, StoreError>;

    /// Returns one token, live or not.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn show(&self, token: TokenRef) -> Result<Option<TokenDetails>, StoreError>;

    /// Records uses of tokens, in a batch. A use older than the recorded one changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn mark_used(&self, uses: &[(TokenId, Timestamp)]) -> Result<(), StoreError>;

    /// Gives an expiry to each token that ended because it was not used, so that lists and counts show it as expired;
    /// returns their number.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn expire_unused(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// Keeps users. Every change that affects upstreams or tokens is in the change log when the call returns. The admin
/// application and the API protect the last active superuser with a password: that user keeps the password, and cannot
/// be demoted, deactivated or deleted.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Creates a user, and a login token if the settings say so.
    ///
    /// # Errors
    /// [`AccountError::Invalid`], [`AccountError::NameTaken`], [`AccountError::IdTaken`], [`AccountError::Hashing`],
    /// [`AccountError::Store`].
    async fn create(&self, user: NewUser) -> Result<(User, Option<Issued>), AccountError>;

    /// Returns the user with exactly this name.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn find(&self, name: &str) -> Result<Option<User>, StoreError>;

    /// Lists users by id.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn list(&self, page: Page) -> Result<Batch<User>, StoreError>;

    /// Returns the active user of this name if the password is right. Takes as long for unknown users.
    ///
    /// # Errors
    /// [`AccountError::Hashing`] and [`AccountError::Store`].
    async fn verify_password(&self, name: &str, password: Password) -> Result<Option<User>, AccountError>;

    /// Records a sign-in to the admin application: the time, and an audit entry.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`] and [`AccountError::Store`].
    async fn note_sign_in(&self, user: SubjectId) -> Result<(), AccountError>;

    /// Sets or removes (`None`) a password. Ends all sessions, and revokes tokens if `tokens.revoke_on_password_change`
    /// is set.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::Hashing`], [`AccountError::LastSuperuser`],
    /// [`AccountError::Store`].
    async fn set_password(&self, user: SubjectId, password: Option<Password>) -> Result<(), AccountError>;

    /// Sets a password that the user has to change before the next sign-in. Otherwise as
    /// [`AccountStore::set_password`].
    ///
    /// # Errors
    /// As [`AccountStore::set_password`].
    async fn set_temporary_password(&self, user: SubjectId, password: Password) -> Result<(), AccountError>;

    /// Changes the name, e-mail address or personal names of a user; returns whether that changed anything. Fields that
    /// are not named keep their values, even under concurrent changes. Tokens are unaffected.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::NameTaken`], [`AccountError::Invalid`], [`AccountError::Store`].
    async fn edit(&self, user: SubjectId, asked: &DetailsChange) -> Result<bool, AccountError>;

    /// Grants or revokes the staff and superuser flags of a user; returns whether that changed anything.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::LastSuperuser`], [`AccountError::Store`].
    async fn set_rights(&self, user: SubjectId, staff: bool, superuser: bool) -> Result<bool, AccountError>;

    /// Renames a user and changes nothing else.
    ///
    /// # Errors
    /// As [`AccountStore::edit`].
    async fn rename(&self, user: SubjectId, name: &str) -> Result<(), AccountError> {
        self.edit(user, &DetailsChange { name: Some(name.to_owned()), ..DetailsChange::default() }).await.map(|_| ())
    }

    /// Reactivates a user; the user's tokens work again. Returns whether the user was inactive.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`] and [`AccountError::Store`].
    async fn activate(&self, user: SubjectId) -> Result<bool, AccountError>;

    /// Deactivates a user: no token works until [`AccountStore::activate`]. Returns whether the user was active.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::LastSuperuser`], [`AccountError::Store`].
    async fn deactivate(&self, user: SubjectId) -> Result<bool, AccountError>;

    /// Sets the groups of a user to exactly these; creates missing groups. Returns whether that changed anything.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::Invalid`], [`AccountError::Store`].
    async fn set_groups(&self, user: SubjectId, groups: &[String]) -> Result<bool, AccountError>;

    /// Imports a user with id, password hash, groups, times and tokens. Existing data is not overwritten, so the import
    /// is idempotent. If `import` says so, revokes what is no longer valid in the other system.
    ///
    /// # Errors
    /// [`AccountError::Store`]. Parts that cannot be imported are no error; the answer lists them.
    async fn take_in(&self, arrival: &Arrival, import: &Import) -> Result<Taken, AccountError>;

    /// Returns a page of the users who have valid data from an earlier import from the same system, by id.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn imported(&self, import: &Import, page: Page) -> Result<Vec<SubjectId>, StoreError>;

    /// Returns the addresses of all earlier imports ([`Import::source`]).
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn sources(&self) -> Result<Vec<String>, StoreError>;

    /// Records the address `to` for all data from these addresses, in one transaction.
    ///
    /// # Errors
    /// [`AccountError::Store`].
    async fn rename_sources(&self, from: &[String], to: &str) -> Result<(), AccountError>;

    /// Returns the existing data of an arrival that was imported from other addresses than that of this import.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn origins(&self, arrival: &Arrival, import: &Import) -> Result<Vec<Origin>, StoreError>;

    /// Reports what is still valid of a user whom the imported system deleted, and revokes it if the import says so.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::Store`].
    async fn miss(&self, user: SubjectId, import: &Import) -> Result<DeletedUser, AccountError>;

    /// Deletes a user with all tokens. Their ids are never reused.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::LastSuperuser`], [`AccountError::Store`].
    async fn delete(&self, user: SubjectId) -> Result<(), AccountError>;
}
