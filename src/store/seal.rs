//! Seals the keys of login tokens, so that a second login can return the same token.
//!
//! A sealed key opens only with the key file, and only for the token and owner that it was sealed for. Rows swapped or
//! copied in the database do not open. Format: version byte, nonce, AES-256-GCM ciphertext with its tag.
//!
//! While the key is replaced, the file has two keys. Either opens a value. The check value of the store says which one
//! seals: it is read in the transaction that writes what was sealed, so no value is sealed with the old key after the
//! store has the check value of the new one. A key that is missing here is looked for in the file, which another
//! process may have changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use super::keyfile::{KeyFile, KeyFileError, Print, Purpose};
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
    path: PathBuf,
    loaded: RwLock<Arc<Loaded>>,
}

/// The subkeys of each key, the newest one last.
struct Loaded {
    print: Print,
    keys: Vec<Subkeys>,
}

struct Subkeys {
    tokens: RandomizedNonceKey,
    check: RandomizedNonceKey,
}

impl Loaded {
    fn of(file: &KeyFile) -> Result<Loaded, KeyFileError> {
        let (tokens, checks) = (file.sealing_keys(Purpose::LoginTokens)?, file.sealing_keys(Purpose::StoreCheck)?);
        let keys = tokens.into_iter().zip(checks).map(|(tokens, check)| Subkeys { tokens, check });
        Ok(Loaded { print: file.print(), keys: keys.collect() })
    }

    fn maker_of(&self, check_value: &[u8]) -> Option<&Subkeys> {
        self.keys.iter().find(|keys| keys.made(check_value))
    }
}

impl Subkeys {
    fn open(&self, sealed: &[u8], digest: TokenDigest, owner: SubjectId) -> Result<TokenKey, Unsealable> {
        let plain = open(&self.tokens, sealed, &context(digest, owner))?;
        let key = std::str::from_utf8(&plain).ok().and_then(|text| TokenKey::parse(text).ok());
        key.filter(|key| key.digest() == digest).ok_or(Unsealable)
    }

    fn made(&self, check_value: &[u8]) -> bool {
        open(&self.check, check_value, b"").is_ok_and(|plain| plain.as_slice() == CHECK)
    }
}

impl Sealer {
    /// The keys of the file at `path`.
    pub(super) fn new(path: &Path, file: &KeyFile) -> Result<Sealer, KeyFileError> {
        Ok(Sealer { path: path.to_owned(), loaded: RwLock::new(Arc::new(Loaded::of(file)?)) })
    }

    /// Seals the key of `owner`'s token, with the key that made the check value of the store.
    pub(super) fn seal(&self, check_value: &[u8], key: &TokenKey, owner: SubjectId) -> Result<Vec<u8>, Unsealable> {
        self.with_keys(|loaded| {
            let maker = loaded.maker_of(check_value).ok_or(Unsealable)?;
            seal(&maker.tokens, key.expose().as_bytes(), &context(key.digest(), owner))
        })
    }

    /// Opens what [`Sealer::seal`] made for the same token and owner.
    pub(super) fn open(&self, sealed: &[u8], digest: TokenDigest, owner: SubjectId) -> Result<TokenKey, Unsealable> {
        self.with_keys(|loaded| {
            let mut opened = loaded.keys.iter().rev().map(|keys| keys.open(sealed, digest, owner));
            opened.find_map(Result::ok).ok_or(Unsealable)
        })
    }

    /// Seals a value with the newest key; `None`: it is already.
    pub(super) fn renew(
        &self,
        sealed: &[u8],
        digest: TokenDigest,
        owner: SubjectId,
    ) -> Result<Option<Vec<u8>>, Unsealable> {
        let loaded = self.loaded();
        let newest = loaded.keys.last().ok_or(Unsealable)?;
        if newest.open(sealed, digest, owner).is_ok() {
            return Ok(None);
        }
        let key = self.open(sealed, digest, owner)?;
        seal(&newest.tokens, key.expose().as_bytes(), &context(digest, owner)).map(Some)
    }

    /// Creates a value by which a store recognises its key file, with the newest key.
    pub(super) fn check_value(&self) -> Result<Vec<u8>, Unsealable> {
        seal(&self.loaded().keys.last().ok_or(Unsealable)?.check, CHECK, b"")
    }

    /// Whether this check value was created with this key file.
    pub(super) fn made(&self, check_value: &[u8]) -> bool {
        self.with_keys(|loaded| loaded.maker_of(check_value).map(drop).ok_or(Unsealable)).is_ok()
    }

