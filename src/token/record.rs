//! The stored record of a token.

use std::fmt;

use super::{Networks, ScopeSet, TokenDigest};
use crate::clock::Timestamp;

/// The stable id of a user; upstreams receive it in `X-User-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(pub i64);

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The public id of a token; upstreams receive it in `X-Token-Id`. Unrelated to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub i64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The owner of a token, with the facts that authentication needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Stable id.
    pub id: SubjectId,
    /// Username, exactly as stored.
    pub name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// Names of the groups, sorted.
    pub groups: Vec<String>,
    /// `false`: the user is deactivated, and no token works.
    pub active: bool,
}

/// The kind of credentials of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A token in the `Authorization` header.
    Token,
    /// A browser session, in a cookie.
    Session,
}

/// How the use of a token is restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// The token never works: it was disabled, or revoked at an unknown time, or its row is invalid.
    pub disabled: bool,
    /// Only safe (read-only) requests may use it.
    pub read_only: bool,
    /// Only clients in these networks may use it; `None`: all clients.
    pub networks: Option<Networks>,
}

/// A stored token, valid or not. Sessions are records too; their `method` tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Public id. Sessions have internal ids that are never shown.
    pub id: TokenId,
    /// Token or session.
    pub method: AuthMethod,
    /// The digest of the key.
    pub digest: TokenDigest,
    /// The user whom the token authenticates.
    pub owner: Account,
    /// What it may be used for.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created: Timestamp,
    /// When it expires; `None`: never.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// Further restrictions. Only databases of other programs have such columns; tokengate's own tables have none.
    pub restrictions: Restrictions,
}
