//! CSRF protection: checks that a request with a session comes from a page of this site.
//!
//! Like Django, it requires that the page has our origin (`Origin`, otherwise `Referer`) and sends a secret. The secret
//! of a session is derived from its key, so a planted cookie or the secret of another session is useless. Before
//! sign-in, the browser keeps the secret in a cookie. Pages contain it under a new random mask each time.

use aws_lc_rs::error::Unspecified;
use http::header::{ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, Method};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::cookies;
use crate::route::Target;
use crate::token::{ShownKey, TokenDigest};

/// The header in which scripts send the value of the cookie.
const FIELD: HeaderName = HeaderName::from_static("x-csrftoken");

/// What browsers say about the page that a request comes from.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LENGTH: usize = 32;

/// The secret that only our own pages know: 32 letters and digits, as in Django.
#[derive(Clone)]
pub struct CsrfSecret(Zeroizing<[u8; LENGTH]>);

/// Why a request may be forged, in Django's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrfFault {
    /// `Origin` names another site.
    #[error("Origin checking failed - {0} does not match any trusted origins.")]
    Origin(String),
    /// Neither `Origin` nor `Referer` is present.
    #[error("Referer checking failed - no Referer.")]
    NoReferer,
    /// `Referer` names another site.
    #[error("Referer checking failed - {0} does not match any trusted origins.")]
    Referer(String),
    /// The browser has no secret.
    #[error("CSRF cookie not set.")]
    NoCookie,
    /// The request does not contain the secret.
    #[error("CSRF token missing.")]
    Missing,
    /// The header contains a wrong secret.
    #[error("CSRF token from the 'X-Csrftoken' HTTP header incorrect.")]
    Field,
    /// The form contains a wrong secret.
    #[error("CSRF token from POST incorrect.")]
    Form,
    /// `Sec-Fetch-Site` says that the page is of another site.
    #[error("Sec-Fetch-Site checking failed - the request comes from another site.")]
    Site,
}

impl CsrfSecret {
    /// Generates a new secret.
    ///
    /// # Errors
    /// The system provides no random numbers.
    pub fn draw() -> Result<CsrfSecret, Unspecified> {
        let mut random = Zeroizing::new([0; LENGTH]);
        aws_lc_rs::rand::fill(random.as_mut())?;
        Ok(CsrfSecret(spelt(&random)))
    }

    /// Derives the secret of a session. The session key cannot be derived from it.
    pub fn of_session(key: ShownKey<'_>) -> CsrfSecret {
        let text = Zeroizing::new([b"\0csrf\0", key.expose().as_bytes()].concat());
        CsrfSecret(spelt(TokenDigest::of(&text).as_bytes()))
    }

    /// Returns the secret that the sender of these headers must know, if there is one.
    pub fn of_fields(fields: &HeaderMap) -> Option<CsrfSecret> {
        match cookies::session(fields) {
            Some(key) => Some(CsrfSecret::of_session(key)),
            None => CsrfSecret::of_cookie(fields, cookies::CSRF_COOKIE),
        }
    }

    /// Reads the secret in a cookie value, if it is valid.
    pub fn of_cookie(fields: &HeaderMap, name: &str) -> Option<CsrfSecret> {
        cookies::cookie(fields, name).and_then(CsrfSecret::parse)
    }

    fn parse(text: &str) -> Option<CsrfSecret> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then(|| CsrfSecret(Zeroizing::new(bytes)))
    }

    /// The value for the cookie.
    pub fn expose(&self) -> &str {
        // Only letters and digits, so valid UTF-8.
        std::str::from_utf8(self.0.as_slice()).unwrap_or_default()
    }

    /// The value for a form: a random mask, and the secret under it.
    ///
    /// # Errors
    /// The system provides no random numbers.
    pub fn masked(&self) -> Result<String, Unspecified> {
        let mask = CsrfSecret::draw()?;
        let under = mask.0.iter().zip(self.0.iter()).map(|(mask, own)| letter(place(*mask) + place(*own)));
        Ok(mask.0.iter().copied().chain(under).map(char::from).collect())
    }

    /// Reports whether the text is this secret, masked or unmasked.
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

/// Checks a request with a session. Only `GET`, `HEAD` and `OPTIONS` are allowed without the secret.
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

/// Like [`check`], for our own forms and any method; `shown` is the hidden form value.
///
/// # Errors
/// [`CsrfFault`]
pub fn check_form(fields: &HeaderMap, target: &Target<'_>, secure: bool, shown: &str) -> Result<(), CsrfFault> {
    check_origin(fields, target, secure)?;
    check_secret(fields, Some(shown).filter(|shown| !shown.is_empty()))
}

/// Checks a WebSocket handshake: a `GET` whose response any page could read, so the page must be ours.
///
/// # Errors
/// [`CsrfFault::Origin`]. A handshake without `Origin` does not come from a browser.
pub fn check_handshake(fields: &HeaderMap, target: &Target<'_>, secure: bool) -> Result<(), CsrfFault> {
    if fields.contains_key(ORIGIN) { check_origin(fields, target, secure) } else { Ok(()) }
}

/// Checks a request with a client certificate, which browsers send with requests of any page. A page of another origin
/// may cause `GET`, `HEAD` and `OPTIONS` requests only, and no WebSocket (`opens`). A request that says nothing about a
/// page does not come from a browser: browsers send `Origin` or `Sec-Fetch-Site` with all others.
///
/// # Errors
/// [`CsrfFault::Origin`] and [`CsrfFault::Site`].
pub fn check_page(fields: &HeaderMap, target: &Target<'_>, secure: bool, opens: bool) -> Result<(), CsrfFault> {
    if !opens && matches!(*target.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    if fields.contains_key(ORIGIN) {
        return check_origin(fields, target, secure);
    }
    let mut sites = fields.get_all(SITE).iter();
    match sites.all(|site| site == "same-origin" || site == "none") {
        true => Ok(()),
        false => Err(CsrfFault::Site),
    }
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

/// The value of a header. `None` for two lines. `null` is neither our origin nor a secret.
fn one(fields: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    first.map(|first| if lines.next().is_some() { "null".to_owned() } else { first })
}

/// Reports whether an origin is that of the request itself. The default port may be written or omitted.
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

/// 0 for a character that is neither letter nor digit; it then does not match.
fn place(letter: u8) -> usize {
    ALPHABET.iter().position(|known| *known == letter).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_unmasked_and_under_every_mask() {
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
    fn each_session_has_its_own_secret() {
        let of = |key| CsrfSecret::of_session(ShownKey::parse(key).unwrap()).expose().to_owned();
        assert_eq!(of("abc"), of("abc"));
        assert_ne!(of("abc"), of("abd"));
        assert!(CsrfSecret::parse(&of("abc")).is_some());
    }
}
