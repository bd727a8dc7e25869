//! Parses stored password hashes: our own, and all that Django writes.
//!
//! A hash that is damaged, unknown, or more expensive than a login may be is treated as no password. Plain MD5 and
//! SHA-1 are not supported, as in Django's own list. Hashes are never rewritten, so a database shared with Django stays
//! readable for it.

use std::num::NonZeroU32;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256};
use base64ct::{Base64, Base64Bcrypt, Encoding};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Password;

// The maximum cost of a hash: at least four times that of Django 6.1, and about two seconds of one core.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
const MAX_BCRYPT_COST: u32 = 15;
/// For Argon2 and scrypt; together with `login.hash_parallelism`, it bounds the memory of all logins.
const MAX_MEMORY_KIB: u32 = 128 * 1024;
const MAX_ARGON2_PASSES: u32 = 16;
const MAX_ARGON2_LANES: u32 = 16;
/// N × r × p. Django writes 2^14 × 8 × 5.
const MAX_SCRYPT_WORK: u64 = 1 << 22;

const SHA1_BYTES: usize = 20;
const SCRYPT_BYTES: usize = 64;
/// The number of password bytes that bcrypt reads, its final NUL included.
const BCRYPT_BYTES: usize = 72;

/// A stored password hash.
pub(super) enum StoredHash {
    Argon2(Box<PasswordHash>),
    Pbkdf2 { algorithm: pbkdf2::Algorithm, rounds: NonZeroU32, salt: String, digest: Vec<u8> },
    Scrypt { parameters: scrypt::Params, salt: String, digest: Vec<u8> },
    Bcrypt { of_sha256: bool, cost: u32, salt: [u8; 16], digest: Vec<u8> },
}

impl StoredHash {
    /// Returns `None` for a hash that no password matches.
    pub(super) fn read(text: &str) -> Option<StoredHash> {
        let (algorithm, rest) = text.split_once('$')?;
        match algorithm {
            "" => argon2(text, &["argon2id"]),
            // The algorithm, then a PHC string; argon2i up to Django 3.1.
            "argon2" => argon2(text.strip_prefix("argon2")?, &["argon2id", "argon2i"]),
            "pbkdf2_sha256" => pbkdf2(rest, PBKDF2_HMAC_SHA256, SHA256_OUTPUT_LEN),
            "pbkdf2_sha1" => pbkdf2(rest, PBKDF2_HMAC_SHA1, SHA1_BYTES),
            "scrypt" => scrypt(rest),
            "bcrypt_sha256" => bcrypt(rest, true),
            "bcrypt" => bcrypt(rest, false),
            _ => None,
        }
    }

    pub(super) fn fits(&self, password: &Password) -> bool {
        match self {
            StoredHash::Argon2(hash) => Argon2::default().verify_password(password.as_bytes(), &**hash).is_ok(),
            StoredHash::Pbkdf2 { algorithm, rounds, salt, digest } => {
                pbkdf2::verify(*algorithm, *rounds, salt.as_bytes(), password.as_bytes(), digest).is_ok()
            }
            StoredHash::Scrypt { parameters, salt, digest } => {
                let mut computed = Zeroizing::new([0; SCRYPT_BYTES]);
                scrypt::scrypt(password.as_bytes(), salt.as_bytes(), parameters, computed.as_mut_slice()).is_ok()
                    && computed.ct_eq(digest).into()
            }
            StoredHash::Bcrypt { of_sha256, cost, salt, digest } => {
                let text = if *of_sha256 { sha256_hex(password) } else { Zeroizing::new(password.as_bytes().to_vec()) };
                let text = bcrypt_text(&text);
                let computed = Zeroizing::new(bcrypt::bcrypt(*cost, *salt, &text));
                // The last byte is not stored.
                computed.split_last().is_some_and(|(_, computed)| computed.ct_eq(digest).into())
            }
        }
    }
}

fn argon2(phc: &str, variants: &[&str]) -> Option<StoredHash> {
    let hash = PasswordHash::new(phc).ok()?;
    let parameters = Params::try_from(&hash).ok()?;
    let affordable = parameters.m_cost() <= MAX_MEMORY_KIB
        && parameters.t_cost() <= MAX_ARGON2_PASSES
        && parameters.p_cost() <= MAX_ARGON2_LANES;
    let known = variants.contains(&hash.algorithm.as_str()) && hash.salt.is_some() && hash.hash.is_some();
    (known && affordable).then(|| StoredHash::Argon2(Box::new(hash)))
}

