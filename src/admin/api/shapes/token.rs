//! Tokens.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::rate::RateText;
use super::word::word;
use super::{Time, Unreadable, page_token, present, some, texts};
use crate::admin::api::problem::Problem;
use crate::admin::operations::TokenState;
use crate::clock::Timestamp;
use crate::store::{self, End, LimitChanges, Listing, NamedToken, Revocation, TokenDetails, TokenKind, TokenLimits};
use crate::token::{Network, Networks, Scope, ScopeSet, TokenKey};

word! {
    /// State of a token.
    State of TokenState
}

/// A token. Its key is never shown here.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Token {
    /// Public id that upstreams see; never reused.
    #[schema(minimum = 1)]
    id: i64,
    owner: Owner,
    kind: Kind,
    /// Name given by its owner; empty for a login token.
    name: String,
    /// First characters of the key.
    hint: String,
    /// Scopes.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Box<str>>,
    state: State,
    created: Time,
    /// When it expires; `null`: never.
    expires: Option<Time>,
    revoked: Option<Time>,
    /// When it was last used, approximately.
    last_used: Option<Time>,
    /// When it was first sent unencrypted.
    exposed: Option<Time>,
    /// Since when it is disabled; `null`: it is enabled.
    disabled: Option<Time>,
    /// Note of the administrators; may be empty.
    note: String,
    /// Whether a login issued it for one device (`tokens.per_login = "device"`).
    device: bool,
    /// Whether only GET, HEAD and OPTIONS requests can use it.
    read_only: bool,
    /// Networks that it can be used from; `null`: all.
    networks: Option<Vec<String>>,
    /// It expires when it is not used for this number of days; `null`: it does not.
    unused_days: Option<u32>,
    /// How often it can be used; `null`: only the rates of routes apply.
    rate: Option<RateText>,
}

/// Owner of a token.
#[derive(Serialize, ToSchema)]
struct Owner {
    #[schema(minimum = 1)]
    id: i64,
    name: String,
}

/// Kind of a token.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The token that a login returns.
    Login,
    /// A token made for a purpose; its key is shown once. A user may have many.
    Named,
}

/// A page of the list of tokens.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct TokenList {
    tokens: Vec<Token>,
    /// Rows of this page that cannot be read, and are not among the tokens.
    unreadable: Vec<Unreadable>,
    /// Token of the previous page; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// Token of the next page; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// A token with its key.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Issued {
    /// Public id that upstreams see.
    #[schema(minimum = 1)]
    pub id: i64,
    /// The secret. The key of a named token is shown only once.
    #[serde(serialize_with = "in_clear")]
    #[schema(value_type = String, min_length = 1, max_length = 40)]
    key: TokenKey,
    /// When it expires; `null`: never.
    expires: Option<Time>,
    /// True if this request created the token; `false`: it already existed.
    pub fresh: bool,
}

/// A named token to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct NewToken {
    #[schema(schema_with = texts::token_name)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = texts::scopes)]
    scopes: Vec<ScopeWord>,
    /// When it expires: in the future, at the latest in the year 9999; default: `tokens.default_ttl`.
    #[serde(default)]
    expires: Option<Time>,
    /// Whether only GET, HEAD and OPTIONS requests can use it.
    #[serde(default)]
    read_only: bool,
    /// Networks that it can be used from, such as `10.0.0.0/8`; `null`: all.
    #[serde(default)]
    #[schema(schema_with = texts::networks)]
    networks: Option<NetworkList>,
    /// It expires when it is not used for this number of days; `null`: it does not.
    #[serde(default, deserialize_with = "days")]
    #[schema(minimum = 1, maximum = 3_650)]
    unused_days: Option<u32>,
    /// How often it can be used; `null`: only the rates of routes apply.
    #[serde(default)]
    rate: Option<RateText>,
}

/// Changes of a token; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Terms {
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::scopes)]
    scopes: Option<Vec<ScopeWord>>,
    /// When it expires: in the future, at the latest in the year 9999; `null`: never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Time>)]
    expires: Option<Option<Time>>,
    /// Only of a named token.
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::token_name)]
    name: Option<String>,
    /// Note of the administrators; may be empty.
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::note)]
    note: Option<String>,
    /// `true`: the token does not work until it is enabled again.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool, nullable = false)]
    disabled: Option<bool>,
    /// Whether only GET, HEAD and OPTIONS requests can use it.
    #[serde(default, deserialize_with = "some")]
    #[schema(value_type = bool, nullable = false)]
    read_only: Option<bool>,
    /// Networks that it can be used from, such as `10.0.0.0/8`; `null`: all.
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = texts::networks)]
    networks: Option<Option<NetworkList>>,
    /// It expires when it is not used for this number of days; `null`: it does not.
    #[serde(default, deserialize_with = "changed_days")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3_650)]
    unused_days: Option<Option<u32>>,
    /// How often it can be used; `null`: only the rates of routes apply.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<RateText>)]
    rate: Option<Option<RateText>>,
}

/// How a token is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Rotation {
    /// How long the old key works on, in seconds, at most a year. 0: it is revoked at once.
    #[serde(default = "a_day", deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 31_536_000, default = 86_400)]
    overlap: u32,
}

const fn a_day() -> u32 {
    86_400
}

/// A whole number. In JSON Schema, `998.0` is one too.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole_of(f64::deserialize(deserializer)?)
}

