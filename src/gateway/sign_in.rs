//! Sends browsers without a session to the login page.

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderName, Method, request};

use crate::login::next;
use crate::route::Target;

const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Whether a browser opens a page with this request. Programs do not: they keep their 401 or 403.
pub(super) fn is_navigation(head: &request::Parts) -> bool {
    let fields = &head.headers;
    let accepts_html = fields.get_all(ACCEPT).iter().any(|line| {
        line.to_str().is_ok_and(|line| {
            let types = line.split(',').filter_map(|range| range.split(';').next());
            types.map(str::trim).any(|range| range.eq_ignore_ascii_case("text/html"))
        })
    });
    matches!(head.method, Method::GET | Method::HEAD)
        && accepts_html
        && fields.get(FETCH_MODE).is_some_and(|mode| mode == "navigate")
        && !fields.contains_key(AUTHORIZATION)
}

/// The login page, which leads back to this target if it is safe to do so.
pub(super) fn location(login: &str, target: &Target<'_>) -> String {
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    match next::safe_path(&format!("{}{query}", target.path())) {
        Some(back) => format!("{login}?next={}", encoded(&back)),
        None => login.to_owned(),
    }
}

/// The same as a whole URL, for a proxy that asks: Traefik would send the browser to the address at which it has asked.
pub(super) fn url(login: &str, target: &Target<'_>, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}{}", target.authority(), location(login, target))
}

/// A value of a query: everything but unreserved characters and slashes is percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::route::Peer;

    #[test]
    fn the_login_leads_back_to_the_page() {
        let local = "127.0.0.1:1".parse().unwrap();
        for (target, to) in [
            ("/app/", "/auth/login/?next=/app/"),
            ("/app/?a=b&c=%20d", "/auth/login/?next=/app/%3Fa%3Db%26c%3D%2520d"),
            ("//evil.example/", "/auth/login/"),
        ] {
            let (head, ()) = Request::get(target).header("Host", "a.test").body(()).unwrap().into_parts();
            let target = Target::read(&head, 1_000, &Peer::plain(local, local)).unwrap();
            assert_eq!(location("/auth/login/", &target), to);
        }
    }

    #[test]
    fn only_a_browser_that_opens_a_page_navigates() {
        let html = "text/html,application/xhtml+xml,*/*;q=0.8";
        for (method, mode, accept, more, navigates) in [
            ("GET", "navigate", html, "x-x", true),
            ("HEAD", "navigate", "text/html", "x-x", true),
            ("POST", "navigate", html, "x-x", false),
            ("GET", "cors", html, "x-x", false),
            ("GET", "navigate", "application/json", "x-x", false),
            ("GET", "navigate", "*/*", "x-x", false),
            ("GET", "navigate", html, "authorization", false),
        ] {
            let request = Request::builder().method(method).uri("/").header("Sec-Fetch-Mode", mode);
            let (head, ()) = request.header("Accept", accept).header(more, "x").body(()).unwrap().into_parts();
            assert_eq!(is_navigation(&head), navigates, "{method} {mode} {accept} {more}");
        }
    }
}
