//! Determines which of the three body formats a login has.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::parameters::{parameter, parameters};
use super::{BadForm, Form, json, multipart, urlencoded};

/// The format of a form.
#[derive(Debug, PartialEq, Eq)]
pub enum MediaType {
    Json,
    UrlEncoded,
    /// With its `boundary`, or the reason why it has no valid one.
    Multipart(Result<String, String>),
}

impl MediaType {
    /// Parses `Content-Type`. All texts are UTF-8; other charsets are not supported.
    pub fn of(fields: &HeaderMap) -> Result<MediaType, BadForm> {
        let mut lines = fields.get_all(CONTENT_TYPE).iter();
        // The error shows bytes beyond ASCII as Latin-1, as in Django.
        let line = lines.next().map_or(&[][..], |line| line.as_bytes());
        let sent: String = line.iter().map(|byte| char::from(*byte)).collect();
        let (kind, parameters) = parameters(&sent);
        let charset = parameter(&parameters, "charset").map(str::to_ascii_lowercase);
        let is_utf8 = charset.is_none_or(|charset| matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii"));
        match kind.to_ascii_lowercase().as_str() {
            // Two lines are ambiguous.
            _ if !is_utf8 || lines.next().is_some() => Err(BadForm::Unsupported(sent)),
            "application/json" => Ok(MediaType::Json),
            "application/x-www-form-urlencoded" => Ok(MediaType::UrlEncoded),
            "multipart/form-data" => Ok(MediaType::Multipart(boundary(&sent, &parameters))),
            _ => Err(BadForm::Unsupported(sent)),
        }
    }

    /// Parses a body in this format.
    pub fn read(&self, body: &[u8]) -> Result<Form, BadForm> {
        match self {
            MediaType::Json => json::read(body),
            MediaType::UrlEncoded => urlencoded::read(body),
            MediaType::Multipart(Ok(boundary)) => multipart::read(body, boundary),
            MediaType::Multipart(Err(why)) => Err(BadForm::Unreadable(format!("Multipart form parse error - {why}"))),
        }
    }
}

fn boundary(sent: &str, parameters: &[(String, String)]) -> Result<String, String> {
    if !sent.starts_with("multipart/") {
        return Err(format!("Invalid Content-Type: {sent}"));
    }
    let boundary = parameter(parameters, "boundary");
    // RFC 2046 §5.1.1 allows 70 characters; Django allows 200.
    let is_boundary = |text: &&str| {
        (1..=200).contains(&text.len())
            && !text.ends_with(' ')
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    let found = boundary.filter(is_boundary).map(str::to_owned);
    found.ok_or_else(|| format!("Invalid boundary in multipart: {}", boundary.unwrap_or("None")))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&[u8]]) -> Result<MediaType, BadForm> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(CONTENT_TYPE, HeaderValue::from_bytes(line).unwrap());
        }
        MediaType::of(&fields)
    }

    #[test]
    fn three_types_are_supported_in_any_case_and_with_parameters() {
        for (sent, wanted) in [
            ("application/json", MediaType::Json),
            ("APPLICATION/JSON", MediaType::Json),
            ("application/json;", MediaType::Json),
            ("application/json; charset=\"utf-8\"", MediaType::Json),
            ("application/json;charset=UTF8; x=y", MediaType::Json),
            (" application/x-www-form-urlencoded ; charset=UTF-8", MediaType::UrlEncoded),
            ("application/json; charset=utf-16; charset=utf-8", MediaType::Json),
            ("multipart/form-data; boundary=abc", MediaType::Multipart(Ok("abc".to_owned()))),
            ("multipart/form-data; boundary=x; boundary=abc", MediaType::Multipart(Ok("abc".to_owned()))),
            (r#"multipart/form-data; boundary="a\b\\c""#, MediaType::Multipart(Ok(r"a\b\c".to_owned()))),
            ("multipart/Form-Data; BOUNDARY=\"a;b\\\"c\"", MediaType::Multipart(Ok("a;b\"c".to_owned()))),
        ] {
            assert_eq!(of(&[sent.as_bytes()]), Ok(wanted), "{sent}");
        }
    }

    #[test]
    fn the_error_for_other_types_and_charsets_shows_the_header() {
        for sent in [
            "",
            "text/plain",
            "text/json",
            "application/jsonx",
            "*/*",
            "application/*",
            "application",
            "json",
            "text/plain; charset=utf-8",
            "application/json; charset=utf-16",
            "application/json; charset=latin-1",
            "application/json; charset=utf-8; charset=utf-16",
        ] {
            assert_eq!(of(&[sent.as_bytes()]), Err(BadForm::Unsupported(sent.to_owned())), "{sent}");
        }
        assert_eq!(of(&[]), Err(BadForm::Unsupported(String::new())));
        assert_eq!(of(&[b"text/\xf6"]), Err(BadForm::Unsupported("text/ö".to_owned())));
        assert!(of(&[b"application/json", b"application/json"]).is_err(), "two lines are ambiguous");
    }

    #[test]
    fn a_multipart_body_without_a_valid_boundary_is_unreadable() {
        let long = format!("multipart/form-data; boundary={}", "a".repeat(201));
        for sent in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"a \"",
            long.as_str(),
            "Multipart/Form-Data; boundary=abc",
            "multipart/form-data; boundary=\u{e4}",
        ] {
            let latin1: Vec<u8> = sent.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            let read = of(&[&latin1]).unwrap().read(b"x").err().unwrap().to_json();
            assert!(read.starts_with(r#"{"detail":"Multipart form parse error - Invalid "#), "{sent}: {read}");
        }
    }
}
