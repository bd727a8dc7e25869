//! Reads tables. A [`Table`] records which keys were read, so that all other keys are unknown.
//!
//! Each table of the file has one function that reads *all* its keys, with their defaults, whatever the values are.
//! From these records come the errors for unknown keys, the suggestions, and the list of all keys.

use std::cell::RefCell;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::nearest::nearest;
use super::value::{Key, a};

/// Placeholder in key paths for a name that the operator chose, such as `orders` in `[routes.orders]`.
const ANY_NAME: &str = "NAME";

/// A table that may be absent; its keys then have no value.
pub(super) struct Table<'d> {
    document: &'d Document<'d>,
    path: String,
    pattern: String,
    line: Option<usize>,
    entries: Option<&'d DeTable<'d>>,
    known: RefCell<Vec<&'static str>>,
}

/// A table whose name the operator chose.
pub(super) struct Named<T> {
    /// Its name.
    pub name: String,
    /// The line of its definition.
    pub line: Option<usize>,
    /// Its value; `None` if it is invalid.
    pub value: Option<T>,
}

impl<'d> Table<'d> {
    /// Reads the whole file with `read`.
    pub(super) fn root<T>(document: &'d Document<'d>, tree: &'d DeTable<'d>, read: impl FnOnce(&Table<'d>) -> T) -> T {
        let (path, pattern, known) = Default::default();
        Table { document, path, pattern, line: None, entries: Some(tree), known }.read_with(read)
    }

    pub(super) fn document(&self) -> &'d Document<'d> {
        self.document
    }

    /// Whether the file has this table.
    pub(super) fn is_set(&self) -> bool {
        self.entries.is_some()
    }

    /// A key of this table.
    pub(super) fn key(&self, name: &'static str) -> Key<'d> {
        self.document.ask(join(&self.pattern, name));
        let path = join(&self.path, name);
        match self.entry(name) {
            Some((line, value)) => Key::new(self.document, path, Some(line), Some(value)),
            None => Key::new(self.document, path, self.line, None),
        }
    }

    /// A table within this table.
    pub(super) fn table<T>(&self, name: &'static str, read: impl FnOnce(&Table<'d>) -> T) -> T {
        let (line, value) = self.entry(name).unzip();
        self.child(name, name, line, value).read_with(read)
    }

    /// A table whose keys are names that the operator chose, each with a table of its own. Ordered by name.
    pub(super) fn named<T>(&self, name: &'static str, read: impl Fn(&str, &Table<'d>) -> Option<T>) -> Vec<Named<T>> {
        let (line, value) = self.entry(name).unzip();
        let all = self.child(name, name, line, value);
        let mut out = Vec::new();
        for (name, value) in all.entries.into_iter().flatten() {
            let (name, line) = (name.get_ref().as_ref(), self.document.line_at(name.span().start));
            let child = all.child(name, ANY_NAME, Some(line), Some(value.get_ref()));
            let value = child.read_with(|table| read(name, table));
            out.push(Named { name: name.to_owned(), line: Some(line), value });
        }
        out
    }

    /// A list of tables, `[[name]]`, in the order of the file.
    pub(super) fn array<T>(&self, name: &'static str, read: impl Fn(&Table<'d>) -> Option<T>) -> Vec<Named<T>> {
        let (line, value) = self.entry(name).unzip();
        let path = join(&self.path, name);
        let list = value.and_then(DeValue::as_array);
        if let Some(value) = value.filter(|value| !value.is_array()) {
            let mend = Some(format!("write [[{path}]] with its keys below it"));
            self.document.problem(line, Some(&path), format!("must be a list of tables, not {}", a(value)), mend);
        }
        let mut out = Vec::new();
        for value in list.into_iter().flatten() {
            let line = Some(self.document.line_at(value.span().start));
            let child = self.child(name, name, line, Some(value.get_ref()));
            out.push(Named { name: name.to_owned(), line, value: child.read_with(&read) });
        }
        out
    }

    /// Whether the table has this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(name))
    }

    /// The file and line of the table.
    pub(super) fn place(&self) -> Option<(PathBuf, usize)> {
        self.line.map(|line| self.document.place(line))
    }

    /// Reports a problem with the table itself.
    pub(super) fn problem(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.document.problem(self.line, Some(&self.path), what.into(), Some(mend.into()));
    }

    fn entry(&self, name: &'static str) -> Option<(usize, &'d DeValue<'d>)> {
        self.known.borrow_mut().push(name);
        let (key, value) = self.entries?.get_key_value(name)?;
        Some((self.document.line_at(key.span().start), value.get_ref()))
    }

    fn child(&self, name: &str, pattern: &str, line: Option<usize>, value: Option<&'d DeValue<'d>>) -> Table<'d> {
        let path = join(&self.path, name);
        if let Some(value) = value.filter(|value| !value.is_table()) {
            let mend = Some(format!("write [{path}] with its keys below it"));
            self.document.problem(line, Some(&path), format!("must be a table, not {}", a(value)), mend);
        }
        Table {
            document: self.document,
            path,
            pattern: join(&self.pattern, pattern),
            line,
            entries: value.and_then(DeValue::as_table),
            known: RefCell::default(),
        }
    }

    fn read_with<T>(self, read: impl FnOnce(&Table<'d>) -> T) -> T {
        let out = read(&self);
        let known = self.known.into_inner();
        for name in self.entries.into_iter().flat_map(DeTable::keys) {
            let text = name.get_ref().as_ref();
            if !known.contains(&text) {
                let line = Some(self.document.line_at(name.span().start));
                let mend = nearest(text, &known).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
                self.document.problem(line, Some(&join(&self.path, text)), "unknown key".to_owned(), Some(mend));
            }
        }
        out
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
