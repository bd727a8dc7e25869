//! Parses `multipart/form-data` (RFC 7578) in memory.
//!
//! Lines end in CR LF. A part without a closing delimiter, or without a name, is ignored; a file is not a text.

use memchr::memmem;

use super::parameters::{parameter, parameters};
use super::{BadForm, Field, Form};

pub(super) fn read(body: &[u8], boundary: &str) -> Result<Form, BadForm> {
    let mut form = Form::default();
    // As in Django, which adds files to the form after all other fields.
    let (files, texts): (Vec<_>, Vec<_>) =
        parts(body, boundary).into_iter().filter_map(Part::read).partition(|part| part.is_file);
    for Part { name, content, is_file } in texts.into_iter().chain(files) {
        form.set(&name, if is_file { Field::NotText } else { Field::text(content.to_vec()) });
    }
    Ok(form)
}

struct Part<'b> {
    name: String,
    is_file: bool,
    content: &'b [u8],
}

impl<'b> Part<'b> {
    fn read(part: &'b [u8]) -> Option<Part<'b>> {
        let head_end = memmem::find(part, b"\r\n\r\n")?;
        let (head, content) = (part.get(..head_end)?, part.get(head_end + 4..)?);
        let head = String::from_utf8_lossy(head);
        let disposition = head.rsplit("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        })?;
        let (_, parameters) = parameters(disposition);
        let file = parameter(&parameters, "filename").or_else(|| parameter(&parameters, "filename*"));
        // Browsers send a file without a name if none was selected.
        let was_chosen = file.is_none_or(|name| !name.is_empty());
        let name = parameter(&parameters, "name").filter(|_| was_chosen)?;
        Some(Part { name: name.trim().to_owned(), is_file: file.is_some(), content })
    }
}

/// The parts between the delimiters.
fn parts<'b>(body: &'b [u8], boundary: &str) -> Vec<&'b [u8]> {
    let marker = format!("\r\n--{boundary}");
    // No line end precedes the first delimiter.
    let first = marker.get(2..).filter(|marker| body.starts_with(marker.as_bytes())).map(|marker| (0, marker.len()));
    let others = memmem::find_iter(body, marker.as_bytes()).map(|at| (at, at + marker.len()));
    let (mut parts, mut begin) = (Vec::new(), None);
    for (end, after) in first.into_iter().chain(others) {
        let Some(behind) = body.get(after..) else { break };
        let next = if behind.starts_with(b"--") {
            None
        } else if let Some(line_end) = behind.iter().position(|byte| !matches!(byte, b' ' | b'\t'))
            && behind.get(line_end..).is_some_and(|rest| rest.starts_with(b"\r\n"))
        {
            Some(after + line_end + 2)
        } else {
            // A longer text that begins like a delimiter.
            continue;
        };
        parts.extend(begin.and_then(|begin| body.get(begin..end)));
        begin = next;
        if begin.is_none() {
            break;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(body: &str) -> Result<String, String> {
        let form = read(body.as_bytes(), "b").map_err(|bad| bad.to_json())?;
        form.check().map(|(name, _)| name).map_err(|bad| bad.to_json())
    }

    fn part(head: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    const PASSWORD: &str = "--b\r\ncontent-disposition:form-data;name=password\r\nX: y\r\n\r\nx\r\n--b--\r\n";

    #[test]
    fn fields_are_parsed_whatever_surrounds_them() {
        let alice = part("name=\"username\"", "alice");
        for body in [
            format!("{alice}{PASSWORD}"),
            format!("{}{alice}{PASSWORD}", part("name=\"username\"", "x")),
            format!("preamble\r\n{alice}{PASSWORD}epilogue"),
            format!("{alice}{PASSWORD}{}", part("name=\"username\"", "behind the end")),
            format!("{alice}{}{PASSWORD}", part("name=\"avatar\"; filename=\"a.bin\"", "zzz")),
            format!("{alice}{}{PASSWORD}", part("name=\"username\"; filename=\"\"", "")),
            format!("{alice}--b\r\nX: y\r\n\r\nno name\r\n{PASSWORD}"),
            format!("{alice}{}{PASSWORD}", part("name=\"username\"; name=x", "of two names the last one counts")),
            format!("{alice}{}{PASSWORD}", part(r#"name="user\name""#, "another name")),
            alice.replace("--b\r\n", "--b\r\nContent-Disposition: form-data; name=x\r\n") + PASSWORD,
            alice.replace("form-data", "attachment") + PASSWORD,
            part("name=\" username \"", "alice") + PASSWORD,
            format!("{alice}--b  \r\nX: y\r\n\r\nblanks behind the delimiter\r\n{PASSWORD}"),
            alice.replace("alice", "x\r\n--bb\r\n").replace('x', "") + &alice + PASSWORD,
        ] {
            assert_eq!(name(&body).as_deref(), Ok("alice"), "{body}");
        }
    }

    #[test]
    fn a_value_extends_to_the_delimiter() {
        let body = part("name=\"username\"", "\u{feff}a\r\n--bc\r\n\r\nb") + PASSWORD;
        assert_eq!(name(&body).as_deref(), Ok("\u{feff}a\r\n--bc\r\n\r\nb"));
        let blank = part("name=\"username\"", "") + PASSWORD;
        assert_eq!(name(&blank), Err(r#"{"username":["This field may not be blank."]}"#.to_owned()));
    }

    #[test]
    fn a_file_is_not_a_text_and_comes_after_all_texts() {
        let body = part("name=\"username\"; filename=\"a\"", "alice") + &part("name=\"username\"", "alice") + PASSWORD;
        assert_eq!(name(&body), Err(r#"{"username":["Not a valid string."]}"#.to_owned()));
    }

    #[test]
    fn truncated_parts_and_other_line_ends_are_ignored() {
        let whole = part("name=\"username\"", "alice") + PASSWORD;
        assert!(name(&whole).is_ok());
        let required = "This field is required.";
        for body in [
            whole.replace("\r\n", "\n"),
            whole.replace("--b", "--c"),
            whole[..whole.len() - 8].to_owned(),
            String::new(),
        ] {
            assert!(name(&body).unwrap_err().contains(required), "{body}");
        }
        for cut in 0..whole.len() - 4 {
            assert!(name(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