/// `ROUNDS$SALT$DIGEST`; the salt is text.
fn pbkdf2(text: &str, algorithm: pbkdf2::Algorithm, length: usize) -> Option<StoredHash> {
    let [rounds, salt, digest] = parts(text)?;
    let rounds = NonZeroU32::new(number(rounds)?).filter(|rounds| rounds.get() <= MAX_PBKDF2_ROUNDS)?;
    Some(StoredHash::Pbkdf2 { algorithm, rounds, salt: salted(salt)?, digest: decode(digest, length)? })
}

/// `N$SALT$R$P$DIGEST`.
fn scrypt(text: &str) -> Option<StoredHash> {
    let [n, salt, r, p, digest] = parts(text)?;
    let (n, r, p) = (number(n)?, number(r)?, number(p)?);
    let kib = u64::from(n) * u64::from(r) / 8;
    let work = (u64::from(n) * u64::from(r)).checked_mul(u64::from(p))?;
    if n < 2 || !n.is_power_of_two() || kib > u64::from(MAX_MEMORY_KIB) || work > MAX_SCRYPT_WORK {
        return None;
    }
    let parameters = scrypt::Params::new(u8::try_from(n.ilog2()).ok()?, r, p).ok()?;
    Some(StoredHash::Scrypt { parameters, salt: salted(salt)?, digest: decode(digest, SCRYPT_BYTES)? })
}

/// `$2b$12$` and 53 characters: salt and digest.
fn bcrypt(text: &str, of_sha256: bool) -> Option<StoredHash> {
    let rest = ["$2b$", "$2a$", "$2y$"].iter().find_map(|version| text.strip_prefix(version))?;
    let [cost, rest] = parts(rest)?;
    let (salt, digest) = rest.split_at_checked(22)?;
    let cost = number(cost).filter(|number| cost.len() == 2 && (4..=MAX_BCRYPT_COST).contains(number))?;
    let salt = Base64Bcrypt::decode_vec(salt).ok()?.try_into().ok()?;
    let digest = Base64Bcrypt::decode_vec(digest).ok().filter(|digest| digest.len() == 23)?;
    Some(StoredHash::Bcrypt { of_sha256, cost, salt, digest })
}

fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let parts: Vec<&str> = text.split('$').collect();
    parts.try_into().ok()
}

/// Parses digits only: `parse` alone accepts a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn salted(salt: &str) -> Option<String> {
    (!salt.is_empty()).then(|| salt.to_owned())
}

/// Requires exactly this length: a short digest could match by chance.
fn decode(digest: &str, length: usize) -> Option<Vec<u8>> {
    Base64::decode_vec(digest).ok().filter(|digest| digest.len() == length)
}

/// Returns the text that Django passes to bcrypt in place of the password, so that no password is truncated.
fn sha256_hex(password: &Password) -> Zeroizing<Vec<u8>> {
    let mut hex = Zeroizing::new(Vec::with_capacity(2 * SHA256_OUTPUT_LEN));
    for byte in digest(&SHA256, password.as_bytes()).as_ref() {
        hex.extend([byte >> 4, byte & 15].map(|half| if half < 10 { b'0' + half } else { b'a' + half - 10 }));
    }
    hex
}

