//! What stands in Redis under the digest of a token.
//!
//! Either a *hold*, `h` and the number of a change, which keeps fills out for a while; or an *entry*, `e`, the time at
//! which the look-up began, `:`, and the sealed record. The time stands in clear for the scripts and is bound to the
//! seal, as is the digest: an entry that was forged, cut, moved to another key or given another time does not open.

use std::borrow::Cow;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;

use super::scripts::ServerTime;
use crate::clock::Timestamp;
use crate::token::{Account, AuthMethod, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord};

/// The form of the sealed part. Gateways of two versions that share a cache do not read each other's entries.
const VERSION: u8 = 2;

/// What was found under a digest.
pub(super) enum Opened {
    /// The token changed a moment ago.
    Hold,
    /// A record that a gateway with our key kept.
    Entry(Box<Entry>),
    /// Nothing that a gateway with our key wrote for this token.
    Bad,
}

/// A record with its times.
pub(super) struct Entry {
    /// When the look-up began, by the clock of the server.
    pub(super) began: ServerTime,
    /// When it was kept, by the clock of the gateway that did.
    pub(super) kept: Timestamp,
    /// What the store said.
    pub(super) record: TokenRecord,
}

/// Token id, and whether that is a session; owner's id, name, e-mail, groups, active; scopes; created, expires,
/// revoked; kept. The digest is not in it: the seal is bound to it.
type Form<'a> = (
    i64,
    bool,
    i64,
    Cow<'a, str>,
    Cow<'a, str>,
    Cow<'a, [String]>,
    bool,
    Cow<'a, str>,
    i64,
    Option<i64>,
    Option<i64>,
    i64,
);

/// Seals a record. Fails only if the system has no random numbers.
pub(super) fn seal(
    key: &RandomizedNonceKey,
    record: &TokenRecord,
    began: ServerTime,
    kept: Timestamp,
) -> Result<Vec<u8>, Unspecified> {
    let TokenRecord { id, method, digest, owner, scopes, created, expires, revoked } = record;
    let form: Form<'_> = (
        id.0,
        *method == AuthMethod::Session,
        owner.id.0,
        (&owner.name).into(),
        (&owner.email).into(),
        (&owner.groups).into(),
        owner.active,
        scopes.to_string().into(),
        created.as_micros(),
        expires.map(Timestamp::as_micros),
        revoked.map(Timestamp::as_micros),
        kept.as_micros(),
    );
    let mut body = serde_json::to_vec(&form).map_err(|_| Unspecified)?;
    let nonce = key.seal_in_place_append_tag(Aad::from(context(*digest, began)), &mut body)?;
    Ok([format!("e{}:", began.0).as_bytes(), &[VERSION], nonce.as_ref().as_slice(), &body].concat())
}

/// Opens what stands under `digest`.
pub(super) fn open(key: &RandomizedNonceKey, value: Vec<u8>, digest: TokenDigest) -> Opened {
    if value.first() == Some(&b'h') {
        return Opened::Hold;
    }
    open_entry(key, value, digest).map_or(Opened::Bad, |entry| Opened::Entry(Box::new(entry)))
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
    let (id, is_session, owner, name, email, groups, active, scopes, created, expires, revoked, kept) = form;
    let record = TokenRecord {
        id: TokenId(id),
        method: if is_session { AuthMethod::Session } else { AuthMethod::Token },
        digest,
        owner: Account {
            id: SubjectId(owner),
            name: name.into_owned(),
            email: email.into_owned(),
            groups: groups.into_owned(),
            active,
        },
        scopes: ScopeSet::parse(&scopes).ok()?,
        created: Timestamp::from_micros(created),
        expires: expires.map(Timestamp::from_micros),
        revoked: revoked.map(Timestamp::from_micros),
    };
    Some(Entry { began, kept: Timestamp::from_micros(kept), record })
}

/// What the seal of an entry is bound to. Both parts have a fixed length, so no two contexts look alike.
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
        let Opened::Entry(entry) = open(&key, sealed, record.digest) else { panic!("does not open") };
        assert_eq!((entry.began, entry.kept), (ServerTime(99), Timestamp::from_micros(3)));
        assert_eq!(entry.record, record);
        let session = TokenRecord { method: AuthMethod::Session, ..record };
        let sealed = seal(&key, &session, ServerTime(99), Timestamp::from_micros(3)).unwrap();
        let Opened::Entry(entry) = open(&key, sealed, session.digest) else { panic!("does not open") };
        assert_eq!(entry.record, session);
    }

    #[test]
    fn what_is_forged_cut_moved_or_dated_anew_does_not_open() {
        let (key, record) = (key(1), record());
        let sealed = seal(&key, &record, ServerTime(99), Timestamp::from_micros(3)).unwrap();
        let opens = |key: &_, value: &[u8], digest| matches!(open(key, value.to_vec(), digest), Opened::Entry(_));
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
        assert!(!opens(&key, &dated, record.digest), "dated anew");
        for rubbish in [b"".as_slice(), b"x", b"e", b"e:", b"e1:", b"e1:\x01", b"\xff\xff"] {
            assert!(matches!(open(&key, rubbish.to_vec(), record.digest), Opened::Bad), "{rubbish:?}");
        }
        assert!(matches!(open(&key, b"h12".to_vec(), record.digest), Opened::Hold));
    }
}
