//! Reads the path of a target: what it means, and whether it could mean anything else elsewhere.
//!
//! One scan over the raw bytes settles ordinary paths without a copy. Only a path with an escape, a parameter (`;`), an
//! empty segment or a segment that begins with a dot is looked at more closely. A path that some server could resolve
//! to another one than we see is refused, never repaired. Used by [`Target::read`](super::Target::read) only.

use std::borrow::Cow;

use super::BadTarget;

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlainPath<'r> {
    /// Percent-decoded.
    pub(super) decoded: Cow<'r, str>,
    /// Does it have `//`?
    pub(super) has_empty_segments: bool,
    /// Does it have `;`?
    pub(super) has_parameters: bool,
}

/// Begins a segment.
const SLASH: u8 = 1;
/// Is suspect right after a slash. Twice [`SLASH`], so that the previous class, shifted, falls on it.
const SUSPECT_FIRST: u8 = SLASH << 1;
const ESCAPE: u8 = 1 << 2;
const PARAMETER: u8 = 1 << 3;
/// Not allowed in a path (RFC 3986 §3.3).
const BAD: u8 = 1 << 4;

const CLASSES: [u8; 256] = classes();

#[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "computed by the compiler; `From` is not const")]
const fn classes() -> [u8; 256] {
    let ordinary = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~!$&'()*+,=:@";
    let mut table = [BAD; 256];
    let mut at = 0;
    while at < ordinary.len() {
        table[ordinary[at] as usize] = 0;
        at += 1;
    }
    table[b'/' as usize] = SLASH | SUSPECT_FIRST;
    table[b'.' as usize] = SUSPECT_FIRST;
    table[b'%' as usize] = ESCAPE;
    table[b';' as usize] = PARAMETER;
    table
}

/// Reads a path that begins with a slash.
pub(super) fn read(raw: &str) -> Result<PlainPath<'_>, BadTarget> {
    let (mut seen, mut previous) = (0, 0);
    for byte in raw.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(BAD);
        seen |= (class & !(SLASH | SUSPECT_FIRST)) | (class & SUSPECT_FIRST & (previous << 1));
        previous = class & SLASH;
    }
    if seen == 0 {
        return Ok(PlainPath { decoded: Cow::Borrowed(raw), has_empty_segments: false, has_parameters: false });
    }
    if seen & BAD != 0 {
        return Err(BadTarget::Character);
    }
    let decoded = if seen & ESCAPE != 0 { Cow::Owned(decode(raw)?) } else { Cow::Borrowed(raw) };
    if decoded.split(is_slash).any(is_dot_segment) {
        return Err(BadTarget::DotSegment);
    }
    let (has_empty_segments, has_parameters) = (decoded.contains("//"), decoded.contains(';'));
    Ok(PlainPath { decoded, has_empty_segments, has_parameters })
}

/// The same path for a server that cuts parameters off and folds empty segments.
pub(super) fn folded(decoded: &str) -> String {
    let mut out = String::with_capacity(decoded.len());
    let mut ends_in_slash = true;
    for segment in decoded.split('/').map(without_parameters) {
        ends_in_slash = segment.is_empty();
        if !ends_in_slash {
            out.push('/');
            out.push_str(segment);
        }
    }
    if ends_in_slash {
        out.push('/');
    }
    out
}

/// What follows `prefix` (decoded) in `raw`, as it came; `None` if `raw` does not begin with it.
pub(super) fn after<'r>(raw: &'r str, prefix: &str) -> Option<&'r str> {
    let mut rest = raw.as_bytes();
    for expected in prefix.bytes() {
        let (byte, behind) = match rest {
            [b'%', high, low, behind @ ..] => (octet(Some(*high), Some(*low))?, behind),
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        if byte != expected {
            return None;
        }
        rest = behind;
    }
    raw.get(raw.len() - rest.len()..)
}

fn decode(raw: &str) -> Result<String, BadTarget> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = octet(bytes.next(), bytes.next()).ok_or(BadTarget::Escape)?;
        if is_hidden(value) {
            return Err(BadTarget::HiddenByte);
        }
        decoded.push(value);
    }
    if decoded.windows(3).any(is_escape_of_a_delimiter) {
        return Err(BadTarget::DoubleEncoding);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| BadTarget::NotUtf8)?;
    // C1 controls, which take two bytes.
    if decoded.chars().any(char::is_control) { Err(BadTarget::HiddenByte) } else { Ok(decoded) }
}

/// The byte that two hexadecimal digits spell.
fn octet(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high?)? << 4 | digit(low?)?)
}

/// Would it change the path for a server that decodes before it splits?
fn is_hidden(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\') || byte.is_ascii_control()
}

/// Would a server that decodes a second time see a dot, a slash, a control character or yet another escape?
fn is_escape_of_a_delimiter(window: &[u8]) -> bool {
    match window {
        [b'%', high, low] => {
            octet(Some(*high), Some(*low)).is_some_and(|byte| is_hidden(byte) || matches!(byte, b'.' | b'%'))
        }
        _ => false,
    }
}

/// A slash, or what a server that normalises Unicode (NFKC) takes for one.
fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\u{ff0f}' | '\u{ff3c}' | '\u{fe68}')
}

/// `.` or `..`, as read by any server: with parameters, with blanks that are trimmed, with dots of other alphabets.
fn is_dot_segment(segment: &str) -> bool {
    let mut dots = 0;
    for c in without_parameters(segment).chars() {
        match c {
            '.' | '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => dots += 1,
            '\u{2025}' => dots += 2,
            _ if c.is_whitespace() => (),
            _ => return false,
        }
    }
    matches!(dots, 1 | 2)
}

