//! `[quotas.NAME]`: how many requests may come in a day or month, for each token, user or route.

use std::fmt;

use super::rates::{RateFact, RateKey, check_name};
use super::reader::{Named, Table};
use super::value::Fault;
use crate::clock::Period;
use crate::limits::Quota;

/// The largest limit: the largest number that the header RateLimit can contain.
const MOST: u64 = 999_999_999_999_999;
/// Number of keys that a quota remembers by default.
const KEYS: usize = 100_000;

/// One quota. Routes name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRule {
    /// Its name in the file.
    pub name: String,
    /// What is counted separately; never an address.
    pub key: RateKey,
    /// Requests per period.
    pub quota: Quota,
    /// Number of keys that are remembered at least. The counts of others are read from the store again.
    pub max_keys: usize,
}

/// As `explain` shows it.
impl fmt::Display for QuotaRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quota { limit, period } = self.quota;
        write!(f, "{} ({limit} in a {period} for each {})", self.name, self.key)
    }
}

/// `[quotas]`. `rates` are the names of the rates.
pub(super) fn read(root: &Table<'_>, rates: &[&str]) -> Vec<Named<QuotaRule>> {
    root.named("quotas", |name, table| rule(name, table, rates))
}

fn rule(name: &str, table: &Table<'_>, rates: &[&str]) -> Option<QuotaRule> {
    check_name(name, table, "quota");
    if rates.contains(&name) {
        table.problem("a rate has this name too", "use another name: clients see both in one header");
    }
    let key = table.key("key").required("add `key = \"token\"`: one of token, user and route").parse(counted);
    let limit = table.key("limit").required("add `limit = 10_000`").optional_count(1..=MOST);
    let period = table.key("period").required("add `period = \"day\"` or `period = \"month\"`");
    let period = period.optional_choice(&[("day", Period::Day), ("month", Period::Month)]);
    let max_keys = table.key("max_keys").count(1_000..=1_000_000, KEYS);
    Some(QuotaRule { name: name.to_owned(), key: key?, quota: Quota { limit: limit?, period: period? }, max_keys })
}

/// A quota never counts by address: the store would get a row for each address of a flood.
fn counted(text: &str) -> Result<RateKey, Fault> {
    let key = RateKey::parse(text).ok();
    let key = key.filter(|key| key.0 != RateFact::Address && key.1 != Some(RateFact::Address));
    let mend = "write \"token\", \"user\" or \"route\", or two of them such as \"user+route\"";
    key.ok_or_else(|| Fault::new("is not what a quota can count by", mend))
}
