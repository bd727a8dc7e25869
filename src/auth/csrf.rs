//! Cross-site request forgery: does a request with a session come from a page that may send it?
//!
//! Two things must hold, as in Django: the page is of our own origin (`Origin`, else `Referer`), and it knows a secret.
//! That of a session is derived from its key, so that a planted cookie or the secret of another session helps nobody;
//! who has no session yet keeps it in a cookie. In pages it stands under a mask that is new each time.

use aws_lc_rs::error::Unspecified;
use http::header::{ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, Method};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::cookies;
use crate::route::Target;
use crate::token::{ShownKey, TokenDigest};

/// The field in which scripts send what the cookie holds.
const FIELD: HeaderName = HeaderName::from_static("x-csrftoken");

const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LENGTH: usize = 32;

/// What a page of ours knows and others do not. 32 letters and digits, as in Django.
#[derive(Clone)]
pub struct CsrfSecret(Zeroizing<[u8; LENGTH]>);

/// Why a request may have been forged, in the words of Django.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrfFault {
    /// It says that it comes from elsewhere.
    #[error("Origin checking failed - {0} does not match any trusted origins.")]
    Origin(String),
    /// It does not say at all where it comes from.
    #[error("Referer checking failed - no Referer.")]
    NoReferer,
    /// It names a page elsewhere.
    #[error("Referer checking failed - {0} does not match any trusted origins.")]
    Referer(String),
    /// Its browser has no secret.
    #[error("CSRF cookie not set.")]
    NoCookie,
    /// It does not show the secret.
    #[error("CSRF token missing.")]
    Missing,
    /// It shows another one in its field.
    #[error("CSRF token from the 'X-Csrftoken' HTTP header incorrect.")]
    Field,
    /// It shows another one in its form.
    #[error("CSRF token from POST incorrect.")]
    Form,
}

impl CsrfSecret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn draw() -> Result<CsrfSecret, Unspecified> {
        let mut random = Zeroizing::new([0; LENGTH]);
        aws_lc_rs::rand::fill(random.as_mut())?;
        Ok(CsrfSecret(spelt(&random)))
    }

    /// That of a session. The key cannot be found from it.
    pub fn of_session(key: ShownKey<'_>) -> CsrfSecret {
        let text = Zeroizing::new([b"\0csrf\0", key.expose().as_bytes()].concat());
        CsrfSecret(spelt(TokenDigest::of(&text).as_bytes()))
    }

    /// What a browser must know that sends these fields, if it can know anything.
    pub fn of_fields(fields: &HeaderMap) -> Option<CsrfSecret> {
        match cookies::session(fields) {
            Some(key) => Some(CsrfSecret::of_session(key)),
            None => CsrfSecret::of_cookie(fields, cookies::CSRF_COOKIE),
        }
    }

    /// What a browser keeps in this cookie, if it is one.
    pub fn of_cookie(fields: &HeaderMap, name: &str) -> Option<CsrfSecret> {
        cookies::cookie(fields, name).and_then(CsrfSecret::parse)
    }

    fn parse(text: &str) -> Option<CsrfSecret> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then(|| CsrfSecret(Zeroizing::new(bytes)))
    }

    /// For the cookie.
    pub fn expose(&self) -> &str {
        // Letters and digits are UTF-8.
        std::str::from_utf8(self.0.as_slice()).unwrap_or_default()
    }

    /// For a form: a mask, and the secret under it.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn masked(&self) -> Result<String, Unspecified> {
        let mask = CsrfSecret::draw()?;
        let under = mask.0.iter().zip(self.0.iter()).map(|(mask, own)| letter(place(*mask) + place(*own)));
        Ok(mask.0.iter().copied().chain(under).map(char::from).collect())
    }

    /// Does the text show this secret, masked or bare?
    pub fn is_shown_by(&self, text: &str) -> bool {
        let bare = match text.as_bytes().split_at_checked(LENGTH) {
            Some((mask, under)) if under.len() == LENGTH => {
                under.iter().zip(mask).map(|(under, mask)| letter(place(*under) + 62 - place(*mask))).collect()
            }
            _ => text.as_bytes().to_vec(),
        };
        let bare = Zeroizing::new(bare);
        bool::from(bare.as_slice().ct_eq(self.0.as_slice()))
    }
}