fn without_parameters(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_read_without_a_copy() {
        for raw in
            ["/", "/a", "/a/", "/product_api/1/", "/a.b/c.d", "/a/b..c", "/~a!$&'()*+,=:@-_", "/.well-known/x", "/..."]
        {
            let path = read(raw).unwrap();
            assert!(matches!(path.decoded, Cow::Borrowed(_)), "{raw}");
            assert_eq!(path.decoded, raw);
            assert!(!path.has_empty_segments && !path.has_parameters, "{raw}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        for (raw, decoded) in [
            ("/%61dmin/x", "/admin/x"),
            ("/a%20b/%C3%b3", "/a b/ó"),
            ("/100%25", "/100%"),
            ("/100%25a", "/100%a"),
            ("/%25zz", "/%zz"),
            ("/x%3Bv=1", "/x;v=1"),
            ("/%3F%23", "/?#"),
            ("/Fate%EF%BC%8FZero", "/Fate\u{ff0f}Zero"),
        ] {
            assert_eq!(read(raw).map(|path| path.decoded.into_owned()), Ok(decoded.to_owned()), "{raw}");
        }
    }

    #[test]
    fn empty_segments_and_parameters_are_noted() {
        for (raw, empty, parameters) in [
            ("//a", true, false),
            ("/a//", true, false),
            ("/a;v=1/b", false, true),
            ("/a%3bv=1/b", false, true),
            ("/;//", true, true),
            ("/a/", false, false),
        ] {
            let path = read(raw).unwrap();
            assert_eq!((path.has_empty_segments, path.has_parameters), (empty, parameters), "{raw}");
        }
    }

    #[test]
    fn a_path_with_two_meanings_is_refused() {
        use BadTarget::{Character, DotSegment, DoubleEncoding, Escape, HiddenByte, NotUtf8};
        let table: [(BadTarget, &[&str]); 6] = [
            (
                DotSegment,
                &[
                    "/.",
                    "/..",
                    "/./",
                    "/../",
                    "/public/../admin/x",
                    "/public/./../admin/x",
                    "/public/%2e%2e/admin/x",
                    "/public/%2E%2e/x",
                    "/public/.%2e/x",
                    "/public/%2e./x",
                    "/public/%2e/x",
                    "/public/..;/admin/x",
                    "/.;/admin/x",
                    "/public/..;a=b/x",
                    "/public/%2e%2e;a=b/x",
                    "/public/..%3bx/admin",
                    "/public/.;x",
                    "/a/b/../../../x",
                    "/public//../../x",
                    "//public/../x",
                    "/public;x/../admin",
                    "/public/.//..//x",
                    "/public/..%20/x",
                    "/public/%20../x",
                    "/public/.%20./x",
                    "/public/%ef%bc%8e%ef%bc%8e/x",
                    "/public/.%e2%80%a4/x",
                    "/public/%e2%80%a5/x",
                    "/public/..%ef%bc%8fx",
                    "/public/..%ef%bc%bcx",
                    "/public/..%EF%B9%A8x",
                ],
            ),
            (
                HiddenByte,
                &[
                    "/admin%2fx",
                    "/admin%2Fx",
                    "/public%2f..%2fadmin/x",
                    "/a%5cb",
                    "/a%5Cb",
                    "/a%00",
                    "/a%0d%0a",
                    "/a%7f",
                    "/a%1f",
                    "/public/..%00/x",
                    "/a%c2%85",
                    "/public/..%2fsecret",
                    "/public/..%5csecret",
                    "/public/%2e%2e%2fsecret",
                ],
            ),
            (
                DoubleEncoding,
                &[
                    "/public/%252e%252e/x",
                    "/public/..%252fx",
                    "/a%255cb",
                    "/a%255Cb",
                    "/a%2525",
                    "/a%25252e",
                    "/a%2500",
                    "/a%250d",
                    "/a%252%65",
                    "/a%25%32%65",
                    "/a%25%32e",
                ],
            ),
            (Escape, &["/%", "/%2", "/%zz", "/%2g", "/%%32e", "/%u002e", "/public/%2/../x", "/%+1"]),
            (
                NotUtf8,
                &[
                    "/%ff%fe",
                    "/%c0%ae%c0%ae/x",
                    "/%c0%af",
                    "/%e0%80%ae",
                    "/%ed%a0%80",
                    "/%80",
                    "/a%c3",
                    "/%f8%88%80%80%af",
                ],
            ),
            (
                Character,
                &[
                    "/a\\b",
                    "/public\\../x",
                    "/public/..\\x",
                    "/a b",
                    "/a\tb",
                    "/a\0b",
                    "/a\x7fb",
                    "/ä",
                    "/a\"b",
                    "/a<b",
                    "/a>b",
                    "/a^b",
                    "/a`b",
                    "/a{b",
                    "/a|b",
                    "/a}b",
                    "/a[b",
                    "/a]b",
                    "/a#b",
                    "/a?b",
                ],
            ),
        ];
        for (rule, paths) in table {
            for raw in paths {
                assert_eq!(read(raw).err(), Some(rule), "{raw}");
            }
        }
    }

    #[test]
    fn the_folded_reading_has_neither_parameters_nor_empty_segments() {
        for (decoded, reading) in [
            ("/", "/"),
            ("//", "/"),
            ("/a;v=1/b", "/a/b"),
            ("/;/admin//x", "/admin/x"),
            ("/a//", "/a/"),
            ("/a/;x", "/a/"),
            ("/a/b;x;y", "/a/b"),
        ] {
            assert_eq!(folded(decoded), reading, "{decoded}");
        }
    }
}