/// A whole number or `null`.
fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Option::<f64>::deserialize(deserializer)?.map(whole_of).transpose()
}

fn changed_days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    days(deserializer).map(Some)
}

fn whole_of<E: serde::de::Error>(number: f64) -> Result<u32, E> {
    let text = (number.fract() == 0.0).then(|| format!("{number:.0}"));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| E::custom("must be a whole number"))
}

impl Rotation {
    pub(in crate::admin::api) fn overlap(&self) -> Result<Duration, Problem> {
        if self.overlap > 31_536_000 {
            return Err(Problem::invalid_field("overlap", "must be between 0 and 31536000"));
        }
        Ok(Duration::from_secs(self.overlap.into()))
    }
}

/// A scope.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ScopeWord(Scope);

/// Networks; an empty list is an error, since it could mean all or none.
#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct NetworkList(Networks);

/// Number of tokens that stopped working.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Revoked {
    #[schema(minimum = 0)]
    pub revoked: u64,
}

impl Token {
    pub(in crate::admin::api) fn of(token: TokenDetails, now: Timestamp) -> Token {
        let state = State(TokenState::of(&token, now));
        let record = token.record;
        let limits = TokenLimits::of(&record.restrictions);
        Token {
            id: record.id.0,
            owner: Owner { id: record.owner.id.0, name: record.owner.name },
            kind: token.kind.into(),
            name: token.name,
            hint: token.hint.as_str().to_owned(),
            scopes: record.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            state,
            created: Time(record.created),
            expires: record.expires.map(Time),
            revoked: record.revoked.map(Time),
            last_used: token.last_used.map(Time),
            exposed: token.exposed.map(Time),
            disabled: token.disabled.map(Time),
            note: token.note,
            device: token.device,
            read_only: limits.read_only,
            networks: limits.networks.map(|networks| networks.iter().map(Network::to_string).collect()),
            unused_days: limits.unused_days,
            rate: limits.rate.map(RateText),
        }
    }
}

impl TokenList {
    pub(in crate::admin::api) fn of(listing: Listing<TokenDetails>, now: Timestamp) -> TokenList {
        let [previous_page_token, next_page_token] = [&listing.previous, &listing.next].map(page_token);
        TokenList {
            tokens: listing.entries.into_iter().map(|token| Token::of(token, now)).collect(),
            unreadable: listing.unreadable.into_iter().map(Unreadable::from).collect(),
            previous_page_token,
            next_page_token,
        }
    }
}

impl From<store::Issued> for Issued {
    fn from(issued: store::Issued) -> Issued {
        Issued { id: issued.id.0, key: issued.key, expires: issued.expires.map(Time), fresh: issued.fresh }
    }
}

impl From<TokenKind> for Kind {
    fn from(kind: TokenKind) -> Kind {
        match kind {
            TokenKind::Login => Kind::Login,
            TokenKind::Named => Kind::Named,
        }
    }
}

impl From<Kind> for TokenKind {
    fn from(kind: Kind) -> TokenKind {
        match kind {
            Kind::Login => TokenKind::Login,
            Kind::Named => TokenKind::Named,
        }
    }
}

impl From<NewToken> for NamedToken {
    fn from(token: NewToken) -> NamedToken {
        let expires = token.expires.map(|Time(at)| at);
        let NewToken { name, scopes, read_only, networks, unused_days, rate, .. } = token;
        let networks = networks.map(|NetworkList(networks)| networks);
        let rate = rate.map(|RateText(rate)| rate);
        let limits = TokenLimits { read_only, networks, unused_days, rate };
        NamedToken { name, expires, scopes: set(scopes), limits }
    }
}

impl From<Terms> for store::Terms {
    fn from(terms: Terms) -> store::Terms {
        let end = terms.expires.map(|expires| expires.map_or(End::Never, |Time(at)| End::At(at)));
        let Terms { scopes, name, note, disabled, read_only, networks, unused_days, rate, .. } = terms;
        let networks = networks.map(|networks| networks.map(|NetworkList(networks)| networks));
        let rate = rate.map(|rate| rate.map(|RateText(rate)| rate));
        let limits = LimitChanges { read_only, networks, unused_days, rate };
        store::Terms { end, scopes: scopes.map(set), name, note, disabled, limits }
    }
}

impl From<Revocation> for Revoked {
    fn from(revocation: Revocation) -> Revoked {
        Revoked { revoked: u64::from(revocation.was_live) }
    }
}

impl TryFrom<String> for ScopeWord {
    type Error = crate::token::InvalidScope;

    fn try_from(text: String) -> Result<ScopeWord, Self::Error> {
        Scope::parse(&text).map(ScopeWord)
    }
}

impl TryFrom<Vec<String>> for NetworkList {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<NetworkList, String> {
        if texts.is_empty() {
            return Err("name a network, or write null for any".to_owned());
        }
        let read = |text: &String| Network::parse(text).map_err(|error| error.to_string());
        texts.iter().map(read).collect::<Result<Vec<_>, _>>().map(|networks| NetworkList(Networks::of(networks)))
    }
}

fn set(scopes: Vec<ScopeWord>) -> ScopeSet {
    ScopeSet::new(scopes.into_iter().map(|ScopeWord(scope)| scope))
}

/// Serializes a key in plain text: the only place where a response contains a key.
fn in_clear<S: Serializer>(key: &TokenKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose())
}