/// May a request with a session do what it asks for? Only `GET`, `HEAD` and `OPTIONS` may without the secret.
///
/// # Errors
/// [`CsrfFault`]
pub fn check(fields: &HeaderMap, target: &Target<'_>, secure: bool) -> Result<(), CsrfFault> {
    if matches!(*target.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    check_origin(fields, target, secure)?;
    check_secret(fields, None)
}

/// As [`check`], for a form of ours, whatever the method; `shown` is its hidden field.
///
/// # Errors
/// [`CsrfFault`]
pub fn check_form(fields: &HeaderMap, target: &Target<'_>, secure: bool, shown: &str) -> Result<(), CsrfFault> {
    check_origin(fields, target, secure)?;
    check_secret(fields, Some(shown).filter(|shown| !shown.is_empty()))
}

/// A WebSocket handshake is a `GET` whose answer any page could read: the one that opens it must be ours.
///
/// # Errors
/// [`CsrfFault::Origin`]. No `Origin`: no browser.
pub fn check_handshake(fields: &HeaderMap, target: &Target<'_>, secure: bool) -> Result<(), CsrfFault> {
    if fields.contains_key(ORIGIN) { check_origin(fields, target, secure) } else { Ok(()) }
}

fn check_origin(fields: &HeaderMap, target: &Target<'_>, secure: bool) -> Result<(), CsrfFault> {
    if let Some(origin) = one(fields, ORIGIN) {
        return if is_ours(&origin, target, secure) { Ok(()) } else { Err(CsrfFault::Origin(origin)) };
    }
    if !secure {
        return Ok(());
    }
    let referer = one(fields, REFERER).ok_or(CsrfFault::NoReferer)?;
    let begin = referer.find("://").map_or(0, |at| at + 3);
    let end = referer.get(begin..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(referer.len(), |at| begin + at);
    let origin = referer.get(..end).unwrap_or_default();
    if is_ours(origin, target, secure) { Ok(()) } else { Err(CsrfFault::Referer(referer)) }
}

/// The value of a field. Of two none is picked: `null` is no origin of ours and no secret.
fn one(fields: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    first.map(|first| if lines.next().is_some() { "null".to_owned() } else { first })
}

/// Is it the origin that the request itself is for? A port that goes without saying may be said.
fn is_ours(origin: &str, target: &Target<'_>, secure: bool) -> bool {
    let (scheme, usual) = if secure { ("https", 443) } else { ("http", 80) };
    let (host, port) = (target.host(), target.port().unwrap_or(usual));
    let is = |text: String| origin.eq_ignore_ascii_case(&text);
    is(format!("{scheme}://{host}:{port}")) || (port == usual && is(format!("{scheme}://{host}")))
}

fn check_secret(fields: &HeaderMap, form: Option<&str>) -> Result<(), CsrfFault> {
    let secret = CsrfSecret::of_fields(fields).ok_or(CsrfFault::NoCookie)?;
    match (form, one(fields, FIELD)) {
        (Some(shown), _) if secret.is_shown_by(shown) => Ok(()),
        (Some(_), _) => Err(CsrfFault::Form),
        (None, Some(shown)) if secret.is_shown_by(&shown) => Ok(()),
        (None, Some(_)) => Err(CsrfFault::Field),
        (None, None) => Err(CsrfFault::Missing),
    }
}

fn spelt(bytes: &[u8; LENGTH]) -> Zeroizing<[u8; LENGTH]> {
    Zeroizing::new(bytes.map(|byte| letter(usize::from(byte))))
}

fn letter(place: usize) -> u8 {
    ALPHABET.get(place % ALPHABET.len()).copied().unwrap_or(b'a')
}

/// 0 for what is no letter and no digit, which then does not fit.
fn place(letter: u8) -> usize {
    ALPHABET.iter().position(|known| *known == letter).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_bare_and_under_every_mask() {
        let secret = CsrfSecret::draw().unwrap();
        let (one, other) = (secret.masked().unwrap(), secret.masked().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), secret.expose().len()), (64, 32));
        for shown in [&one, &other, secret.expose()] {
            assert!(secret.is_shown_by(shown));
            assert!(!CsrfSecret::draw().unwrap().is_shown_by(shown));
        }
        for bad in ["", "a", &one[..63], &format!("{one}a"), &secret.expose()[..31], &"\u{e4}".repeat(32)] {
            assert!(!secret.is_shown_by(bad), "{bad}");
        }
    }

    #[test]
    fn the_secret_of_a_session_is_its_own() {
        let of = |key| CsrfSecret::of_session(ShownKey::parse(key).unwrap()).expose().to_owned();
        assert_eq!(of("abc"), of("abc"));
        assert_ne!(of("abc"), of("abd"));
        assert!(CsrfSecret::parse(&of("abc")).is_some());
    }
}
