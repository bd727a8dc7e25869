//! The target of a request, parsed once and unambiguously.
//!
//! [`Target::read`] is the first step of every request. Later steps need not check host and path again: what two
//! servers could read differently was refused, never repaired. The target is forwarded byte for byte as it was checked.
//! It knows nothing of routes, tokens or upstreams. The query is not interpreted: no rule depends on it.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, StatusCode, Version};

use super::{Peer, host, path};

/// The target of a request.
#[derive(Debug)]
pub struct Target<'r> {
    method: &'r Method,
    authority: &'r str,
    host: Cow<'r, str>,
    port: Option<u16>,
    path: &'r str,
    plain: path::PlainPath<'r>,
    query: Option<&'r str>,
}

/// The rule that a target breaks. The text is for the client, [`BadTarget::rule`] for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadTarget {
    /// `CONNECT` or `TRACE`.
    #[error("this method is not served here")]
    Method,
    /// The target is longer than the limit.
    #[error("the target is too long")]
    TooLong,
    /// The asterisk or authority form, a scheme that is neither `http` nor `https`, or a URI without a path.
    #[error("the target must be a path, or a URI with the scheme http or https and a path")]
    Form,
    /// No `Host`.
    #[error("a Host header is required")]
    HostMissing,
    /// More than one `Host`.
    #[error("the Host header may be sent only once")]
    HostRepeated,
    /// `Host` and the authority of the target differ.
    #[error("the Host header and the authority of the target differ")]
    HostDiffers,
    /// The host or port is malformed.
    #[error("the host must be a name or an address, with a port from 1 to 65535 if any")]
    HostMalformed,
    /// The connection was made for a name with another certificate.
    #[error("this host is not served on this connection")]
    Misdirected,
    /// A character that RFC 3986 does not allow in a path.
    #[error("the path has a character that must be percent-encoded")]
    Character,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a malformed percent-encoding")]
    Escape,
    /// An encoded backslash or control character.
    #[error("the path has an encoded backslash or control character")]
    HiddenByte,
    /// An escape that decodes to an escaped backslash or control character, or one that is encoded too many times.
    #[error("the path has a backslash or control character that is percent-encoded twice, or too many encodings")]
    DoubleEncoding,
    /// The decoded path is not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// `.` or `..` in any spelling.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A control character, space, `#` or byte beyond ASCII in the query.
    #[error("the query has a character that must be percent-encoded")]
    Query,
}

impl BadTarget {
    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            BadTarget::Method => StatusCode::METHOD_NOT_ALLOWED,
            BadTarget::TooLong => StatusCode::URI_TOO_LONG,
            BadTarget::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The rule's name in logs and metrics. Stable.
    pub fn rule(self) -> &'static str {
        match self {
            BadTarget::Method => "method",
            BadTarget::TooLong => "target_length",
            BadTarget::Form => "target_form",
            BadTarget::HostMissing => "host_missing",
            BadTarget::HostRepeated => "host_repeated",
            BadTarget::HostDiffers => "host_differs",
            BadTarget::HostMalformed => "host_malformed",
            BadTarget::Misdirected => "misdirected",
            BadTarget::Character => "path_character",
            BadTarget::Escape => "path_escape",
            BadTarget::HiddenByte => "path_hidden_byte",
            BadTarget::DoubleEncoding => "path_double_encoding",
            BadTarget::NotUtf8 => "path_not_utf8",
            BadTarget::DotSegment => "path_dot_segment",
            BadTarget::Query => "query_character",
        }
    }
}

impl<'r> Target<'r> {
    /// Parses the target of a request from `peer`. `uri_bytes` limits its length.
    ///
    /// # Errors
    /// [`BadTarget`] names the first rule that the target breaks.
    pub fn read(head: &'r Parts, uri_bytes: usize, peer: &Peer) -> Result<Target<'r>, BadTarget> {
        if head.method == Method::CONNECT || head.method == Method::TRACE {
            return Err(BadTarget::Method);
        }
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        if target.len() > uri_bytes {
            return Err(BadTarget::TooLong);
        }
        // Checks the text, since `Uri::path` reads `http://host?query` as `/`.
        if !target.starts_with('/') || head.uri.scheme().is_some_and(|s| *s != Scheme::HTTP && *s != Scheme::HTTPS) {
            return Err(BadTarget::Form);
        }
        let authority = authority(head)?;
        let (host, port) = host::read(authority).ok_or(BadTarget::HostMalformed)?;
        if !peer.may_ask_for(&host) {
            return Err(BadTarget::Misdirected);
        }
        let plain = path::read(head.uri.path())?;
        let query = head.uri.query();
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')) {
            return Err(BadTarget::Query);
        }
        Ok(Target { method: &head.method, authority, host, port, path: head.uri.path(), plain, query })
    }

