//! Parses `application/json` as DRF does: of two equal names the last one is used, and numbers become their decimal
//! text.
//!
//! The document is validated as a whole first, however deep it is, and only the two fields are copied.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{BadForm, Field, Form, Text};

pub(super) fn read(body: &[u8]) -> Result<Form, BadForm> {
    let text = std::str::from_utf8(body).map_err(|error| unreadable(&error))?;
    let document: &RawValue = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    let kind = match document.get().as_bytes().first() {
        Some(b'{') => {
            let Fields(form) = serde_json::from_str(document.get()).map_err(|error| unreadable(&error))?;
            return Ok(form);
        }
        Some(b'n') => return Err(BadForm::NoFields("No data provided".to_owned())),
        Some(b'[') => "list",
        Some(b'"') => "str",
        Some(b't' | b'f') => "bool",
        _ if is_whole(document.get()) => "int",
        _ => "float",
    };
    Err(BadForm::NoFields(format!("Invalid data. Expected a dictionary, but got {kind}.")))
}

/// The parser's messages contain no part of the document.
fn unreadable(error: &dyn fmt::Display) -> BadForm {
    BadForm::Unreadable(format!("JSON parse error - {error}"))
}

struct Fields(Form);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut form = Form::default();
        while let Some(name) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            if matches!(name.as_str(), "username" | "password") {
                form.set(&name, field(value.get()).ok_or_else(|| de::Error::custom("a damaged text"))?);
            }
        }
        Ok(Fields(form))
    }
}

/// Converts a value to a field; `None` for invalid JSON, which the validation has excluded.
fn field(value: &str) -> Option<Field> {
    Some(match value.as_bytes().first()? {
        b'"' => Field::Text(unquote(value.strip_prefix('"')?.strip_suffix('"')?)?),
        b'n' => Field::Null,
        b'-' | b'0'..=b'9' => Field::text(decimal(value)?.into_bytes()),
        _ => Field::NotText,
    })
}

/// Removes quotes and escapes. Reserves enough memory first, so that a reallocation leaves no copy.
fn unquote(quoted: &str) -> Option<Text> {
    let mut text = Zeroizing::new(String::with_capacity(quoted.len()));
    let mut surrogate = None;
    let mut rest = quoted;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut letters = escaped.chars();
        match letters.next()? {
            'u' => {
                let (unit, behind) = code_unit(escaped)?;
                let second = behind.strip_prefix('\\').and_then(code_unit);
                let pair = second.and_then(|(low, after)| {
                    let mut both = char::decode_utf16([unit, low]);
                    // One character of two units, not two characters.
                    both.next()?.ok().filter(|c| c.len_utf16() == 2).map(|c| (c, after))
                });
                match (pair, char::from_u32(u32::from(unit))) {
                    (Some((c, after)), _) => {
                        text.push(c);
                        rest = after;
                    }
                    (None, Some(c)) => {
                        text.push(c);
                        rest = behind;
                    }
                    (None, None) => {
                        surrogate = surrogate.or(Some(unit));
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = behind;
                    }
                }
                continue;
            }
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            // A quote, a slash, or a backslash.
            other => text.push(other),
        }
        rest = letters.as_str();
    }
    text.push_str(rest);
    Some(Text { text, surrogate })
}

