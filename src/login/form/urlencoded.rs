//! Parses `application/x-www-form-urlencoded` as Django does: `;` is no separator, `%zz` is literal, empty pairs are
//! skipped.

use super::{BadForm, Field, Form};

/// Maximum number of fields, as in Django.
const MAX_FIELDS: usize = 1_000;

pub(super) fn read(body: &[u8]) -> Result<Form, BadForm> {
    let mut form = Form::default();
    each(body, |name, value| {
        if matches!(name, b"username" | b"password") {
            form.set(&String::from_utf8_lossy(name), Field::text(decode(value)));
        }
    })?;
    Ok(form)
}

/// Passes each pair to `take`: its name, and its value, which is still encoded.
pub fn each(body: &[u8], mut take: impl FnMut(&[u8], &[u8])) -> Result<(), BadForm> {
    for (count, pair) in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
        if count >= MAX_FIELDS {
            return Err(BadForm::Unreadable("There are too many fields.".to_owned()));
        }
        let mut sides = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(sides.next().unwrap_or_default());
        take(&name, sides.next().unwrap_or_default());
    }
    Ok(())
}

/// Decodes once. Reserves enough memory first, so that a reallocation leaves no copy.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, behind @ ..] if byte == b'%' => octet(*high, *low).map(|octet| (octet, behind)),
            _ => None,
        };
        let (octet, behind) = escaped.unwrap_or((if byte == b'+' { b' ' } else { byte }, after));
        decoded.push(octet);
        rest = behind;
    }
    decoded
}

fn octet(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_malformed_escapes_are_literal() {
        for (text, decoded) in [
            ("a+b%20c d", "a b c d"),
            ("%zz%4%", "%zz%4%"),
            ("%2541", "%41"),
            ("%C5%BC%c3%b3", "żó"),
            ("a;b=c", "a;b=c"),
            ("x\r\n", "x\r\n"),
        ] {
            assert_eq!(decode(text.as_bytes()), decoded.as_bytes(), "{text}");
        }
    }

    #[test]
    fn names_and_values_are_separated_as_in_django() {
        for (body, found) in [
            ("username=alice&password=x", Some("alice")),
            ("%75sername=alice&pass%77ord=x&", Some("alice")),
            ("username=x&username=alice&&password=x", Some("alice")),
            ("username=a=b&password=x", Some("a=b")),
            ("username=alice&password", None),
            ("username[]=alice&password=x", None),
            ("username=alice;password=x", None),
            ("username", None),
            ("{\"username\":\"a\",\"password\":\"x\"}", None),
        ] {
            let read = read(body.as_bytes()).unwrap().check();
            assert_eq!(read.ok().map(|(name, _)| name).as_deref(), found, "{body}");
        }
    }

    #[test]
    fn too_many_fields_are_refused() {
        assert!(read("a=1&".repeat(1_000).as_bytes()).is_ok());
        assert!(read("a=1&".repeat(1_001).as_bytes()).is_err());
    }
}