    /// Whether a request is for the server as a whole (`OPTIONS *`, RFC 9110 §9.3.7). Its host is checked as usual.
    ///
    /// # Errors
    /// [`BadTarget`] names the rule that its host breaks.
    pub fn is_server_wide(head: &Parts, peer: &Peer) -> Result<bool, BadTarget> {
        if head.method != Method::OPTIONS || head.uri.path_and_query().is_none_or(|target| target.as_str() != "*") {
            return Ok(false);
        }
        if head.uri.scheme().is_some_and(|s| *s != Scheme::HTTP && *s != Scheme::HTTPS) {
            return Err(BadTarget::Form);
        }
        let (host, _) = host::read(authority(head)?).ok_or(BadTarget::HostMalformed)?;
        if peer.may_ask_for(&host) { Ok(true) } else { Err(BadTarget::Misdirected) }
    }

    /// The method; never `CONNECT` or `TRACE`.
    pub fn method(&self) -> &'r Method {
        self.method
    }

    /// Host and port as the client sent them.
    pub fn authority(&self) -> &'r str {
        self.authority
    }

    /// The host: lower case, without a trailing dot; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if the client sent one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The path as the client sent it.
    pub fn path(&self) -> &'r str {
        self.path
    }

    /// Whether this path begins with two slashes, in any spelling. Some servers read that as an authority.
    pub fn has_authority(path: &str) -> bool {
        path::has_authority(path)
    }

    /// The path as the client sent it, without `prefix` (decoded, whole segments): what a route forwards that strips
    /// its prefix.
    ///
    /// Always begins with a slash; `None` if the path does not begin with the prefix.
    pub fn path_below(&self, prefix: &str) -> Option<&'r str> {
        match path::after(self.path, prefix.strip_suffix('/').unwrap_or(prefix))? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    /// The path, percent-decoded once except for encoded slashes. Routes are compared with it.
    pub fn decoded_path(&self) -> &str {
        &self.plain.decoded
    }

    /// The query as the client sent it, without its `?`.
    pub fn query(&self) -> Option<&'r str> {
        self.query
    }

    /// Whether the path has `//`.
    pub fn has_empty_segments(&self) -> bool {
        self.plain.has_empty_segments
    }

    /// Whether the path has an encoded slash (`%2F`).
    pub fn has_encoded_slash(&self) -> bool {
        self.plain.has_encoded_slash
    }

    /// Whether the path has a slash, a dot or a percent sign that is encoded more than once (`%252F`).
    pub fn has_encoded_percent(&self) -> bool {
        self.plain.has_encoded_percent
    }

    /// Other readings of [`Target::decoded_path`], by servers that decode slashes, decode again, remove parameters
    /// (`;v=1`) or merge slashes. None of them has a dot segment.
    pub fn other_readings(&self) -> impl Iterator<Item = &str> {
        self.plain.others.iter().map(String::as_str)
    }
}

