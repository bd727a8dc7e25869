//! The audit trail: which actor changed which user or token, when, and from where.
//!
//! A change and its entry are one transaction, so neither exists without the other. Entries are never altered;
//! [`AuditTrail::prune_audit`] deletes old ones. No entry contains a key or a password.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;

use super::{Listing, PagePosition, Store, StoreError};
use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenId};

/// The actor of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user id, if the actor is a user.
    pub id: Option<SubjectId>,
    /// The username, or the name of the part of the gateway that acts.
    pub name: String,
    /// The interface through which the change was made.
    pub via: Via,
    /// The address of the client; `None`: the command line on this machine.
    pub from: Option<IpAddr>,
}

/// The interface through which a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The gateway itself: keys that were sent unencrypted.
    Gateway,
    /// Users at the public listeners: `POST /gettoken/` and the account pages.
    Public,
    /// The command line.
    CommandLine,
    /// The admin application.
    Admin,
    /// The JSON API.
    Api,
}

/// The action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A user was created.
    UserCreated,
    /// A user was imported.
    UserImported,
    /// A username, e-mail address or personal name was changed.
    UserEdited,
    /// A password was set or removed.
    PasswordSet,
    /// A user was activated.
    UserActivated,
    /// A user was deactivated.
    UserDeactivated,
    /// The groups of a user were changed.
    GroupsSet,
    /// The staff or superuser flag of a user was changed.
    RightsSet,
    /// A user was deleted.
    UserDeleted,
    /// A token was issued.
    TokenIssued,
    /// A key was imported as a token.
    TokenImported,
    /// The expiry, the scopes, the name or the note of a token were changed.
    TokenTermsSet,
    /// A token got a new key; the old key ends after an overlap.
    TokenRotated,
    /// A token was disabled.
    TokenDisabled,
    /// A token was enabled again.
    TokenEnabled,
    /// A token was revoked.
    TokenRevoked,
    /// All tokens of a user were revoked.
    TokensRevoked,
    /// The key of a login token was shown again.
    TokenRevealed,
    /// A valid key was sent unencrypted for the first time.
    TokenExposed,
    /// A user signed in.
    SignedIn,
    /// A user signed out.
    SignedOut,
    /// A sign-in failed: wrong password, or a user who may not sign in.
    LoginFailed,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number; later entries have higher ones.
    pub id: i64,
    /// The time.
    pub at: Timestamp,
    /// The actor.
    pub actor: Actor,
    /// The action.
    pub act: Act,
    /// The affected user.
    pub user: Option<SubjectId>,
    /// The username at that time; empty if there was none.
    pub user_name: String,
    /// The affected token.
    pub token: Option<TokenId>,
    /// Further details as text; may be empty.
    pub detail: String,
}

/// The filters of a list of entries; newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only entries whose actor has this text in its name, case-insensitive. No index supports this filter.
    pub actor: Option<String>,
    /// Only entries about this user.
    pub user: Option<SubjectId>,
    /// Only entries about users who had this text in their name at that time, case-insensitive. No index supports this
    /// filter.
    pub user_name: Option<String>,
    /// Only entries that were made through this interface.
    pub via: Option<Via>,
    /// Only those about this token.
    pub token: Option<TokenId>,
    /// Only these actions.
    pub act: Option<Act>,
    /// Only entries at or after this time.
    pub since: Option<Timestamp>,
    /// Only entries before this time.
    pub until: Option<Timestamp>,
    /// The position of the page.
    pub position: PagePosition,
    /// Maximum number of entries.
    pub limit: u32,
}

/// Writes and reads the audit trail.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Returns the same store, acting for another actor.
    fn acting_as(&self, actor: Actor) -> Store;

    /// Records an event that changes nothing in the store, such as a failed login. `user_name` is the claimed name. A
    /// name that no user has is not stored, because users type passwords into the wrong field.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn note(&self, act: Act, user_name: &str) -> Result<(), StoreError>;

    /// Records that the key of a token was shown again.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written.
    async fn note_revealed(&self, token: TokenId) -> Result<(), StoreError>;

    /// Entries, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn entries(&self, query: &AuditQuery) -> Result<Listing<AuditEntry>, StoreError>;

    /// Deletes entries before this time; returns their number.
    ///
    /// # Errors
    /// [`StoreError`] if some entries could not be deleted.
    async fn prune_audit(&self, before: Timestamp) -> Result<u64, StoreError>;
}

impl Actor {
    /// The gateway itself.
    pub fn gateway() -> Actor {
        Actor { id: None, name: "gateway".to_owned(), via: Via::Gateway, from: None }
    }

    /// A user of the command line.
    pub fn command_line() -> Actor {
        Actor { id: None, name: "command line".to_owned(), via: Via::CommandLine, from: None }
    }
}

impl Via {
    /// All interfaces.
    pub const ALL: [Via; 5] = [Via::Gateway, Via::Public, Via::CommandLine, Via::Admin, Via::Api];

    /// Its name in the store and in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Via::Gateway => "gateway",
            Via::Public => "public",
            Via::CommandLine => "command_line",
            Via::Admin => "admin",
            Via::Api => "api",
        }
    }

    /// Parses that name.
    pub fn parse(text: &str) -> Option<Via> {
        Via::ALL.into_iter().find(|via| via.as_str() == text)
    }
}

impl Act {
    /// All actions.
    pub const ALL: [Act; 22] = [
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
        Act::TokenRotated,
        Act::TokenDisabled,
        Act::TokenEnabled,
        Act::TokenRevoked,
        Act::TokensRevoked,
        Act::TokenRevealed,
        Act::TokenExposed,
        Act::SignedIn,
        Act::SignedOut,
        Act::LoginFailed,
    ];

    /// Its name in the store and in lists.
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
            Act::TokenRotated => "token_rotated",
            Act::TokenDisabled => "token_disabled",
            Act::TokenEnabled => "token_enabled",
            Act::TokenRevoked => "token_revoked",
            Act::TokensRevoked => "tokens_revoked",
            Act::TokenRevealed => "token_revealed",
            Act::TokenExposed => "token_exposed",
            Act::SignedIn => "signed_in",
            Act::SignedOut => "signed_out",
            Act::LoginFailed => "login_failed",
        }
    }

    /// Parses that name.
    pub fn parse(text: &str) -> Option<Act> {
        Act::ALL.into_iter().find(|act| act.as_str() == text)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
