//! Which callers may use a route: the keys `auth`, `scopes`, `method_scopes`, `groups`, `allow_ips` and `deny_ips`.

use std::net::IpAddr;

use http::Method;

use super::reader::Table;
use super::value::{Fault, Key};
use crate::token::{Network, Networks, Scope, ScopeSet};

/// Which callers and requests a route admits, besides `auth` and `scopes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Further scopes, by the method of the request. Only with [`Auth::Required`].
    pub method_scopes: MethodScopes,
    /// The user must be in one of these groups; empty: in any or none. Only with [`Auth::Required`].
    pub groups: Vec<String>,
    /// The client must be in one of these networks; `None`: in any.
    pub allow_ips: Option<Networks>,
    /// The client must not be in any of these networks.
    pub deny_ips: Option<Networks>,
}

impl Admission {
    /// Whether the route admits clients with this address.
    pub fn admits(&self, from: IpAddr) -> bool {
        let denies = self.deny_ips.as_ref().is_some_and(|denied| denied.contain(from));
        !denies && self.allow_ips.as_ref().is_none_or(|allowed| allowed.contain(from))
    }
}

/// Whether a route needs credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Only callers with valid credentials.
    Required,
    /// Requests without credentials are anonymous; invalid credentials are refused.
    Optional,
    /// All requests; credentials are not checked.
    None,
}

/// Scopes by the method of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodScopes {
    /// Each method with its scopes.
    listed: Vec<(Method, ScopeSet)>,
    /// The scopes for all other methods.
    other: ScopeSet,
}

/// The methods that `method_scopes` can name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl MethodScopes {
    /// Scopes for each listed method, and for all other methods.
    pub fn new(listed: Vec<(Method, ScopeSet)>, other: ScopeSet) -> MethodScopes {
        MethodScopes { listed, other }
    }

    /// The scopes that a request with this method needs.
    pub fn of(&self, method: &Method) -> &ScopeSet {
        let found = |method: &Method| self.listed.iter().find(|(listed, _)| listed == method).map(|(_, scopes)| scopes);
        // HEAD is a GET without the body.
        let as_get = || (*method == Method::HEAD).then(|| found(&Method::GET)).flatten();
        found(method).or_else(as_get).unwrap_or(&self.other)
    }

    /// The scopes of each listed method, and of all others under the name `other`.
    pub fn all(&self) -> impl Iterator<Item = (&str, &ScopeSet)> {
        let other = ("other", &self.other);
        let listed = self.listed.iter().map(|(method, scopes)| (method.as_str(), scopes));
        listed.chain([other]).filter(|(_, scopes)| !scopes.is_empty())
    }
}

/// The rules of a route.
pub(super) fn read(table: &Table<'_>) -> (Auth, ScopeSet, Admission) {
    let ways = [("required", Auth::Required), ("optional", Auth::Optional), ("none", Auth::None)];
    let auth = table.key("auth").choice(&ways, Auth::Required);
    let (scopes, groups) = (table.key("scopes"), table.key("groups"));
    for (key, what) in [(&scopes, "scopes need a required token"), (&groups, "groups need a required token")] {
        if key.is_set() && auth != Auth::Required {
            let name = what.split(' ').next().unwrap_or_default();
            key.problem(what, format!("use `auth = \"required\"`, or remove the {name}"));
        }
    }
    let (allow, deny) = (table.key("allow_ips"), table.key("deny_ips"));
    let scopes = self::scopes(&scopes);
    let method_scopes = method_scopes(table, auth);
    let groups = groups.parse_list(group);
    let (allow_ips, deny_ips) = (networks(&allow), networks(&deny));
    (auth, scopes, Admission { method_scopes, groups, allow_ips, deny_ips })
}

fn scopes(key: &Key<'_>) -> ScopeSet {
    let grammar = "use 1 to 64 characters of a-z, 0-9, `.`, `_`, `-` and `:`";
    ScopeSet::new(key.parse_list(|text| Scope::parse(text).map_err(|_| Fault::new("is not a valid scope", grammar))))
}

fn method_scopes(table: &Table<'_>, auth: Auth) -> MethodScopes {
    table.table_if(false, "method_scopes", |methods| {
        if methods.is_set() && auth != Auth::Required {
            methods.problem("scopes need a required token", "use `auth = \"required\"`, or remove the table");
        }
        let mut listed = Vec::new();
        for name in METHODS {
            let key = methods.key(name).or_word("none");
            let scopes = scopes(&key);
            if key.is_set()
                && let Ok(method) = name.parse()
            {
                listed.push((method, scopes));
            }
        }
        let other = methods.key("other").or_word("none");
        if methods.is_set() && !other.is_set() {
            let mend = "add `other = [\"SCOPE\"]`, or `other = \"none\"` if all other methods need no scope";
            methods.problem("does not say what other methods need", mend);
        }
        MethodScopes { listed, other: scopes(&other) }
    })
}

fn group(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Fault::new("is not the name of a group", "write a name such as \"staff\""));
    }
    Ok(text.to_owned())
}

/// A list of addresses and networks; `None`: the key is absent.
pub(super) fn networks(key: &Key<'_>) -> Option<Networks> {
    let example = "write an address or a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let listed = key.parse_list(|text| Network::parse(text).map_err(|_| Fault::new("is not a network", example)));
    key.is_set().then(|| Networks::of(listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_needs_its_own_scopes_or_those_of_others() {
        let scopes = |text| ScopeSet::parse(text).unwrap();
        let rules = MethodScopes::new(vec![(Method::GET, scopes("read")), (Method::POST, scopes(""))], scopes("write"));
        let brew = Method::from_bytes(b"BREW").unwrap();
        for (method, needs) in [
            (Method::GET, "read"),
            (Method::HEAD, "read"),
            (Method::POST, ""),
            (Method::DELETE, "write"),
            (Method::OPTIONS, "write"),
            (brew, "write"),
        ] {
            assert_eq!(*rules.of(&method), scopes(needs), "{method}");
        }
    }
}
