//! Token keys: the secret texts.

use std::{fmt, mem};

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::format::{self, TokenFormat};
use super::{AuthMethod, TokenDigest};

/// Maximum length of a key that may contain any characters: the width of `authtoken_token.key` in Django.
const MAX_TEXT: usize = 40;

/// Maximum length of the hint of a key without a prefix.
const HINT: usize = 8;

/// A token key, owned.
///
/// Wiped when dropped. It implements neither `Display` nor `Serialize`; `Debug` shows only the hint. The text *could*
/// be a key but need not be one: 1 to 40 characters without white space or control characters, or up to 255 characters
/// of [`is_token68`].
pub struct TokenKey(Zeroizing<Box<str>>, AuthMethod);

/// The error for a text that cannot be a token key. Such a text needs no store lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token key has 1 to 40 characters without white space and control characters, or up to 255 letters, digits and \
     `-._~+/` with `=` at the end; and its checksum if it begins with `tg_`"
)]
pub struct MalformedToken;

/// A possible key, borrowed from the buffer of the request.
///
/// Implements neither `Debug` nor `Display`. Borrowed, so that a request with a known token copies no secret.
#[derive(Clone, Copy)]
pub struct ShownKey<'a>(&'a str, AuthMethod);

impl<'a> ShownKey<'a> {
    /// Accepts a text that could be a key.
    ///
    /// # Errors
    /// [`MalformedToken`] for an empty or over-long text, for one with white space or control characters, and for one
    /// that has the shape of [`TokenFormat::Prefixed`] but not its checksum.
    pub fn parse(text: &'a str) -> Result<ShownKey<'a>, MalformedToken> {
        let fits = is_short_text(text) || (text.len() <= TokenKey::MAX_LENGTH && is_token68(text));
        if !fits || format::is_misspelt(text) {
            return Err(MalformedToken);
        }
        Ok(ShownKey(text, AuthMethod::Token))
    }

    /// Like [`ShownKey::parse`], for session keys. A session key is never valid as a token, nor a token key as a
    /// session. The gateway generates all session keys itself, so none is longer than Django's keys.
    ///
    /// # Errors
    /// [`MalformedToken`], as [`ShownKey::parse`], and for more than 40 characters.
    pub fn parse_session(text: &'a str) -> Result<ShownKey<'a>, MalformedToken> {
        let key = ShownKey::parse(text)?;
        if is_short_text(text) { Ok(ShownKey(key.0, AuthMethod::Session)) } else { Err(MalformedToken) }
    }

    /// What stands for the key of a client certificate: the name of the user that it belongs to. It is not a secret,
    /// and no text of a request can become it.
    pub fn of_certificate(user: &'a str) -> ShownKey<'a> {
        ShownKey(user, AuthMethod::Certificate)
    }

    /// Returns the digest by which stores identify this key.
    pub fn digest(self) -> TokenDigest {
        digest(self.0, self.1)
    }

    /// Returns the plain secret. Review every use.
    pub fn expose(self) -> &'a str {
        self.0
    }

    /// Copies the key, for a store lookup.
    pub fn to_key(self) -> TokenKey {
        TokenKey(Zeroizing::new(self.0.into()), self.1)
    }
}

impl TokenKey {
    /// Maximum length in characters of a key in the alphabet of bearer tokens; other keys have at most 40.
    pub const MAX_LENGTH: usize = 255;

    /// Accepts a text that could be a key.
    ///
    /// # Errors
    /// [`MalformedToken`], as [`ShownKey::parse`].
    pub fn parse(text: &str) -> Result<TokenKey, MalformedToken> {
        ShownKey::parse(text).map(ShownKey::to_key)
    }

    /// Generates a new key.
    pub fn generate(format: TokenFormat, rng: &mut impl CryptoRng) -> TokenKey {
        let mut key = format.generate(rng);
        TokenKey(Zeroizing::new(mem::take(&mut *key).into_boxed_str()), AuthMethod::Token)
    }

    /// Returns the digest by which stores identify this key.
    pub fn digest(&self) -> TokenDigest {
        digest(&self.0, self.1)
    }

    /// Converts the same text into a session key.
    pub fn into_session(self) -> TokenKey {
        TokenKey(self.0, AuthMethod::Session)
    }

    /// The kind of credentials. A store without sessions finds no session key.
    pub fn method(&self) -> AuthMethod {
        self.1
    }

    /// The part of the key that lists and logs may show.
    pub fn hint(&self) -> TokenHint {
        TokenHint(self.0.chars().take((self.0.chars().count() / 2).min(shown(&self.0))).collect())
    }

    /// Returns the plain secret. Review every use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}…)", self.hint())
    }
}

/// The first eight characters of a key, after its prefix `tg_` if it has one, for lists and logs. Never more than half
/// of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHint(Box<str>);

impl TokenHint {
    /// Maximum length of a hint.
    pub const MAX_LENGTH: usize = HINT + TokenFormat::PREFIX.len();

