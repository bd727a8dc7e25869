//! The questions of proxies: may this request of my client pass? (Forward authentication.)
//!
//! A proxy describes the request of its client in headers, or in the path. [`read`] turns the head of the question into
//! the head of that request, which the gateway then judges as if it had come by itself. A description that is
//! incomplete, contradicts itself or can be read in two ways is refused.

use http::header::{HOST, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::ExtendedConnect;
use super::forwarded::{self, BadForwarded, Origin};
use crate::config::settings::ProxyTrust;
use crate::route::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Longer than any registered method.
const LONGEST_METHOD: usize = 32;

/// How a proxy asks, and what it makes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/forward-auth`: headers describe the request. The client gets an answer that refuses it (Traefik, Caddy).
    ForwardAuth,
    /// `/auth-request`: headers describe the request. The proxy understands 2xx, 401 and 403 only (nginx).
    AuthRequest,
    /// `/ext-authz/…`: method, host and the rest of the path are those of the request (Envoy).
    ExtAuthz,
}

/// A question that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// It does not come from a trusted proxy.
    #[error("this address is not one of `trusted_proxies`")]
    Untrusted,
    /// A header is absent, present more than once, or empty.
    #[error("the proxy must send {0} exactly once")]
    NotOne(&'static str),
    /// The method is none, or the proxy asks with another one.
    #[error("the proxy forwards a method that is not clear")]
    Method,
    /// The target is not a path with an optional query.
    #[error("the proxy forwards a target that is not a path with an optional query")]
    Target,
}

/// Reads a request on a listener for questions of proxies. The head of a question becomes that of the request that it
/// is about. `None`: it is no question; the second part is then as in [`forwarded::read`].
pub fn read(trust: &ProxyTrust, peer: &Peer, head: &mut Parts) -> (Option<Form>, Result<Option<Origin>, BadForwarded>) {
    let form = form(&head.uri);
    if !trust.proxies.as_ref().is_some_and(|proxies| proxies.contain(peer.address.ip())) {
        return (form, Err(BadQuestion::Untrusted.into()));
    }
    match form {
        None => (None, forwarded::read(trust, peer, &head.headers)),
        Some(asked) => (form, question(asked, trust, peer, head).map(Some)),
    }
}

fn form(uri: &Uri) -> Option<Form> {
    match uri.path() {
        "/forward-auth" => Some(Form::ForwardAuth),
        "/auth-request" => Some(Form::AuthRequest),
        path => path.starts_with("/ext-authz/").then_some(Form::ExtAuthz),
    }
}

