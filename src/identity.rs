//! The identity of a caller.
//!
//! [`Identity::establish`] is the only constructor; it takes a token's stored record. An identity is immutable and
//! shared by the cache and by requests. It carries the header values for upstreams, encoded once. Pure: no clock, no
//! I/O.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::HeaderValue;

use crate::clock::Timestamp;
use crate::token::{AuthMethod, Networks, OwnRates, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord, UseBy};

/// Maximum length in bytes of one header value for upstreams.
pub const MAX_VALUE: usize = 1024;

/// A caller, established from one token or session.
#[derive(Debug)]
pub struct Identity {
    subject: SubjectId,
    token: TokenId,
    method: AuthMethod,
    digest: TokenDigest,
    scopes: ScopeSet,
    groups: Vec<String>,
    expires: Option<Timestamp>,
    read_only: bool,
    networks: Option<Networks>,
    /// How long the token may be unused.
    unused_for: Option<Duration>,
    /// The rates of the token and of its user; `None`: neither has one.
    own_rates: Option<Box<OwnRates>>,
    values: FieldValues,
    /// When a use was last recorded, in microseconds since the epoch.
    noted: AtomicI64,
}

/// The header values for upstreams, encoded once: visible ASCII unchanged, everything else as percent-encoded UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldValues {
    /// [`SubjectId`] in decimal.
    pub user_id: HeaderValue,
    /// Username.
    pub user_name: HeaderValue,
    /// E-mail address; `None` if the user has none.
    pub user_email: Option<HeaderValue>,
    /// Group names, joined by commas; `None` if the user has none.
    pub user_groups: Option<HeaderValue>,
    /// [`TokenId`] in decimal; `None` for a session.
    pub token_id: Option<HeaderValue>,
    /// Scopes, separated by spaces; `None` if the token has none.
    pub scopes: Option<HeaderValue>,
}

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// The store does not know the token.
    Unknown,
    /// The token was revoked.
    Revoked,
    /// The token has expired.
    Expired,
    /// The token ended because it was not used for a long time.
    Unused,
    /// The owner of the token is deactivated.
    OwnerInactive,
}

/// The result of a token lookup: the caller, or why the token is not valid.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The token is valid.
    Caller(Arc<Identity>),
    /// The token is not valid.
    Denied(Denied),
}

impl Identity {
    /// Decides whether a token is valid. No other code makes this decision.
    ///
    /// # Errors
    /// Returns why the token is not valid. A revoked token of an inactive owner is [`Denied::Revoked`]: only the holder
    /// of a live token learns that the owner is inactive.
    pub fn establish(record: &TokenRecord, now: Timestamp) -> Result<Identity, Denied> {
        if record.revoked.is_some() || record.restrictions.disabled {
            return Err(Denied::Revoked);
        }
        if record.expires.is_some_and(|end| end <= now) {
            return Err(Denied::Expired);
        }
        let use_by = record.restrictions.use_by;
        if use_by.is_some_and(|use_by| use_by.end() <= now) {
            return Err(Denied::Unused);
        }
        if !record.owner.active {
            return Err(Denied::OwnerInactive);
        }
        Ok(Identity {
            subject: record.owner.id,
            token: record.id,
            method: record.method,
            digest: record.digest,
            scopes: record.scopes.clone(),
            groups: record.owner.groups.clone(),
            expires: record.expires,
            read_only: record.restrictions.read_only,
            networks: record.restrictions.networks.clone(),
            unused_for: use_by.map(UseBy::span),
            own_rates: Some(record.restrictions.rates).filter(|rates| *rates != OwnRates::default()).map(Box::new),
            values: FieldValues::of(record),
            noted: AtomicI64::new(i64::MIN),
        })
    }

