//! What a store knows of a token.

use std::fmt;

use super::{Networks, ScopeSet, TokenDigest};
use crate::clock::Timestamp;

/// The stable id of a user, as upstreams see it in `X-User-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectId(pub i64);

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The public id of a token, as upstreams see it in `X-Token-Id`. Says nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub i64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The owner of a token, as far as a check needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Stable id.
    pub id: SubjectId,
    /// User name, exactly as stored.
    pub name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// Names of the groups, sorted.
    pub groups: Vec<String>,
    /// May this user do anything at all?
    pub active: bool,
}

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A token in the `Authorization` field.
    Token,
    /// The session of a browser, in a cookie.
    Session,
}

/// How the use of a token is restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// It does not count at all: it was disabled or revoked, and when is not known; or what its row says is not
    /// understood.
    pub disabled: bool,
    /// Only requests that read may use it.
    pub read_only: bool,
    /// Only clients in these networks may use it; `None`: all clients.
    pub networks: Option<Networks>,
}

/// A token as a store knows it, valid or not. A session is one too: what it may not do stands in its `method`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Public id. Sessions have ids of their own, which nobody sees.
    pub id: TokenId,
    /// Token or session.
    pub method: AuthMethod,
    /// What the key digests to.
    pub digest: TokenDigest,
    /// Whose it is.
    pub owner: Account,
    /// What it may be used for.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends by itself; `None`: never.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// How it is restricted beyond that. The tables of other programs have such columns; ours have none.
    pub restrictions: Restrictions,
}
