//! Reads tables. A [`Table`] records which keys were read, so that all other keys are unknown.
//!
//! Each table of the file has one function that reads *all* its keys, with their defaults, whatever the values are.
//! From these records come the errors for unknown keys, the suggestions, and the list of all keys.

use std::cell::RefCell;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::effective::toml_text;
use super::nearest::{did_you_mean, nearest_name};
use super::record::{Shape, TableReading};
use super::value::{Key, Place, a};

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
    /// As in brackets in the file.
    header: String,
    /// The line, or that of the table around it.
    near: Option<usize>,
    /// Its index in the record; `None`: it is not in use, or nothing is recorded.
    index: Option<usize>,
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
        let (path, pattern, known, header) = Default::default();
        let (line, near, entries, index) = (None, None, Some(tree), None);
        let mut table = Table { document, path, pattern, line, entries, known, header, near, index };
        table.enter(false, true, false);
        table.read_with(read)
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
        let (path, pattern) = (join(&self.path, name), join(&self.pattern, name));
        let (line, value) = self.entry(name).unzip();
        let place = Place { path, pattern, line: line.or(self.line), table: self.index };
        Key::new(self.document, name, place, value)
    }

    /// Notes that the table needs exactly one of these keys. Its reader checks that.
    pub(super) fn needs_one_of(&self, keys: &[&'static str]) {
        if let Some(record) = self.document.record() {
            record.one_of(&self.pattern, keys);
        }
    }

    /// A table within this table, whose defaults apply if it is absent.
    pub(super) fn table<T>(&self, name: &'static str, read: impl FnOnce(&Table<'d>) -> T) -> T {
        self.table_if(true, name, read)
    }

    /// A table within this table that switches something on.
    pub(super) fn switch<T>(&self, name: &'static str, read: impl FnOnce(&Table<'d>) -> T) -> T {
        self.table_if(false, name, read)
    }

    /// A table within this table. If it is absent, its defaults apply under a condition.
    pub(super) fn table_if<T>(&self, condition: bool, name: &'static str, read: impl FnOnce(&Table<'d>) -> T) -> T {
        let (line, value) = self.entry(name).unzip();
        let mut child = self.child(name, name, line, value);
        child.enter(false, condition && self.index.is_some(), !condition);
        self.shape(&child.pattern, Shape::Table);
        child.read_with(read)
    }

    /// A table whose keys are names that the operator chose, each with a table of its own. Ordered by name.
    pub(super) fn named<T>(&self, name: &'static str, read: impl Fn(&str, &Table<'d>) -> Option<T>) -> Vec<Named<T>> {
        let (line, value) = self.entry(name).unzip();
        let all = self.child(name, name, line, value);
        self.shape(&all.pattern, Shape::Named);
        let mut out = Vec::new();
        for (name, value) in all.entries.into_iter().flatten() {
            let (name, line) = (name.get_ref().as_ref(), self.document.line_at(name.span().start));
            let mut child = all.child(name, ANY_NAME, Some(line), Some(value.get_ref()));
            child.enter(false, true, true);
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
            let mut child = self.child(name, name, line, Some(value.get_ref()));
            child.enter(true, true, true);
            self.shape(&child.pattern, Shape::List);
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
            header: join(&self.header, &quoted(name)),
            near: line.or(self.near),
            index: None,
        }
    }

    /// Records that the table is in use: the file has it, or it is `used` without. `switches`: the presence of the
    /// table has a meaning.
    fn enter(&mut self, is_listed: bool, used: bool, switches: bool) {
        let Some(record) = self.document.record().filter(|_| used || self.is_set()) else { return };
        let (header, line, switches) = (self.header.clone(), self.near, switches && self.is_set());
        self.index = Some(record.table(TableReading { header, is_listed, line, switches }));
    }

    fn shape(&self, pattern: &str, shape: Shape) {
        if let Some(record) = self.document.record() {
            record.shape(pattern, shape);
        }
    }

    fn read_with<T>(self, read: impl FnOnce(&Table<'d>) -> T) -> T {
        let out = read(&self);
        let mut known = self.known.into_inner();
        known.sort_unstable();
        known.dedup();
        for name in self.entries.into_iter().flat_map(DeTable::keys) {
            let text = name.get_ref().as_ref();
            if !known.contains(&text) {
                let line = Some(self.document.line_at(name.span().start));
                let meant = nearest_name(text, &known);
                if let Some(meant) =
                    meant.filter(|meant| !self.entries.is_some_and(|entries| entries.contains_key(*meant)))
                {
                    self.document.found_misspelt(&join(&self.path, meant));
                }
                let mend = meant.map_or_else(|| format!("known here: {}", known.join(", ")), did_you_mean);
                self.document.problem(line, Some(&join(&self.path, text)), "unknown key".to_owned(), Some(mend));
            }
        }
        out
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name as TOML writes it.
fn quoted(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_bare { name.to_owned() } else { toml_text(&name.into()) }
}
