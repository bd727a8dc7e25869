//! Passwords: the secret that a user types, and the hash that a store keeps.
//!
//! Hashes are Argon2id PHC strings with the parameters that OWASP recommends. Hashing takes tens of milliseconds and
//! 19 MiB, so it runs on a blocking thread, outside any transaction, on as many threads at once as there are cores.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// OWASP, Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The most that a kept hash may ask for; above it a single login could exhaust the machine.
const MOST_MEMORY_KIB: u32 = 128 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 16;

/// A password in clear. Wiped when dropped, and never shown.
pub struct Password(Zeroizing<String>);

/// An empty text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password must not be empty")]
pub struct EmptyPassword;

/// The hash could not be computed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashingFailed(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Password {
    /// Takes any text but the empty one, exactly as it is: never stripped, never normalised.
    ///
    /// # Errors
    /// [`EmptyPassword`].
    pub fn parse(text: impl Into<String>) -> Result<Password, EmptyPassword> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() { Err(EmptyPassword) } else { Ok(Password(text)) }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Hashes and compares, a few at a time.
pub(super) struct Hasher {
    permits: Arc<Semaphore>,
}

impl Hasher {
    pub(super) fn new() -> Hasher {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        Hasher { permits: Arc::new(Semaphore::new(at_once)) }
    }

    /// A new hash to keep.
    pub(super) async fn hash(&self, password: Password) -> Result<String, HashingFailed> {
        self.run(move || hash(&password)).await?.map_err(|error| HashingFailed(error.into()))
    }

    /// Does this password fit? `kept` is `None` for an unknown user, which takes as long as a known one.
    pub(super) async fn fits(&self, password: Password, kept: Option<String>) -> Result<bool, HashingFailed> {
        self.run(move || fits(&password, kept.as_deref())).await
    }

    /// Dropping the future leaves the computation running, and its permit taken until it ends.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashingFailed> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| HashingFailed(error.into()))?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| HashingFailed(error.into()))
    }
}

fn hash(password: &Password) -> argon2::password_hash::Result<String> {
    let parameters = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    Ok(hasher.hash_password(password.0.as_bytes())?.to_string())
}

fn fits(password: &Password, kept: Option<&str>) -> bool {
    let Some(kept) = kept.and_then(acceptable) else {
        // The same work as for a user who has a hash, so that the time does not tell who exists.
        let _ = hash(password);
        return false;
    };
    Argon2::default().verify_password(password.0.as_bytes(), &kept).is_ok()
}

/// Reads a hash of ours; anything else, such as `!`, never fits.
fn acceptable(kept: &str) -> Option<PasswordHash> {
    let hash = PasswordHash::new(kept).ok()?;
    let parameters = Params::try_from(&hash).ok()?;
    let affordable = parameters.m_cost() <= MOST_MEMORY_KIB
        && parameters.t_cost() <= MOST_PASSES
        && parameters.p_cost() <= MOST_LANES;
    (hash.algorithm.as_str() == "argon2id" && affordable).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[test]
    fn only_the_same_password_fits_its_hash() {
        let kept = hash(&password(" correct horse ")).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(fits(&password(" correct horse "), Some(&kept)));
        for wrong in ["correct horse", " correct horse", " Correct horse ", "x"] {
            assert!(!fits(&password(wrong), Some(&kept)), "{wrong}");
        }
    }

    #[test]
    fn nothing_fits_an_unusable_an_unknown_or_an_extravagant_hash() {
        let kept = hash(&password("x")).unwrap();
        let greedy = kept.replace("m=19456", "m=4194304");
        let endless = kept.replace("t=2", "t=4000000");
        let other = kept.replace("argon2id", "argon2i");
        for unusable in ["", "!", "!abc", "x", "md5$salt$hash", &greedy, &endless, &other] {
            assert!(acceptable(unusable).is_none(), "{unusable}");
        }
        assert!(!fits(&password("x"), Some("x")));
        assert!(!fits(&password("x"), None));
    }

    #[test]
    fn a_password_is_not_empty_and_not_shown() {
        assert_eq!(Password::parse("").unwrap_err(), EmptyPassword);
        assert_eq!(format!("{:?}", password("secret")), "Password(…)");
    }
}
