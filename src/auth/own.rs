//! Distinguishes the gateway's own credentials from those of applications behind it.
//!
//! An application that checks credentials itself receives them from the client, but never a gateway key: the
//! application could use that key on every other route.

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use crate::token::{ShownKey, TokenFormat};

/// Shorter texts are not checked as keys: no generated key is that short, and each check costs a hash.
const MIN_LENGTH: usize = 16;

/// Reports whether an `Authorization` value is a credential of the gateway, or a reader could take it for one.
///
/// True if it has one of our schemes, whatever follows. Also true if it contains a text in the format of our generated
/// keys (40 hexadecimal digits, or our prefix with its checksum), or one that `is_known` reports as a live key: clients
/// send keys with wrong schemes too. Base64 words are decoded and checked in the same way, since `Basic` sends username
/// and password like that. A generated key need not be live: this process may never have seen it. Only `Digest` may
/// have 40 hexadecimal digits: its nonces often contain a SHA-1.
pub(super) fn is_own(line: &[u8], schemes: &[Box<str>], is_known: impl Fn(ShownKey<'_>) -> bool) -> bool {
    let names_ours = |element: &[u8]| {
        let scheme = element.split(|byte| !is_word(*byte)).find(|word| !word.is_empty()).unwrap_or_default();
        schemes.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(scheme))
    };
    if line.split(|byte| matches!(byte, b',' | b';')).any(names_ours) {
        return true;
    }
    let is_digest = line.split(|byte| !is_word(*byte)).next().is_some_and(|word| word.eq_ignore_ascii_case(b"digest"));
    let is_ours = |word: &str| {
        let generated = TokenFormat::of(word).is_some_and(|format| format == TokenFormat::Prefixed || !is_digest);
        generated || ShownKey::parse(word).is_ok_and(&is_known)
    };
    holds_key(line, &is_ours)
        || long_words(line).any(|word| decoded(word).is_some_and(|text| holds_key(&text, &is_ours)))
}

/// Reports whether a text contains a word that is a key of ours.
fn holds_key(text: &[u8], is_ours: &impl Fn(&str) -> bool) -> bool {
    // A key may end in `=`, as base64 does.
    let padded = text.split(|byte| !is_word(*byte) && *byte != b'=').filter_map(|piece| {
        let end = piece.iter().rposition(|byte| *byte != b'=')?;
        let start = piece.iter().take(end).rposition(|byte| *byte == b'=').map_or(0, |at| at + 1);
        piece.get(start..)
    });
    long_words(text)
        .chain(padded.filter(|word| word.len() >= MIN_LENGTH))
        .filter_map(|word| std::str::from_utf8(word).ok())
        .any(is_ours)
}

fn long_words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !is_word(*byte)).filter(|word| word.len() >= MIN_LENGTH)
}

/// Decodes a word from base64, in either alphabet.
fn decoded(word: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let word = std::str::from_utf8(word).ok()?;
    let text = Base64Unpadded::decode_vec(word).or_else(|_| Base64UrlUnpadded::decode_vec(word));
    text.ok().map(Zeroizing::new)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_that_ends_in_padding_is_ours_under_any_scheme() {
        let key = "YWxpY2U6a2V5LWFiY2Q==";
        let is_own = |line: &str| super::is_own(line.as_bytes(), &[], |shown| shown.expose() == key);
        for around in ["JWT KEY", "KEY", "Foo token=KEY", "Foo token=\"KEY\", x=1"] {
            assert!(is_own(&around.replace("KEY", key)), "{around}");
        }
        assert!(!is_own("JWT YWxpY2U6a2V5LWFiY2Q="));
    }

    #[test]
    fn a_key_in_base64_is_ours_as_user_name_and_as_password() {
        for key in [KEY, "YWxpY2U6a2V5LWFiY2Q=="] {
            let is_own = |line: &str| super::is_own(line.as_bytes(), &[], |shown| shown.expose() == key);
            for text in ["KEY", "KEY:", ":KEY", "alice:KEY", "alice:Token KEY", "al\u{ed}ce:KEY"] {
                let text = text.replace("KEY", key);
                for coded in [Base64::encode_string(text.as_bytes()), Base64UrlUnpadded::encode_string(text.as_bytes())]
                {
                    assert!(is_own(&format!("Basic {coded}")), "{text}");
                    assert!(is_own(&format!("Foo a=\"{coded}\"")), "{text}");
                }
            }
            assert!(!is_own(&format!("Basic {}", Base64::encode_string(b"alice:correct horse battery staple"))));
        }
    }

    use base64ct::Base64;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::token::TokenKey;

    const KEY: &str = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";

    #[test]
    fn a_line_is_ours_by_its_scheme_or_by_a_key_in_it() {
        let schemes: Vec<Box<str>> = vec!["Token".into(), "Bearer".into()];
        let is_own = |line: &str| is_own(line.as_bytes(), &schemes, |key| key.expose() == KEY);
        for ours in [
            "Token x",
            "token\tx",
            "BEARER x",
            "Token",
            "  Token x",
            "Token token=x",
            "Token,x",
            "\"Token\" x",
            "Basic eDp5, Token x",
            "Basic eDp5;Bearer x",
            &format!("Apikey {KEY}"),
            &format!("Apikey key=\"{KEY}\""),
            KEY,
            // A generated key that this process has never seen.
            "Apikey 9944b09199c62bcf9418ad846dd0e4bbdfc6ee4c",
        ] {
            assert!(is_own(ours), "{ours}");
        }
        for foreign in [
            "",
            "Basic eDp5",
            "Tokens x",
            "Token-2 x",
            "Digest username=\"Token\", nonce=\"bearer\"",
            "Digest nonce=\"Pr3gIhRVBQA=9944b09199c62bcf9418ad846dd0e4bbdfc6ee4c\"",
            "Apikey 9944b09199c62bcf9418ad846dd0e4bbdfc6ee4",
            "Apikey 9944b09199c62bcf9418ad846dd0e4bbdfc6ee4bb",
            "Negotiate Token",
        ] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_key_with_our_prefix_and_checksum_is_ours_under_any_scheme() {
        let key = TokenKey::generate(TokenFormat::Prefixed, &mut StdRng::from_seed([7; 32]));
        let line = format!("Basic {}", key.expose());
        assert!(is_own(line.as_bytes(), &[], |_| false));
        assert!(!is_own(line.replace("tg_", "tx_").as_bytes(), &[], |_| false));
    }
}