    /// Whether this check value was created with the newest key.
    pub(super) fn made_with_newest(&self, check_value: &[u8]) -> bool {
        self.loaded().keys.last().is_some_and(|newest| newest.made(check_value))
    }

    /// Runs `work`, and once more with the present content of the file if that has changed.
    fn with_keys<T>(&self, work: impl Fn(&Loaded) -> Result<T, Unsealable>) -> Result<T, Unsealable> {
        let loaded = self.loaded();
        work(&loaded).or_else(|failed| {
            if KeyFile::print_of(&self.path) == Some(loaded.print) {
                return Err(failed);
            }
            // A file that cannot be read now leaves the keys as they are.
            let file = KeyFile::read(&self.path).ok().flatten().ok_or(Unsealable)?;
            let fresh = Arc::new(Loaded::of(&file).map_err(|_| Unsealable)?);
            let done = work(&fresh)?;
            *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            Ok(done)
        })
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
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
    use super::super::keyfile::Secrets;
    use super::*;

    fn sealer() -> Sealer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Sealer::new(&path, &KeyFile::make(&path).unwrap()).unwrap()
    }

    fn key() -> TokenKey {
        TokenKey::parse("b0aa76431f386f86ff6dfb3c7784a7939634a1df").unwrap()
    }

    #[test]
    fn a_sealed_key_opens_for_its_own_token_and_owner_only() {
        let (sealer, alice, bob, key) = (sealer(), SubjectId(1), SubjectId(2), key());
        let check = sealer.check_value().unwrap();
        let sealed = sealer.seal(&check, &key, alice).unwrap();
        assert_eq!(sealer.open(&sealed, key.digest(), alice).unwrap().expose(), key.expose());
        assert!(sealer.open(&sealed, key.digest(), bob).is_err());
        assert!(sealer.open(&sealed, TokenDigest::of(b"another"), alice).is_err());
        assert_ne!(sealed, sealer.seal(&check, &key, alice).unwrap(), "each sealing takes its own nonce");
        assert!(!sealed.windows(8).any(|part| part == &key.expose().as_bytes()[..8]));
    }

    #[test]
    fn a_damaged_value_and_one_of_another_key_file_do_not_open() {
        let (sealer, owner, key) = (sealer(), SubjectId(1), key());
        let sealed = sealer.seal(&sealer.check_value().unwrap(), &key, owner).unwrap();
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
        assert!(sealer.seal(&self::sealer().check_value().unwrap(), &key(), SubjectId(1)).is_err());
    }

    #[test]
    fn a_file_with_two_keys_opens_both_and_seals_with_the_one_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = || Sealer::new(&path, &KeyFile::read(&path).unwrap().unwrap()).unwrap();
        let (owner, key) = (SubjectId(1), key());
        let running = Sealer::new(&path, &KeyFile::make(&path).unwrap()).unwrap();
        let old_check = running.check_value().unwrap();
        let old = running.seal(&old_check, &key, owner).unwrap();
        Secrets::read(&path).unwrap().with_new_key().unwrap().replace(&path).unwrap();
        let both = read();
        assert_eq!(KeyFile::read(&path).unwrap().unwrap().count(), 2);
        assert!(both.made(&old_check) && !both.made_with_newest(&old_check));
        assert_eq!(both.open(&old, key.digest(), owner).unwrap().expose(), key.expose());
        let new_check = both.check_value().unwrap();
        // What is sealed for a store that has not changed yet opens without the new key.
        let unchanged = both.seal(&old_check, &key, owner).unwrap();
        assert!(running.open(&unchanged, key.digest(), owner).is_ok());
        let new = both.renew(&old, key.digest(), owner).unwrap().unwrap();
        assert_eq!(both.renew(&new, key.digest(), owner).unwrap(), None);
        // A process that read the file before looks at it again when it lacks a key.
        let elsewhere = Sealer { path: path.clone(), loaded: RwLock::new(running.loaded()) };
        assert!(elsewhere.open(&new, key.digest(), owner).is_ok());
        assert!(running.seal(&new_check, &key, owner).is_ok());
        Secrets::read(&path).unwrap().newest().replace(&path).unwrap();
        let after = read();
        assert!(after.made_with_newest(&new_check) && !after.made(&old_check));
        assert!(after.open(&new, key.digest(), owner).is_ok() && after.open(&old, key.digest(), owner).is_err());
    }
}
