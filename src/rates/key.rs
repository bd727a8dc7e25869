//! What a rate counts separately.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use super::Holder;
use crate::config::settings::{RateFact, RateKey};
use crate::identity::Identity;
use crate::limits::Client;
use crate::token::{AuthMethod, SubjectId, TokenDigest};

/// The facts about a request that rates count by.
#[derive(Clone, Copy)]
pub struct Facts<'r> {
    /// The name of the route.
    pub route: &'r str,
    /// The caller; `None`: it is anonymous.
    pub caller: Option<&'r Identity>,
    /// The client.
    pub client: Client,
}

/// One or two values of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key<'r>(Value<'r>, Option<Value<'r>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'r> {
    Token(TokenDigest),
    User(i64),
    Client(Client),
    Route(&'r str),
}

/// Half of a digest is enough to tell tokens apart, and hashing it takes half of the time.
impl Hash for Value<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self {
            Value::Token(digest) => {
                let half = digest.as_bytes().first_chunk().copied().unwrap_or_default();
                (0_u8, u128::from_ne_bytes(half)).hash(hasher);
            }
            Value::User(id) => (1_u8, id).hash(hasher),
            Value::Client(client) => (2_u8, client).hash(hasher),
            Value::Route(name) => (3_u8, name).hash(hasher),
        }
    }
}

impl<'r> Key<'r> {
    pub(super) fn of(key: RateKey, facts: &Facts<'r>) -> Key<'r> {
        Key(Value::of(key.0, facts), key.1.map(|other| Value::of(other, facts)))
    }

    /// The count of a token or user, of which no request is at hand. `route` matters only if the key has the route.
    pub(super) fn held(key: RateKey, holder: Holder, route: &'r str) -> Key<'r> {
        let value = |fact| match (fact, holder.token) {
            (RateFact::Token, Some(token)) => Value::Token(token),
            // Quotas never count by address.
            (RateFact::Token | RateFact::User | RateFact::Address, _) => Value::User(holder.user.0),
            (RateFact::Route, _) => Value::Route(route),
        };
        Key(value(key.0), key.1.map(value))
    }

    /// The count of a token.
    pub(super) fn token(digest: TokenDigest) -> Key<'static> {
        Key(Value::Token(digest), None)
    }

    /// The count of a user.
    pub(super) fn user(id: SubjectId) -> Key<'static> {
        Key(Value::User(id.0), None)
    }

    /// The name of the count in Redis or in the store. A digest, so that it has one length and shows neither users nor
    /// addresses.
    pub(super) fn shared(&self, rate: &str) -> TokenDigest {
        let mut text = rate.to_owned();
        for value in [Some(self.0), self.1].into_iter().flatten() {
            // Writing into a String cannot fail.
            let _ = match value {
                Value::Token(digest) => write!(text, "\ntoken {}", digest.to_hex()),
                Value::User(id) => write!(text, "\nuser {id}"),
                Value::Client(client) => write!(text, "\naddress {client:?}"),
                Value::Route(name) => write!(text, "\nroute {name}"),
            };
        }
        TokenDigest::of(text.as_bytes())
    }
}

impl<'r> Value<'r> {
    /// The value of a fact. An anonymous request counts for its client. A session counts for its user: a user can have
    /// any number of sessions.
    fn of(fact: RateFact, facts: &Facts<'r>) -> Value<'r> {
        match (fact, facts.caller) {
            (RateFact::Token, Some(caller)) if caller.method() == AuthMethod::Token => Value::Token(caller.digest()),
            (RateFact::Token | RateFact::User, Some(caller)) => Value::User(caller.subject().0),
            (RateFact::Token | RateFact::User, None) | (RateFact::Address, _) => Value::Client(facts.client),
            (RateFact::Route, _) => Value::Route(facts.route),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rate_and_each_value_has_its_own_count() {
        let facts = |route, address: &str| Facts { route, caller: None, client: Client::of(address.parse().unwrap()) };
        let pair = RateKey(RateFact::User, Some(RateFact::Route));
        let key = |key, facts| Key::of(key, &facts);
        let (one, other) = (facts("a", "192.0.2.1"), facts("b", "192.0.2.1"));
        assert_ne!(key(pair, one), key(pair, other));
        assert_ne!(key(pair, one), key(pair, facts("a", "192.0.2.2")));
        let user = RateKey(RateFact::User, None);
        assert_eq!(key(user, one), key(user, other));
        assert_eq!(key(user, facts("a", "2001:db8::1")), key(user, facts("a", "2001:db8::2")));
        let names = [key(pair, one).shared("x"), key(pair, other).shared("x"), key(pair, one).shared("y")];
        assert!(names[0] != names[1] && names[0] != names[2]);
    }
}
