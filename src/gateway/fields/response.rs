//! Changes of the headers of an upstream's response.
//!
//! Removes hop-by-hop headers and instructions for the server in front, and adds HSTS of the listener. All other
//! headers are the upstream's and pass unchanged, including `Set-Cookie` and `WWW-Authenticate` lines.

use http::header::{CONTENT_LENGTH, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::hop_by_hop::{HOP_BY_HOP, nominated};
use crate::config::settings::fold;

/// Folded prefixes of headers with which an upstream instructs the server in front to send a file or the response of
/// another URL, or to cache: nginx, Apache and others, lighttpd, Perlbal. The gateway does not follow them, and they
/// would reveal internal paths to a client.
const INSTRUCTIONS: [&[u8]; 4] = [b"xaccel", b"xsendfile", b"xlighttpd", b"xreproxy"];

/// Removes hop-by-hop headers and instructions, and sets `Strict-Transport-Security`, if given.
pub fn finish(fields: &mut HeaderMap, hsts: Option<&HeaderValue>) {
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    let ends_here = |name: &&HeaderName| HOP_BY_HOP.contains(&name.as_str()) || is_instruction(name);
    doomed.extend(fields.keys().filter(ends_here).cloned());
    // `Connection: close` and `keep-alive` name no header that is left. Without its length, the body would get another
    // framing towards the client.
    let others = nominated(fields).filter(|name| ![b"close".as_slice(), b"keep-alive"].contains(name));
    doomed.extend(others.filter_map(|n| HeaderName::from_bytes(n).ok()).filter(|n| *n != CONTENT_LENGTH));
    for name in doomed {
        fields.remove(name);
    }
    if let Some(hsts) = hsts {
        fields.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

fn is_instruction(name: &HeaderName) -> bool {
    // Decides for most names. A name that begins with another character is folded first.
    if name.as_str().starts_with(|first: char| first.is_ascii_alphanumeric() && first != 'x') {
        return false;
    }
    let begins = |begin: &&[u8]| fold(name.as_str().as_bytes()).take(begin.len()).eq(begin.iter().copied());
    INSTRUCTIONS.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_are_removed_and_the_rest_passes() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-hop, content-length"),
            ("connection", "x_two, (bad)"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x_two", "2"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x"),
            ("proxy-authenticate", "Basic"),
            ("upgrade", "h2c"),
            ("te", "x"),
            ("proxy-connection", "x"),
            ("content-length", "5"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("www-authenticate", "Token"),
            ("x_kept", "1"),
            ("x-accel-redirect", "/protected/x"),
            ("x-accel-buffering", "no"),
            ("x_accel_expires", "1"),
            ("x-sendfile", "/srv/x"),
            ("x-lighttpd-send-file", "/srv/x"),
            ("x-reproxy-url", "http://inner"),
            ("strict-transport-security", "max-age=0"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        finish(&mut fields, Some(&HeaderValue::from_static("max-age=600")));
        let mut left: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "content-length: 5",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "strict-transport-security: max-age=600",
                "www-authenticate: Token",
                "x_kept: 1",
            ]
        );
    }

    #[test]
    fn hsts_of_an_upstream_stays_if_the_listener_sends_none() {
        let mut fields = HeaderMap::new();
        fields.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1"));
        finish(&mut fields, None);
        assert_eq!(fields.get(STRICT_TRANSPORT_SECURITY).unwrap(), "max-age=1");
    }
}
