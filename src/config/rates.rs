//! `[rates.NAME]`: how often requests may come, for each token, user, client or route.

use std::fmt;

use super::reader::{Named, Table};
use super::value::Fault;
use crate::units::Rate;

/// The highest rate that Redis counts exactly, in events per second: its numbers have no finer resolution.
const MOST_SHARED: u64 = 100_000;
/// Number of keys that a rate remembers by default.
const KEYS: usize = 100_000;

/// One rate. Routes name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRule {
    /// Its name in the file.
    pub name: String,
    /// What is counted separately.
    pub key: RateKey,
    /// Requests per period.
    pub rate: Rate,
    /// Requests that may come at once.
    pub burst: u32,
    /// Where requests are counted.
    pub backend: RateBackend,
    /// Number of keys that are remembered at least.
    pub max_keys: usize,
}

/// Where the rates of single tokens and users are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRateRule {
    /// Where requests are counted.
    pub backend: RateBackend,
    /// Number of keys that are remembered at least.
    pub max_keys: usize,
}

impl Default for OwnRateRule {
    fn default() -> OwnRateRule {
        OwnRateRule { backend: RateBackend::Local, max_keys: KEYS }
    }
}

/// One or two facts about a request: each value has a count of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateKey(pub RateFact, pub Option<RateFact>);

/// A fact about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateFact {
    /// The token of the caller.
    Token,
    /// The user.
    User,
    /// The client: an IPv4 address or an IPv6 /64 network.
    Address,
    /// The route.
    Route,
}

/// Where requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateBackend {
    /// In the process, all workers together.
    Local,
    /// In Redis, by this number of gateways together.
    Redis {
        /// While Redis cannot be reached, each gateway allows this fraction of the rate.
        gateways: u32,
    },
}

impl RateFact {
    const ALL: [(&str, RateFact); 4] = [
        ("token", RateFact::Token),
        ("user", RateFact::User),
        ("address", RateFact::Address),
        ("route", RateFact::Route),
    ];

    fn parse(text: &str) -> Option<RateFact> {
        RateFact::ALL.iter().find(|(name, _)| *name == text).map(|(_, fact)| *fact)
    }
}

impl RateKey {
    pub(super) fn parse(text: &str) -> Result<RateKey, Fault> {
        let mend = "write \"token\", \"user\", \"address\" or \"route\", or two of them such as \"user+route\"";
        let mut facts = text.split('+').map(RateFact::parse);
        match (facts.next().flatten(), facts.next(), facts.next()) {
            (Some(one), None, None) => Ok(RateKey(one, None)),
            (Some(one), Some(Some(other)), None) if one != other => Ok(RateKey(one, Some(other))),
            _ => Err(Fault::new("is not what a rate can count by", mend)),
        }
    }
}

impl fmt::Display for RateFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = RateFact::ALL.iter().find(|(_, fact)| fact == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(other) => write!(f, "{}+{other}", self.0),
            None => self.0.fmt(f),
        }
    }
}

/// As `explain` shows it.
impl fmt::Display for RateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} for each {}, burst {})", self.name, self.rate, self.key, self.burst)
    }
}

/// `[rates]`. `has_redis`: `[cache.redis]` is configured.
pub(super) fn read(root: &Table<'_>, has_redis: bool) -> Vec<Named<RateRule>> {
    root.named("rates", |name, table| rule(name, table, has_redis))
}

fn rule(name: &str, table: &Table<'_>, has_redis: bool) -> Option<RateRule> {
    check_name(name, table, "rate");
    let key = table.key("key").required("add `key = \"token\"`: one of token, user, address and route");
    let key = key.parse(RateKey::parse);
    let rate_key = table.key("rate").required("add `rate = \"600/min\"`");
    let rate = rate_key.optional_rate(None);
    let burst = table.key("burst").optional_count(1..=u64::from(u32::MAX));
    let OwnRateRule { backend, max_keys } = place(table, has_redis);
    let rate = rate?;
    let seconds = rate.per.as_secs().max(1);
    if backend != RateBackend::Local && u64::from(rate.count) / seconds > MOST_SHARED {
        rate_key.problem(
            format!("`{rate}` is more than Redis counts exactly"),
            format!("write at most {MOST_SHARED}/s, or use `backend = \"local\"`"),
        );
    }
    Some(RateRule { name: name.to_owned(), key: key?, rate, burst: burst.unwrap_or(rate.count), backend, max_keys })
}

/// Clients see the name in the header RateLimit.
pub(super) fn check_name(name: &str, table: &Table<'_>, kind: &str) {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        table.problem(
            format!("a {kind} has a name that a header cannot contain"),
            "use letters, digits, `-`, `_` and `.`",
        );
    }
}

/// `[own_rates]`
pub(super) fn read_own(root: &Table<'_>, has_redis: bool) -> OwnRateRule {
    root.table("own_rates", |table| place(table, has_redis))
}

/// Where requests are counted, and how many keys are remembered.
fn place(table: &Table<'_>, has_redis: bool) -> OwnRateRule {
    let max_keys = table.key("max_keys").count(1_000..=100_000_000, KEYS);
    let backend = table.key("backend");
    let is_shared = backend.choice(&[("local", false), ("redis", true)], false);
    let gateways = table.key("gateways").only_if(is_shared);
    if gateways.is_set() && !is_shared {
        gateways.problem("only gateways with `backend = \"redis\"` count together", "remove it");
    }
    let parties = gateways.count(1..=10_000, 1_u32);
    if is_shared && !has_redis {
        backend.problem("`redis` needs the address of a Redis server", "add [cache.redis] with `url`");
    }
    OwnRateRule {
        backend: if is_shared { RateBackend::Redis { gateways: parties } } else { RateBackend::Local },
        max_keys,
    }
}
