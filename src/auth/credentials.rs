//! Parser of the credentials of a request.
//!
//! Knows the grammar of the `Authorization` header (RFC 9110 §11.4, as Django REST Framework reads it), but no stores
//! or routes. Works on the bytes in place; never copies, keeps or logs a key.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::token::{ShownKey, is_token68};

/// The parser of the `Authorization` header.
#[derive(Clone, Copy, Debug)]
pub struct Credentials;

/// What is wrong with the credentials of a request. The client receives this text, which equals that of DRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadCredentials {
    /// More than one `Authorization` line. Proxies and servers differ in which one they read, so none is used.
    #[error("The Authorization header may be sent only once.")]
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
    /// The key cannot exist, so no store lookup is needed.
    #[error("Invalid token.")]
    NotAKey,
}

impl BadCredentials {
    /// The status of the response; a 401 includes a challenge.
    pub fn status(self) -> StatusCode {
        match self {
            BadCredentials::Twice => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The accepted notations of a key after its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Only `Token KEY`, as in Django REST Framework.
    Bare,
    /// Also `Token token="KEY"`, as in Rails. A text that could be a parameter list is read as one.
    Parameter,
}

impl Credentials {
    /// Returns the key of a request whose scheme is one of `schemes` (case-insensitive).
    ///
    /// `Ok(None)` for a missing or empty header and for any other scheme: DRF treats these as no credentials.
    ///
    /// # Errors
    /// [`BadCredentials`] if the header is malformed.
    pub fn read<'f>(
        fields: &'f HeaderMap,
        schemes: &[Box<str>],
        form: KeyForm,
    ) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        let mut lines = fields.get_all(AUTHORIZATION).iter();
        let Some(line) = lines.next() else { return Ok(None) };
        if lines.next().is_some() {
            return Err(BadCredentials::Twice);
        }
        Credentials::read_line(line, schemes, form)
    }

    /// Returns the key of one `Authorization` line, like [`Credentials::read`].
    ///
    /// # Errors
    /// [`BadCredentials`] if the line is malformed.
    pub fn read_line<'f>(
        line: &'f HeaderValue,
        schemes: &[Box<str>],
        form: KeyForm,
    ) -> Result<Option<ShownKey<'f>>, BadCredentials> {
        let text = line.as_bytes().trim_ascii();
        let (scheme, rest) = text.split_at(text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len()));
        if !schemes.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(scheme)) {
            return Ok(None);
        }
        let rest = rest.trim_ascii();
        if form == KeyForm::Parameter && rest.iter().any(|byte| b"=\",".contains(byte)) {
            let text = std::str::from_utf8(rest).map_err(|_| BadCredentials::BadCharacters)?;
            let key = if is_token68(text) { Some(text) } else { parameter(text) };
            return key.and_then(|key| ShownKey::parse(key).ok()).map(Some).ok_or(BadCredentials::NotAKey);
        }
        let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let key = words.next().ok_or(BadCredentials::NoKey)?;
        if words.next().is_some() {
            return Err(BadCredentials::Spaces);
        }
        let key = std::str::from_utf8(key).map_err(|_| BadCredentials::BadCharacters)?;
        ShownKey::parse(key).map(Some).map_err(|_| BadCredentials::NotAKey)
    }

    /// Returns every key that any reader could find in one `Authorization` line, whatever the route accepts.
    pub fn readings<'f>(line: &'f HeaderValue, schemes: &[Box<str>]) -> impl Iterator<Item = ShownKey<'f>> {
        let read = |form| Credentials::read_line(line, schemes, form).ok().flatten();
        let bare = read(KeyForm::Bare);
        let parameter = read(KeyForm::Parameter).filter(|key| bare.is_none_or(|bare| bare.expose() != key.expose()));
        bare.into_iter().chain(parameter)
    }

    /// Returns every word of one `Authorization` line that could be a key, whatever the scheme. For a line whose key is
    /// known by its digest, also after `tokens.schemes` has changed.
    pub fn words(line: &HeaderValue) -> impl Iterator<Item = ShownKey<'_>> {
        let pieces = line.as_bytes().split(|byte| byte.is_ascii_whitespace() || b"\",".contains(byte));
        let texts = pieces.filter_map(|piece| std::str::from_utf8(piece).ok());
        let words = texts.flat_map(|piece| [Some(piece), piece.split_once('=').map(|(_, value)| value)]);
        words.flatten().filter_map(|word| ShownKey::parse(word).ok())
    }
}

