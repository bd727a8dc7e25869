//! The two fields of a login, and their validation errors in the words of DRF; in each of the three formats of a body.

mod json;
mod media_type;
mod multipart;
mod parameters;
pub mod urlencoded;

use http::StatusCode;
use serde::Serialize;
use zeroize::Zeroizing;

pub use self::media_type::MediaType;
use crate::store::Password;

/// The fields as sent. Of two with the same name the last one is used.
#[derive(Default)]
pub struct Form {
    username: Field,
    password: Field,
}

/// The value of a field.
#[derive(Default)]
pub enum Field {
    /// Not sent.
    #[default]
    Missing,
    /// `null` in JSON.
    Null,
    /// A list, an object, a boolean, a file.
    NotText,
    /// A text.
    Text(Text),
}

/// A text; wiped when dropped.
pub struct Text {
    pub(super) text: Zeroizing<String>,
    /// The first half of a surrogate pair without the second, which is not valid in a text.
    pub(super) surrogate: Option<u16>,
}

/// The username and password of a login.
pub type Wanted = (String, Password);

/// Why a login has no valid username and password.
#[derive(Debug, PartialEq, Eq)]
pub enum BadForm {
    /// The media type is not supported; contains the header as sent.
    Unsupported(String),
    /// The body does not conform to its media type.
    Unreadable(String),
    /// The body has no fields.
    NoFields(String),
    /// Fields are invalid.
    Fields(FieldErrors),
}

/// The errors, in the order of the response.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct FieldErrors {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    username: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    password: Vec<String>,
}

impl Form {
    /// Sets a field; other names are ignored.
    pub fn set(&mut self, name: &str, field: Field) {
        match name {
            "username" => self.username = field,
            "password" => self.password = field,
            _ => {}
        }
    }

    /// The username as sent; empty if it is not a text.
    pub fn name(&self) -> &str {
        match &self.username {
            Field::Text(Text { text, .. }) => text,
            Field::Missing | Field::Null | Field::NotText => "",
        }
    }

    /// Returns the username without surrounding white space, and the unchanged password.
    pub fn check(self) -> Result<Wanted, BadForm> {
        let (name, password) = (self.username.check(strip), self.password.check(|text| text));
        let password = password.and_then(|mut text| Password::parse(std::mem::take(&mut *text)).map_err(|_| blank()));
        match (name, password) {
            (Ok(name), Ok(password)) => Ok((name.as_str().to_owned(), password)),
            (name, password) => Err(BadForm::Fields(FieldErrors {
                username: name.err().unwrap_or_default(),
                password: password.err().unwrap_or_default(),
            })),
        }
    }
}

impl Field {
    /// A text; invalid UTF-8 is replaced by U+FFFD.
    pub fn text(bytes: Vec<u8>) -> Field {
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let bytes = Zeroizing::new(error.into_bytes());
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Field::Text(Text { text: Zeroizing::new(text), surrogate: None })
    }

    fn check(self, strip: impl Fn(&str) -> &str) -> Result<Zeroizing<String>, Vec<String>> {
        let Text { text, surrogate } = match self {
            Field::Missing => return Err(vec!["This field is required.".to_owned()]),
            Field::Null => return Err(vec!["This field may not be null.".to_owned()]),
            Field::NotText => return Err(vec!["Not a valid string.".to_owned()]),
            Field::Text(text) => text,
        };
        let stripped = strip(&text);
        if stripped.is_empty() {
            return Err(blank());
        }
        let mut errors = Vec::new();
        if stripped.contains('\0') {
            errors.push("Null characters are not allowed.".to_owned());
        }
        if let Some(half) = surrogate {
            errors.push(format!("Surrogate characters are not allowed: U+{half:X}."));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(if stripped.len() == text.len() { text } else { Zeroizing::new(stripped.to_owned()) })
    }
}

impl BadForm {
    pub fn status(&self) -> StatusCode {
        match self {
            BadForm::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of the response, in the format of DRF.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Detail<'a> {
            detail: &'a str,
        }
        #[derive(Serialize)]
        struct NonField<'a> {
            non_field_errors: [&'a str; 1],
        }
        let text = match self {
            BadForm::Unsupported(media_type) => {
                let detail = format!("Unsupported media type \"{media_type}\" in request.");
                serde_json::to_string(&Detail { detail: &detail })
            }
            BadForm::Unreadable(detail) => serde_json::to_string(&Detail { detail }),
            BadForm::NoFields(why) => serde_json::to_string(&NonField { non_field_errors: [why] }),
            BadForm::Fields(errors) => serde_json::to_string(errors),
        };
        // Serialising texts cannot fail.
        text.unwrap_or_default()
    }
}

fn blank() -> Vec<String> {
    vec!["This field may not be blank.".to_owned()]
}

/// Removes white space as Python does, which includes U+001C to U+001F.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Field {
        Field::text(text.as_bytes().to_vec())
    }

    fn check(username: Field, password: Field) -> Result<String, String> {
        let form = Form { username, password };
        form.check().map(|(name, _)| name).map_err(|bad| bad.to_json())
    }

    #[test]
    fn only_white_space_around_names_is_removed() {
        for (sent, name) in [
            ("alice", "alice"),
            ("  alice \t\r\n", "alice"),
            ("\u{a0}\u{2003}alice\u{3000}\u{85}", "alice"),
            ("\u{1c}alice\u{1f}", "alice"),
            ("\u{feff}alice\u{200b}", "\u{feff}alice\u{200b}"),
            ("a b", "a b"),
            ("Alice", "Alice"),
        ] {
            assert_eq!(check(text(sent), text("x")), Ok(name.to_owned()), "{sent:?}");
        }
    }

    #[test]
    fn all_errors_are_reported_at_once_and_the_name_first() {
        let half = |text: &str| Field::Text(Text { text: Zeroizing::new(text.to_owned()), surrogate: Some(0xd800) });
        for (username, password, answer) in [
            (
                Field::Missing,
                Field::Missing,
                r#"{"username":["This field is required."],"password":["This field is required."]}"#,
            ),
            (
                text(""),
                Field::Null,
                r#"{"username":["This field may not be blank."],"password":["This field may not be null."]}"#,
            ),
            (text(" \t\u{1c}"), text("x"), r#"{"username":["This field may not be blank."]}"#),
            (text("a"), text(""), r#"{"password":["This field may not be blank."]}"#),
            (Field::NotText, text("x"), r#"{"username":["Not a valid string."]}"#),
            (
                text("a\0b"),
                text("\0"),
                r#"{"username":["Null characters are not allowed."],"password":["Null characters are not allowed."]}"#,
            ),
            (text("a"), half("\u{fffd}"), r#"{"password":["Surrogate characters are not allowed: U+D800."]}"#),
            (
                half("\0\u{fffd}"),
                text("x"),
                r#"{"username":["Null characters are not allowed.","Surrogate characters are not allowed: U+D800."]}"#,
            ),
        ] {
            assert_eq!(check(username, password), Err(answer.to_owned()));
        }
        assert_eq!(check(text("a"), text("   ")), Ok("a".to_owned()), "blanks are a password");
    }

    #[test]
    fn texts_of_the_client_are_quoted() {
        let bad = BadForm::Unsupported("text/\"x\\".to_owned());
        assert_eq!(
            bad.to_json(),
            r#"{"detail":"Unsupported media type \"text/\"x\\\" in request."}"#
                .replace(r#"\"text/"x\\"#, r#"\"text/\"x\\"#)
        );
        assert_eq!(bad.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
