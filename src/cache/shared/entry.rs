//! The values in Redis under the digest of a token.
//!
//! A *hold* is `h` and the number of a change; it rejects fills for a while. An *entry* is `e`, the time at which the
//! lookup began, `:`, and the sealed record. The time is unencrypted, because the scripts read it. The seal
//! authenticates the time and the digest: an entry that was forged, cut, moved to another key or given another time
//! does not open.

use std::borrow::Cow;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use serde::{Deserialize, Serialize};

use super::scripts::ServerTime;
use crate::clock::Timestamp;
use crate::token::{
    Account, AuthMethod, Network, Networks, OwnRates, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId,
    TokenRecord, UseBy,
};

/// The version of [`Form`]. Gateways of different versions do not read each other's entries.
const VERSION: u8 = 4;

/// The value found under a digest.
pub(super) enum Opened {
    /// The token changed a moment ago.
    Hold,
    /// A record that a gateway with our key wrote.
    Entry(Box<Entry>),
    /// A value that no gateway with our key wrote for this token.
    Bad,
}

/// A record with its times.
pub(super) struct Entry {
    /// When the lookup began, by the clock of the Redis server.
    pub(super) began: ServerTime,
    /// When it was written, by the clock of the gateway.
    pub(super) kept: Timestamp,
    /// The store's answer.
    pub(super) record: TokenRecord,
}

/// The sealed part. It omits the digest, which the seal authenticates.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    id: i64,
    session: bool,
    owner: i64,
    name: Cow<'a, str>,
    email: Cow<'a, str>,
    groups: Cow<'a, [String]>,
    active: bool,
    scopes: Cow<'a, str>,
    created: i64,
    expires: Option<i64>,
    revoked: Option<i64>,
    disabled: bool,
    read_only: bool,
    networks: Option<Vec<String>>,
    unused_days: Option<u32>,
    last_used: Option<i64>,
    token_rate: Option<String>,
    user_rate: Option<String>,
    kept: i64,
}