/// The value of the parameter `token` in a parameter list (RFC 9110 §11.2).
///
/// Stricter than the grammar, because other parsers differ: no empty elements, no escapes in quotes, exactly one
/// `token`, and no character in its value that requires quotes.
fn parameter(text: &str) -> Option<&str> {
    let (mut left, mut found) = (text, None);
    loop {
        let (name, after) = word(left)?;
        let after = after.trim_start_matches(BLANKS).strip_prefix('=')?.trim_start_matches(BLANKS);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?,
            None => word(after)?,
        };
        if name.eq_ignore_ascii_case("token") && found.replace(value).is_some() {
            return None;
        }
        left = match after.trim_start_matches(BLANKS) {
            "" => return found.filter(|key| is_token68(key)),
            more => more.strip_prefix(',')?.trim_start_matches(BLANKS),
        };
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Splits a text after its leading `token` (RFC 9110 §5.6.2).
fn word(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let (word, rest) = text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()));
    (!word.is_empty()).then_some((word, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenDigest;

    const KEY: &str = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";

    /// The result for these lines: the digest of the key, or the error.
    fn read(lines: &[&[u8]]) -> Result<Option<TokenDigest>, BadCredentials> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        }
        Credentials::read(&fields, &["Token".into()], KeyForm::Bare).map(|key| key.map(ShownKey::digest))
    }

    #[test]
    fn a_key_is_parsed_as_in_drf() {
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
    fn a_line_without_a_token_is_no_credentials() {
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
        let (long, longer) = (format!("Token {}", "a".repeat(256)), format!("Token {}", "b".repeat(7000)));
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

    fn read_as_parameter(line: &[u8]) -> Result<Option<String>, BadCredentials> {
        let line = HeaderValue::from_bytes(line).unwrap();
        let shown = Credentials::read_line(&line, &["Token".into()], KeyForm::Parameter);
        shown.map(|key| key.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn a_key_in_the_token_parameter_is_accepted_where_a_route_allows_it() {
        for line in [
            "Token token=KEY",
            "token TOKEN=KEY",
            "Token token=\"KEY\"",
            "Token  token = \"KEY\" ",
            "Token token=KEY, nonce=\"a b, token=no\"",
            "Token nonce=1,token=\"KEY\"",
            "Token token=\"KEY\" , email=\"a@b.example\"",
            "Token KEY",
        ] {
            let line = line.replace("KEY", KEY);
            assert_eq!(read_as_parameter(line.as_bytes()), Ok(Some(KEY.to_owned())), "{line}");
        }
        assert_eq!(read_as_parameter(b"Token token=\"ab/c+d==\""), Ok(Some("ab/c+d==".to_owned())));
        // A bare key that ends in `=`, as base64 does.
        assert_eq!(read_as_parameter(b"Token abcd=="), Ok(Some("abcd==".to_owned())));
        assert_eq!(read_as_parameter(b"Bearer token=KEY"), Ok(None));
    }

    #[test]
    fn an_ambiguous_list_of_parameters_has_no_key() {
        for line in [
            "Token token=\"\"",
            "Token token=KEY token=KEY",
            "Token token=KEY,token=KEY",
            "Token token=KEY, Token=\"KEY\"",
            "Token token=KEY nonce=1",
            "Token token=KEY;nonce=1",
            "Token token=KEY,",
            "Token ,token=KEY",
            "Token token=KEY,,nonce=1",
            "Token token=\"KEY",
            "Token token=KEY\"",
            "Token token=\"KEY\"x",
            "Token token=\"K\\EY\"",
            "Token token=\"KEY \"",
            "Token token=\"a,b\"",
            "Token token=ab/c",
            "Token token=abc==",
            "Token token=='KEY'",
            "Token token='KEY'",
            "Token tokens=KEY",
            "Token nonce=1",
            "Token token*=KEY",
            "Token \"token\"=KEY",
            "Token =KEY",
            "Token KEY, nonce=1",
            "Token KEY,",
            "Token token=\"köy\"",
        ] {
            let line = line.replace("KEY", KEY);
            assert_eq!(read_as_parameter(line.as_bytes()), Err(BadCredentials::NotAKey), "{line}");
        }
        assert_eq!(read_as_parameter(b"Token token="), Ok(Some("token=".to_owned())), "that is a bare key");
        assert_eq!(read_as_parameter(b"Token a b"), Err(BadCredentials::Spaces));
        assert_eq!(read_as_parameter(b"Token"), Err(BadCredentials::NoKey));
        assert_eq!(read_as_parameter(b"Token token=\xff"), Err(BadCredentials::BadCharacters));
    }

    #[test]
    fn all_readings_of_a_line_are_found_each_once() {
        let readings = |line: &'static str| -> Vec<&'static str> {
            let line = Box::leak(Box::new(HeaderValue::from_static(line)));
            Credentials::readings(line, &["Token".into()]).map(ShownKey::expose).collect()
        };
        assert_eq!(readings("Token abc"), ["abc"]);
        assert_eq!(readings("Token token=abc"), ["token=abc", "abc"]);
        assert_eq!(readings("Token token=\"abc\", x=1"), ["abc"]);
        assert!(readings("Bearer abc").is_empty());
    }

    #[test]
    fn two_lines_are_ambiguous() {
        let good = format!("Token {KEY}");
        for other in ["Token bad", "Basic eDp5", "", good.as_str()] {
            assert_eq!(read(&[good.as_bytes(), other.as_bytes()]), Err(BadCredentials::Twice), "{other}");
            assert_eq!(read(&[other.as_bytes(), good.as_bytes()]), Err(BadCredentials::Twice), "{other}");
        }
        assert_eq!(BadCredentials::Twice.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn every_configured_scheme_is_accepted() {
        let mut fields = HeaderMap::new();
        fields.insert(AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert!(
            Credentials::read(&fields, &["Token".into(), "Bearer".into()], KeyForm::Bare)
                .is_ok_and(|key| key.is_some())
        );
        assert!(Credentials::read(&fields, &[], KeyForm::Bare).is_ok_and(|key| key.is_none()));
    }
}
