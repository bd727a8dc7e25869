//! Finds out why the TLS library refuses a private key, because the library does not say.

use std::fmt;

use rustls::pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag};

/// The property of a key that the TLS library does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnfitKey {
    /// RSA with fewer than 2048 bits.
    RsaTooShort {
        /// Number of bits.
        bits: usize,
    },
    /// RSA with more than 8192 bits.
    RsaTooLong {
        /// Number of bits.
        bits: usize,
    },
    /// An elliptic curve: its name, or its object identifier.
    Curve(String),
    /// Another algorithm: its name, or its object identifier.
    Algorithm(String),
}

impl UnfitKey {
    /// Finds the cause; `None` if the key appears to be supported.
    pub(super) fn of(key: &PrivateKeyDer<'_>) -> Option<UnfitKey> {
        match key {
            PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => curve_in(key.secret_sec1_der()),
            PrivateKeyDer::Pkcs8(key) => in_pkcs8(key.secret_pkcs8_der()),
            _ => None,
        }
    }

    /// How to fix it.
    pub(super) fn mend(&self) -> &'static str {
        match self {
            UnfitKey::RsaTooShort { .. } => "make one of at least 2048 bits, and have its certificate issued",
            UnfitKey::RsaTooLong { .. } => "make one of at most 8192 bits, and have its certificate issued",
            UnfitKey::Curve(_) => "make one on P-256 (prime256v1), P-384 or P-521, and have its certificate issued",
            UnfitKey::Algorithm(_) => {
                "make an RSA key of 2048 to 8192 bits, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key"
            }
        }
    }
}

impl fmt::Display for UnfitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnfitKey::RsaTooShort { bits } => write!(f, "the RSA key of {bits} bits is too short"),
            UnfitKey::RsaTooLong { bits } => write!(f, "the RSA key of {bits} bits is too long"),
            UnfitKey::Curve(name) => write!(f, "the EC key is on the curve {name}, which TLS does not support here"),
            UnfitKey::Algorithm(name) => write!(f, "the key is for {name}, which TLS does not support here"),
        }
    }
}

/// `PrivateKeyInfo` (RFC 5208): version, algorithm with parameters, key.
fn in_pkcs8(der: &[u8]) -> Option<UnfitKey> {
    let info = value(Tag::Sequence, der)?.0;
    let (_, rest) = value(Tag::Integer, info)?;
    let (algorithm, rest) = value(Tag::Sequence, rest)?;
    let (parameters, oid) = Oid::from_der(algorithm).ok()?;
    match oid.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => rsa(value(Tag::OctetString, rest)?.0),
        "1.2.840.10045.2.1" => curve(parameters),
        "1.3.101.112" => None,
        "1.2.840.113549.1.1.10" => Some(UnfitKey::Algorithm("RSA-PSS".to_owned())),
        "1.2.840.10040.4.1" => Some(UnfitKey::Algorithm("DSA".to_owned())),
        "1.3.101.113" => Some(UnfitKey::Algorithm("Ed448".to_owned())),
        "1.3.101.110" => Some(UnfitKey::Algorithm("X25519".to_owned())),
        other => Some(UnfitKey::Algorithm(other.to_owned())),
    }
}

/// `RSAPrivateKey` (RFC 8017): version, modulus, and more.
fn rsa(der: &[u8]) -> Option<UnfitKey> {
    let (_, rest) = value(Tag::Integer, value(Tag::Sequence, der)?.0)?;
    let (modulus, _) = value(Tag::Integer, rest)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    let bits = (modulus.len() - zeros) * 8 - usize::try_from(first.leading_zeros()).ok()?;
    match bits {
        ..2048 => Some(UnfitKey::RsaTooShort { bits }),
        2048..=8192 => None,
        _ => Some(UnfitKey::RsaTooLong { bits }),
    }
}

/// `ECPrivateKey` (RFC 5915): version, key, curve, public key.
fn curve_in(der: &[u8]) -> Option<UnfitKey> {
    let (_, rest) = value(Tag::Integer, value(Tag::Sequence, der)?.0)?;
    let (_, rest) = value(Tag::OctetString, rest)?;
    // `[0]`
    curve(value(Tag(0), rest)?.0)
}

fn curve(parameters: &[u8]) -> Option<UnfitKey> {
    let Ok((_, oid)) = Oid::from_der(parameters) else {
        return Some(UnfitKey::Curve("that it describes by numbers in place of a name".to_owned()));
    };
    let oid = oid.to_id_string();
    let name = match oid.as_str() {
        "1.2.840.10045.3.1.7" | "1.3.132.0.34" | "1.3.132.0.35" => return None,
        "1.3.132.0.10" => "secp256k1",
        "1.3.132.0.33" => "secp224r1",
        "1.2.840.10045.3.1.1" => "prime192v1",
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1",
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1",
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1",
        other => other,
    };
    Some(UnfitKey::Curve(name.to_owned()))
}

/// Returns the content of a value with this tag, and the bytes after it.
fn value(tag: Tag, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    (any.tag() == tag).then_some((any.data, rest))
}
