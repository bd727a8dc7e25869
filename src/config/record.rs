//! The record of reading a configuration: the definition of every key, and its value in effect.
//!
//! The reading functions of [`super::value`] get the default of a key, its bounds and its words, and record them here.
//! So the list of keys, the schema (`schema`) and the effective configuration (`effective`) always match the reader. A
//! gateway that loads its configuration records nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

/// The values that a key accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Count {
        /// The lowest.
        least: u64,
        /// The highest.
        most: u64,
    },
    /// A duration with its unit.
    Duration,
    /// A size with its unit.
    Size,
    /// A number of events per period.
    Rate,
    /// A size per second.
    ByteRate,
    /// One of these words.
    Words(Vec<&'static str>),
    /// A text; its reader checks it.
    Text,
    /// A file or folder.
    Path,
    /// A list of at least one.
    List(Box<Kind>),
}

/// The value of an absent key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// An error.
    Required,
    /// No value, or a default that only docs/CONFIGURATION.md describes.
    None,
    /// This value.
    Value(Value),
    /// The value of another key.
    Like(&'static str),
}

/// The definition of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// The values that it accepts.
    pub kind: Kind,
    /// A word that it accepts as well, such as "unlimited".
    pub word: Option<&'static str>,
    /// Its value if it is absent.
    pub preset: Preset,
}

#[cfg(test)]
impl Definition {
    /// The type in the words of the page on the configuration.
    pub(super) fn type_name(&self) -> String {
        let kind = match &self.kind {
            Kind::Bool => "boolean",
            Kind::Count { .. } => "number",
            Kind::Duration => "duration",
            Kind::Size => "size",
            Kind::Rate => "rate",
            Kind::ByteRate => "size per second",
            Kind::Words(_) => "word",
            Kind::Text => "text",
            Kind::Path => "path",
            Kind::List(member) if matches!(**member, Kind::Words(_)) => "list of words",
            Kind::List(_) => "list of texts",
        };
        self.word.map_or(kind.to_owned(), |word| format!("{kind} or `\"{word}\"`"))
    }
}

/// The kind of the keys of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Those of the file format.
    Table,
    /// Names that the operator chose, each with a table.
    Named,
    /// A list of tables.
    List,
}

/// A table in use.
pub(super) struct TableReading {
    /// Its name in brackets, with names in quotes where they need them; empty for the keys outside of tables.
    pub header: String,
    /// Whether it is one of a list of tables.
    pub is_listed: bool,
    /// Its line, or that of the table around it.
    pub line: Option<usize>,
    /// Whether the file has it, and the presence of the table has a meaning.
    pub switches: bool,
}

/// A key with its value in effect.
pub(super) struct KeyReading {
    /// The index of its table.
    pub table: usize,
    /// Its name.
    pub name: &'static str,
    /// The value. Secrets are hidden.
    pub value: Value,
    /// The line; `None`: the file does not have it.
    pub line: Option<usize>,
    /// The key that it takes its default from.
    pub like: Option<&'static str>,
    /// The environment variables that it comes from.
    pub variables: Vec<String>,
    /// Whether a part of it is hidden.
    pub is_hidden: bool,
}

/// The notes.
#[derive(Default)]
pub(super) struct Record {
    keys: RefCell<BTreeMap<String, Definition>>,
    shapes: RefCell<BTreeMap<String, Shape>>,
    alternatives: RefCell<BTreeMap<String, Vec<&'static str>>>,
    tables: RefCell<Vec<TableReading>>,
    readings: RefCell<Vec<KeyReading>>,
}

/// The definition of the whole file.
pub(super) struct Grammar {
    /// All keys, such as `routes.NAME.upstream`.
    pub keys: BTreeMap<String, Definition>,
    /// All tables, such as `routes` and `routes.NAME.limits`.
    pub shapes: BTreeMap<String, Shape>,
    /// Tables with keys of which exactly one is needed.
    pub alternatives: BTreeMap<String, Vec<&'static str>>,
}

impl Record {
    /// Notes a key. The first definition stays.
    pub(super) fn key(&self, pattern: String, definition: Definition) {
        self.keys.borrow_mut().entry(pattern).or_insert(definition);
    }

    /// Notes a table of the file format.
    pub(super) fn shape(&self, pattern: &str, shape: Shape) {
        self.shapes.borrow_mut().insert(pattern.to_owned(), shape);
    }

    /// Notes that a table needs exactly one of these keys.
    pub(super) fn one_of(&self, pattern: &str, keys: &[&'static str]) {
        self.alternatives.borrow_mut().insert(pattern.to_owned(), keys.to_vec());
    }

    /// Notes a table in use. Returns its index.
    pub(super) fn table(&self, table: TableReading) -> usize {
        let mut tables = self.tables.borrow_mut();
        tables.push(table);
        tables.len() - 1
    }

    /// Records a value in effect.
    pub(super) fn reading(&self, reading: KeyReading) {
        self.readings.borrow_mut().push(reading);
    }

    /// The definition of the file, the tables in use, and the values in effect.
    pub(super) fn finish(self) -> (Grammar, Vec<TableReading>, Vec<KeyReading>) {
        let grammar = Grammar {
            keys: self.keys.into_inner(),
            shapes: self.shapes.into_inner(),
            alternatives: self.alternatives.into_inner(),
        };
        (grammar, self.tables.into_inner(), self.readings.into_inner())
    }
}
