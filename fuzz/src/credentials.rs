//! Whatever `Authorization` and `Cookie` contain: a key that is found is literally part of them.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use tokengate::auth::{Credentials, KeyForm, cookies};
use tokengate::token::is_token68;

pub fn run(bytes: &[u8]) {
    let lines: Vec<HeaderValue> = bytes.split(|byte| *byte == b'\n').filter_map(|line| line.try_into().ok()).collect();
    credentials(&lines);
    session(&lines);
}

fn credentials(lines: &[HeaderValue]) {
    let schemes: [Box<str>; 2] = ["Token".into(), "Bearer".into()];
    let mut fields = HeaderMap::new();
    fields.extend(lines.iter().map(|line| (AUTHORIZATION, line.clone())));
    parameter(&fields, &schemes);
    let read = Credentials::read(&fields, &schemes, KeyForm::Bare);
    match lines {
        [] => assert!(matches!(read, Ok(None)), "a key without a field"),
        [_] => {}
        _ => assert!(read.is_err(), "one of several lines was picked"),
    }
    let Ok(Some(key)) = read else { return };
    let text = std::str::from_utf8(lines[0].as_bytes()).expect("a key is UTF-8, and its scheme is");
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    assert_eq!(words.len(), 2, "a key is one word behind a scheme");
    assert!(schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(words[0])), "the scheme is one of ours");
    assert_eq!(words[1], key.expose());
    assert!(!key.expose().contains(|c: char| c.is_whitespace() || c.is_control()), "a key is one word for everybody");
}

/// Where the parameter is accepted, the key is part of the line, as the only word of a bearer token or as the value of
/// `token`.
fn parameter(fields: &HeaderMap, schemes: &[Box<str>]) {
    let Ok(Some(key)) = Credentials::read(fields, schemes, KeyForm::Parameter) else { return };
    let bare = Credentials::read(fields, schemes, KeyForm::Bare);
    if bare.is_ok_and(|bare| bare.is_some_and(|bare| bare.expose() == key.expose())) {
        return;
    }
    let line = fields.get(AUTHORIZATION).map(|line| line.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    assert!(String::from_utf8_lossy(&line).contains("token"), "a key without its parameter");
    assert!(is_token68(key.expose()), "a value that quotes would have to protect");
}

fn session(lines: &[HeaderValue]) {
    let mut fields = HeaderMap::new();
    fields.extend(lines.iter().map(|line| (COOKIE, line.clone())));
    if let Some(key) = cookies::session(&fields) {
        let pair = [cookies::SESSION_COOKIE, key.expose()];
        let stands_there = |line: &HeaderValue| {
            let text = String::from_utf8_lossy(line.as_bytes()).into_owned();
            text.split(';')
                .any(|part| part.split_once('=').is_some_and(|(n, v)| [n.trim_ascii(), v.trim_ascii()] == pair))
        };
        assert!(lines.iter().any(stands_there), "a session that no cookie shows");
    }
    let before = cookies::session(&fields).map(|key| key.expose().to_owned());
    let mut kept = fields.clone();
    cookies::gather(&mut kept, false);
    assert!(kept.get_all(COOKIE).iter().count() <= 1 || fields.get_all(COOKIE).iter().count() > 1);
    assert_eq!(cookies::session(&kept).map(|key| key.expose().to_owned()), before, "joining changed the session");
    cookies::gather(&mut fields, true);
    assert!(cookies::session(&fields).is_none(), "a session is forwarded");
    assert!(fields.get_all(COOKIE).iter().count() <= 1, "cookies in more than one line");
}
