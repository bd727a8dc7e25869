//! The PROXY protocol, versions 1 and 2: the first bytes of a connection name the client that a proxy connects for.
//!
//! A codec without input and output: [`read`] takes the bytes that have arrived and says how many more the header has
//! at least, so a caller never reads beyond the header. It accepts what the specification of HAProxy defines for TCP.
//! TLVs are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// The shortest header: `PROXY UNKNOWN` with its line end.
const SHORTEST: usize = 15;
/// Length of the fixed part of version 2.
const FIXED: usize = 16;
/// The longest variable part of version 2 that is accepted. Addresses take up to 216 bytes; the rest are TLVs, such as
/// the name of a client certificate.
const LONGEST_VARIABLE: usize = 4_096;

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The header has at least this number of further bytes.
    More(usize),
    /// The header is complete.
    Done(Option<Endpoints>),
}

/// The connection between the client and the proxy. `None` in [`Read::Done`]: the proxy connects for itself, for
/// instance to check the gateway's health, or does not know the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// The bytes are not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// They begin with other bytes.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// The header is longer than the limit.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The header breaks the grammar, or names a protocol other than TCP.
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Reads a header.
///
/// # Errors
/// [`BadHeader`], as soon as the bytes cannot become a header.
pub fn read(bytes: &[u8]) -> Result<Read, BadHeader> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if begins(&SIGNATURE) {
        if bytes.len() < SHORTEST { Ok(Read::More(SHORTEST - bytes.len())) } else { binary(bytes) }
    } else if begins(WORD) {
        line(bytes)
    } else {
        Err(BadHeader::Missing)
    }
}

fn line(bytes: &[u8]) -> Result<Read, BadHeader> {
    if bytes.len() < SHORTEST {
        return Ok(Read::More(SHORTEST - bytes.len()));
    }
    let Some(text) = bytes.strip_suffix(b"\r\n") else {
        // The end has two bytes.
        let more = if bytes.last() == Some(&b'\r') { 1 } else { 2 };
        return if bytes.len() + more > LONGEST_LINE { Err(BadHeader::TooLong) } else { Ok(Read::More(more)) };
    };
    if bytes.len() > LONGEST_LINE || text.iter().any(|byte| !(byte.is_ascii_graphic() || *byte == b' ')) {
        return Err(BadHeader::Malformed);
    }
    let text = std::str::from_utf8(text).map_err(|_| BadHeader::Malformed)?;
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        // What follows UNKNOWN is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Ok(Read::Done(None)),
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |text: &str| -> Option<IpAddr> {
                if family == "TCP4" {
                    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
                } else {
                    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
                }
            };
            let endpoint = |at, of| Some(SocketAddr::new(address(at)?, port(of)?));
            let endpoints = endpoint(from, from_port).zip(endpoint(to, to_port));
            let (source, destination) = endpoints.ok_or(BadHeader::Malformed)?;
            Ok(Read::Done(Some(Endpoints { source, destination })))
        }
        _ => Err(BadHeader::Malformed),
    }
}

/// A decimal number without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn binary(bytes: &[u8]) -> Result<Read, BadHeader> {
    let Some(([.., version, family, high, low], variable)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Read::More(FIXED - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > LONGEST_VARIABLE {
        return Err(BadHeader::TooLong);
    }
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadHeader::Malformed),
    };
    let addresses = match family {
        // The sender does not know the family.
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        // A Unix socket, which has no address.
        0x31 => 216,
        // A proxy that connects for itself may name any family.
        _ if is_local => 0,
        _ => return Err(BadHeader::Malformed),
    };
    if !is_local && length < addresses {
        return Err(BadHeader::Malformed);
    }
    match length.checked_sub(variable.len()) {
        None => Err(BadHeader::Malformed),
        Some(more @ 1..) => Ok(Read::More(more)),
        Some(0) if is_local => Ok(Read::Done(None)),
        Some(0) => Ok(Read::Done(match family {
            0x11 => endpoints::<4>(variable),
            0x21 => endpoints::<16>(variable),
            _ => None,
        })),
    }
}