    /// Reports whether a use at `now` should be recorded: the last recorded use is at least `every` ago. Returns `true`
    /// to only one of several concurrent callers.
    pub fn note_use(&self, now: Timestamp, every: Duration) -> bool {
        let last = self.noted.load(Ordering::Relaxed);
        let due = now.since(Timestamp::from_micros(last)) >= every;
        due && self.noted.compare_exchange(last, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The user.
    pub fn subject(&self) -> SubjectId {
        self.subject
    }

    /// The id of the token; `None` for a session.
    pub fn token(&self) -> Option<TokenId> {
        (self.method == AuthMethod::Token).then_some(self.token)
    }

    /// The kind of credentials of the caller.
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// The digest by which stores identify the token.
    pub fn digest(&self) -> TokenDigest {
        self.digest
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The user's groups, sorted.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// When this identity expires.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// How long this identity may be cached without a use; `None`: for any time.
    pub fn unused_for(&self) -> Option<Duration> {
        self.unused_for
    }

    /// The rates of the token and of its user; `None`: neither has one.
    pub fn own_rates(&self) -> Option<&OwnRates> {
        self.own_rates.as_deref()
    }

    /// Reports whether the identity has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Reports whether only safe (read-only) requests may use the token.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Reports whether a client at this address may use the token.
    pub fn may_come_from(&self, address: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| networks.contain(address))
    }

    /// Reports whether upstreams would receive the same headers for both identities, and both would permit the same
    /// requests. Their expiry times may differ.
    pub fn means_the_same_as(&self, other: &Identity) -> bool {
        (self.subject, self.token(), &self.scopes, &self.groups, &self.values)
            == (other.subject, other.token(), &other.scopes, &other.groups, &other.values)
            && (self.read_only, &self.networks) == (other.read_only, &other.networks)
    }

    /// The header values for upstreams.
    pub fn values(&self) -> &FieldValues {
        &self.values
    }
}

impl FieldValues {
    fn of(record: &TokenRecord) -> FieldValues {
        let owner = &record.owner;
        let groups = owner.groups.iter().map(|group| encode(group, b",")).collect::<Vec<_>>().join(",");
        FieldValues {
            user_id: HeaderValue::from(owner.id.0),
            user_name: value(encode(&owner.name, b"")).unwrap_or_else(|| HeaderValue::from_static("")),
            user_email: value(encode(&owner.email, b"")),
            user_groups: value(groups),
            token_id: (record.method == AuthMethod::Token).then(|| HeaderValue::from(record.id.0)),
            scopes: value(record.scopes.to_string()),
        }
    }
}

/// Encodes a header value: visible ASCII passes; everything else, `%` itself and the characters in `also` become
/// percent-encoded UTF-8.
///
/// `%` is encoded so that no two names share one value (docs/decisions/0011).
pub fn encode(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' && !also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The original text of a value from [`encode`].
pub fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend(escape.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()));
        rest = escape.get(3..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns `None` for an empty text and for one longer than [`MAX_VALUE`]; stores refuse the latter at creation.
fn value(text: String) -> Option<HeaderValue> {
    if text.is_empty() || text.len() > MAX_VALUE { None } else { HeaderValue::try_from(text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Account, Restrictions};

    fn record() -> TokenRecord {
        TokenRecord {
            id: TokenId(7),
            method: AuthMethod::Token,
            digest: TokenDigest::of(b"k"),
            owner: Account {
                id: SubjectId(1001),
                name: "alice".to_owned(),
                email: String::new(),
                groups: vec!["a,b".to_owned(), "staff".to_owned()],
                active: true,
            },
            scopes: ScopeSet::parse("read write").unwrap(),
            created: Timestamp::from_micros(0),
            expires: None,
            revoked: None,
            restrictions: Restrictions::default(),
        }
    }

    #[test]
    fn a_token_is_valid_only_while_it_is_live_and_its_owner_active() {
        let now = Timestamp::from_micros(100);
        let at = |micros| Some(Timestamp::from_micros(micros));
        let table = [
            (None, None, true, None),
            (at(101), None, true, None),
            (at(100), None, true, Some(Denied::Expired)),
            (at(99), None, true, Some(Denied::Expired)),
            (None, at(1), true, Some(Denied::Revoked)),
            (at(99), at(1), true, Some(Denied::Revoked)),
            (None, at(200), true, Some(Denied::Revoked)),
            (None, None, false, Some(Denied::OwnerInactive)),
            (at(99), None, false, Some(Denied::Expired)),
            (None, at(1), false, Some(Denied::Revoked)),
        ];
        for (expires, revoked, active, denied) in table {
            let mut record = record();
            (record.expires, record.revoked, record.owner.active) = (expires, revoked, active);
            assert_eq!(Identity::establish(&record, now).err(), denied, "{expires:?} {revoked:?} {active}");
        }
    }

    #[test]
    fn a_disabled_token_counts_as_revoked_and_other_restrictions_belong_to_the_identity() {
        let now = Timestamp::from_micros(0);
        let restricted = |restrictions| Identity::establish(&TokenRecord { restrictions, ..record() }, now);
        let disabled = Restrictions { disabled: true, ..Restrictions::default() };
        assert_eq!(restricted(disabled).err(), Some(Denied::Revoked));
        let networks = Networks::parse("10.0.0.0/8").unwrap();
        let all = [
            Restrictions::default(),
            Restrictions { read_only: true, ..Restrictions::default() },
            Restrictions { networks: networks.clone(), ..Restrictions::default() },
            Restrictions { read_only: true, networks, ..Restrictions::default() },
        ];
        let callers = all.map(|restrictions| restricted(restrictions).unwrap());
        for (place, one) in callers.iter().enumerate() {
            for (other_place, other) in callers.iter().enumerate() {
                assert_eq!(one.means_the_same_as(other), place == other_place);
            }
        }
        let far = "192.0.2.1".parse().unwrap();
        assert_eq!(callers.each_ref().map(Identity::is_read_only), [false, true, false, true]);
        assert_eq!(callers.each_ref().map(|caller| caller.may_come_from(far)), [true, true, false, false]);
    }

    #[test]
    fn a_token_ends_when_it_was_not_used_for_its_days() {
        let day = 86_400_000_000;
        let at = Timestamp::from_micros;
        for (days, last, now, denied) in [
            (1, 0, day - 1, None),
            (1, 0, day, Some(Denied::Unused)),
            (1, 5, day, None),
            (30, 0, 30 * day - 1, None),
            (30, 0, 31 * day, Some(Denied::Unused)),
            (u32::MAX, 0, i64::MAX, Some(Denied::Unused)),
        ] {
            let restrictions = Restrictions { use_by: Some(UseBy { days, last: at(last) }), ..Restrictions::default() };
            let mut record = TokenRecord { restrictions, ..record() };
            assert_eq!(Identity::establish(&record, at(now)).err(), denied, "{days} {last} {now}");
            record.expires = Some(at(0));
            assert_eq!(Identity::establish(&record, at(now)).err(), Some(Denied::Expired));
        }
    }

    #[test]
    fn an_encoded_text_is_decoded_again() {
        for text in ["", "alice", "a+b %41", "zażółć", "%", "密\r\n"] {
            assert_eq!(decode(&encode(text, b"")), text);
        }
    }

    #[test]
    fn header_values_are_visible_ascii_and_unambiguous() {
        let mut record = record();
        let identity = Identity::establish(&record, Timestamp::from_micros(0)).unwrap();
        let values = identity.values();
        assert_eq!(values.user_id, "1001");
        assert_eq!(values.user_name, "alice");
        assert_eq!(values.user_email, None);
        assert_eq!(values.user_groups.as_ref().unwrap(), "a%2Cb,staff");
        assert_eq!(values.token_id.as_ref().unwrap(), "7");
        assert_eq!(values.scopes.as_ref().unwrap(), "read write");
        record.owner.name = "zażółć a%20b\r\nX: 1".to_owned();
        let identity = Identity::establish(&record, Timestamp::from_micros(0)).unwrap();
        assert_eq!(identity.values().user_name, "za%C5%BC%C3%B3%C5%82%C4%87%20a%2520b%0D%0AX:%201");
    }
}
