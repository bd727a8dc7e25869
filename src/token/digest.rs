//! The digest of a token key.

use std::fmt;

/// SHA-256 of a token key: stores, caches and events identify a token by it.
///
/// Not a secret (a key of 160 random bits cannot be derived from it), but not shown to users.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Digests the bytes of a key.
    pub fn of(key: &[u8]) -> TokenDigest {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        TokenDigest(bytes)
    }

    /// Digests the key of a session. It never equals the digest of a token: the digested text begins with a control
    /// character, which no token key contains.
    pub fn of_session(key: &[u8]) -> TokenDigest {
        TokenDigest::of(&zeroize::Zeroizing::new([b"\0session\0", key].concat()))
    }

    /// Digests the name of the user of a client certificate. It never equals the digest of a token or session.
    pub fn of_certificate(user: &str) -> TokenDigest {
        TokenDigest::of(&[b"\0certificate\0", user.as_bytes()].concat())
    }

    /// Reads a digest as stored; `None` unless it is 32 bytes long.
    pub fn from_bytes(bytes: &[u8]) -> Option<TokenDigest> {
        bytes.try_into().ok().map(TokenDigest)
    }

    /// Returns the digest as 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        super::hex(&self.0)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Shows only the first four bytes: enough to follow one token through debug output.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "TokenDigest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}
