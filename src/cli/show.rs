//! How things are printed.

use std::io::{self, Write};

use anyhow::Result;

/// Prints a line, and says so if that cannot be done (a closed pipe, a full disk).
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// Prints a JSON document.
pub fn json(value: &serde_json::Value) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Prints an error with its causes on standard error.
pub fn error(error: &anyhow::Error) {
    note(chain(error));
}

/// An error with its causes, each once, in one line.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors show their cause in their own text.
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// Prints a line on standard error, as far as that is possible.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
