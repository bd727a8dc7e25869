//! Reads values. A [`Key`] knows its place, so every error message has its line and its path.
//!
//! Each reading function gets the default and returns it for an absent value and, after reporting it, for an invalid
//! one. So one call is the whole definition of a key: what it accepts, its bounds and its default. It is noted in
//! [`super::record`]. `"${NAME}"` as the whole text is replaced from the environment, once. Error messages never show
//! the value of a variable, or a password.

mod note;
mod read;

use std::borrow::Cow;
use std::fmt::Display;

use toml::de::DeValue;

use super::document::{Document, MISSING};
use super::secret::{self, Secrecy, scheme_of};
use super::variables::NoValue;

/// Upper bound for counts; far from overflow everywhere.
pub(super) const MANY: u64 = 100_000_000;

/// A key with its value, if it has one.
pub(super) struct Key<'d> {
    document: &'d Document<'d>,
    name: &'static str,
    path: String,
    pattern: String,
    line: Option<usize>,
    value: Option<&'d DeValue<'d>>,
    word: Option<&'static str>,
    secrecy: Secrecy,
    is_required: bool,
    varies: bool,
    like: Option<&'static str>,
    /// The index of the table in the record; `None`: the value has no effect, or nothing is recorded.
    table: Option<usize>,
}

/// The place of a key.
pub(super) struct Place {
    /// Its path, such as `routes.orders.upstream`.
    pub path: String,
    /// Its path with `NAME` for names that operators choose.
    pub pattern: String,
    /// Its line, or that of its table.
    pub line: Option<usize>,
    /// The index of its table in the record.
    pub table: Option<usize>,
}

/// What is wrong with a text (a predicate, such as "is not an address"), and how to fix it.
pub(super) struct Fault {
    what: String,
    mend: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault { what: what.into(), mend: mend.into() }
    }
}

impl<'d> Key<'d> {
    /// A key at a place.
    pub(super) fn new(
        document: &'d Document<'d>,
        name: &'static str,
        place: Place,
        value: Option<&'d DeValue<'d>>,
    ) -> Key<'d> {
        let Place { path, pattern, line, table } = place;
        let (word, secrecy, is_required, varies, like) = (None, Secrecy::Open, false, false, None);
        Key { document, name, path, pattern, line, value, word, secrecy, is_required, varies, like, table }
    }

    /// Allows a word in place of a quantity, such as "unlimited".
    pub(super) fn or_word(self, word: &'static str) -> Key<'d> {
        Key { word: Some(word), ..self }
    }

    /// Marks a text that may contain a secret.
    pub(super) fn secret(self, secrecy: Secrecy) -> Key<'d> {
        Key { secrecy, ..self }
    }

    /// Marks a default that is the value of another key.
    pub(super) fn like(self, other: Option<&'static str>) -> Key<'d> {
        Key { like: other, ..self }
    }

    /// Marks a default that differs between machines.
    pub(super) fn varies(self) -> Key<'d> {
        Key { varies: true, ..self }
    }

    /// Marks a value that has an effect only under a condition.
    pub(super) fn only_if(self, condition: bool) -> Key<'d> {
        Key { table: self.table.filter(|_| condition), ..self }
    }

    /// Reports a missing key as an error.
    pub(super) fn required(self, mend: &str) -> Key<'d> {
        self.required_if(true, mend)
    }

    /// Reports a missing key as an error, if the table is in use.
    pub(super) fn required_if(self, condition: bool, mend: &str) -> Key<'d> {
        if condition && !self.is_set() {
            self.problem(MISSING, mend);
        }
        Key { is_required: true, ..self }
    }

    /// Whether the file has this key.
    pub(super) fn is_set(&self) -> bool {
        self.value.is_some()
    }

    /// Its path, such as `routes.orders.upstream`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reports an error.
    pub(super) fn problem(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.document.problem(self.line, Some(&self.path), what.into(), Some(mend.into()));
    }

    /// Reports a warning.
    pub(super) fn warning(&self, what: impl Into<String>, mend: impl Into<String>) {
        self.document.warning(self.line, Some(&self.path), what.into(), Some(mend.into()));
    }

    fn expand(&self, written: &str) -> Option<String> {
        if !written.contains("${") {
            return Some(written.to_owned());
        }
        let Some(name) = secret::variable(written) else {
            self.problem(
                format!("`{}` mixes a variable with text", self.shown(written)),
                "make \"${NAME}\" the whole value",
            );
            return None;
        };
        match self.document.variable(name) {
            Ok(value) => Some(value),
            Err(NoValue::Missing) => {
                self.problem(format!("the environment has no variable `{name}`"), "set it, or write the value");
                None
            }
            Err(NoValue::Unreadable { file }) => {
                let what = format!("the file {file} of the variable `{name}_FILE` cannot be read");
                self.problem(what, "correct the variable, or let the user of the gateway read the file");
                None
            }
        }
    }

    /// The part of a text that an error message may show.
    fn shown<'t>(&self, written: &'t str) -> Cow<'t, str> {
        let is_variable = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let names_one = secret::variable(written).is_some_and(is_variable);
        match self.secrecy {
            _ if names_one => written.into(),
            // Operators write passwords in any URL by mistake.
            Secrecy::Open => secret::request_shown(written).into(),
            Secrecy::Url => format!("{}…", scheme_of(written)).into(),
            Secrecy::Header | Secrecy::Request | Secrecy::Whole => self.secrecy.shown(written).into(),
        }
    }

    fn word_too(&self) -> String {
        self.word.map(|word| format!(", or \"{word}\"")).unwrap_or_default()
    }

    fn or_wrong_type<T>(&self, read: Option<T>, must: impl Display) -> Option<T> {
        if let (None, Some(value)) = (&read, self.value) {
            let mend = format!("write {must}");
            self.problem(format!("must not be {}", a(value)), mend);
        }
        read
    }
}

/// The type of a value with its article.
pub(super) fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
