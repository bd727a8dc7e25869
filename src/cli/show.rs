//! Output of the commands.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};

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

/// A colour on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Works.
    Green,
    /// To be looked at.
    Yellow,
    /// Does not work.
    Red,
    /// A head.
    Bold,
}

/// The text in a colour, if `stream` is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
pub fn painted<'t>(stream: &impl IsTerminal, colour: Colour, text: &'t str) -> Cow<'t, str> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if !stream.is_terminal() || is_set("NO_COLOR") || is_dumb {
        return text.into();
    }
    let code = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
        Colour::Bold => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m").into()
}

/// A table with a head: with tabs for programs, aligned on a terminal.
pub struct Table {
    heads: &'static [&'static str],
    widths: Vec<usize>,
    is_aligned: bool,
    has_begun: bool,
}

impl Table {
    /// Creates a table with these columns.
    pub fn new(heads: &'static [&'static str]) -> Table {
        let widths = heads.iter().map(|head| head.chars().count()).collect();
        Table { heads, widths, is_aligned: io::stdout().is_terminal(), has_begun: false }
    }

    /// Prints rows, and the head before the first ones. Each cell may have a colour.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn print(&mut self, rows: &[Vec<(String, Option<Colour>)>]) -> Result<()> {
        for row in rows {
            for (width, (text, _)) in self.widths.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
            }
        }
        if !self.has_begun {
            self.has_begun = true;
            let heads: Vec<_> = self.heads.iter().map(|head| ((*head).to_owned(), Some(Colour::Bold))).collect();
            self.line(&heads)?;
        }
        rows.iter().try_for_each(|row| self.line(row))
    }

    fn line(&self, row: &[(String, Option<Colour>)]) -> Result<()> {
        if !self.is_aligned {
            return line(row.iter().map(|(text, _)| printable(text)).collect::<Vec<_>>().join("\t"));
        }
        let mut out = String::new();
        for ((text, colour), width) in row.iter().zip(&self.widths) {
            let text = printable(text);
            let blanks = width.saturating_sub(text.chars().count()) + 2;
            out.push_str(&colour.map_or(Cow::Borrowed(&*text), |colour| painted(&io::stdout(), colour, &text)));
            out.push_str(&" ".repeat(blanks));
        }
        line(out.trim_end())
    }
}

/// Replaces control characters: no stored text may move the cursor or break a line.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Asks on a terminal before an act that cannot be undone. Without a terminal, or with `yes`, nothing is asked.
///
/// # Errors
/// The answer was not yes.
pub fn confirm(yes: bool, what: &str) -> Result<()> {
    if yes || !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    let mut err = io::stderr();
    write!(err, "{what} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    bail!("cancelled; nothing was changed")
}

/// Prints an error with its causes to standard error.
pub fn error(error: &anyhow::Error) {
    note(painted(&io::stderr(), Colour::Red, &chain(error)));
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
