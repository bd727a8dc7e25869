//! Reads values. A [`Key`] knows its place, so every error message has its line and its path.
//!
//! Each reading function returns `None` for an absent value and, after reporting it, for an invalid one; callers then
//! use the default. `"${NAME}"` as the whole text is replaced from the environment, once. Error messages never show the
//! value of a variable, or a password.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::document::Document;
use super::nearest::nearest;
use super::secret::scheme_of;
use crate::units::{BadQuantity, ByteSize, HumanDuration, Rate};

/// Upper bound for counts; far from overflow everywhere.
pub(super) const MANY: u64 = 100_000_000;

/// A key with its value, if it has one.
pub(super) struct Key<'d> {
    document: &'d Document<'d>,
    path: String,
    line: Option<usize>,
    value: Option<&'d DeValue<'d>>,
    word: Option<&'static str>,
    secret: bool,
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
    /// A key at a place; without a value, `line` is that of its table.
    pub(super) fn new(
        document: &'d Document<'d>,
        path: String,
        line: Option<usize>,
        value: Option<&'d DeValue<'d>>,
    ) -> Key<'d> {
        Key { document, path, line, value, word: None, secret: false }
    }

    /// Allows a word in place of a quantity, such as "unlimited".
    pub(super) fn or_word(self, word: &'static str) -> Key<'d> {
        Key { word: Some(word), ..self }
    }

    /// Marks the text as a URL that may contain a password: error messages show its scheme at most.
    pub(super) fn secret(self) -> Key<'d> {
        Key { secret: true, ..self }
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

    /// Reports a missing key as an error.
    pub(super) fn require(&self, mend: &str) {
        if !self.is_set() {
            self.problem("missing", mend);
        }
    }

    /// `true` or `false`.
    pub(super) fn bool(&self) -> Option<bool> {
        let read = self.value?.as_bool();
        self.or_wrong_type(read, "true or false")
    }

    /// A whole number within bounds.
    pub(super) fn count<T: TryFrom<u64>>(&self, bounds: RangeInclusive<u64>) -> Option<T> {
        self.count_because(bounds, "")
    }

    /// A whole number within bounds that need a reason; `why` ends the sentence "write a whole number from 1 to 9".
    pub(super) fn count_because<T: TryFrom<u64>>(&self, bounds: RangeInclusive<u64>, why: &str) -> Option<T> {
        let (least, most) = bounds.clone().into_inner();
        let must = if least == most { format!("{least}") } else { format!("a whole number from {least} to {most}") };
        let must = must + &self.word_too();
        let number = self.or_wrong_type(self.value?.as_integer(), &must)?;
        let read = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| bounds.contains(number));
        if read.is_none() {
            self.problem(format!("`{number}` is out of bounds"), format!("write {must}{why}"));
        }
        read.and_then(|number| T::try_from(number).ok())
    }

    /// Whether the value is exactly this text.
    pub(super) fn is_text(&self, text: &str) -> bool {
        self.value.and_then(DeValue::as_str) == Some(text)
    }

    /// Whether the value is the word of [`Key::or_word`].
    pub(super) fn is_word(&self) -> bool {
        self.word.is_some_and(|word| self.is_text(word))
    }

    /// A duration.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.quantity(BadQuantity::BareDuration).map(|HumanDuration(duration)| duration)
    }

    /// A duration, or the word of [`Key::or_word`] for none; `default` if absent.
    pub(super) fn optional_duration(&self, default: Option<Duration>) -> Option<Duration> {
        if self.is_word() { None } else { self.duration().or(default) }
    }

    /// A size within bounds, in bytes.
    pub(super) fn bytes(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let size = self.quantity::<ByteSize>(BadQuantity::BareSize)?;
        let (least, most) = bounds.clone().into_inner();
        if !bounds.contains(&size.0) {
            let mend = format!("write {} to {}", ByteSize(least), ByteSize(most));
            self.problem(format!("`{size}` is out of bounds"), mend);
            return None;
        }
        Some(size.0)
    }

    /// A rate, or the word of [`Key::or_word`] for no limit; `default` if absent.
    pub(super) fn optional_rate(&self, default: Option<Rate>) -> Option<Rate> {
        if self.is_word() { None } else { self.quantity(|_| BadQuantity::NotARate).or(default) }
    }

    fn quantity<T: FromStr<Err = BadQuantity>>(&self, bare: fn(u64) -> BadQuantity) -> Option<T> {
        if let Some(number) = self.value?.as_integer() {
            let number = number.to_string();
            let bad = number.parse().map_or(BadQuantity::TooLarge, bare);
            self.problem(format!("`{number}` {}", bad.what()), bad.mend() + &self.word_too());
            return None;
        }
        let fault = |bad: BadQuantity| Fault::new(bad.what(), bad.mend() + &self.word_too());
        self.parse(|text| text.parse().map_err(fault))
    }

    /// A text that `read` accepts.
    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let written = self.or_wrong_type(self.value?.as_str(), "a text in quotes")?;
        let text = self.expand(written)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(Fault { what, mend }) => {
                // The fix may repeat the text, which may be secret if it comes from the environment.
                let mend = if text == written { mend } else { "correct the variable".to_owned() };
                self.problem(format!("`{}` {what}", self.shown(written)), mend);
                None
            }
        }
    }

    /// One of a fixed list of words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.parse(|text| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let quoted: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
                let mend = nearest(text, &known).unwrap_or_else(|| format!("write {}", quoted.join(" or ")));
                Fault::new("is not supported here", mend)
            })
        })
    }

    /// A path, relative to the configuration file.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.parse(|text| match text {
            "" => Err(Fault::new("is not a file path", "write a path, relative to this file")),
            path => Ok(self.document.resolve(path)),
        })
    }

    /// A list with at least one element, each a key of its own. Reports duplicates.
    pub(super) fn list(&self) -> Option<Vec<Key<'d>>> {
        let list = self.or_wrong_type(self.value?.as_array(), "a list, such as [\"a\", \"b\"]")?;
        if list.is_empty() {
            self.problem("an empty list", "name at least one, or leave the key out");
        }
        let mut seen = Vec::new();
        let mut members = Vec::new();
        for member in list {
            let line = Some(self.document.line_at(member.span().start));
            let key = Key::new(self.document, self.path.clone(), line, Some(member.get_ref()));
            match member.get_ref().as_str() {
                Some(text) if seen.contains(&text) => key.problem(format!("`{text}` is listed twice"), "remove one"),
                Some(text) => seen.push(text),
                None => {}
            }
            members.push(key);
        }
        Some(members)
    }

    /// A list of texts that `read` accepts. The others are reported and left out.
    pub(super) fn parse_list<T>(&self, read: impl Fn(&str) -> Result<T, Fault>) -> Option<Vec<T>> {
        Some(self.list()?.iter().filter_map(|member| member.parse(&read)).collect())
    }

    fn expand(&self, written: &str) -> Option<String> {
        let Some((before, rest)) = written.split_once("${") else { return Some(written.to_owned()) };
        let Some(name) = rest.strip_suffix('}').filter(|name| before.is_empty() && !name.contains(['$', '{', '}']))
        else {
            self.problem(
                format!("`{}` mixes a variable with text", self.shown(written)),
                "make \"${NAME}\" the whole value",
            );
            return None;
        };
        let value = self.document.variable(name);
        if value.is_none() {
            self.problem(format!("the environment has no variable `{name}`"), "set it, or write the value");
        }
        value
    }

    /// The part of a text that an error message may show.
    fn shown<'t>(&self, written: &'t str) -> Cow<'t, str> {
        let is_variable = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let names_one = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(is_variable);
        if self.secret && !names_one { format!("{}…", scheme_of(written)).into() } else { written.into() }
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