/// Two addresses, then two ports.
fn endpoints<const N: usize>(bytes: &[u8]) -> Option<Endpoints>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let endpoint = |address: [u8; N], port| SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port));
    Some(Endpoints { source: endpoint(*source, *source_port), destination: endpoint(*destination, *destination_port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a caller does: exactly as many bytes as the header is known to have. Returns how many were taken.
    fn take(all: &[u8]) -> (usize, Result<Option<Endpoints>, Option<BadHeader>>) {
        let mut taken = 0;
        loop {
            match read(&all[..taken]) {
                Ok(Read::More(more)) if taken + more <= all.len() => taken += more,
                Ok(Read::More(_)) => return (taken, Err(None)),
                Ok(Read::Done(endpoints)) => return (taken, Ok(endpoints)),
                Err(bad) => return (taken, Err(Some(bad))),
            }
        }
    }

    fn ends(source: &str, destination: &str) -> Option<Endpoints> {
        Some(Endpoints { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    fn v2(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, variable].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        for (line, endpoints) in [
            ("PROXY TCP4 192.0.2.1 203.0.113.9 56324 443\r\n", ends("192.0.2.1:56324", "203.0.113.9:443")),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", ends("[2001:db8::1]:1", "[::1]:65535")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let with_rest = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(take(with_rest.as_bytes()), (line.len(), Ok(endpoints)), "{line}");
        }
    }

    #[test]
    fn anything_else_is_not_a_line() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for (line, bad) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadHeader::Missing),
            ("PROXX TCP4 192.0.2.1 203.0.113.9 1 2\r\n", BadHeader::Missing),
            ("proxy TCP4 192.0.2.1 203.0.113.9 1 2\r\n", BadHeader::Missing),
            ("PROXY  TCP4 192.0.2.1 203.0.113.9 1 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 203.0.113.9 1 2 \r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 203.0.113.9 1\r\n", BadHeader::Malformed),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", BadHeader::Malformed),
            ("PROXY TCP6 192.0.2.1 203.0.113.9 1 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.01 203.0.113.9 1 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 203.0.113.9 01 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 203.0.113.9 65536 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 203.0.113.9 -1 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1 203.0.113.9 +1 2\r\n", BadHeader::Malformed),
            ("PROXY UDP4 192.0.2.1 203.0.113.9 1 2\r\n", BadHeader::Malformed),
            ("PROXY TCP4 192.0.2.1\t203.0.113.9 1 2\r\n", BadHeader::Malformed),
            (&long, BadHeader::TooLong),
        ] {
            assert_eq!(take(line.as_bytes()).1, Err(Some(bad)), "{line}");
        }
        for cut in ["", "P", "PROXY ", "PROXY TCP4 192.0.2.1 203.0.113.9 1 2", "PROXY TCP4 192.0.2.1 203.0.113.9 1 2\r"]
        {
            assert_eq!(take(cut.as_bytes()).1, Err(None), "{cut}");
        }
    }

    #[test]
    fn a_binary_header_names_the_client() {
        let four = [192, 0, 2, 1, 203, 0, 113, 9, 0xdc, 0x04, 0x01, 0xbb];
        let six = [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 15], &[1, 0, 7, 0, 9]].concat();
        let tlvs = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (header, endpoints) in [
            (v2(0x21, 0x11, &four), ends("192.0.2.1:56324", "203.0.113.9:443")),
            (v2(0x21, 0x11, &tlvs), ends("192.0.2.1:56324", "203.0.113.9:443")),
            (v2(0x21, 0x21, &six), ends("[2001:db8::1]:7", "[::1]:9")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0xff, &[1, 2, 3]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let with_rest = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(take(&with_rest), (header.len(), Ok(endpoints)), "{header:x?}");
            for cut in 0..header.len() {
                assert_eq!(take(&header[..cut]).1, Err(None), "{cut} of {header:x?}");
            }
        }
    }

    #[test]
    fn other_binary_headers_are_refused() {
        for (header, bad) in [
            (v2(0x11, 0x11, &[0; 12]), BadHeader::Malformed),
            (v2(0x22, 0x11, &[0; 12]), BadHeader::Malformed),
            (v2(0x21, 0x12, &[0; 12]), BadHeader::Malformed),
            (v2(0x21, 0x11, &[0; 11]), BadHeader::Malformed),
            (v2(0x21, 0x21, &[0; 12]), BadHeader::Malformed),
            (v2(0x21, 0x31, &[0; 215]), BadHeader::Malformed),
            (v2(0x21, 0x11, &[0; 4_097]), BadHeader::TooLong),
        ] {
            let (taken, said) = take(&header);
            assert_eq!(said, Err(Some(bad)), "{header:x?}");
            assert!(taken <= FIXED, "only the fixed part was read");
        }
    }
}
