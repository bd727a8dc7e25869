//! Parameters of a header such as `Content-Type` (RFC 9110 §5.6.6), as Django reads them.

/// The text before the first `;`, and the parameters after it, with names in lower case.
pub(super) fn parameters(field: &str) -> (&str, Vec<(String, String)>) {
    let (main, mut rest) = field.split_once(';').unwrap_or((field, ""));
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let (parameter, behind) = rest.split_at(end_of_parameter(rest));
        if let Some((name, value)) = parameter.split_once('=') {
            parameters.push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
        rest = behind.strip_prefix(';').unwrap_or(behind);
    }
    (main.trim(), parameters)
}

/// The value of a parameter. Of two with the same name the last one is used, as in Django.
pub(super) fn parameter<'p>(parameters: &'p [(String, String)], wanted: &str) -> Option<&'p str> {
    parameters.iter().rfind(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

/// The offset of the next `;` outside of quotes.
fn end_of_parameter(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let mut out = String::with_capacity(inner.len());
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        // Before any other character a backslash is literal.
        let escaped = letters.next_if(|next| letter == '\\' && matches!(next, '"' | '\\'));
        out.push(escaped.unwrap_or(letter));
    }
    out
}
