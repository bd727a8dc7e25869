//! The effective configuration: every value in effect, with its origin.
//!
//! As TOML it can be loaded again, from the same folder and with the same environment. Secrets are hidden
//! ([`super::secret`]).

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::record::{KeyReading, TableReading};

/// Maximum length of a value whose comment is aligned with the other comments.
const WIDEST: usize = 40;

/// All values in effect.
#[derive(Clone, Debug, Serialize)]
pub struct Effective {
    /// The tables in the order of the file, then those that the file does not have.
    pub tables: Vec<EffectiveTable>,
}

/// A table in use.
#[derive(Clone, Debug, Serialize)]
pub struct EffectiveTable {
    /// Its name without brackets, such as `routes.orders`; empty for the keys outside of tables.
    pub name: String,
    /// Whether it is one of several with this name, `[[name]]`.
    pub listed: bool,
    /// Its values.
    pub values: Vec<EffectiveValue>,
}

/// A value in effect.
#[derive(Clone, Debug, Serialize)]
pub struct EffectiveValue {
    /// Its key in the table.
    pub key: &'static str,
    /// The value; a hidden part is `***`.
    pub value: Value,
    /// Its origin.
    pub origin: ValueOrigin,
    /// Whether a part of it is hidden because it may be secret.
    pub hidden: bool,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ValueOrigin {
    /// The gateway's default.
    Default,
    /// The value of another key.
    Key {
        /// Its name, such as `defaults.timeouts.connect`.
        key: &'static str,
    },
    /// A line of the configuration.
    File {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The environment variables that the line names.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        variables: Vec<String>,
    },
}

impl Effective {
    /// The values of these notes. `place` returns the file and line of a line of the whole text.
    pub(super) fn of(
        tables: Vec<TableReading>,
        readings: Vec<KeyReading>,
        place: impl Fn(usize) -> (PathBuf, usize),
    ) -> Effective {
        let mut out: Vec<(TableReading, Vec<EffectiveValue>)> =
            tables.into_iter().map(|table| (table, Vec::new())).collect();
        for reading in readings {
            let KeyReading { table, name, value, line, like, variables, is_hidden } = reading;
            let origin = match (line, like) {
                (Some(line), _) => {
                    let (file, line) = place(line);
                    ValueOrigin::File { file, line, variables }
                }
                (None, Some(key)) => ValueOrigin::Key { key },
                (None, None) => ValueOrigin::Default,
            };
            if let Some((_, values)) = out.get_mut(table) {
                values.push(EffectiveValue { key: name, value, origin, hidden: is_hidden });
            }
        }
        // The keys outside of tables must come first. Sorting is stable, so the parts of a table stay after it.
        out.sort_by_key(|(table, _)| if table.header.is_empty() { 0 } else { table.line.unwrap_or(usize::MAX) });
        out.retain(|(table, values)| table.switches || !values.is_empty());
        let tables = out.into_iter().map(|(table, values)| EffectiveTable {
            name: table.header,
            listed: table.is_listed,
            values,
        });
        Effective { tables: tables.collect() }
    }

    /// As TOML, each line with a comment.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            if !out.is_empty() {
                out.push('\n');
            }
            match (table.name.as_str(), table.listed) {
                ("", _) => {}
                (name, false) => out.push_str(&format!("[{name}]\n")),
                (name, true) => out.push_str(&format!("[[{name}]]\n")),
            }
            let lines: Vec<(String, String)> = table.values.iter().map(line).collect();
            let width = lines.iter().map(|(text, _)| text.chars().count()).filter(|width| *width <= WIDEST).max();
            for (text, comment) in lines {
                out.push_str(&format!("{text:width$}  # {comment}\n", width = width.unwrap_or_default()));
            }
        }
        out
    }
}

fn line(value: &EffectiveValue) -> (String, String) {
    let origin = match &value.origin {
        ValueOrigin::Default => "default".to_owned(),
        ValueOrigin::Key { key } => format!("as {key}"),
        ValueOrigin::File { file, line, variables } if variables.is_empty() => format!("{}:{line}", file.display()),
        ValueOrigin::File { file, line, variables } => {
            let names: Vec<String> = variables.iter().map(|name| format!("${{{name}}}")).collect();
            format!("from {}, {}:{line}", names.join(" and "), file.display())
        }
    };
    let hidden = if value.hidden { "; secrets are hidden" } else { "" };
    // A line break in a file's name would end the comment.
    let comment: String = format!("{origin}{hidden}").chars().filter(|char| !char.is_control()).collect();
    (format!("{} = {}", value.key, toml_text(&value.value)), comment)
}

/// A value as TOML writes it. `value` has no tables.
pub(super) fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Value::Number(number) => grouped(&number.to_string()),
        // The escapes of JSON are those of TOML, which escapes one character more.
        other => other.to_string().replace('\u{7f}', "\\u007F"),
    }
}

/// `10000` as `10_000`.
fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_toml_reads_them() {
        for (value, text) in [
            (json!(true), "true"),
            (json!(7), "7"),
            (json!(1_000), "1_000"),
            (json!(100_000_000), "100_000_000"),
            (json!(["a", "b"]), "[\"a\", \"b\"]"),
            (json!("a\"b\\c\n\u{1}\u{7f}é"), "\"a\\\"b\\\\c\\n\\u0001\\u007Fé\""),
        ] {
            assert_eq!(toml_text(&value), text);
            let read: toml::Table = format!("x = {text}").parse().unwrap();
            assert_eq!(serde_json::to_value(&read["x"]).unwrap(), value, "{text}");
        }
    }
}
