//! Where users and tokens live: the truth.
//!
//! Four traits, for the control half only: [`TokenStore`] answers what a token means, [`TokenLedger`] issues and
//! withdraws, [`AccountStore`] keeps users, [`SessionStore`] those who logged in with a browser. [`open`] gives them
//! for the database that the settings name. Nothing here caches, and workers never call any of it.
//!
//! Every call ends within `store.timeout`. One that ends in [`StoreError::Unavailable`], or whose future is dropped,
//! did its work completely or not at all; only the store knows which.

mod arrival;
mod audit;
mod changes;
mod directory;
mod django;
mod error;
mod feed;
mod keyfile;
mod ledger;
mod open;
mod outage;
mod password;
mod pool;
mod postgres;
mod seal;
mod session;
mod sql;
mod sqlite;
mod user;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenDigest, TokenId, TokenKey, TokenRecord};

pub use arrival::{Arrival, ArrivingToken, Gone, Import, Stale, Taken, TokenLabel, TokenTaken, UserTaken, Withheld};
pub use audit::{Act, Actor, AuditEntry, AuditQuery, AuditTrail, Via};
pub use changes::{Changes, Cursor, TokenEvent};
pub use directory::{
    Directory, ListId, Listing, Mark, NoPlace, PasswordMark, Place, SortKey, TokenQuery, TokenView, UserOrder,
    UserQuery,
};
pub use django::{DjangoUsers, django_triggers};
pub use error::{AccountError, LedgerError, NoSessions, OpenError, StoreError, report};
pub use feed::{Hearing, TokenFeed};
pub use keyfile::{KeyFileError, SharedCacheKey};
pub use ledger::{
    End, Issued, NamedToken, OnConflict, Page, Revocation, Terms, TokenDetails, TokenFilter, TokenKind, TokenRef,
};
pub use open::{Migration, migrate, migrate_to_new_key, open};
pub use password::{EmptyPassword, HashingFailed, Password};
pub use session::SessionStore;
pub use user::{DetailsChange, InvalidUser, NewUser, PersonalDetails, User};

/// Answers what a token means. Apart from noting exposure, reads only.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// `Ok(None)`: the store is sure that no such token exists. An outage is always an error.
    ///
    /// Takes the key, not the digest: a Django database keeps keys in clear, our own store digests first.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn find(&self, key: &TokenKey) -> Result<Option<TokenRecord>, StoreError>;

    /// All tokens of a user that are not revoked, expired ones included, and all sessions, where a store can say whose
    /// they are without reading them all. Empty if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn tokens_of(&self, subject: SubjectId) -> Result<Vec<TokenDigest>, StoreError>;

    /// Changes after `since`, oldest first, at most some thousand at a time.
    ///
    /// A reader that has missed what [`TokenStore::prune_changes`] removed, or that knows more than the store, gets
    /// [`TokenEvent::Gap`] and goes on from the newest change.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn changes(&self, since: Cursor) -> Result<Changes, StoreError>;

    /// The cursor of the newest change: where a reader that knows nothing yet begins.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn newest_change(&self) -> Result<Cursor, StoreError>;

    /// The cursor just before the first change that happened at this time or later, by the store's own clock.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn cursor_at(&self, at: Timestamp) -> Result<Cursor, StoreError>;

    /// Hears of changes as they happen; `None` from a store that cannot tell.
    fn feed(&self) -> Option<Box<dyn TokenFeed>> {
        None
    }

    /// Removes what stands in the change log before the first change at this time or later, and says how much that was.
    /// The newest change always stays.
    ///
    /// # Errors
    /// [`StoreError`] if not all of it could be removed.
    async fn prune_changes(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Notes that a token was sent in clear, if it exists, and from where. The first time stays.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn mark_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError>;

    /// Revokes a token by its digest, if it exists and is not revoked, and notes the exposure, and from where it came.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn revoke_exposed(&self, digest: TokenDigest, from: IpAddr, at: Timestamp) -> Result<(), StoreError>;
}

/// Issues, withdraws and lists tokens. Every change is in the change log when the call returns.
#[async_trait]
pub trait TokenLedger: Send + Sync {
    /// The login token of a user: the one that is there, or a new one.
    ///
    /// Where its key is not kept (`recoverable = false`), a new one takes the place of the former, which is revoked.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::Unsealable`] and [`LedgerError::Store`].
    async fn issue_login(&self, owner: SubjectId) -> Result<Issued, LedgerError>;

    /// Revokes the login token of a user, if there is one, and issues a new one.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`] and [`LedgerError::Store`].
    async fn reset_login(&self, owner: SubjectId) -> Result<Issued, LedgerError>;