/// The UTF-16 unit of an escape, and the rest.
fn code_unit(escape: &str) -> Option<(u16, &str)> {
    let (digits, behind) = escape.strip_prefix('u')?.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

fn is_whole(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

/// Formats a number as Python does.
fn decimal(number: &str) -> Option<String> {
    if is_whole(number) {
        return Some(if number == "-0" { "0" } else { number }.to_owned());
    }
    let value: f64 = number.parse().ok()?;
    let size = value.abs();
    Some(if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else if value == 0.0 || (1e-4..1e16).contains(&size) {
        format!("{value:?}")
    } else {
        // `1e-05`, `1e+16`: a sign, and at least two digits.
        let (mantissa, exponent) = format!("{value:e}").split_once('e').map(|(m, e)| (m.to_owned(), e.to_owned()))?;
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent.as_str()), |digits| ('-', digits));
        format!("{mantissa}e{sign}{digits:0>2}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(document: &str) -> Result<String, String> {
        let form = read(document.as_bytes()).map_err(|bad| bad.to_json())?;
        form.check().map(|(name, _)| name).map_err(|bad| bad.to_json())
    }

    #[test]
    fn texts_are_parsed_with_their_escapes() {
        for (written, meant) in [
            (r"alice", "alice"),
            (r"\u0061\u006cice", "alice"),
            (r#"a\"b\\c\/d"#, "a\"b\\c/d"),
            (r"a\n\t\b\f\rb", "a\n\t\u{8}\u{c}\rb"),
            (r"\ud83d\udd11 \u017c", "🔑 ż"),
            (r"x\\u0041", r"x\u0041"),
            ("zażółć", "zażółć"),
        ] {
            let document = format!("{{\"username\":\"{written}\",\"password\":\"x\"}}");
            assert_eq!(name(&document).as_deref(), Ok(meant), "{document}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_an_error_and_consumes_nothing_else() {
        let half = |unit: &str| Err(format!("{{\"username\":[\"Surrogate characters are not allowed: U+{unit}.\"]}}"));
        for (written, unit) in [
            (r"\ud800", "D800"),
            (r"\udfff", "DFFF"),
            (r"a\ud83dx", "D83D"),
            (r"\ud83d\u0061", "D83D"),
            (r"\udd11\ud83d", "DD11"),
        ] {
            assert_eq!(name(&format!("{{\"username\":\"{written}\",\"password\":\"x\"}}")), half(unit), "{written}");
        }
        let unquoted = unquote(r"\ud83d\u0061b").unwrap();
        assert_eq!(unquoted.text.as_str(), "\u{fffd}ab");
    }

    #[test]
    fn numbers_become_their_decimal_text() {
        for (written, text) in [
            ("12345", "12345"),
            ("-7", "-7"),
            ("-0", "0"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("12345.0", "12345.0"),
            ("1.2345e4", "12345.0"),
            ("1E2", "100.0"),
            ("0.1", "0.1"),
            ("-0.0", "-0.0"),
            ("1e16", "1e+16"),
            ("1.5e-7", "1.5e-07"),
            ("123456789012345678.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e999", "inf"),
            ("1e-999", "0.0"),
        ] {
            assert_eq!(
                name(&format!("{{\"username\":{written},\"password\":\"x\"}}")).as_deref(),
                Ok(text),
                "{written}"
            );
        }
    }

    #[test]
    fn the_last_of_two_equal_names_is_used() {
        assert_eq!(name(r#"{"username":"x","username":"alice","password":null,"password":1}"#).as_deref(), Ok("alice"));
        assert!(name(r#"{"username":"alice","password":"x","password":null}"#).unwrap_err().contains("null"));
    }

    #[test]
    fn the_error_for_other_types_has_pythons_name_of_the_type() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        for (document, kind) in [
            ("[]", "list"),
            ("\"x\"", "str"),
            ("5", "int"),
            ("-5", "int"),
            ("1.5", "float"),
            ("1e3", "float"),
            ("true", "bool"),
            (" false ", "bool"),
            (deep.as_str(), "list"),
        ] {
            let wanted = format!("{{\"non_field_errors\":[\"Invalid data. Expected a dictionary, but got {kind}.\"]}}");
            assert_eq!(name(document), Err(wanted));
        }
        assert_eq!(name("null"), Err(r#"{"non_field_errors":["No data provided"]}"#.to_owned()));
    }

    #[test]
    fn the_error_for_invalid_json_does_not_show_the_document() {
        for document in [
            "nope",
            "",
            "{'username':'a'}",
            r#"{"username":"a",}"#,
            r#"{"username":"a"} x"#,
            r#"{"username":NaN}"#,
            r#"{"username":-Infinity}"#,
            "{/*x*/}",
            "\u{feff}{}",
            "{\"username\":\"a\nb\"}",
            "[[[[",
            r#"{"username":01}"#,
            r#"{"secret-words":"\x"}"#,
        ] {
            let told = name(document).unwrap_err();
            assert!(told.starts_with(r#"{"detail":"JSON parse error - "#), "{document}: {told}");
            assert!(!told.contains("secret"), "{told}");
        }
        assert!(read(b"{\"username\":\"\xff\xfe\"}").is_err());
    }
}