impl<'a> Form<'a> {
    fn of(record: &'a TokenRecord, kept: Timestamp) -> Form<'a> {
        let TokenRecord { id, method, digest: _, owner, scopes, created, expires, revoked, restrictions } = record;
        let Restrictions { disabled, read_only, networks, use_by, rates } = restrictions;
        Form {
            id: id.0,
            session: *method == AuthMethod::Session,
            owner: owner.id.0,
            name: (&owner.name).into(),
            email: (&owner.email).into(),
            groups: (&owner.groups).into(),
            active: owner.active,
            scopes: scopes.to_string().into(),
            created: created.as_micros(),
            expires: expires.map(Timestamp::as_micros),
            revoked: revoked.map(Timestamp::as_micros),
            disabled: *disabled,
            read_only: *read_only,
            networks: networks.as_ref().map(|networks| networks.iter().map(Network::to_string).collect()),
            unused_days: use_by.map(|use_by| use_by.days),
            last_used: use_by.map(|use_by| use_by.last.as_micros()),
            token_rate: rates.token.as_ref().map(ToString::to_string),
            user_rate: rates.user.as_ref().map(ToString::to_string),
            kept: kept.as_micros(),
        }
    }

    /// Returns `None` if a value is invalid.
    fn into_record(self, digest: TokenDigest) -> Option<TokenRecord> {
        let networks =
            self.networks.map(|all| all.iter().map(|text| Network::parse(text)).collect::<Result<Vec<_>, _>>());
        let networks = networks.transpose().ok()?.map(Networks::of);
        let use_by = match (self.unused_days, self.last_used) {
            (None, None) => None,
            (Some(days), Some(last)) => Some(UseBy { days, last: Timestamp::from_micros(last) }),
            _ => return None,
        };
        let rate = |text: Option<String>| text.map(|text| text.parse()).transpose();
        let rates = OwnRates { token: rate(self.token_rate).ok()?, user: rate(self.user_rate).ok()? };
        Some(TokenRecord {
            id: TokenId(self.id),
            method: if self.session { AuthMethod::Session } else { AuthMethod::Token },
            digest,
            owner: Account {
                id: SubjectId(self.owner),
                name: self.name.into_owned(),
                email: self.email.into_owned(),
                groups: self.groups.into_owned(),
                active: self.active,
            },
            scopes: ScopeSet::parse(&self.scopes).ok()?,
            created: Timestamp::from_micros(self.created),
            expires: self.expires.map(Timestamp::from_micros),
            revoked: self.revoked.map(Timestamp::from_micros),
            restrictions: Restrictions { disabled: self.disabled, read_only: self.read_only, networks, use_by, rates },
        })
    }
}

/// Seals a record. Fails only if the system provides no random numbers.
pub(super) fn seal(
    key: &RandomizedNonceKey,
    record: &TokenRecord,
    began: ServerTime,
    kept: Timestamp,
) -> Result<Vec<u8>, Unspecified> {
    let mut body = serde_json::to_vec(&Form::of(record, kept)).map_err(|_| Unspecified)?;
    let nonce = key.seal_in_place_append_tag(Aad::from(context(record.digest, began)), &mut body)?;
    Ok([format!("e{}:", began.0).as_bytes(), &[VERSION], nonce.as_ref().as_slice(), &body].concat())
}

/// Opens the value under `digest` with one of these keys, the newest one first.
pub(super) fn open(keys: &[RandomizedNonceKey], value: Vec<u8>, digest: TokenDigest) -> Opened {
    if value.first() == Some(&b'h') {
        return Opened::Hold;
    }
    let Some((newest, former)) = keys.split_last() else { return Opened::Bad };
    // A copy only while the key is replaced: opening overwrites the value.
    let copy = (!former.is_empty()).then(|| value.clone());
    let opened = open_entry(newest, value, digest);
    let opened = opened.or_else(|| former.iter().find_map(|key| open_entry(key, copy.clone()?, digest)));
    opened.map_or(Opened::Bad, |entry| Opened::Entry(Box::new(entry)))
}

fn open_entry(key: &RandomizedNonceKey, mut value: Vec<u8>, digest: TokenDigest) -> Option<Entry> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    let (head, rest) = value.split_at_mut_checked(colon)?;
    let began = ServerTime(std::str::from_utf8(head).ok()?.strip_prefix('e')?.parse().ok()?);
    let (version, rest) = rest.get_mut(1..)?.split_first_mut()?;
    let (nonce, body) = rest.split_at_mut_checked(NONCE_LEN)?;
    if *version != VERSION {
        return None;
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key.open_in_place(nonce, Aad::from(context(digest, began)), body).ok()?;
    let form: Form<'_> = serde_json::from_slice(plain).ok()?;
    let kept = Timestamp::from_micros(form.kept);
    Some(Entry { began, kept, record: form.into_record(digest)? })
}

/// The data that the seal authenticates. Both parts have a fixed length, so no two contexts are equal.
fn context(digest: TokenDigest, began: ServerTime) -> [u8; 40] {
    let mut context = [0; 40];
    let (token, time) = context.split_at_mut(32);
    token.copy_from_slice(digest.as_bytes());
    time.copy_from_slice(&began.0.to_be_bytes());
    context
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::AES_256_GCM;

    use super::*;

    fn key(byte: u8) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &[byte; 32]).unwrap()
    }

    fn record() -> TokenRecord {
        TokenRecord {
            id: TokenId(7),
            method: AuthMethod::Token,
            digest: TokenDigest::of(b"secret"),
            owner: Account {
                id: SubjectId(1001),
                name: "zażółć \"alice\"".to_owned(),
                email: "alice@example.com".to_owned(),
                groups: vec!["sales".to_owned(), "a,b".to_owned()],
                active: true,
            },
            scopes: ScopeSet::parse("read write").unwrap(),
            created: Timestamp::from_micros(5),
            expires: Some(Timestamp::from_micros(6)),
            revoked: None,
            restrictions: Restrictions {
                disabled: false,
                read_only: true,
                networks: Networks::parse("10.0.0.0/8 2001:db8::/32").unwrap(),
                use_by: Some(UseBy { days: 90, last: Timestamp::from_micros(4) }),
                rates: OwnRates { token: "5/s burst 2".parse().ok(), user: "9/min".parse().ok() },
            },
        }
    }

    #[test]
    fn an_entry_opens_as_it_was_sealed_and_shows_nothing() {
        let (key, record) = (key(1), record());
        let sealed = seal(&key, &record, ServerTime(99), Timestamp::from_micros(3)).unwrap();
        assert!(sealed.starts_with(b"e99:"));
        for shown in ["alice", "sales", "read", "1001"] {
            assert!(!sealed.windows(shown.len()).any(|part| part == shown.as_bytes()), "{shown}");
        }
        let Opened::Entry(entry) = open(&[self::key(1)], sealed, record.digest) else { panic!("does not open") };
        assert_eq!((entry.began, entry.kept), (ServerTime(99), Timestamp::from_micros(3)));
        assert_eq!(entry.record, record);
        let session = TokenRecord { method: AuthMethod::Session, ..record.clone() };
        let nowhere = Restrictions { disabled: true, networks: Some(Networks::of([])), ..Restrictions::default() };
        for other in [session, TokenRecord { restrictions: nowhere, ..record.clone() }] {
            let sealed = seal(&key, &other, ServerTime(99), Timestamp::from_micros(3)).unwrap();
            let Opened::Entry(entry) = open(&[self::key(1)], sealed, other.digest) else { panic!("does not open") };
            assert_eq!(entry.record, other);
        }
    }

    #[test]
    fn each_version_of_an_entry_has_its_own_format() {
        let record = record();
        let form = serde_json::to_value(Form::of(&record, Timestamp::from_micros(3))).unwrap();
        let mut fields: Vec<&str> = form.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let known = "active created disabled email expires groups id kept last_used name networks owner read_only revoked scopes \
             session token_rate unused_days user_rate";
        assert_eq!((VERSION, fields.join(" ")), (4, known.to_owned()), "raise VERSION when the fields change");
    }

    #[test]
    fn a_forged_truncated_moved_or_redated_entry_does_not_open() {
        let (key, record) = (key(1), record());
        let sealed = seal(&key, &record, ServerTime(99), Timestamp::from_micros(3)).unwrap();
        let opens = |key: &RandomizedNonceKey, value: &[u8], digest| {
            let keys = std::slice::from_ref(key);
            matches!(open(keys, value.to_vec(), digest), Opened::Entry(_))
        };
        assert!(opens(&key, &sealed, record.digest));
        assert!(!opens(&self::key(2), &sealed, record.digest), "another key file");
        assert!(!opens(&key, &sealed, TokenDigest::of(b"another")), "moved");
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert!(!opens(&key, &damaged, record.digest), "byte {place}");
            assert!(!opens(&key, &sealed[..place], record.digest), "cut at {place}");
        }
        let dated = [b"e100".as_slice(), &sealed[3..]].concat();
        assert!(!opens(&key, &dated, record.digest), "another date");
        for rubbish in [b"".as_slice(), b"x", b"e", b"e:", b"e1:", b"e1:\x01", b"\xff\xff"] {
            assert!(matches!(open(&[self::key(1)], rubbish.to_vec(), record.digest), Opened::Bad), "{rubbish:?}");
        }
        assert!(matches!(open(&[self::key(1)], b"h12".to_vec(), record.digest), Opened::Hold));
    }

    #[test]
    fn entries_of_either_key_open_while_the_key_is_replaced() {
        let record = record();
        for number in [1, 2] {
            let sealed = seal(&key(number), &record, ServerTime(99), Timestamp::from_micros(3)).unwrap();
            assert!(matches!(open(&[key(1), key(2)], sealed.clone(), record.digest), Opened::Entry(_)), "{number}");
            assert!(matches!(open(&[key(3), key(4)], sealed.clone(), record.digest), Opened::Bad), "{number}");
            assert!(matches!(open(&[], sealed, record.digest), Opened::Bad));
        }
    }
}
