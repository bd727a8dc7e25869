//! The audit trail: who did what to which user or token, when, and from where.
//!
//! A change and its entry are one transaction, so there is no change without an entry and no entry without a change.
//! Entries are never altered; [`AuditTrail::prune`] removes those whose time is over. No key and no password ever
//! stands in one.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;

use super::{Listing, Place, Store, StoreError};
use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenId};

/// On whose behalf a store is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user, if it is one.
    pub id: Option<SubjectId>,
    /// The name of the user, or of what acts by itself.
    pub name: String,
    /// By which door.
    pub via: Via,
    /// The address of the client; `None`: from this machine itself.
    pub from: Option<IpAddr>,
}

/// By which door a change came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The gateway itself: `POST /gettoken/`, the pages on which users look after themselves, keys sent in clear.
    Gateway,
    /// A command.
    CommandLine,
    /// The admin application.
    Admin,
    /// The JSON API.
    Api,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A user was created.
    UserCreated,
    /// A user came from another system.
    UserImported,
    /// Name, e-mail address or personal names were changed.
    UserEdited,
    /// A user got another password, or none.
    PasswordSet,
    /// A user was switched on.
    UserActivated,
    /// A user was switched off.
    UserDeactivated,
    /// A user was put into other groups.
    GroupsSet,
    /// A user became, or ceased to be, staff or superuser.
    RightsSet,
    /// A user was deleted.
    UserDeleted,
    /// A token was issued.
    TokenIssued,
    /// A key from elsewhere became a token.
    TokenImported,
    /// A token got another end or other scopes.
    TokenTermsSet,
    /// A token was revoked.
    TokenRevoked,
    /// All tokens of a user were revoked.
    TokensRevoked,
    /// The key of a login token was shown again.
    TokenRevealed,
    /// A key that counts was sent in clear, for the first time.
    TokenExposed,
    /// Somebody signed in.
    SignedIn,
    /// Somebody signed out.
    SignedOut,
    /// A password was wrong, or its user was none that may log in.
    LoginFailed,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number; later entries have higher ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub act: Act,
    /// To which user.
    pub user: Option<SubjectId>,
    /// The name that this user had then; empty if there was none.
    pub user_name: String,
    /// To which token.
    pub token: Option<TokenId>,
    /// More of it, in words; may be empty.
    pub detail: String,
}

/// Which entries a list shows; newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only those of the actor with exactly this name.
    pub actor: Option<String>,
    /// Only those about this user.
    pub user: Option<SubjectId>,
    /// Those about users who were called exactly so then, too, or they alone; no index leads to them.
    pub user_name: Option<String>,
    /// Only those about this token.
    pub token: Option<TokenId>,
    /// Only these.
    pub act: Option<Act>,
    /// Only those at this time or later.
    pub since: Option<Timestamp>,
    /// Only those before this time.
    pub until: Option<Timestamp>,
    /// Where to begin.
    pub place: Place,
    /// Most entries.
    pub limit: u32,
}

/// Keeps and shows the trail.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// The same store, on behalf of somebody else.
    fn acting_as(&self, actor: Actor) -> Store;

    /// Writes down what changes nothing in the store, such as a login that failed. `user_name` is what was claimed: of
    /// a name that no user has, nothing is kept, since people type passwords into the wrong field.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn note(&self, act: Act, user_name: &str) -> Result<(), StoreError>;

    /// Writes down that the key of a token was shown again.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    async fn note_revealed(&self, token: TokenId) -> Result<(), StoreError>;

    /// Entries, newest first.
    ///
    /// # Errors
    /// [`StoreError`] whenever the answer is not known.
    async fn entries(&self, query: &AuditQuery) -> Result<Listing<AuditEntry>, StoreError>;

    /// Removes entries before this time, and says how many.
    ///
    /// # Errors
    /// [`StoreError`] if not all of them could be removed.
    async fn prune_audit(&self, before: Timestamp) -> Result<u64, StoreError>;
}

impl Actor {
    /// The gateway itself.
    pub fn gateway() -> Actor {
        Actor { id: None, name: "gateway".to_owned(), via: Via::Gateway, from: None }
    }

    /// Somebody at the command line.
    pub fn command_line() -> Actor {
        Actor { id: None, name: "command line".to_owned(), via: Via::CommandLine, from: None }
    }
}

impl Via {
    /// All of them.
    pub const ALL: [Via; 4] = [Via::Gateway, Via::CommandLine, Via::Admin, Via::Api];

    /// The word for it in the store and in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Via::Gateway => "gateway",
            Via::CommandLine => "command_line",
            Via::Admin => "admin",
            Via::Api => "api",
        }
    }

    /// Reads that word.
    pub fn parse(text: &str) -> Option<Via> {
        Via::ALL.into_iter().find(|via| via.as_str() == text)
    }
}

impl Act {
    /// All of them.
    pub const ALL: [Act; 19] = [
        Act::UserCreated,
        Act::UserImported,
        Act::UserEdited,
        Act::PasswordSet,
        Act::UserActivated,
        Act::UserDeactivated,
        Act::GroupsSet,
        Act::RightsSet,
        Act::UserDeleted,
        Act::TokenIssued,
        Act::TokenImported,
        Act::TokenTermsSet,
        Act::TokenRevoked,
        Act::TokensRevoked,
        Act::TokenRevealed,
        Act::TokenExposed,
        Act::SignedIn,
        Act::SignedOut,
        Act::LoginFailed,
    ];

    /// The word for it in the store and in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Act::UserCreated => "user_created",
            Act::UserImported => "user_imported",
            Act::UserEdited => "user_edited",
            Act::PasswordSet => "password_set",
            Act::UserActivated => "user_activated",
            Act::UserDeactivated => "user_deactivated",
            Act::GroupsSet => "groups_set",
            Act::RightsSet => "rights_set",
            Act::UserDeleted => "user_deleted",
            Act::TokenIssued => "token_issued",
            Act::TokenImported => "token_imported",
            Act::TokenTermsSet => "token_terms_set",
            Act::TokenRevoked => "token_revoked",
            Act::TokensRevoked => "tokens_revoked",
            Act::TokenRevealed => "token_revealed",
            Act::TokenExposed => "token_exposed",
            Act::SignedIn => "signed_in",
            Act::SignedOut => "signed_out",
            Act::LoginFailed => "login_failed",
        }
    }

    /// Reads that word.
    pub fn parse(text: &str) -> Option<Act> {
        Act::ALL.into_iter().find(|act| act.as_str() == text)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
