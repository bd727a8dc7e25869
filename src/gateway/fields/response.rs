//! What happens to the fields of an upstream's response.
//!
//! Takes away what ends at this hop or was meant for the server in front, and adds what the listener promises. Everything else is the upstream's own matter
//! and passes as it is, `Set-Cookie` and `WWW-Authenticate` lines included.

use http::header::{CONTENT_LENGTH, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::hop_by_hop::{HOP_BY_HOP, nominated};
use crate::config::settings::fold;

/// Folded beginnings of names by which an upstream tells the server in front to send a file or another address in place
/// of its answer, or how to keep it: nginx, Apache and others, lighttpd, Perlbal. The gateway does not follow them, and
/// a client would learn of inner paths.
const INSTRUCTIONS: [&[u8]; 4] = [b"xaccel", b"xsendfile", b"xlighttpd", b"xreproxy"];

/// Removes fields for one hop and instructions, and sets `Strict-Transport-Security`, if there is one.
pub fn finish(fields: &mut HeaderMap, hsts: Option<&HeaderValue>) {
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    let ends_here = |name: &&HeaderName| HOP_BY_HOP.contains(&name.as_str()) || is_instruction(name);
    doomed.extend(fields.keys().filter(ends_here).cloned());
    // A length that is gone would change how the body is framed towards the client.
    doomed.extend(nominated(fields).filter_map(|n| HeaderName::from_bytes(n).ok()).filter(|n| *n != CONTENT_LENGTH));
    for name in doomed {
        fields.remove(name);
    }
    if let Some(hsts) = hsts {
        fields.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

fn is_instruction(name: &HeaderName) -> bool {
    let begins = |begin: &&[u8]| fold(name.as_str().as_bytes()).take(begin.len()).eq(begin.iter().copied());
    INSTRUCTIONS.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_for_one_hop_end_here_and_the_rest_passes() {
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
    fn an_upstreams_own_promise_stays_where_the_listener_makes_none() {
        let mut fields = HeaderMap::new();
        fields.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1"));
        finish(&mut fields, None);
        assert_eq!(fields.get(STRICT_TRANSPORT_SECURITY).unwrap(), "max-age=1");
    }
}