/// Prepares a text for bcrypt: appends a NUL, truncates to 72 bytes.
fn bcrypt_text(text: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.iter().copied().chain([0]).take(BCRYPT_BYTES).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[test]
    fn a_malformed_or_unknown_hash_matches_no_password() {
        let good = "pbkdf2_sha256$1000$salt$A+Pkljr7A4W/zbzUWSStAfjTCX2GWVTHwva2WigH9ow=";
        assert!(StoredHash::read(good).is_some());
        for cut in 0..good.len() {
            assert!(StoredHash::read(&good[..cut]).is_none(), "cut at {cut}");
        }
        for bad in [
            "",
            "!",
            "!abc",
            "x",
            "$",
            "md5$salt$1f9f93a0f5d6305e0b33ef635322861a",
            "pbkdf2_sha256$+1000$salt$A+Pkljr7A4W/zbzUWSStAfjTCX2GWVTHwva2WigH9ow=",
            "pbkdf2_sha256$0$salt$A+Pkljr7A4W/zbzUWSStAfjTCX2GWVTHwva2WigH9ow=",
            "pbkdf2_sha256$1000$$A+Pkljr7A4W/zbzUWSStAfjTCX2GWVTHwva2WigH9ow=",
            "pbkdf2_sha256$1000$salt$AA==",
            "pbkdf2_sha1$1000$salt$A+Pkljr7A4W/zbzUWSStAfjTCX2GWVTHwva2WigH9ow=",
            "bcrypt$$2b$04$N3UNgfDdwGsfr0hQU.pU5.EOsFTwjxQUJoA3Dv3Ibe5J2rX7dNTB",
            "bcrypt$$2b$03$N3UNgfDdwGsfr0hQU.pU5.EOsFTwjxQUJoA3Dv3Ibe5J2rX7dNTB2",
            "bcrypt$$2x$04$N3UNgfDdwGsfr0hQU.pU5.EOsFTwjxQUJoA3Dv3Ibe5J2rX7dNTB2",
            "bcrypt$$2b$04$N3UNgfDdwGsfr0hQU.pUä.EOsFTwjxQUJoA3Dv3Ibe5J2rX7dNTB2",
            "argon2$argon2d$v=19$m=64,t=1,p=1$WGszYlY5cUxtMlRh$kJV1pvDvxjeqzCCbV3Q1qODWot9diSiEEvlw2V7pGMU",
            "$argon2i$v=19$m=64,t=1,p=1$WGszYlY5cUxtMlRh$kJV1pvDvxjeqzCCbV3Q1qODWot9diSiEEvlw2V7pGMU",
            "$argon2id$v=19$m=64,t=1,p=1$WGszYlY5cUxtMlRh",
        ] {
            assert!(StoredHash::read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_hash_that_needs_too_much_time_or_memory_matches_no_password() {
        let digest = "A+Pkljr7A4W/zbzUWSStAfjTCX2GWVTHwva2WigH9ow=";
        let long = "Qo9n84RVkOLRU+fMRwJhMVysqf1vzxOoZq9xjE2PdjY54R/fc7K6AJWuyVUjX9S+Pk5VBgHR5nb85iaw6s11MQ==";
        let bcrypt = "VbmZoXH/PXSBoX1kEKmyi.QrxxJM8caeAh159OLGbG1hlJ51BGYke";
        let argon2 = "WGszYlY5cUxtMlRh$kJV1pvDvxjeqzCCbV3Q1qODWot9diSiEEvlw2V7pGMU";
        for (dear, affordable) in [
            (format!("pbkdf2_sha256$2000000000$salt${digest}"), format!("pbkdf2_sha256$1500000$salt${digest}")),
            (format!("pbkdf2_sha256$99999999999$salt${digest}"), format!("pbkdf2_sha256$10000000$salt${digest}")),
            (format!("bcrypt_sha256$$2b$31${bcrypt}"), format!("bcrypt_sha256$$2b$14${bcrypt}")),
            (format!("scrypt$1073741824$salt$8$1${long}"), format!("scrypt$65536$salt$8$1${long}")),
            (format!("scrypt$16384$salt$8$4000000$${long}"), format!("scrypt$16384$salt$8$10${long}")),
            (format!("scrypt$4294967295$salt$4294967295$4294967295${long}"), format!("scrypt$2$salt$1$1${long}")),
            (format!("scrypt$3$salt$8$1${long}"), format!("scrypt$4$salt$8$1${long}")),
            (
                format!("argon2$argon2id$v=19$m=4194304,t=2,p=8${argon2}"),
                format!("argon2$argon2id$v=19$m=102400,t=2,p=8${argon2}"),
            ),
            (format!("$argon2id$v=19$m=64,t=4000000,p=1${argon2}"), format!("$argon2id$v=19$m=64,t=16,p=1${argon2}")),
        ] {
            assert!(StoredHash::read(&dear).is_none(), "{dear}");
            assert!(StoredHash::read(&affordable).is_some(), "{affordable}");
        }
    }

    #[test]
    fn plain_bcrypt_reads_at_most_72_bytes_as_everywhere() {
        let (long, longer) = ("p".repeat(72), "p".repeat(300));
        assert_eq!(*bcrypt_text(long.as_bytes()), *bcrypt_text(longer.as_bytes()));
        assert_eq!(bcrypt_text(b"ab").as_slice(), b"ab\0");
        let kept = StoredHash::read("bcrypt$$2b$04$N3UNgfDdwGsfr0hQU.pU5.EOsFTwjxQUJoA3Dv3Ibe5J2rX7dNTB2").unwrap();
        assert!(kept.fits(&password("correct horse 9")));
        assert!(!kept.fits(&password("correct horse 8")));
    }
}
