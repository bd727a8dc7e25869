//! Parses the path of a target, and detects other readings of it.
//!
//! One scan over the raw bytes settles an ordinary path without a copy. Only a path with an escape, a parameter (`;`),
//! an empty segment or a segment that begins with a dot needs more. A path that some server could resolve to another
//! path is refused, never repaired. Used by [`Target::read`](super::Target::read) only.

use std::borrow::Cow;

use super::BadTarget;
use super::escapes::{self, Escapes, octet};

/// The readings of a path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PlainPath<'r> {
    /// Percent-decoded; an encoded slash stays encoded.
    pub(super) decoded: Cow<'r, str>,
    /// Other readings of some servers: decoded another number of times, or without parameters and empty segments.
    pub(super) others: Vec<String>,
    /// Whether the path has `//`.
    pub(super) has_empty_segments: bool,
    /// Whether the path has an encoded slash.
    pub(super) has_encoded_slash: bool,
    /// Whether the path has a delimiter that is encoded more than once.
    pub(super) has_encoded_percent: bool,
}

/// Begins a segment.
const SLASH: u8 = 1;
/// Needs a closer look right after a slash. Twice [`SLASH`], so that the class of the previous byte, shifted by one,
/// matches it.
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

/// Parses a path that begins with a slash.
pub(super) fn read(raw: &str) -> Result<PlainPath<'_>, BadTarget> {
    let (mut seen, mut previous) = (0, 0);
    for byte in raw.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(BAD);
        seen |= (class & !(SLASH | SUSPECT_FIRST)) | (class & SUSPECT_FIRST & (previous << 1));
        previous = class & SLASH;
    }
    if seen == 0 {
        return Ok(PlainPath { decoded: Cow::Borrowed(raw), ..PlainPath::default() });
    }
    if seen & BAD != 0 {
        return Err(BadTarget::Character);
    }
    let mut path = PlainPath { decoded: Cow::Borrowed(raw), ..PlainPath::default() };
    if seen & ESCAPE != 0 {
        let Escapes { decoded, others, has_slash, has_percent } = escapes::decode(raw)?;
        (path.decoded, path.others) = (Cow::Owned(decoded), others);
        (path.has_encoded_slash, path.has_encoded_percent) = (has_slash, has_percent);
    }
    let readings = std::iter::once(&*path.decoded).chain(path.others.iter().map(String::as_str));
    if readings.clone().any(has_dot_segment) {
        return Err(BadTarget::DotSegment);
    }
    path.has_empty_segments = path.decoded.contains("//");
    let folded: Vec<String> = readings.filter(|text| text.contains("//") || text.contains(';')).map(folded).collect();
    path.others.extend(folded);
    Ok(path)
}

/// The path as a server reads it that removes parameters and merges slashes.
fn folded(decoded: &str) -> String {
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

/// The part of `raw` after `prefix` (decoded), unchanged; `None` if `raw` does not begin with it.
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

/// Encodes a decoded path for use in a target.
pub(super) fn encode(decoded: &str) -> String {
    let stays = |byte: u8| CLASSES.get(usize::from(byte)).is_some_and(|class| class & (BAD | ESCAPE) == 0);
    let mut out = String::with_capacity(decoded.len());
    for byte in decoded.bytes() {
        if stays(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Whether a path begins with two slashes, in any spelling. Some servers read that as an authority.
pub(super) fn has_authority(raw: &str) -> bool {
    let mut rest = raw.strip_prefix('/').unwrap_or(raw).as_bytes();
    // `%252F`: a doubly encoded character begins with an encoded percent sign.
    let mut in_escape = false;
    loop {
        match rest {
            [b'/', ..] if !in_escape => return true,
            [b'%', behind @ ..] if !in_escape => (rest, in_escape) = (behind, true),
            [b'2', b'5', behind @ ..] if in_escape => rest = behind,
            [b'2', b'f' | b'F', ..] if in_escape => return true,
            _ => return false,
        }
    }
}

/// Whether `c` is a slash, or becomes one when a server normalises Unicode (NFKC).
fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\u{ff0f}' | '\u{ff3c}' | '\u{fe68}')
}

fn has_dot_segment(path: &str) -> bool {
    path.split(is_slash).any(is_dot_segment)
}

/// Whether any server reads the segment as `.` or `..`: with parameters, with whitespace that is trimmed, or with other
/// Unicode dots.
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
            assert_eq!(path, PlainPath { decoded: Cow::Borrowed(raw), ..PlainPath::default() });
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
    fn other_readings_of_a_path_are_reported() {
        let table: [(&str, [bool; 3], &[&str]); 11] = [
            ("//a", [true, false, false], &["/a"]),
            ("/a//", [true, false, false], &["/a/"]),
            ("/a;v=1/b", [false, false, false], &["/a/b"]),
            ("/a%3bv=1/b", [false, false, false], &["/a/b"]),
            ("/;//", [true, false, false], &["/"]),
            ("/a/", [false, false, false], &[]),
            ("/a%2Fb", [false, true, false], &["/a/b"]),
            ("/a%2fb;x", [false, true, false], &["/a/b;x", "/a%2Fb", "/a/b"]),
            ("/a%252Fb", [false, false, true], &["/a/b"]),
            ("/x/http:%2F%2Fy", [false, true, false], &["/x/http://y", "/x/http:/y"]),
            ("/a%253bx", [false, false, false], &["/a;x", "/a"]),
        ];
        for (raw, notes, others) in table {
            let path = read(raw).unwrap();
            let noted = [path.has_empty_segments, path.has_encoded_slash, path.has_encoded_percent];
            assert_eq!((noted, path.others), (notes, others.iter().map(|s| (*s).into()).collect()), "{raw}");
        }
    }

    #[test]
    fn two_leading_slashes_are_found_in_every_spelling() {
        for raw in ["//h", "/%2Fh", "/%2fh", "/%252Fh", "/%25252fh", "//"] {
            assert!(has_authority(raw), "{raw}");
        }
        for raw in ["/", "/h", "/%2Eh", "/%25", "/%252E", "/2F", "/25/", "/%25/", "/h//x", "/%"] {
            assert!(!has_authority(raw), "{raw}");
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
                    "/public%2f..%2fadmin/x",
                    "/public/..%2fsecret",
                    "/public/%2e%2e%2fsecret",
                    "/public/%252e%252e/x",
                    "/public/..%252fx",
                    "/public/%25252e./x",
                    "/public/.%2525252e%252Fx",
                    "/public/%252e",
                    "/public/..%253bx/y",
                ],
            ),
            (
                HiddenByte,
                &[
                    "/a%5cb",
                    "/a%5Cb",
                    "/a%00",
                    "/a%0d%0a",
                    "/a%7f",
                    "/a%1f",
                    "/public/..%00/x",
                    "/a%c2%85",
                    "/public/..%5csecret",
                ],
            ),
            (DoubleEncoding, &["/a%255cb", "/a%255Cb", "/a%2500", "/a%250d"]),
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
