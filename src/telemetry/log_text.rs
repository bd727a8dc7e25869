//! Texts and numbers of access log lines: quoting, escapes, decimals, networks of addresses.
//!
//! Used by [`super::log_line`] and [`super::log_template`] for every request, so everything is appended to the line's
//! buffer.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::second_text::SecondText;
use crate::clock::Timestamp;

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

/// Appends a text without blanks, quotes and backslashes: each is escaped, so that the text stays one word in any
/// surroundings.
pub(super) fn write_strictly(out: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        match char {
            '!'..='~' if !matches!(char, '"' | '\\') => {
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

/// Appends date and time with milliseconds.
pub(super) fn write_time(out: &mut Vec<u8>, time: Timestamp, second: &mut SecondText) {
    out.extend_from_slice(second.of(time));
    let millis = u64::try_from(time.as_micros().rem_euclid(1_000_000) / 1_000).unwrap_or(0);
    out.push(b'.');
    write_decimal(out, millis, 3);
    out.push(b'Z');
}

/// Appends an address; an IPv6 address is in brackets.
pub(super) fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (place, part) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                write_decimal(out, u64::from(part), 1);
            }
        }
        IpAddr::V6(ip) => {
            // Writing into a Vec cannot fail.
            let _ = write!(out, "[{ip}]");
        }
    }
}

/// Appends a number that may be negative, if there is one.
pub(super) fn write_id(out: &mut Vec<u8>, id: Option<i64>) {
    let Some(id) = id else { return };
    if id < 0 {
        out.push(b'-');
    }
    write_decimal(out, id.unsigned_abs(), 1);
}

/// Appends milliseconds with three decimals.
pub(super) fn write_millis(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    write_decimal(out, micros / 1_000, 1);
    out.push(b'.');
    write_decimal(out, micros % 1_000, 3);
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
