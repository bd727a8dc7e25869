//! Passwords, and their stored hashes.
//!
//! New hashes are Argon2id PHC strings with the parameters that OWASP recommends; [`StoredHash`] also reads those of
//! Django.
//! Hashing deliberately takes tens of milliseconds and megabytes. The [`Hasher`] therefore runs a few at a time on its
//! own threads, outside any transaction.

mod hasher;
mod policy;
mod stored_hash;

use std::fmt;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

pub(super) use self::hasher::Hasher;
pub use self::hasher::HashingFailed;
pub use self::policy::{MIN_PASSWORD, Names, WeakPassword};
use self::stored_hash::StoredHash;

/// OWASP, Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A plain password. Wiped when dropped, and never printed.
pub struct Password(Zeroizing<String>);

/// The error for an empty password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password must not be empty")]
pub struct EmptyPassword;

impl Password {
    /// Accepts any text but the empty one, unchanged: neither stripped nor normalised.
    ///
    /// # Errors
    /// [`EmptyPassword`].
    pub fn parse(text: impl Into<String>) -> Result<Password, EmptyPassword> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() { Err(EmptyPassword) } else { Ok(Password(text)) }
    }

    /// Whether both are the same text. For two passwords that one person has typed: the comparison takes no fixed time.
    pub fn is_same_as(&self, other: &Password) -> bool {
        *self.0 == *other.0
    }

    /// The length.
    pub fn characters(&self) -> usize {
        self.0.chars().count()
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Returns the algorithm of a hash that is not supported. `None` for a supported hash, and for a deliberately unusable
/// one: an empty text, or one that begins with `!`, as in Django.
pub(super) fn unverifiable(stored: &str) -> Option<String> {
    if stored.is_empty() || stored.starts_with('!') || StoredHash::read(stored).is_some() {
        return None;
    }
    let is_name =
        |text: &&str| (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // Without `$` it may be a plain MD5, or anything else, so no part of it is shown.
    let algorithm = stored.split_once('$').map(|(algorithm, _)| algorithm).filter(is_name);
    Some(algorithm.unwrap_or("unknown").to_owned())
}

fn hash(password: &Password) -> argon2::password_hash::Result<String> {
    let parameters = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    Ok(hasher.hash_password(password.as_bytes())?.to_string())
}

/// `stored` is `None` for a user who is unknown or inactive.
fn fits(password: &Password, stored: Option<&str>) -> bool {
    match stored.and_then(StoredHash::read) {
        Some(stored) => stored.fits(password),
        None => {
            // Does the same work as for a user with a hash: otherwise the queue would reveal whether users exist.
            let _ = hash(password);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[test]
    fn only_the_same_password_fits_its_hash() {
        let stored = hash(&password(" correct horse ")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(fits(&password(" correct horse "), Some(&stored)));
        for wrong in ["correct horse", " correct horse", " Correct horse ", "x"] {
            assert!(!fits(&password(wrong), Some(&stored)), "{wrong}");
        }
    }

    #[test]
    fn no_password_matches_an_unknown_user_or_an_invalid_hash() {
        assert!(!fits(&password("x"), Some("x")));
        assert!(!fits(&password("x"), None));
    }

    #[test]
    fn an_unsupported_hash_is_named_by_its_algorithm() {
        let named = [
            ("md5$salt$0123456789abcdef0123456789abcdef", "md5"),
            ("sha1$salt$0123456789abcdef0123456789abcdef01234567", "sha1"),
            ("0123456789abcdef0123456789abcdef", "unknown"),
            ("pbkdf2_sha256$99999999$salt$digest", "pbkdf2_sha256"),
            ("plain secret$", "unknown"),
        ];
        for (stored, algorithm) in named {
            assert_eq!(unverifiable(stored).as_deref(), Some(algorithm), "{stored}");
        }
        for stored in ["", "!", "!unusable", &hash(&password("x")).unwrap()] {
            assert_eq!(unverifiable(stored), None, "{stored}");
        }
    }

    #[test]
    fn a_password_is_not_empty_and_not_shown() {
        assert_eq!(Password::parse("").unwrap_err(), EmptyPassword);
        assert_eq!(format!("{:?}", password("secret")), "Password(…)");
    }
}