    /// Issues a named token. Its key is never kept.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::TooMany`], a refused name, end or set of scopes,
    /// [`LedgerError::Store`].
    async fn issue_named(&self, owner: SubjectId, order: &NamedToken) -> Result<Issued, LedgerError>;

    /// Takes a key that already exists elsewhere as the login token of a user. Twice is fine.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::LoginExists`] (unless it is to be replaced),
    /// [`LedgerError::KeyTaken`], [`LedgerError::KeySpent`], [`LedgerError::Store`].
    async fn import(&self, owner: SubjectId, key: TokenKey, conflict: OnConflict) -> Result<Issued, LedgerError>;

    /// Takes a key that already exists elsewhere as a named token of a user. Twice is fine.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`], [`LedgerError::InvalidName`], [`LedgerError::InvalidEnd`],
    /// [`LedgerError::ScopesTooLong`], [`LedgerError::TooMany`], [`LedgerError::KeyTaken`], [`LedgerError::KeySpent`],
    /// [`LedgerError::OnlyLogin`], [`LedgerError::Store`].
    async fn import_named(&self, owner: SubjectId, key: TokenKey, order: &NamedToken) -> Result<Issued, LedgerError>;

    /// Revokes one token. Twice is fine.
    ///
    /// # Errors
    /// [`LedgerError::UnknownToken`] and [`LedgerError::Store`].
    async fn revoke(&self, token: TokenRef) -> Result<Revocation, LedgerError>;

    /// Revokes all tokens of a user and says how many of them were live.
    ///
    /// # Errors
    /// [`LedgerError::UnknownUser`] and [`LedgerError::Store`].
    async fn revoke_all(&self, owner: SubjectId) -> Result<usize, LedgerError>;

    /// Gives a token a new end, new scopes, or both; what is not named stays, also if somebody else changes it in the
    /// same moment. A revoked token stays revoked.
    ///
    /// # Errors
    /// [`LedgerError::UnknownToken`], [`LedgerError::InvalidEnd`] in a year that has five digits,
    /// [`LedgerError::ScopesTooLong`], [`LedgerError::Store`].
    async fn set_terms(&self, token: TokenId, terms: &Terms) -> Result<(), LedgerError>;

    /// Tokens in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn list(&self, filter: TokenFilter, page: Page) -> Result<Vec<TokenDetails>, StoreError>;

    /// One token, live or not.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn show(&self, token: TokenRef) -> Result<Option<TokenDetails>, StoreError>;

    /// Notes uses of tokens, many at once. An older use than the known one changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn mark_used(&self, uses: &[(TokenId, Timestamp)]) -> Result<(), StoreError>;
}

