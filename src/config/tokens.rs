//! `[tokens]`: how tokens are issued and read.

use std::time::Duration;

use super::reader::Table;
use super::value::{Fault, MANY};
use crate::token::TokenFormat;

/// How tokens are issued and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Accepted schemes in `Authorization`, case-insensitive; the first one is used in the challenge.
    pub schemes: Vec<String>,
    /// The format of new keys.
    pub format: TokenFormat,
    /// Whether the login token is stored encrypted, so that it can be shown again.
    pub recoverable: bool,
    /// Whether a new user gets a login token at once.
    pub issue_on_user_create: bool,
    /// Whether a change of the password revokes all tokens of the user.
    pub revoke_on_password_change: bool,
    /// Lifetime of a new token; `None`: it does not expire.
    pub default_ttl: Option<Duration>,
    /// Which token a login returns.
    pub per_login: PerLogin,
    /// Lifetime of a token that a login issues for one device; `None`: it does not expire.
    pub device_ttl: Option<Duration>,
    /// Maximum number of live tokens of one user.
    pub max_per_user: u32,
    /// Shortest time between two updates of a token's last use.
    pub last_used_every: Duration,
}

/// Which token a login returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerLogin {
    /// The login token of the user, which all logins share.
    Shared,
    /// A new token for each login.
    Device,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens {
            schemes: vec!["Token".to_owned()],
            format: TokenFormat::Drf,
            recoverable: true,
            issue_on_user_create: true,
            revoke_on_password_change: false,
            default_ttl: None,
            per_login: PerLogin::Shared,
            device_ttl: Some(Duration::from_secs(30 * 86_400)),
            max_per_user: 20,
            last_used_every: Duration::from_secs(60),
        }
    }
}

/// `[tokens]`
pub(super) fn read(root: &Table<'_>) -> Tokens {
    root.table("tokens", |table| {
        let default = Tokens::default();
        let per_login = [("shared", PerLogin::Shared), ("device", PerLogin::Device)];
        let per_login = table.key("per_login").choice(&per_login, default.per_login);
        let device_ttl = table.key("device_ttl").only_if(per_login == PerLogin::Device);
        let formats = [("drf", TokenFormat::Drf), ("prefixed", TokenFormat::Prefixed)];
        Tokens {
            schemes: table.key("schemes").parse_list_or(default.schemes, scheme),
            format: table.key("format").choice(&formats, default.format),
            recoverable: table.key("recoverable").bool(default.recoverable),
            issue_on_user_create: table.key("issue_on_user_create").bool(default.issue_on_user_create),
            revoke_on_password_change: table.key("revoke_on_password_change").bool(default.revoke_on_password_change),
            default_ttl: table.key("default_ttl").or_word("never").optional_duration(default.default_ttl),
            per_login,
            device_ttl: device_ttl.or_word("never").optional_duration(default.device_ttl),
            max_per_user: table.key("max_per_user").count(1..=MANY, default.max_per_user),
            last_used_every: table.key("last_used_every").duration(default.last_used_every),
        }
    })
}

fn scheme(text: &str) -> Result<String, Fault> {
    // RFC 9110 §5.6.2: the characters of a token.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !text.is_empty() && text.bytes().all(is_token) {
        Ok(text.to_owned())
    } else {
        Err(Fault::new("is not a valid scheme", "write one word such as \"Token\""))
    }
}
