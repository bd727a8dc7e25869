//! Reads the credentials of a request.
//!
//! Knows the grammar of the `Authorization` field (RFC 9110 §11.4, as Django REST Framework reads it) and nothing of
//! stores or routes. It works on the bytes in place: no copy of a key is made, kept or logged here.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::token::ShownKey;

/// The reader of the `Authorization` field.
#[derive(Clone, Copy, Debug)]
pub struct Credentials;

/// What is wrong with the credentials of a request. The text is what the client gets, word for word as DRF says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadCredentials {
    /// More than one `Authorization` line. None of them is picked: proxies and servers differ in which one they read.
    #[error("The Authorization field may be sent only once.")]
    Twice,
    /// A scheme without a key.
    #[error("Invalid token header. No credentials provided.")]
    NoKey,
    /// More than one word after the scheme.
    #[error("Invalid token header. Token string should not contain spaces.")]
    Spaces,
    /// The key is not UTF-8.
    #[error("Invalid token header. Token string should not contain invalid characters.")]
    BadCharacters,
    /// No token has such a key; no store needs to be asked.
    #[error("Invalid token.")]
    NotAKey,
}

impl BadCredentials {
    /// The status of the answer; 401 comes with a challenge.
    pub fn status(self) -> StatusCode {
        match self {
            BadCredentials::Twice => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Credentials {
    /// The key that a request shows, if it shows one under any of `schemes` (compared without case).
    ///
    /// `Ok(None)` for no field, an empty one, and any other scheme: for DRF these are no credentials at all.
    ///
    /// # Errors
    /// [`BadCredentials`] if the field cannot hold a key.
    pub fn read<'f>(fields: &'f HeaderMap, schemes: &[Box<str>]) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        let mut lines = fields.get_all(AUTHORIZATION).iter();
        let Some(line) = lines.next() else { return Ok(None) };
        if lines.next().is_some() {
            return Err(BadCredentials::Twice);
        }
        Credentials::read_line(line, schemes)
    }

    /// The key that one `Authorization` line shows, as [`Credentials::read`].
    ///
    /// # Errors
    /// [`BadCredentials`] if the line cannot hold a key.
    pub fn read_line<'f>(line: &'f HeaderValue, schemes: &[Box<str>]) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        let mut words = line.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match words.next() {
            Some(scheme) if schemes.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(scheme)) => (),
            _ => return Ok(None),
        }
        let key = words.next().ok_or(BadCredentials::NoKey)?;
        if words.next().is_some() {
            return Err(BadCredentials::Spaces);
        }
        let key = std::str::from_utf8(key).map_err(|_| BadCredentials::BadCharacters)?;
        ShownKey::parse(key).map(Some).map_err(|_| BadCredentials::NotAKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenDigest;

    const KEY: &str = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";

    /// What is read from these lines: the digest of the key, or what is wrong.
    fn read(lines: &[&[u8]]) -> Result<Option<TokenDigest>, BadCredentials> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        }
        Credentials::read(&fields, &["Token".into()]).map(|key| key.map(ShownKey::digest))
    }

    #[test]
    fn a_key_is_read_as_drf_reads_it() {
        for line in [
            "Token KEY",
            "token KEY",
            "TOKEN KEY",
            "tOkEn KEY",
            "Token  KEY",
            "Token\tKEY",
            "Token \t KEY",
            "  Token KEY\t ",
        ] {
            let line = line.replace("KEY", KEY);
            assert_eq!(read(&[line.as_bytes()]), Ok(Some(TokenDigest::of(KEY.as_bytes()))), "{line}");
        }
        assert_eq!(read(&["Token töken-密钥".as_bytes()]), Ok(Some(TokenDigest::of("töken-密钥".as_bytes()))));
    }

    #[test]
    fn what_shows_no_key_of_ours_is_no_credentials() {
        assert_eq!(read(&[]), Ok(None));
        for line in [
            "",
            " ",
            "\t",
            "Token: KEY",
            "TokenKEY",
            "KEY",
            "Token=KEY",
            "XToken KEY",
            "Bearer KEY",
            "Bearer",
            "JWT KEY",
            "Basic b64",
            "Basic !!!",
            "Digest username=\"a\"",
            "Foo a b",
            "Token\u{a0}KEY",
            "Tökén KEY",
            "To\u{212a}en KEY",
        ] {
            assert_eq!(read(&[line.replace("KEY", KEY).as_bytes()]), Ok(None), "{line}");
        }
        assert_eq!(read(&[b"Token\xa0KEY"]), Ok(None));
    }

    #[test]
    fn bad_credentials_get_the_words_of_drf() {
        use BadCredentials::{BadCharacters, NoKey, NotAKey, Spaces};
        let (long, longer) = (format!("Token {}", "a".repeat(41)), format!("Token {}", "b".repeat(7000)));
        let table: [(BadCredentials, &str, &[&[u8]]); 4] = [
            (NoKey, "Invalid token header. No credentials provided.", &[b"Token", b"token", b"Token   ", b"\tToken\t"]),
            (
                Spaces,
                "Invalid token header. Token string should not contain spaces.",
                &[
                    b"Token a b",
                    b"Token KEY x",
                    b"Token KEY, realm=x",
                    b"Token KEY, Token KEY",
                    b"Token ' OR '1'='1",
                    b"Token \xff \xfe",
                ],
            ),
            (
                BadCharacters,
                "Invalid token header. Token string should not contain invalid characters.",
                &[
                    b"Token \xf6",
                    b"Token \xff\xfe",
                    b"Token \xc0\xaf",
                    b"Token \xed\xa0\x80",
                    b"Token a\xc3",
                    b"Token KEY\xa0",
                ],
            ),
            (NotAKey, "Invalid token.", &[long.as_bytes(), longer.as_bytes(), b"Token a\xc2\xa0b", b"Token a\xc2\x85"]),
        ];
        for (bad, text, lines) in table {
            for line in lines {
                assert_eq!(read(&[line]), Err(bad), "{}", String::from_utf8_lossy(line));
            }
            assert_eq!((bad.to_string().as_str(), bad.status()), (text, StatusCode::UNAUTHORIZED));
        }
    }

    #[test]
    fn of_two_lines_none_is_picked() {
        let good = format!("Token {KEY}");
        for other in ["Token bad", "Basic eDp5", "", good.as_str()] {
            assert_eq!(read(&[good.as_bytes(), other.as_bytes()]), Err(BadCredentials::Twice), "{other}");
            assert_eq!(read(&[other.as_bytes(), good.as_bytes()]), Err(BadCredentials::Twice), "{other}");
        }
        assert_eq!(BadCredentials::Twice.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn every_scheme_of_the_settings_is_accepted() {
        let mut fields = HeaderMap::new();
        fields.insert(AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert!(Credentials::read(&fields, &["Token".into(), "Bearer".into()]).is_ok_and(|key| key.is_some()));
        assert!(Credentials::read(&fields, &[]).is_ok_and(|key| key.is_none()));
    }
}
