//! Texts and numbers of access log lines: quoting, escapes, decimals, networks of addresses.
//!
//! Used by [`super::log_line`] for every request, so everything is appended to the line's buffer.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of an address: its first 24 bits (IPv4) or 48 bits (IPv6).
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 48)).into(),
    }
}

/// Reports whether a text needs neither quotes in logfmt nor escapes within quotes.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='))
}

/// Appends a text, escaped as in JSON unless it is `plain`.
///
/// Escapes everything outside visible ASCII, not only control characters: some letters change the direction of a line
/// or look like its end.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str, plain: bool) {
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for char in text.chars() {
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => {
                // One byte, as the pattern says; writing into a Vec cannot fail.
                let _ = write!(out, "{char}");
            }
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// Appends a number with at least `places` digits.
pub(super) fn write_decimal(out: &mut Vec<u8>, mut number: u64, places: usize) {
    const MAX_DIGITS: usize = 20; // digits of u64::MAX
    let mut digits = [b'0'; MAX_DIGITS];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        used += 1;
    }
    let start = MAX_DIGITS.saturating_sub(used.max(places));
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_the_last_digit() {
        let all = [(0, 1, "0"), (7, 3, "007"), (1_234, 3, "1234"), (u64::MAX, 1, "18446744073709551615")];
        for (number, places, text) in all {
            let mut out = Vec::new();
            write_decimal(&mut out, number, places);
            assert_eq!(out, text.as_bytes());
        }
    }
}
