//! The redirect after a login or logout, if a page asked for one: only to a path of this origin.
//!
//! Browsers parse URLs leniently: they read `\` as `/`, ignore tabs and line ends, and take `//host` for another host.
//! A value that could be read like that is ignored.

use crate::route::Target;

/// The value of `next` as a `Location`; `None` if it is not safe. It may be a URL of this origin.
pub fn safe(next: &str, target: &Target<'_>, secure: bool) -> Option<String> {
    let scheme = if secure { "https" } else { "http" };
    let own = format!("{scheme}://{}", target.authority());
    match next.get(..own.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(&own) => safe_path(next.get(own.len()..)?),
        _ => safe_path(next),
    }
}

/// As [`safe`], for values that must be a path.
pub fn safe_path(path: &str) -> Option<String> {
    let plain = path.split(['?', '#']).next().unwrap_or_default();
    let is_path = path.starts_with('/') && !path.starts_with("//");
    let is_dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if !is_path || path.contains('\\') || path.chars().any(char::is_control) || plain.split('/').any(is_dots) {
        return None;
    }
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b' ' | b'{' | b'|' | b'}' | b'^' | b'`' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"))
            }
            _ => out.push(char::from(byte)),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::route::Peer;

    #[test]
    fn only_paths_of_this_origin_are_accepted() {
        let (head, ()) = Request::get("/auth/login/").header("Host", "Gate.test:8443").body(()).unwrap().into_parts();
        let local = "127.0.0.1:1".parse().unwrap();
        let target = Target::read(&head, 1_000, &Peer::plain(local, local)).unwrap();
        for (next, path) in [
            ("/", "/"),
            ("/a/b?c=d&e=//f#g", "/a/b?c=d&e=//f#g"),
            ("/żó b", "/%C5%BC%C3%B3%20b"),
            ("/a\"<b>{}|^`", "/a%22%3Cb%3E%7B%7D%7C%5E%60"),
            ("https://gate.test:8443/a", "/a"),
            ("/x?next=https://evil.example", "/x?next=https://evil.example"),
        ] {
            assert_eq!(safe(next, &target, true).as_deref(), Some(path), "{next}");
        }
        for next in [
            "",
            "a",
            "?a",
            "#a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "\t//evil.example",
            "/\t/evil.example",
            "/\u{1}/evil.example",
            "/x\r\nSet-Cookie: a=b",
            "http:evil.example",
            "https:evil.example",
            "https://evil.example/",
            "http://gate.test:8443/a",
            "https://gate.test/",
            "https://gate.test:8443",
            "https://gate.test:8443@evil.example/",
            "https://gate.test:8443.evil.example/",
            "https://gate.test:8443//evil.example",
            "https://evil.example@gate.test:8443/",
            "javascript:alert(1)",
            "data:,x",
            "ftp://gate.test:8443/",
            " /a",
            "/..//evil.example",
            "/a/../../evil.example",
            "/%2e%2E//evil.example",
            "/.//evil.example",
            "/a\u{85}b",
            "/a\u{7f}",
        ] {
            assert_eq!(safe(next, &target, true), None, "{next:?}");
        }
        assert_eq!(safe("http://gate.test:8443/a", &target, false).as_deref(), Some("/a"));
    }
}
