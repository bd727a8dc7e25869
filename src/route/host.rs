//! Parses an authority: a host, and a port if there is one.
//!
//! Stricter than RFC 3986 §3.2.2, since each host must have one spelling here and at the upstream. Refused are user
//! information, escapes, delimiters that the grammar allows in names, and numbers that some resolvers take for an
//! address. Used by [`Target::read`](super::Target::read) only.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::server_names::plain;

/// Longest DNS name in characters (RFC 1035 §2.3.4, written with dots).
const MAX_NAME: usize = 253;

/// Host and port of an authority; `None` if it is malformed.
///
/// The host is in lower case, without a trailing dot; an IPv6 address is in its canonical form with brackets.
pub(super) fn read(authority: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    if let Some(literal) = authority.strip_prefix('[') {
        let (address, port) = literal.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = if port.is_empty() { None } else { Some(read_port(port.strip_prefix(':')?)?) };
        return Some((Cow::Owned(format!("[{address}]")), port));
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, Some(read_port(port)?)),
        None => (authority, None),
    };
    let name = plain(name);
    is_host(&name).then_some((name, port))
}

fn read_port(text: &str) -> Option<u16> {
    let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Whether `name` is a DNS name or an IPv4 address.
fn is_host(name: &str) -> bool {
    let mut after_dot = true;
    for byte in name.bytes() {
        let dot = byte == b'.';
        if (dot && after_dot) || !(dot || byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~')) {
            return false;
        }
        after_dot = dot;
    }
    // `after_dot` is still true for the empty name, and for a name that ends in two dots.
    !after_dot && name.len() <= MAX_NAME && (!ends_in_a_number(name) || name.parse::<Ipv4Addr>().is_ok())
}

/// Whether some resolvers take it for an address, such as `127.1`, `0x7f.1`, `2130706433`.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_an_optional_port() {
        for (text, host, port) in [
            ("api.example.com", "api.example.com", None),
            ("API.Example.com.", "api.example.com", None),
            ("api.example.com.:443", "api.example.com", Some(443)),
            ("localhost:8443", "localhost", Some(8443)),
            ("my_service-1:1", "my_service-1", Some(1)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[0:0::0:1]:8443", "[::1]", Some(8443)),
            ("[2001:DB8::A]", "[2001:db8::a]", None),
        ] {
            assert_eq!(read(text), Some((Cow::Borrowed(host), port)), "{text}");
        }
    }

    #[test]
    fn a_malformed_authority_is_refused() {
        let long = "a.".repeat(128);
        for text in [
            "",
            ".",
            "..",
            ":80",
            "a..b",
            ".a",
            "a..",
            "a@b",
            "user:pass@host",
            "a,b",
            "a, b",
            "a b",
            "a/evil",
            "a?x",
            "a#x",
            "a\\b",
            "a%62",
            "a;b",
            "a'b",
            "a!b",
            "a*b",
            "*",
            "ä.test",
            "a\tb",
            "a:",
            "a:0",
            "a:99999",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:80evil",
            "a:80:80",
            "a: 80",
            "a:000080",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]:",
            "[::1]:0",
            "[::1%eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "[::1]]",
            "127.1",
            "0x7f.0x1",
            "2130706433",
            "1.2.3.256",
            "01.2.3.4",
            "host.0x7f",
            long.as_str(),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