/// The authority of a request: `Host`, or `:authority` in HTTP/2. If both are sent, they must be equal, ignoring case.
fn authority(head: &Parts) -> Result<&str, BadTarget> {
    let mut fields = head.headers.get_all(HOST).iter();
    match (fields.next(), fields.next(), head.uri.authority()) {
        (_, Some(_), _) => Err(BadTarget::HostRepeated),
        (None, None, Some(authority)) if head.version == Version::HTTP_2 => Ok(authority.as_str()),
        (None, None, _) => Err(BadTarget::HostMissing),
        (Some(field), None, authority) => {
            let field = field.to_str().map_err(|_| BadTarget::HostMalformed)?;
            let agrees = authority.is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(field));
            if agrees { Ok(field) } else { Err(BadTarget::HostDiffers) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::route::ServerNames;

    fn head(version: Version, method: &str, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().version(version).method(method).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn peer() -> Peer {
        Peer::plain("127.0.0.1:5000".parse().unwrap(), "127.0.0.1:8443".parse().unwrap())
    }

    #[test]
    fn a_target_is_host_port_path_and_query() {
        let head = head(Version::HTTP_11, "GET", "/a%20b/?x=%2F..&y=//", &["API.Example.com.:8443"]);
        let target = Target::read(&head, 8192, &peer()).unwrap();
        assert_eq!((target.host(), target.port()), ("api.example.com", Some(8443)));
        assert_eq!(target.authority(), "API.Example.com.:8443");
        assert_eq!((target.path(), target.decoded_path()), ("/a%20b/", "/a b/"));
        assert_eq!((target.query(), target.other_readings().count()), (Some("x=%2F..&y=//"), 0));
        assert!(!target.has_empty_segments());
    }

    #[test]
    fn a_prefix_is_stripped_by_whole_segments_in_any_spelling() {
        for (path, prefix, below) in [
            ("/api/x%20y/", "/api", Some("/x%20y/")),
            ("/api/x", "/api/", Some("/x")),
            ("/%61p%69/x", "/api/", Some("/x")),
            ("/%C3%B3/x", "/ó/", Some("/x")),
            ("/api", "/api", Some("/")),
            ("/api/", "/api/", Some("/")),
            ("/api//x", "/api", Some("//x")),
            ("/x", "/", Some("/x")),
            ("/apix", "/api", None),
            ("/ap", "/api", None),
            ("/other/x", "/api", None),
        ] {
            let head = head(Version::HTTP_11, "GET", path, &["a.test"]);
            assert_eq!(Target::read(&head, 8192, &peer()).unwrap().path_below(prefix), below, "{path} {prefix}");
        }
    }

    #[test]
    fn host_and_authority_must_agree() {
        use BadTarget::{Form, HostDiffers, HostMalformed, HostMissing, HostRepeated};
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let table: [(Version, &str, &[&str], Option<BadTarget>); 21] = [
            (one, "/", &["a.test"], None),
            (one, "/", &[], Some(HostMissing)),
            (Version::HTTP_10, "/", &[], Some(HostMissing)),
            (one, "/", &[""], Some(HostMalformed)),
            (one, "/", &["a.test", "a.test"], Some(HostRepeated)),
            (one, "/", &["a.test", "evil.test"], Some(HostRepeated)),
            (one, "/", &["a@b"], Some(HostMalformed)),
            (one, "/", &["a.test, evil.test"], Some(HostMalformed)),
            (one, "/", &["a.test:80evil"], Some(HostMalformed)),
            (one, "/", &["a.test:99999"], Some(HostMalformed)),
            (one, "http://a.test/x", &["A.test"], None),
            (one, "https://a.test/x", &["a.test"], None),
            (one, "http://evil.test/x", &["a.test"], Some(HostDiffers)),
            (one, "http://a.test:81/x", &["a.test"], Some(HostDiffers)),
            (one, "http://a.test/x", &[], Some(HostMissing)),
            (one, "http://a.test?x", &["a.test"], Some(Form)),
            (one, "ftp://a.test/x", &["a.test"], Some(Form)),
            (one, "a.test", &["a.test"], Some(Form)),
            (two, "https://a.test/x", &[], None),
            (two, "https://a.test/x", &["a.TEST"], None),
            (two, "https://a.test/x", &["evil.test"], Some(HostDiffers)),
        ];
        for (version, target, hosts, rule) in table {
            let head = head(version, "GET", target, hosts);
            assert_eq!(Target::read(&head, 8192, &peer()).err(), rule, "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn every_broken_rule_has_its_status() {
        let long = format!("/{}", "a".repeat(8192));
        for (method, target, rule, status) in [
            ("CONNECT", "a.test:443", BadTarget::Method, 405),
            ("TRACE", "/", BadTarget::Method, 405),
            ("OPTIONS", "*", BadTarget::Form, 400),
            ("GET", "*", BadTarget::Form, 400),
            ("GET", long.as_str(), BadTarget::TooLong, 414),
            ("GET", "/public/../x", BadTarget::DotSegment, 400),
            ("GET", "http://a.test/public/../x", BadTarget::DotSegment, 400),
            ("GET", "/a%5cb", BadTarget::HiddenByte, 400),
            ("GET", "/ä", BadTarget::Character, 400),
            ("GET", "/x?ä", BadTarget::Query, 400),
        ] {
            let head = head(Version::HTTP_11, method, target, &["a.test"]);
            assert_eq!(Target::read(&head, 8192, &peer()).err(), Some(rule), "{method} {target:.40}");
            assert_eq!(rule.status(), status);
        }
    }

    #[test]
    fn a_host_of_another_certificate_is_misdirected() {
        let names = Arc::new(ServerNames::new(&[vec!["a.test".to_owned()], vec!["b.test".to_owned()]]));
        let (address, local) = ("127.0.0.1:5000".parse().unwrap(), "127.0.0.1:8443".parse().unwrap());
        let peer = Peer::tls(address, local, Some("a.test"), names);
        let foreign = head(Version::HTTP_11, "GET", "/", &["B.test"]);
        assert_eq!(Target::read(&foreign, 8192, &peer).err(), Some(BadTarget::Misdirected));
        assert_eq!(BadTarget::Misdirected.status(), 421);
        let own = head(Version::HTTP_11, "GET", "/", &["A.test:8443"]);
        assert!(Target::read(&own, 8192, &peer).is_ok());
    }
}