/// Keeps users. Every change that upstreams or tokens would notice is in the change log when the call returns. By way
/// of the admin application or the API the last active superuser with a password keeps it, and is neither demoted nor
/// switched off nor deleted.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Creates a user, and at once a login token where the settings say so.
    ///
    /// # Errors
    /// [`AccountError::Invalid`], [`AccountError::NameTaken`], [`AccountError::IdTaken`], [`AccountError::Hashing`],
    /// [`AccountError::Store`].
    async fn create(&self, user: NewUser) -> Result<(User, Option<Issued>), AccountError>;

    /// The user of exactly this name.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn find(&self, name: &str) -> Result<Option<User>, StoreError>;

    /// Users in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn list(&self, page: Page) -> Result<Vec<User>, StoreError>;

    /// The active user of this name, if the password fits. Takes as long for users that do not exist.
    ///
    /// # Errors
    /// [`AccountError::Hashing`] and [`AccountError::Store`].
    async fn verify_password(&self, name: &str, password: Password) -> Result<Option<User>, AccountError>;

    /// Notes that a user has signed in to look after others: the time, and an entry of the audit trail.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`] and [`AccountError::Store`].
    async fn note_sign_in(&self, user: SubjectId) -> Result<(), AccountError>;

    /// Sets a password; `None`: no password fits from now on. Sessions end, and tokens are revoked if
    /// `tokens.revoke_on_password_change` says so.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::Hashing`], [`AccountError::LastSuperuser`],
    /// [`AccountError::Store`].
    async fn set_password(&self, user: SubjectId, password: Option<Password>) -> Result<(), AccountError>;

    /// Gives a user another name, e-mail address or personal names; what is not named stays, also if somebody else
    /// changes it in the same moment. Tokens stay as they are.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::NameTaken`], [`AccountError::Invalid`], [`AccountError::Store`].
    async fn edit(&self, user: SubjectId, asked: &DetailsChange) -> Result<(), AccountError>;

    /// Makes a user staff or superuser, or neither.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::LastSuperuser`], [`AccountError::Store`].
    async fn set_rights(&self, user: SubjectId, staff: bool, superuser: bool) -> Result<(), AccountError>;

    /// Gives a user another name, and changes nothing else.
    ///
    /// # Errors
    /// As [`AccountStore::edit`].
    async fn rename(&self, user: SubjectId, name: &str) -> Result<(), AccountError> {
        self.edit(user, &DetailsChange { name: Some(name.to_owned()), ..DetailsChange::default() }).await
    }

    /// Lets the tokens of a user count again.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`] and [`AccountError::Store`].
    async fn activate(&self, user: SubjectId) -> Result<(), AccountError>;

    /// Keeps all tokens of a user from counting, until [`AccountStore::activate`].
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::LastSuperuser`], [`AccountError::Store`].
    async fn deactivate(&self, user: SubjectId) -> Result<(), AccountError>;

    /// Puts a user into exactly these groups; those that do not exist are made.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::Invalid`], [`AccountError::Store`].
    async fn set_groups(&self, user: SubjectId, groups: &[String]) -> Result<(), AccountError>;

    /// Takes a user over from elsewhere, with id, hash of the password, groups, times and tokens. What is there already
    /// stays as it is, so that twice changes nothing more than once. Ends what does not count there any more, if the
    /// import shall.
    ///
    /// # Errors
    /// [`AccountError::Store`]; what cannot be taken over is no error but stands in the answer.
    async fn take_in(&self, arrival: &Arrival, import: &Import) -> Result<Taken, AccountError>;

    /// A page of the users of whom something came from the same system earlier and counts here, in the order of ids.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is not known.
    async fn imported(&self, import: &Import, page: Page) -> Result<Vec<SubjectId>, StoreError>;

    /// Says what counts here of a user who is gone in the system of an import, and ends it if the import shall.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::Store`].
    async fn miss(&self, user: SubjectId, import: &Import) -> Result<Gone, AccountError>;

    /// Deletes a user with all tokens. Neither id is ever used again.
    ///
    /// # Errors
    /// [`AccountError::UnknownUser`], [`AccountError::LastSuperuser`], [`AccountError::Store`].
    async fn delete(&self, user: SubjectId) -> Result<(), AccountError>;
}

/// An opened store.
#[derive(Clone)]
pub struct Store {
    /// What a token means.
    pub tokens: Arc<dyn TokenStore>,
    /// Issues and withdraws tokens.
    pub ledger: Arc<dyn TokenLedger>,
    /// Keeps users.
    pub accounts: Arc<dyn AccountStore>,
    /// Opens sessions, if there is a place for them.
    pub sessions: Result<Arc<dyn SessionStore>, NoSessions>,
    /// Searches users and tokens; `None`: that is done elsewhere.
    pub directory: Option<Arc<dyn Directory>>,
    /// Who did what; `None`: nobody keeps it.
    pub audit: Option<Arc<dyn AuditTrail>>,
    /// Does it learn of all changes, whoever made them? If not, what another program did may be missed for as long as
    /// memory believes anything.
    pub is_told: bool,
    /// What is wrong with triggers that should tell of changes, where some are right. Then it is not told.
    pub broken_triggers: Vec<String>,
    /// What is odd about it, for the operator to know: each a sentence without a full stop.
    pub remarks: Vec<String>,
}

impl Store {
    /// The same store, on behalf of somebody: what changes through it is theirs in the audit trail, where there is one.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Store {
        self.audit.as_ref().map_or_else(|| self.clone(), |audit| audit.acting_as(actor))
    }

    /// A store that can do everything.
    fn whole<S>(store: S) -> Store
    where
        S: TokenStore + TokenLedger + AccountStore + SessionStore + Directory + AuditTrail + 'static,
    {
        let store = Arc::new(store);
        Store {
            tokens: Arc::<S>::clone(&store),
            ledger: Arc::<S>::clone(&store),
            accounts: Arc::<S>::clone(&store),
            sessions: Ok(Arc::<S>::clone(&store)),
            directory: Some(Arc::<S>::clone(&store)),
            audit: Some(store),
            is_told: true,
            broken_triggers: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// A store whose users are looked after elsewhere.
    fn bare<S: TokenStore + TokenLedger + AccountStore + SessionStore + 'static>(store: S) -> Store {
        let store = Arc::new(store);
        Store {
            tokens: Arc::<S>::clone(&store),
            ledger: Arc::<S>::clone(&store),
            accounts: Arc::<S>::clone(&store),
            sessions: Ok(store),
            directory: None,
            audit: None,
            is_told: true,
            broken_triggers: Vec::new(),
            remarks: Vec::new(),
        }
    }
}