    /// Cuts the beginning of a key that a user typed or pasted to the length of a hint, for searches.
    pub fn sought(beginning: &str) -> TokenHint {
        TokenHint(beginning.chars().take(shown(beginning)).collect())
    }

    /// Reads a hint as stored.
    pub fn from_store(text: &str) -> TokenHint {
        TokenHint(text.into())
    }

    /// Returns the hint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The maximum number of a key's characters that its hint shows.
fn shown(key: &str) -> usize {
    if key.starts_with(TokenFormat::PREFIX) { TokenHint::MAX_LENGTH } else { HINT }
}

impl fmt::Display for TokenHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reports whether a text fits in Django's key column and is a single word of a header.
fn is_short_text(text: &str) -> bool {
    if text.len() <= MAX_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return !text.is_empty();
    }
    let fits = text.len() <= MAX_TEXT * 4 && text.chars().count() <= MAX_TEXT;
    fits && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Reports whether a text is a `token68` (RFC 9110 §11.2, the alphabet of bearer tokens): letters, digits and `-._~+/`,
/// at least one, then any number of `=`.
pub fn is_token68(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

fn digest(key: &str, method: AuthMethod) -> TokenDigest {
    match method {
        AuthMethod::Token => TokenDigest::of(key.as_bytes()),
        AuthMethod::Session => TokenDigest::of_session(key.as_bytes()),
        AuthMethod::Certificate => TokenDigest::of_certificate(key),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_key_has_up_to_40_characters_or_up_to_255_of_the_bearer_alphabet() {
        let (forty, longest, padded) = ("ö".repeat(40), "a".repeat(255), format!("{}====", "-._~+/".repeat(41)));
        let django = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
        for good in ["a", django, "Custom-Key.v1~x", "töken-密钥", &forty, "=", &longest, &padded] {
            assert!(TokenKey::parse(good).is_ok(), "{good}");
        }
        let (long, marks) = ("a".repeat(256), "=".repeat(41));
        let within =
            ["=a", "é", ",", "\"", "\0", " ", "%"].map(|odd| format!("{}{odd}{}", "a".repeat(40), "b".repeat(9)));
        let odd = within.iter().map(String::as_str);
        for bad in ["", " ", "a b", "a\tb", "a\u{a0}b", "a\0b", "a\u{7f}", &long, &marks].into_iter().chain(odd) {
            assert!(TokenKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hint_is_not_longer_for_a_long_key() {
        assert_eq!(TokenKey::parse(&"abcdefghij".repeat(25)).unwrap().hint().as_str(), "abcdefgh");
    }

    #[test]
    fn a_session_key_is_no_longer_than_generated_keys() {
        assert!(ShownKey::parse_session(&"a".repeat(40)).is_ok());
        assert!(ShownKey::parse_session(&"a".repeat(41)).is_err());
    }

    #[test]
    fn debug_shows_the_hint_and_never_the_key() {
        let key = TokenKey::parse("b0aa76431f386f86ff6dfb3c7784a7939634a1df").unwrap();
        assert_eq!(format!("{key:?}"), "TokenKey(b0aa7643…)");
        assert_eq!(TokenKey::parse("abcd").unwrap().hint().as_str(), "ab");
    }

    #[test]
    fn a_hint_has_the_same_length_after_a_prefix() {
        let key = TokenKey::generate(TokenFormat::Prefixed, &mut StdRng::from_seed([7; 32]));
        assert_eq!(key.hint().as_str(), &key.expose()[..11]);
        for sought in [key.expose(), key.hint().as_str()] {
            assert_eq!(TokenHint::sought(sought), key.hint());
        }
        assert_eq!(TokenHint::sought("b0aa76431f386f86").as_str(), "b0aa7643");
    }

    #[test]
    fn a_token_key_is_no_session_key_and_the_other_way_round() {
        let token = TokenKey::parse("abc").unwrap();
        let (digest, session) = (token.digest(), token.into_session());
        assert_ne!(digest, session.digest());
        assert_eq!(session.digest(), ShownKey::parse_session("abc").unwrap().digest());
        assert_eq!(ShownKey::parse_session("abc").unwrap().to_key().method(), AuthMethod::Session);
    }

    #[test]
    fn the_digest_is_sha_256_of_the_text() {
        let key = TokenKey::parse("abc").unwrap();
        assert_eq!(
            super::super::hex(key.digest().as_bytes()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
