//! Tokens: what is asked of and answered by a [`TokenLedger`](super::TokenLedger).

use crate::clock::Timestamp;
use crate::token::{ScopeSet, SubjectId, TokenDigest, TokenHint, TokenId, TokenKey, TokenRecord};

/// A token that was just issued, or a login token that is shown again.
#[derive(Debug)]
pub struct Issued {
    /// Public id.
    pub id: TokenId,
    /// The secret. For a named token this is the only time that anybody sees it.
    pub key: TokenKey,
    /// When it ends by itself; `None`: never.
    pub expires: Option<Timestamp>,
    /// Did this call make it? False: it was there before.
    pub fresh: bool,
}

/// A named token to issue.
#[derive(Clone, Debug)]
pub struct NamedToken {
    /// What its owner calls it; 1 to 100 characters.
    pub name: String,
    /// When it ends; `None`: as the settings say.
    pub expires: Option<Timestamp>,
    /// What it may be used for.
    pub scopes: ScopeSet,
}

/// New terms of a token; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// When it ends by itself.
    pub end: Option<End>,
    /// What it may be used for.
    pub scopes: Option<ScopeSet>,
}

/// When a token ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It does not.
    Never,
    /// Then.
    At(Timestamp),
}

/// What an import does with another login token of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The import is refused.
    Refuse,
    /// The other token is revoked.
    Replace,
}

/// Which token is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRef {
    /// The one with this public id.
    Id(TokenId),
    /// The one whose key digests to this.
    Digest(TokenDigest),
}

/// What a revocation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The token.
    pub id: TokenId,
    /// Did it count until now? False: it was revoked or had expired before.
    pub was_live: bool,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The one that a login returns.
    Login,
    /// One of many, made for a purpose and shown once.
    Named,
}

/// A token as lists and detail pages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDetails {
    /// What a check needs.
    pub record: TokenRecord,
    /// The part of the key that may be shown.
    pub hint: TokenHint,
    /// What it is for.
    pub kind: TokenKind,
    /// What its owner calls it; empty for a login token.
    pub name: String,
    /// When it was last used, roughly.
    pub last_used: Option<Timestamp>,
    /// When it was first sent in clear, if it was.
    pub exposed: Option<Timestamp>,
}

/// Which tokens a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFilter {
    /// Only those of this user.
    pub owner: Option<SubjectId>,
    /// Only those that are neither revoked nor expired.
    pub live: bool,
}

/// A part of a list, in the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Begin behind this id; 0: from the first.
    pub after: i64,
    /// Most entries.
    pub limit: u32,
}

impl Page {
    /// The first `limit` entries.
    pub const fn first(limit: u32) -> Page {
        Page { after: 0, limit }
    }
}
