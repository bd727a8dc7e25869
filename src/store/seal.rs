//! Seals the keys of login tokens, so that a second login can return the same token.
//!
//! A sealed key opens only with the key file, and only for the token and owner that it was sealed for. Rows swapped or
//! copied in the database do not open. Format: version byte, nonce, AES-256-GCM ciphertext with its tag.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use super::keyfile::{KeyFile, KeyFileError, Purpose};
use crate::token::{SubjectId, TokenDigest, TokenKey};

const VERSION: u8 = 1;

/// The plain text of a store's check value.
const CHECK: &[u8] = b"tokengate store";

/// The error for a sealed value that does not open: damaged, of another token, or under another key. Deliberately not
/// more specific.
#[derive(Debug, thiserror::Error)]
#[error("an encrypted value cannot be decrypted")]
pub(super) struct Unsealable;

/// Seals and opens with the subkeys of one key file.
pub(super) struct Sealer {
    tokens: RandomizedNonceKey,
    check: RandomizedNonceKey,
}

impl Sealer {
    pub(super) fn new(keys: &KeyFile) -> Result<Sealer, KeyFileError> {
        Ok(Sealer { tokens: keys.sealing_key(Purpose::LoginTokens)?, check: keys.sealing_key(Purpose::StoreCheck)? })
    }

    /// Seals the key of `owner`'s token.
    pub(super) fn seal(&self, key: &TokenKey, owner: SubjectId) -> Result<Vec<u8>, Unsealable> {
        seal(&self.tokens, key.expose().as_bytes(), &context(key.digest(), owner))
    }

    /// Opens what [`Sealer::seal`] made for the same token and owner.
    pub(super) fn open(&self, sealed: &[u8], digest: TokenDigest, owner: SubjectId) -> Result<TokenKey, Unsealable> {
        let plain = open(&self.tokens, sealed, &context(digest, owner))?;
        let key = std::str::from_utf8(&plain).ok().and_then(|text| TokenKey::parse(text).ok());
        key.filter(|key| key.digest() == digest).ok_or(Unsealable)
    }

    /// Creates a value by which a store recognises its key file.
    pub(super) fn check_value(&self) -> Result<Vec<u8>, Unsealable> {
        seal(&self.check, CHECK, b"")
    }

    /// Whether this check value was created with this key file.
    pub(super) fn made(&self, check_value: &[u8]) -> bool {
        open(&self.check, check_value, b"").is_ok_and(|plain| plain.as_slice() == CHECK)
    }
}

/// The data that the seal authenticates. Both parts have a fixed length, so no two contexts are equal.
fn context(digest: TokenDigest, owner: SubjectId) -> [u8; 40] {
    let mut context = [0; 40];
    let (token, user) = context.split_at_mut(32);
    token.copy_from_slice(digest.as_bytes());
    user.copy_from_slice(&owner.0.to_be_bytes());
    context
}

fn seal(key: &RandomizedNonceKey, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, Unsealable> {
    // Reserves room for the tag, so that a reallocation leaves no copy of the plain text in memory.
    let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + key.algorithm().tag_len()));
    body.extend_from_slice(plain);
    let nonce = key.seal_in_place_append_tag(Aad::from(context), &mut *body).map_err(|Unspecified| Unsealable)?;
    Ok([&[VERSION], nonce.as_ref().as_slice(), &body].concat())
}

fn open(key: &RandomizedNonceKey, sealed: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
    let (&version, rest) = sealed.split_first().ok_or(Unsealable)?;
    let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
    if version != VERSION {
        return Err(Unsealable);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|Unspecified| Unsealable)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = key.open_in_place(nonce, Aad::from(context), &mut body).map_err(|Unspecified| Unsealable)?.len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        let folder = tempfile::tempdir().unwrap();
        Sealer::new(&KeyFile::make(&folder.path().join("key")).unwrap()).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_for_its_own_token_and_owner_only() {
        let (sealer, alice, bob) = (sealer(), SubjectId(1), SubjectId(2));
        let key = TokenKey::parse("b0aa76431f386f86ff6dfb3c7784a7939634a1df").unwrap();
        let sealed = sealer.seal(&key, alice).unwrap();
        assert_eq!(sealer.open(&sealed, key.digest(), alice).unwrap().expose(), key.expose());
        assert!(sealer.open(&sealed, key.digest(), bob).is_err());
        assert!(sealer.open(&sealed, TokenDigest::of(b"another"), alice).is_err());
        assert_ne!(sealed, sealer.seal(&key, alice).unwrap(), "each sealing takes its own nonce");
        assert!(!sealed.windows(8).any(|part| part == &key.expose().as_bytes()[..8]));
    }

    #[test]
    fn a_damaged_value_and_one_of_another_key_file_do_not_open() {
        let (sealer, owner) = (sealer(), SubjectId(1));
        let key = TokenKey::parse("b0aa76431f386f86ff6dfb3c7784a7939634a1df").unwrap();
        let sealed = sealer.seal(&key, owner).unwrap();
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert!(sealer.open(&damaged, key.digest(), owner).is_err(), "byte {place}");
            assert!(sealer.open(&sealed[..place], key.digest(), owner).is_err(), "cut at {place}");
        }
        assert!(self::sealer().open(&sealed, key.digest(), owner).is_err());
    }

    #[test]
    fn a_check_value_matches_only_its_own_key_file() {
        let sealer = sealer();
        let value = sealer.check_value().unwrap();
        assert!(sealer.made(&value));
        assert!(!self::sealer().made(&value));
        assert!(!sealer.made(b""));
    }
}
