//! Lists of users and tokens for administrators: search, filters, order, pages.
//!
//! Keyset pagination: a page starts after an entry or ends before one ([`PagePosition`]), never at an offset. So every
//! page costs the same, however long the list is. Each combination of filters uses an index.

use async_trait::async_trait;

use super::{ListId, Listing, PagePosition, StoreError, TokenDetails, TokenKind, User};
use crate::clock::Timestamp;
use crate::token::{SubjectId, TokenId};

/// The highest number of entries that is counted.
pub const MAX_TOTAL: u32 = 10_000;

/// Searches users and tokens.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Lists users.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn users(&self, query: &UserQuery) -> Result<Listing<User>, StoreError>;

    /// Returns the user with this id.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn user(&self, id: SubjectId) -> Result<Option<User>, StoreError>;

    /// Returns the user with this id, and a mark that changes with the password. A session with another mark must sign
    /// in again.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn standing(&self, id: SubjectId) -> Result<Option<(User, PasswordMark)>, StoreError>;

    /// Lists tokens.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn tokens(&self, query: &TokenQuery) -> Result<Listing<TokenDetails>, StoreError>;

    /// Returns the number of users that match, at most [`MAX_TOTAL`]. The position and the limit of the query are
    /// ignored.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn count_users(&self, query: &UserQuery) -> Result<u32, StoreError>;

    /// Returns the number of tokens that match, as [`Directory::count_users`].
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn count_tokens(&self, query: &TokenQuery) -> Result<u32, StoreError>;

    /// Returns the days since this time on which a token was used, each as its first moment (UTC), in order.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn days_of_use(&self, token: TokenId, since: Timestamp) -> Result<Vec<Timestamp>, StoreError>;

    /// Returns groups in order of their names, each with the number of its members, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn group_sizes(&self, limit: u32) -> Result<Vec<(String, u32)>, StoreError>;

    /// Returns whether there is an active superuser with a password.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn has_superuser(&self) -> Result<bool, StoreError>;

    /// Returns names of groups in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] if the answer is unknown.
    async fn groups(&self, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// A mark that changes with a user's password, and reveals nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordMark(pub(super) [u8; 32]);

#[cfg(test)]
impl PasswordMark {
    /// Creates a mark from any text.
    pub fn any() -> PasswordMark {
        PasswordMark([0; 32])
    }
}

/// The order of users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserOrder {
    /// By username, case-insensitive.
    #[default]
    Name,
    /// By username, from Z to A.
    NameReversed,
    /// Newest account first.
    Newest,
    /// Oldest account first.
    Oldest,
    /// Latest sign-in first.
    LastLogin,
    /// Earliest sign-in first; users who never signed in come before all others.
    LastLoginReversed,
}

/// The filters of a list of users.
#[derive(Clone, Debug, Default)]
pub struct UserQuery {
    /// Part of the username, the e-mail address or the real name, case-insensitive; empty: any.
    pub search: String,
    /// Only the user with exactly this name.
    pub name: Option<String>,
    /// Only users with exactly this e-mail address.
    pub email: Option<String>,
    /// Only active users, or only inactive ones.
    pub active: Option<bool>,
    /// Only staff and superusers, or only other users.
    pub staff: Option<bool>,
    /// Only members of the group with exactly this name.
    pub group: Option<String>,
    /// The order.
    pub order: UserOrder,
    /// The position of the page.
    pub position: PagePosition,
    /// Maximum number of entries.
    pub limit: u32,
}

/// A view of the tokens, each with a suitable order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenView {
    /// All, newest first.
    #[default]
    All,
    /// Neither revoked nor expired, newest first.
    Live,
    /// Live, and not used since this time; longest unused first.
    UnusedSince(Timestamp),
    /// Live, and expiring before this time; nearest expiry first.
    EndingBefore(Timestamp),
    /// Expired and not revoked, latest expiry first.
    Expired,
    /// Revoked, latest revocation first.
    Revoked,
    /// Sent unencrypted at least once, latest first.
    Exposed,
    /// Disabled, latest first.
    Disabled,
}

/// An order of tokens that differs from that of their view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrder {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
    /// Latest use first.
    LastUsed,
    /// Earliest use first; for a token that was never used, the time of its creation counts.
    LastUsedReversed,
    /// Nearest expiry first; tokens without expiry come last.
    Expiry,
    /// Latest expiry first; tokens without expiry come first.
    ExpiryReversed,
}

/// The filters of a list of tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenQuery {
    /// Part of the owner's username, e-mail address or real name, case-insensitive; empty: any.
    pub owner_name: String,
    /// Only tokens with exactly this name.
    pub name: Option<String>,
    /// Prefix of the key, at most the length of its hint; empty: any.
    pub hint: String,
    /// Only tokens of this user.
    pub owner: Option<SubjectId>,
    /// The view.
    pub view: TokenView,
    /// The order; `None`: that of the view.
    pub order: Option<TokenOrder>,
    /// Only tokens of this kind.
    pub kind: Option<TokenKind>,
    /// Only tokens of users who are neither staff nor superusers.
    pub ordinary: bool,
    /// The position of the page.
    pub position: PagePosition,
    /// Maximum number of entries.
    pub limit: u32,
}

impl UserOrder {
    /// The list of users in this order.
    pub fn list(self) -> ListId {
        match self {
            UserOrder::Name => ListId::of('a'),
            UserOrder::NameReversed => ListId::of('l'),
            UserOrder::Newest => ListId::of('c'),
            UserOrder::Oldest => ListId::of('m'),
            UserOrder::LastLogin => ListId::of('d'),
            UserOrder::LastLoginReversed => ListId::of('n'),
        }
    }
}

impl TokenView {
    /// The list of tokens in this view.
    pub fn list(self) -> ListId {
        ListId::of(match self {
            TokenView::All => 'e',
            TokenView::Live => 'f',
            TokenView::UnusedSince(_) => 'g',
            TokenView::EndingBefore(_) => 'h',
            TokenView::Expired => 'i',
            TokenView::Revoked => 'j',
            TokenView::Exposed => 'k',
            TokenView::Disabled => 'o',
        })
    }
}

impl TokenQuery {
    /// The list of tokens in this view and order. A position does not depend on the view, except for its order.
    pub fn list(&self) -> ListId {
        match self.order {
            None => self.view.list(),
            Some(order) => order.list(),
        }
    }
}

impl TokenOrder {
    /// All orders.
    pub const ALL: [TokenOrder; 6] = [
        TokenOrder::Newest,
        TokenOrder::Oldest,
        TokenOrder::LastUsed,
        TokenOrder::LastUsedReversed,
        TokenOrder::Expiry,
        TokenOrder::ExpiryReversed,
    ];

    fn list(self) -> ListId {
        ListId::of(match self {
            TokenOrder::Newest => 'p',
            TokenOrder::Oldest => 'q',
            TokenOrder::LastUsed => 'r',
            TokenOrder::LastUsedReversed => 's',
            TokenOrder::Expiry => 't',
            TokenOrder::ExpiryReversed => 'u',
        })
    }
}
