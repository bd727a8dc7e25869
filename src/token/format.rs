//! The formats of the keys that tokengate generates.

use crc::{CRC_32_ISO_HDLC, Crc};
use rand::distr::Alphanumeric;
use rand::{CryptoRng, RngExt};
use zeroize::Zeroizing;

use super::hex;

/// The format of new keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// 40 lower-case hexadecimal digits (20 random bytes), as Django REST Framework makes them.
    #[default]
    Drf,
    /// `tg_`, thirty random letters and digits (178 bits) and a checksum of six characters. Secret scanners search for
    /// the prefix; the checksum prevents false alarms. The 39 characters fit in Django's key column.
    Prefixed,
}

const RANDOM: usize = 30;
const CHECKSUM: usize = 6;
static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

impl TokenFormat {
    /// The prefix of prefixed keys.
    pub const PREFIX: &str = "tg_";

    /// The number of characters of a key in this format.
    pub const fn length(self) -> usize {
        match self {
            TokenFormat::Drf => 40,
            TokenFormat::Prefixed => TokenFormat::PREFIX.len() + RANDOM + CHECKSUM,
        }
    }

    /// Returns the format that a text matches exactly, checksum included. Imported keys may match none.
    pub fn of(text: &str) -> Option<TokenFormat> {
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match prefixed(text) {
            Some((random, sum)) => (checksum(random) == sum.as_bytes()).then_some(TokenFormat::Prefixed),
            None => (text.len() == TokenFormat::Drf.length() && is_hex(text)).then_some(TokenFormat::Drf),
        }
    }

    pub(super) fn generate(self, rng: &mut impl CryptoRng) -> Zeroizing<String> {
        match self {
            TokenFormat::Drf => {
                let mut random = Zeroizing::new([0_u8; 20]);
                rng.fill_bytes(random.as_mut());
                Zeroizing::new(hex(random.as_ref()))
            }
            TokenFormat::Prefixed => {
                let mut key = Zeroizing::new(String::with_capacity(self.length()));
                let random: Zeroizing<String> =
                    Zeroizing::new(rng.sample_iter(Alphanumeric).take(RANDOM).map(char::from).collect());
                key.push_str(TokenFormat::PREFIX);
                key.push_str(&random);
                key.extend(checksum(&random).map(char::from));
                key
            }
        }
    }
}

/// Reports whether a text has the shape of a prefixed key but a wrong checksum. Such a key was mistyped, truncated or
/// made up.
pub(super) fn is_misspelt(text: &str) -> bool {
    prefixed(text).is_some_and(|(random, sum)| checksum(random) != sum.as_bytes())
}

/// Splits a text with the shape of a prefixed key into the random part and the checksum.
fn prefixed(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix(TokenFormat::PREFIX)?;
    let is_shaped = rest.len() == RANDOM + CHECKSUM && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_shaped.then(|| rest.split_at(RANDOM))
}

/// The CRC-32 of the random part in base 62 (digits `0-9A-Za-z`, most significant first). Runs for each request with
/// such a key, so it allocates nothing.
fn checksum(random: &str) -> [u8; CHECKSUM] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = [0_u8; CHECKSUM];
    let mut left = CRC.checksum(random.as_bytes());
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(left % 62).ok().and_then(|at| DIGITS.get(at)).copied().unwrap_or(b'0');
        left /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{ShownKey, TokenKey};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may draw at random")]
    fn generated_keys_have_their_format_and_differ() {
        for format in [TokenFormat::Drf, TokenFormat::Prefixed] {
            let [one, other] = [(); 2].map(|()| TokenKey::generate(format, &mut rand::rng()));
            for key in [&one, &other] {
                assert_eq!(TokenFormat::of(key.expose()), Some(format));
                assert_eq!(key.expose().len(), format.length());
                assert!(ShownKey::parse(key.expose()).is_ok());
            }
            assert_ne!(one.expose(), other.expose());
        }
    }

    /// CRC-32 of thirty `0` is 0x77E5DB82 according to `python3 -c 'import zlib; print(hex(zlib.crc32(b"0" * 30)))'`.
    #[test]
    fn the_checksum_matches_other_implementations() {
        let zeros = "0".repeat(30);
        let value = checksum(&zeros).into_iter().fold(0_u64, |value, byte| {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                _ => byte - b'a' + 36,
            };
            value * 62 + u64::from(digit)
        });
        assert_eq!(value, 0x77E5_DB82);
        assert_eq!(&checksum(""), b"000000");
    }

    #[test]
    fn a_mistyped_key_is_malformed_and_needs_no_store_lookup() {
        let good =
            format!("tg_{0}{1}", "aB3".repeat(10), String::from_utf8(checksum(&"aB3".repeat(10)).to_vec()).unwrap());
        assert!(ShownKey::parse(&good).is_ok());
        for at in 3..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            let bad = String::from_utf8(bytes).unwrap();
            assert_eq!(TokenFormat::of(&bad), None);
            assert!(ShownKey::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn foreign_keys_with_the_same_prefix_are_ordinary_keys() {
        let key = "x".repeat(36);
        for other in [
            "tg_",
            "tg_short",
            &format!("tg-{key}"),
            &format!("tg_{}-", &key[1..]),
            &format!("tg_{key}x"),
            &format!("TG_{key}"),
        ] {
            assert!(ShownKey::parse(other).is_ok(), "{other}");
            assert_eq!(TokenFormat::of(other), None);
        }
    }
}
