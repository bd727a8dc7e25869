//! Explains syntax errors: the likely cause, and the line with a caret below the place.

/// Parts of the names of keys whose values can be secret. Their lines are not shown.
const SECRET: [&str; 5] = ["password", "secret", "url", "token", "header"];

/// What is wrong with a line, in words of the TOML library if the likely cause is unknown.
pub(super) fn cause(line: &str, message: &str) -> String {
    format!("syntax error: {}", likely(line).as_deref().unwrap_or(message))
}

/// The line to mend, with a caret at this byte. A line that can hold a secret is not shown.
pub(super) fn mend(line: &str, at: usize) -> String {
    if line.trim().is_empty() {
        return "correct the line before this one".to_owned();
    }
    if is_secret(line) {
        return "correct this line".to_owned();
    }
    let before = line.get(..at).unwrap_or(line);
    // Tabs stay tabs, so that the caret stands below its character.
    let blanks: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("correct this line\n    {}\n    {blanks}^", line.trim_end())
}

fn likely(line: &str) -> Option<String> {
    let text = line.trim();
    if text.is_empty() {
        return None;
    }
    if text.starts_with('[') {
        let closing = if text.starts_with("[[") { "]]" } else { "]" };
        return (!text.contains(closing)).then(|| format!("the head of a table ends with `{closing}`"));
    }
    let Some((key, value)) = text.split_once('=') else {
        return Some("write `key = value`, or begin a comment with `#`".to_owned());
    };
    let value = value.trim();
    let is_quoted = value.starts_with(['"', '\'', '[', '{']);
    // A comment is no part of the value.
    let value = if is_quoted { value } else { value.split(" #").next().unwrap_or_default().trim_end() };
    if value.is_empty() {
        return Some(format!("`{}` has no value", key.trim()));
    }
    if value.matches('"').count() % 2 == 1 {
        return Some("a quote `\"` is missing".to_owned());
    }
    if value.starts_with('[') && !value.contains(']') {
        return Some("the list has no `]` at its end".to_owned());
    }
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
        for (line, at, wanted) in [
            (
                "address = 127.0.0.1:80",
                10,
                "strings need quotes: \"127.0.0.1:80\"\n    address = 127.0.0.1:80\n              ^",
            ),
            (
                "level = info  # or debug",
                8,
                "strings need quotes: \"info\"\n    level = info  # or debug\n            ^",
            ),
            ("level = \"info", 8, "a quote `\"` is missing\n    level = \"info\n            ^"),
            ("[log", 4, "the head of a table ends with `]`\n    [log\n        ^"),
            ("hosts = [\"a\"", 8, "the list has no `]` at its end\n    hosts = [\"a\"\n            ^"),
            ("level", 5, "write `key = value`, or begin a comment with `#`\n    level\n         ^"),
            ("level =", 7, "`level` has no value\n    level =\n           ^"),
        ] {
            let (likely, shown) = wanted.split_once('\n').unwrap();
            assert_eq!(cause(line, "else"), format!("syntax error: {likely}"));
            assert_eq!(mend(line, at), format!("correct this line\n{shown}"));
        }
        assert_eq!(cause("a = [1, 2", "else"), "syntax error: the list has no `]` at its end");
        assert_eq!(cause("a = 1", "else"), "syntax error: else");
    }

    #[test]
    fn a_line_that_can_hold_a_secret_is_not_shown() {
        for line in ["url = postgres://gw:hunter2@db/x", "password = hunter2", "x = \"redis://:hunter2@r"] {
            assert!(!mend(line, 3).contains("hunter2") && !cause(line, "").contains("hunter2"), "{line}");
        }
    }
}
