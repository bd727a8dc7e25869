//! Explains syntax errors: the likely cause, and the line with a caret below the place.

/// Parts of the names of keys whose values can be secret. Their lines are not shown.
const SECRET: [&str; 5] = ["password", "secret", "url", "token", "header"];

/// How to mend the error at this byte of this line, and the line with a caret. A line that can hold a secret is not
/// shown.
pub(super) fn mend(line: &str, at: usize) -> String {
    let likely = likely(line).unwrap_or_else(|| "correct the line; texts need quotes".to_owned());
    if is_secret(line) {
        return likely;
    }
    let before = line.get(..at).unwrap_or(line);
    // Tabs stay tabs, so that the caret stands below its character.
    let blanks: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{likely}\n    {}\n    {blanks}^", line.trim_end())
}

fn likely(line: &str) -> Option<String> {
    let text = line.trim();
    if text.starts_with('[') {
        let closing = if text.starts_with("[[") { "]]" } else { "]" };
        return (!text.contains(closing)).then(|| format!("the head of a table ends with `{closing}`"));
    }
    let Some((key, value)) = text.split_once('=') else {
        return Some("write `key = value`, or begin a comment with `#`".to_owned());
    };
    let value = value.trim();
    if value.is_empty() {
        return Some(format!("`{}` has no value", key.trim()));
    }
    if value.matches('"').count() % 2 == 1 {
        return Some("a quote `\"` is missing".to_owned());
    }
    if value.starts_with('[') && !value.contains(']') {
        return Some("the list has no `]` at its end".to_owned());
    }
    let is_quoted = value.starts_with(['"', '\'', '[', '{']);
    let is_word = matches!(value, "true" | "false") || value.parse::<i64>().is_ok();
    if is_quoted || is_word {
        return None;
    }
    Some(if is_secret(line) { "strings need quotes".to_owned() } else { format!("strings need quotes: \"{value}\"") })
}

fn is_secret(line: &str) -> bool {
    let key = line.split('=').next().unwrap_or_default().to_ascii_lowercase();
    line.contains("://") || line.contains('@') || SECRET.iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_cause_and_the_place_are_named() {
        for (line, at, text) in [
            (
                "address = 127.0.0.1:80",
                10,
                "strings need quotes: \"127.0.0.1:80\"\n    address = 127.0.0.1:80\n              ^",
            ),
            ("level = \"info", 8, "a quote `\"` is missing\n    level = \"info\n            ^"),
            ("[log", 4, "the head of a table ends with `]`\n    [log\n        ^"),
            ("hosts = [\"a\"", 8, "the list has no `]` at its end\n    hosts = [\"a\"\n            ^"),
            ("level", 5, "write `key = value`, or begin a comment with `#`\n    level\n         ^"),
            ("level =", 7, "`level` has no value\n    level =\n           ^"),
        ] {
            assert_eq!(mend(line, at), text, "{line}");
        }
    }

    #[test]
    fn a_line_that_can_hold_a_secret_is_not_shown() {
        for line in ["url = postgres://gw:hunter2@db/x", "password = hunter2", "x = \"redis://:hunter2@r"] {
            assert!(!mend(line, 3).contains("hunter2"), "{line}");
        }
    }
}
