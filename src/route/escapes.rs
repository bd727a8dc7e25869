//! Decodes the percent-encodings of a path in each way in which some server does.
//!
//! Servers differ: most decode once, some keep an encoded slash, some decode again behind a proxy. A path whose
//! readings cannot lead elsewhere passes. The others are reported, and the route decides whether they pass. Used by
//! [`path::read`](super::path::read) only.

use super::BadTarget;

/// How many further times a path may be encoded. Applications put one URL into another, and sometimes that one into a
/// third.
const MAX_ENCODINGS: usize = 4;

/// How [`Escapes::decoded`] writes an encoded slash.
const SLASH: &[u8] = b"%2F";

/// A path with escapes, decoded.
pub(super) struct Escapes {
    /// Decoded once, except for encoded slashes: they separate no segments and stay encoded.
    pub(super) decoded: String,
    /// All other texts that a server could decode the path to.
    pub(super) others: Vec<String>,
    /// Whether a slash is encoded.
    pub(super) has_slash: bool,
    /// Whether a slash, a dot or a percent sign is encoded more than once.
    pub(super) has_percent: bool,
}

/// Decodes a path.
///
/// # Errors
/// An escape is malformed, or decodes to a character that no path may have: a backslash or a control character.
pub(super) fn decode(raw: &str) -> Result<Escapes, BadTarget> {
    let decoded = decode_once(raw, SLASH)?;
    let has_slash = raw.as_bytes().windows(SLASH.len()).any(|window| window.eq_ignore_ascii_case(SLASH));
    let mut others = if has_slash { vec![decode_once(raw, b"/")?] } else { Vec::new() };
    let mut has_percent = false;
    while let Some((again, of_delimiter)) = decode_again(others.last().unwrap_or(&decoded))? {
        if others.len() >= MAX_ENCODINGS {
            return Err(BadTarget::DoubleEncoding);
        }
        has_percent |= of_delimiter;
        others.push(again);
    }
    Ok(Escapes { decoded, others, has_slash, has_percent })
}

/// The byte with these two hexadecimal digits.
pub(super) fn octet(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high?)? << 4 | digit(low?)?)
}

/// Decodes once, with `slash` for each encoded slash.
fn decode_once(raw: &str, slash: &[u8]) -> Result<String, BadTarget> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match octet(bytes.next(), bytes.next()).ok_or(BadTarget::Escape)? {
                b'/' => decoded.extend_from_slice(slash),
                value if is_hidden(value) => return Err(BadTarget::HiddenByte),
                value => decoded.push(value),
            },
            byte => decoded.push(byte),
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| BadTarget::NotUtf8)?;
    // C1 controls, which take two bytes.
    if decoded.chars().any(char::is_control) { Err(BadTarget::HiddenByte) } else { Ok(decoded) }
}

/// Decodes once more. Returns the text, and whether a slash, a dot or a percent sign was decoded; `None` if there is no
/// escape. Malformed escapes are kept unchanged: they are literal percent signs.
fn decode_again(text: &str) -> Result<Option<(String, bool)>, BadTarget> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    let (mut has_escape, mut of_delimiter) = (false, false);
    while let [byte, behind @ ..] = rest {
        rest = behind;
        let escaped = match (byte, behind) {
            (b'%', [high, low, behind @ ..]) => octet(Some(*high), Some(*low)).map(|value| (value, behind)),
            _ => None,
        };
        let Some((value, behind)) = escaped else {
            decoded.push(*byte);
            continue;
        };
        if is_hidden(value) {
            return Err(BadTarget::DoubleEncoding);
        }
        rest = behind;
        has_escape = true;
        of_delimiter |= matches!(value, b'/' | b'.' | b'%');
        decoded.push(value);
    }
    let decoded = String::from_utf8_lossy(&decoded);
    if decoded.chars().any(char::is_control) {
        return Err(BadTarget::DoubleEncoding);
    }
    Ok(has_escape.then(|| (decoded.into_owned(), of_delimiter)))
}

/// Whether no path may have this byte, since some server reads it as a slash or as the end.
fn is_hidden(byte: u8) -> bool {
    byte == b'\\' || byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_of_a_path_is_known() {
        let table: [(&str, &str, &[&str], bool, bool); 11] = [
            ("/a%20b", "/a b", &[], false, false),
            ("/100%25", "/100%", &[], false, false),
            ("/%25zz", "/%zz", &[], false, false),
            ("/%2561dmin", "/%61dmin", &["/admin"], false, false),
            ("/a%2fb", "/a%2Fb", &["/a/b"], true, false),
            ("/a%2Fb%252Fc", "/a%2Fb%2Fc", &["/a/b%2Fc", "/a/b/c"], true, true),
            ("/a%252Fb", "/a%2Fb", &["/a/b"], false, true),
            ("/a%252%65", "/a%2e", &["/a."], false, true),
            ("/a%2525", "/a%25", &["/a%"], false, true),
            ("/a%25252f", "/a%252f", &["/a%2f", "/a/"], false, true),
            ("/a%25ff", "/a%ff", &["/a\u{fffd}"], false, false),
        ];
        for (raw, decoded, others, has_slash, has_percent) in table {
            let escapes = decode(raw).unwrap();
            assert_eq!((escapes.decoded.as_str(), escapes.others.as_slice()), (decoded, &*owned(others)), "{raw}");
            assert_eq!((escapes.has_slash, escapes.has_percent), (has_slash, has_percent), "{raw}");
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_depth_of_encoding_has_a_limit() {
        for depth in 0..20 {
            let raw = format!("/a%{}2f", "25".repeat(depth));
            let is_read = decode(&raw).is_ok();
            assert_eq!(is_read, depth <= MAX_ENCODINGS, "{raw}");
        }
    }

    #[test]
    fn a_forbidden_byte_is_found_however_often_it_is_encoded() {
        for byte in ["5c", "5C", "00", "0d", "7f"] {
            for depth in 0..=MAX_ENCODINGS {
                let raw = format!("/a%{}{byte}", "25".repeat(depth));
                let fault = if depth == 0 { BadTarget::HiddenByte } else { BadTarget::DoubleEncoding };
                assert_eq!(decode(&raw).err(), Some(fault), "{raw}");
            }
        }
    }
}
