//! Output of the commands.

use std::io::{self, Write};

use anyhow::{Result, bail};

use crate::store::Unreadable;
use crate::telemetry;

/// Prints a line; returns an error on a closed pipe or a full disk.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Quotes a word for a shell, if it needs quotes.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints a JSON document.
pub fn json(value: &serde_json::Value) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Reports unreadable rows of a list on standard error, and returns their number.
pub fn unreadable(what: &str, rows: &[Unreadable]) -> usize {
    for Unreadable { id, cause } in rows {
        let id = id.map_or_else(|| "without an id".to_owned(), |id| id.to_string());
        note(format_args!("warning: the row of {what} {id} cannot be read ({cause})"));
    }
    rows.len()
}

/// Ends a list with this many unreadable rows.
///
/// # Errors
/// There were unreadable rows.
pub fn whole_list(unreadable: usize) -> Result<()> {
    match unreadable {
        0 => Ok(()),
        1 => bail!("the list is incomplete: 1 row cannot be read"),
        rows => bail!("the list is incomplete: {rows} rows cannot be read"),
    }
}

/// Prints an error with its causes to standard error.
pub fn error(error: &anyhow::Error) {
    note(chain(error));
}

/// Formats an error and its causes in one line.
pub fn chain(error: &anyhow::Error) -> String {
    telemetry::causes(error.as_ref())
}

/// Prints a line to standard error; ignores failures.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_that_a_shell_would_read_differently_are_quoted() {
        let table = [
            ("/tmp/.tmpA1/dev-ca.pem", "/tmp/.tmpA1/dev-ca.pem"),
            ("my demo/ca.pem", "'my demo/ca.pem'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ];
        for (word, wanted) in table {
            assert_eq!(super::quoted(word), wanted);
        }
    }
}
