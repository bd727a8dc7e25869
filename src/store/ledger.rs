//! Tokens: the input and output types of a [`TokenLedger`](super::TokenLedger).

use crate::clock::Timestamp;
use crate::token::{ScopeSet, SubjectId, TokenDigest, TokenHint, TokenId, TokenKey, TokenRecord};

/// A token that was just issued, or a login token that is shown again.
#[derive(Debug)]
pub struct Issued {
    /// Public id.
    pub id: TokenId,
    /// The secret. That of a named token is never shown again.
    pub key: TokenKey,
    /// When it expires; `None`: never.
    pub expires: Option<Timestamp>,
    /// `true`: newly issued; `false`: it existed before.
    pub fresh: bool,
}

/// A named token to issue.
#[derive(Clone, Debug)]
pub struct NamedToken {
    /// The name that the owner chose; 1 to 100 characters.
    pub name: String,
    /// When it expires; `None`: the configured default.
    pub expires: Option<Timestamp>,
    /// Its scopes.
    pub scopes: ScopeSet,
}

/// Changes to a token; `None` keeps the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// When it expires.
    pub end: Option<End>,
    /// Its scopes.
    pub scopes: Option<ScopeSet>,
    /// Its name. A login token has none.
    pub name: Option<String>,
    /// The note of the administrators; may be empty.
    pub note: Option<String>,
    /// Whether it is disabled: not valid until it is enabled again.
    pub disabled: Option<bool>,
}

/// The expiry of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It never expires.
    Never,
    /// It expires at this time.
    At(Timestamp),
}

/// How an import treats a different login token of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The import is refused.
    Refuse,
    /// The other token is revoked.
    Replace,
}

/// A reference to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRef {
    /// By public id.
    Id(TokenId),
    /// By the digest of its key.
    Digest(TokenDigest),
}

/// The result of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The token.
    pub id: TokenId,
    /// `true`: it was live until now; `false`: it was already revoked or expired.
    pub was_live: bool,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The login token, which a login returns.
    Login,
    /// A named token, issued for a purpose; its key is shown once.
    Named,
}

/// The details of a token for lists and detail pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDetails {
    /// The record that authentication needs.
    pub record: TokenRecord,
    /// The part of the key that may be shown.
    pub hint: TokenHint,
    /// The kind.
    pub kind: TokenKind,
    /// The name that the owner chose; empty for a login token.
    pub name: String,
    /// The approximate time of its last use.
    pub last_used: Option<Timestamp>,
    /// When it was first sent unencrypted, if ever.
    pub exposed: Option<Timestamp>,
    /// A note of the administrators; may be empty.
    pub note: String,
    /// Since when it is disabled; `None`: it is enabled.
    pub disabled: Option<Timestamp>,
}

/// The filters of a list of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFilter {
    /// Only tokens of this user.
    pub owner: Option<SubjectId>,
    /// Only tokens that are neither revoked nor expired.
    pub live: bool,
}

/// A page of a list, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Start after this id; 0: from the first.
    pub after: i64,
    /// Maximum number of entries.
    pub limit: u32,
}

impl Page {
    /// The first `limit` entries.
    pub const fn first(limit: u32) -> Page {
        Page { after: 0, limit }
    }
}
