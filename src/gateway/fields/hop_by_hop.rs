//! Hop-by-hop headers (RFC 9110 §7.6.1): the fixed ones and those that `Connection` names.

use http::HeaderMap;
use http::header::CONNECTION;

/// Headers for one connection only, whether `Connection` names them or not.
pub(super) const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// The names in all `Connection` lines, as sent.
pub(in crate::gateway) fn nominated(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    // All lines, not only the first: otherwise a second one could hide a name.
    let lines = fields.get_all(CONNECTION).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).filter(|n| !n.is_empty())
}
