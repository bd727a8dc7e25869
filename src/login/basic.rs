//! The username and password of a login in `Authorization: Basic` (RFC 7617).

use base64ct::{Base64, Encoding};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use zeroize::Zeroizing;

use super::form::{Field, Form};

/// Why the header has no username and password. The texts are those of Django REST Framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBasic {
    /// More than one `Authorization` line. Proxies and servers differ in which one they read, so none is used.
    #[error("The Authorization header may be sent only once.")]
    Twice,
    /// Nothing after the scheme.
    #[error("Invalid basic header. No credentials provided.")]
    Empty,
    /// More than one word after the scheme.
    #[error("Invalid basic header. Credentials string should not contain spaces.")]
    Spaces,
    /// Not base64.
    #[error("Invalid basic header. Credentials not correctly base64 encoded.")]
    Encoding,
}

impl BadBasic {
    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            BadBasic::Twice => StatusCode::BAD_REQUEST,
            BadBasic::Empty | BadBasic::Spaces | BadBasic::Encoding => StatusCode::UNAUTHORIZED,
        }
    }
}

/// Reads the header; `None`: there is none with this scheme.
pub fn read(fields: &HeaderMap) -> Option<Result<Form, BadBasic>> {
    let words = |line: &[u8]| -> Vec<Zeroizing<Vec<u8>>> {
        let words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.map(|word| Zeroizing::new(word.to_vec())).collect()
    };
    let lines: Vec<_> = fields.get_all(AUTHORIZATION).iter().map(|line| words(line.as_bytes())).collect();
    let is_basic =
        |words: &Vec<Zeroizing<Vec<u8>>>| words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"basic"));
    if !lines.iter().any(is_basic) {
        return None;
    }
    let [line] = lines.as_slice() else { return Some(Err(BadBasic::Twice)) };
    Some(match line.as_slice() {
        [] | [_] => Err(BadBasic::Empty),
        [_, credentials] => decode(credentials).ok_or(BadBasic::Encoding),
        _ => Err(BadBasic::Spaces),
    })
}

/// The form with the two fields; the first colon ends the username.
fn decode(credentials: &[u8]) -> Option<Form> {
    let text = std::str::from_utf8(credentials).ok()?;
    let bytes = Zeroizing::new(Base64::decode_vec(text).ok()?);
    let colon = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    let (name, password) = bytes.split_at_checked(colon)?;
    let mut form = Form::default();
    form.set("username", Field::text(name.to_vec()));
    form.set("password", Field::text(password.get(1..).unwrap_or_default().to_vec()));
    Some(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (AUTHORIZATION, line.parse().unwrap())).collect()
    }

    #[test]
    fn the_first_colon_ends_the_username() {
        for (text, name) in [("alice:secret", "alice"), ("alice:a:b", "alice"), ("zażółć:x", "zażółć")] {
            let line = format!("bAsIc  {}", Base64::encode_string(text.as_bytes()));
            let form = read(&fields(&[&line])).unwrap().ok().unwrap();
            assert_eq!(form.name(), name);
            assert!(form.check().is_ok());
        }
        for text in ["alice", "alice:", ":secret", ":", ""] {
            let line = format!("Basic {}", Base64::encode_string(text.as_bytes()));
            let read = read(&fields(&[&line])).unwrap();
            assert!(read.is_err() || read.is_ok_and(|form| form.check().is_err()), "{text}");
        }
    }

    #[test]
    fn other_lines_are_no_credentials_and_damaged_ones_are_refused() {
        for lines in [&[][..], &["Token abc"], &["Basicc YTpi"], &["YTpi"], &[""]] {
            assert!(read(&fields(lines)).is_none(), "{lines:?}");
        }
        for (lines, bad) in [
            (&["Basic"][..], BadBasic::Empty),
            (&["Basic "], BadBasic::Empty),
            (&["Basic YTpi YTpi"], BadBasic::Spaces),
            (&["Basic YTpi!"], BadBasic::Encoding),
            (&["Basic YTp"], BadBasic::Encoding),
            (&["Basic YTpi", "Basic YTpi"], BadBasic::Twice),
            (&["Token abc", "Basic YTpi"], BadBasic::Twice),
        ] {
            assert_eq!(read(&fields(lines)).unwrap().err(), Some(bad), "{lines:?}");
        }
    }
}