fn question(form: Form, trust: &ProxyTrust, peer: &Peer, head: &mut Parts) -> Result<Origin, BadForwarded> {
    // A 2xx answer to a WebSocket handshake over HTTP/2 would open a tunnel to the gateway itself.
    if head.extensions.get::<ExtendedConnect>().is_some() {
        return Err(BadQuestion::Method.into());
    }
    let target = match form {
        Form::ForwardAuth | Form::AuthRequest => {
            let method = one(&head.headers, &X_FORWARDED_METHOD, "X-Forwarded-Method")?;
            let method = Method::from_bytes(method.as_bytes()).ok().filter(|m| m.as_str().len() <= LONGEST_METHOD);
            let method = method.ok_or(BadQuestion::Method)?;
            // Proxies ask with GET or with the method of the request. Anything else shows that the header is not
            // theirs.
            if head.method != Method::GET && head.method != method {
                return Err(BadQuestion::Method.into());
            }
            one(&head.headers, &X_FORWARDED_HOST, "X-Forwarded-Host")?;
            head.method = method;
            let target = target(one(&head.headers, &X_FORWARDED_URI, "X-Forwarded-Uri")?.as_bytes())?;
            // Caddy asks with the query of the client.
            if head.uri.query().is_some_and(|query| target.query() != Some(query)) {
                return Err(BadQuestion::Target.into());
            }
            target
        }
        Form::ExtAuthz => {
            let own_host = host(head)?;
            // It is the client's own, because this kind of proxy sends the host as the host.
            head.headers.remove(X_FORWARDED_HOST);
            head.headers.insert(HOST, own_host);
            let whole = head.uri.path_and_query().map_or("", |target| target.as_str());
            target(whole.strip_prefix("/ext-authz").unwrap_or_default().as_bytes())?
        }
    };
    one(&head.headers, &X_FORWARDED_PROTO, "X-Forwarded-Proto")?;
    if head.headers.get(X_FORWARDED_FOR).is_none_or(|value| value.is_empty()) {
        return Err(BadQuestion::NotOne("X-Forwarded-For").into());
    }
    head.uri = target;
    // The codec has judged the framing of the question.
    head.version = Version::HTTP_11;
    // Proxies keep `Upgrade` to themselves, but not the other headers of a WebSocket handshake.
    if head.headers.keys().any(|name| name.as_str().starts_with("sec-websocket-")) {
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    forwarded::read(trust, peer, &head.headers)?.ok_or_else(|| BadQuestion::NotOne("X-Forwarded-For").into())
}

/// The value of a header that a proxy sends exactly once.
fn one<'f>(fields: &'f HeaderMap, name: &HeaderName, shown: &'static str) -> Result<&'f HeaderValue, BadQuestion> {
    let mut lines = fields.get_all(name).iter();
    let first = lines.next().filter(|value| !value.is_empty() && lines.next().is_none());
    first.ok_or(BadQuestion::NotOne(shown))
}

/// A path with an optional query. Everything else about it is judged with the request.
fn target(text: &[u8]) -> Result<Uri, BadQuestion> {
    // `Uri` would drop a fragment.
    let is_target = text.starts_with(b"/") && text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    let uri = Uri::try_from(text).ok().filter(|uri| is_target && uri.authority().is_none());
    uri.ok_or(BadQuestion::Target)
}

/// The host of a question. HTTP/2 has it in the target.
fn host(head: &Parts) -> Result<HeaderValue, BadForwarded> {
    let of_target = head.uri.authority().map(Authority::as_str);
    let mut lines = head.headers.get_all(HOST).iter();
    match (lines.next(), lines.next(), of_target) {
        (Some(line), None, None) => Ok(line.clone()),
        (Some(line), None, Some(other)) if line.as_bytes().eq_ignore_ascii_case(other.as_bytes()) => Ok(line.clone()),
        (None, None, Some(authority)) => HeaderValue::try_from(authority).map_err(|_| BadForwarded::Host),
        _ => Err(BadForwarded::Host),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::Request;

    use super::*;
    use crate::config::settings::ForwardedFamily;
    use crate::token::Networks;

    /// How a proxy at this address asks, and what it asks about.
    fn asked(
        from: &str,
        request: (&str, &str),
        lines: &[(&str, &str)],
    ) -> (Option<Form>, Result<String, BadForwarded>) {
        let proxies = Networks::parse("10.0.0.0/8").unwrap();
        let trust = ProxyTrust { proxies, family: ForwardedFamily::XForwarded, protocol: false };
        let peer = Peer::plain(SocketAddr::new(from.parse().unwrap(), 1), "127.0.0.1:80".parse().unwrap());
        let mut head = Request::builder().method(request.0).uri(request.1);
        for (name, value) in lines {
            head = head.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut head = head.body(()).unwrap().into_parts().0;
        let (form, origin) = read(&trust, &peer, &mut head);
        let told = origin.map(|origin| {
            let origin = origin.unwrap();
            let host = origin.host.as_ref().or(head.headers.get(HOST)).unwrap().to_str().unwrap();
            let scheme = if origin.peer.secure { "https" } else { "http" };
            format!("{} {} {scheme}://{host}{}", origin.peer.address.ip(), head.method, head.uri)
        });
        (form, told)
    }

    const GOOD: [(&str, &str); 5] = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.test"),
        ("x-forwarded-method", "DELETE"),
        ("x-forwarded-uri", "/x?y=%2F"),
    ];

    /// The good lines; the value of `name` is replaced, or removed if there is none.
    fn with<'v>(name: &'v str, values: &[&'v str]) -> Vec<(&'v str, &'v str)> {
        let others = GOOD.into_iter().filter(|(other, _)| *other != name);
        others.chain(values.iter().map(|value| (name, *value))).collect()
    }

    #[test]
    fn a_proxy_describes_a_request_in_headers_or_by_its_path() {
        let request = Ok("203.0.113.7 DELETE https://a.test/x?y=%2F".to_owned());
        for (path, form) in [("/forward-auth", Form::ForwardAuth), ("/auth-request", Form::AuthRequest)] {
            for method in ["GET", "DELETE"] {
                assert_eq!(asked("10.0.0.1", (method, path), &GOOD), (Some(form), request.clone()));
            }
        }
        let lines = [("host", "b.test"), GOOD[0], GOOD[1], GOOD[2], GOOD[3], GOOD[4]];
        let request = Ok("203.0.113.7 PUT https://b.test/y/?z".to_owned());
        let told = asked("10.0.0.1", ("PUT", "/ext-authz/y/?z"), &lines);
        assert_eq!(told, (Some(Form::ExtAuthz), request), "the headers of the client count for nothing");
        let request = Ok("203.0.113.7 PUT https://b.test//y".to_owned());
        assert_eq!(asked("10.0.0.1", ("PUT", "/ext-authz//y"), &lines).1, request, "judged later");
    }

    #[test]
    fn other_requests_are_no_questions() {
        for path in ["/", "/forward-auth/", "/ext-authz", "/Forward-Auth", "/%66orward-auth", "//forward-auth", "/x"] {
            assert_eq!(asked("10.0.0.1", ("GET", path), &GOOD).0, None, "{path}");
        }
    }

    #[test]
    fn a_description_that_is_not_clear_is_refused() {
        use BadQuestion::{Method, NotOne, Target};
        let refused = |bad: BadQuestion| Err(BadForwarded::Question(bad));
        for (name, values, bad) in [
            ("x-forwarded-method", &[][..], NotOne("X-Forwarded-Method")),
            ("x-forwarded-method", &["GET", "GET"], NotOne("X-Forwarded-Method")),
            ("x-forwarded-method", &["GET", "DELETE"], NotOne("X-Forwarded-Method")),
            ("x-forwarded-method", &[""], NotOne("X-Forwarded-Method")),
            ("x-forwarded-method", &["GET, DELETE"], Method),
            ("x-forwarded-method", &["G T"], Method),
            ("x-forwarded-uri", &[], NotOne("X-Forwarded-Uri")),
            ("x-forwarded-uri", &["/public/", "/api/"], NotOne("X-Forwarded-Uri")),
            ("x-forwarded-uri", &["https://a.test/x"], Target),
            ("x-forwarded-uri", &["x"], Target),
            ("x-forwarded-uri", &["*"], Target),
            ("x-forwarded-uri", &["/x#y"], Target),
            ("x-forwarded-uri", &["/x y"], Target),
            ("x-forwarded-uri", &["/x, /y"], Target),
            ("x-forwarded-uri", &["/ä"], Target),
            ("x-forwarded-host", &[], NotOne("X-Forwarded-Host")),
            ("x-forwarded-host", &["a.test", "b.test"], NotOne("X-Forwarded-Host")),
            ("x-forwarded-proto", &[], NotOne("X-Forwarded-Proto")),
            ("x-forwarded-for", &[], NotOne("X-Forwarded-For")),
            ("x-forwarded-for", &[""], NotOne("X-Forwarded-For")),
        ] {
            assert_eq!(
                asked("10.0.0.1", ("GET", "/forward-auth"), &with(name, values)).1,
                refused(bad),
                "{name} {values:?}"
            );
        }
        for (name, value, bad) in [
            ("x-forwarded-host", "a.test, b.test", BadForwarded::Host),
            ("x-forwarded-proto", "https, http", BadForwarded::Scheme),
            ("x-forwarded-proto", "ws", BadForwarded::Scheme),
            ("x-forwarded-for", "unknown", BadForwarded::Address),
        ] {
            assert_eq!(
                asked("10.0.0.1", ("GET", "/auth-request"), &with(name, &[value])).1,
                Err(bad),
                "{name} {value}"
            );
        }
        assert_eq!(asked("10.0.0.1", ("POST", "/forward-auth"), &GOOD).1, refused(Method));
        let proxies = Networks::parse("10.0.0.0/8").unwrap();
        let trust = ProxyTrust { proxies, family: ForwardedFamily::XForwarded, protocol: false };
        let peer = Peer::plain("10.0.0.1:1".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        let request =
            with("", &[]).into_iter().fold(Request::get("/forward-auth"), |ask, (name, value)| ask.header(name, value));
        let mut head = request.extension(ExtendedConnect).body(()).unwrap().into_parts().0;
        assert_eq!(read(&trust, &peer, &mut head).1.err(), Some(BadForwarded::Question(Method)));
        assert_eq!(asked("10.0.0.1", ("GET", "/forward-auth?x"), &GOOD).1, refused(Target));
        assert!(asked("10.0.0.1", ("GET", "/forward-auth?y=%2F"), &GOOD).1.is_ok());
        let lines = [("host", "b.test"), GOOD[0], GOOD[1]];
        assert_eq!(asked("10.0.0.1", ("GET", "/ext-authz/x"), &lines[..2]).1, refused(NotOne("X-Forwarded-Proto")));
        assert_eq!(asked("10.0.0.1", ("GET", "/ext-authz/x"), &lines[1..]).1, Err(BadForwarded::Host));
        for path in ["/forward-auth", "/auth-request", "/ext-authz/x", "/auth/login/"] {
            assert_eq!(asked("192.0.2.1", ("GET", path), &GOOD).1, refused(BadQuestion::Untrusted), "{path}");
        }
    }

    #[test]
    fn a_websocket_handshake_is_known_by_the_headers_that_proxies_pass_on() {
        let proxies = Networks::parse("10.0.0.0/8").unwrap();
        let trust = ProxyTrust { proxies, family: ForwardedFamily::XForwarded, protocol: false };
        let peer = Peer::plain("10.0.0.1:1".parse().unwrap(), "127.0.0.1:80".parse().unwrap());
        for (name, is_handshake) in
            [("sec-websocket-key", true), ("sec-websocket-version", true), ("sec-fetch-mode", false)]
        {
            let request = with("x-forwarded-method", &["GET"])
                .into_iter()
                .fold(Request::get("/forward-auth").header(name, "x"), |request, (name, value)| {
                    request.header(name, value)
                });
            let mut head = request.body(()).unwrap().into_parts().0;
            assert!(read(&trust, &peer, &mut head).1.is_ok());
            assert_eq!(head.headers.contains_key(UPGRADE), is_handshake, "{name}");
        }
    }
}
