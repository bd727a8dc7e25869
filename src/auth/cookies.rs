//! The cookies of signed-in browsers.
//!
//! The session cookie's name begins with `__Host-`: browsers accept it only over HTTPS, for this exact host and all
//! paths (RFC 6265bis §4.1.3.2). So no sibling host can plant one. The CSRF cookie has Django's name, because scripts
//! read it. Sessions do not rely on it (see [`CsrfSecret`](super::CsrfSecret)).

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::token::ShownKey;

/// The cookie that holds the session key.
pub const SESSION_COOKIE: &str = "__Host-tokengate-sessionid";

/// The cookie whose value scripts send in `X-CSRFToken`.
pub const CSRF_COOKIE: &str = "csrftoken";

/// Returns the session key in these headers without resolving it.
pub fn session(fields: &HeaderMap) -> Option<ShownKey<'_>> {
    cookie(fields, SESSION_COOKIE).and_then(key)
}

/// Returns the session key in one `Cookie` line.
pub fn session_of_line(line: &HeaderValue) -> Option<ShownKey<'_>> {
    pairs(line).find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value)).and_then(key)
}

/// Returns the `Cookie` line that contains the session, for a later re-check.
pub fn session_line(fields: &HeaderMap) -> Option<&HeaderValue> {
    fields.get_all(COOKIE).iter().find(|line| session_of_line(line).is_some())
}

/// Returns the value of a cookie. `None` for several different values: servers disagree on which one applies.
pub fn cookie<'f>(fields: &'f HeaderMap, wanted: &str) -> Option<&'f str> {
    let all = fields.get_all(COOKIE).iter().flat_map(pairs);
    let mut values = all.filter_map(|(name, value)| (name == wanted).then_some(value));
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

/// Joins all `Cookie` lines into one, as HTTP/1 requires; HTTP/2 may split them (RFC 9113 §8.2.3). Removes the session
/// cookie if sessions are enabled. A single line without it stays unchanged.
pub fn gather(fields: &mut HeaderMap, without_session: bool) {
    let mut lines = fields.get_all(COOKIE).iter();
    let Some(first) = lines.next() else { return };
    let goes = |part: &[u8]| part.is_empty() || (without_session && is_session(part));
    if lines.next().is_none() && !(without_session && parts(first.as_bytes()).any(is_session)) {
        return;
    }
    let all = fields.get_all(COOKIE).iter().flat_map(|line| parts(line.as_bytes()));
    let left: Vec<&[u8]> = all.filter(|part| !goes(part)).collect();
    // Valid header values joined with `; ` are a valid header value.
    let line = if left.is_empty() { None } else { HeaderValue::from_bytes(&left.join(b"; ".as_slice())).ok() };
    match line {
        Some(line) => drop(fields.insert(COOKIE, line)),
        None => drop(fields.remove(COOKIE)),
    }
}

/// Removes `Set-Cookie` lines that would set the session cookie from an upstream's response.
pub fn remove_set_session(fields: &mut HeaderMap) {
    if !fields.contains_key(SET_COOKIE) {
        return;
    }
    let sets_it = |line: &HeaderValue| parts(line.as_bytes()).next().is_some_and(is_session);
    if !fields.get_all(SET_COOKIE).iter().any(sets_it) {
        return;
    }
    let left: Vec<HeaderValue> = fields.get_all(SET_COOKIE).iter().filter(|line| !sets_it(line)).cloned().collect();
    fields.remove(SET_COOKIE);
    for line in left {
        fields.append(SET_COOKIE, line);
    }
}

fn key(value: &str) -> Option<ShownKey<'_>> {
    ShownKey::parse_session(value).ok()
}

/// The cookies of a line; cookies that are not UTF-8 are skipped. Only HTTP white space is trimmed around names and
/// values: a name with any other white space is a different name.
fn pairs(line: &HeaderValue) -> impl Iterator<Item = (&str, &str)> {
    let texts = parts(line.as_bytes()).filter_map(|part| std::str::from_utf8(part).ok());
    texts.filter_map(|part| part.split_once('=')).map(|(name, value)| (name.trim_ascii(), value.trim_ascii()))
}

fn parts(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

/// Reports whether a cookie is the session cookie, in any spelling that an upstream could accept.
fn is_session(part: &[u8]) -> bool {
    // Some browsers sent a cookie without a name as its value alone.
    let part = part.trim_ascii();
    let part = part.strip_prefix(b"=").unwrap_or(part);
    let name = part.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(SESSION_COOKIE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        fields
    }

    #[test]
    fn a_session_is_found_among_other_cookies_and_lines() {
        let ours = format!("{SESSION_COOKIE}=abc");
        for lines in [
            vec![ours.as_str()],
            vec!["a=b", &ours],
            vec![&*format!("a=b;{ours} ; c=d")],
            vec![&*format!("ö=ü; {ours}")],
            vec![&*format!("{ours}; {ours}")],
        ] {
            assert_eq!(session(&fields(&lines)).map(ShownKey::expose), Some("abc"), "{lines:?}");
        }
        for lines in [
            vec![],
            vec!["sessionid=abc"],
            vec![&*format!("x{ours}")],
            vec![&*format!("{SESSION_COOKIE}\u{2000}=abc")],
            vec![&*format!("\u{a0}{ours}")],
            vec![&*format!("{SESSION_COOKIE}=")],
            vec![&*format!("{ours}; {SESSION_COOKIE}=abd")],
            vec![&*ours, &*format!("{SESSION_COOKIE}=abd")],
            vec![&*ours.to_ascii_lowercase()],
        ] {
            assert!(session(&fields(&lines)).is_none(), "{lines:?}");
        }
    }

    #[test]
    fn cookies_are_joined_to_one_line_and_only_the_session_is_removed() {
        let ours = format!("{SESSION_COOKIE}=abc");
        let table: [(&[&str], Option<&str>, Option<&str>); 6] = [
            (&[], None, None),
            (&["a=b;c = d"], Some("a=b;c = d"), Some("a=b;c = d")),
            (&["a=b", "c=d;", "e"], Some("a=b; c=d; e"), Some("a=b; c=d; e")),
            (&[&ours], None, Some(&ours)),
            (&[&format!("a=b; {ours};ö=ü"), &ours.to_uppercase(), "e=f"], Some("a=b; ö=ü; e=f"), None),
            (&[&format!("a={ours}"), SESSION_COOKIE], Some(&format!("a={ours}")), None),
        ];
        for (lines, without, with) in table {
            for (drops, expected) in [(true, without), (false, with)] {
                let mut fields = fields(lines);
                gather(&mut fields, drops);
                let found: Vec<_> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
                if drops || expected.is_some() {
                    assert_eq!(found, expected.map(str::as_bytes).into_iter().collect::<Vec<_>>(), "{lines:?}");
                } else {
                    assert!(found.len() <= 1, "{lines:?}");
                }
            }
        }
    }

    #[test]
    fn no_upstream_sets_a_session() {
        let mut fields = HeaderMap::new();
        for line in [&*format!(" {SESSION_COOKIE}=x; Path=/"), "sessionid=1; Path=/", &*format!("a={SESSION_COOKIE}=")]
        {
            fields.append(SET_COOKIE, HeaderValue::from_str(line).unwrap());
        }
        remove_set_session(&mut fields);
        assert_eq!(fields.get_all(SET_COOKIE).iter().count(), 2);
    }
}
