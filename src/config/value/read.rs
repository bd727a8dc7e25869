//! The reading functions: each takes the accepted values and the default of a key.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use toml::de::DeValue;

use super::{Fault, Key, Place};
use crate::config::nearest::nearest;
use crate::config::record::Kind;
use crate::units::{BadQuantity, ByteSize, HumanDuration, Rate};

impl<'d> Key<'d> {
    /// `true` or `false`.
    pub(in crate::config) fn bool(&self, default: bool) -> bool {
        self.note(|| (Kind::Bool, Some(default.into())));
        let read = self.value.and_then(DeValue::as_bool);
        self.or_wrong_type(read, "true or false").unwrap_or(default)
    }

    /// A whole number within bounds.
    pub(in crate::config) fn count<T: TryFrom<u64> + TryInto<u64> + Copy>(
        &self,
        bounds: RangeInclusive<u64>,
        default: T,
    ) -> T {
        self.count_because(bounds, "", default)
    }

    /// A whole number within bounds that need a reason; `why` ends the sentence "write a whole number from 1 to 9".
    pub(in crate::config) fn count_because<T: TryFrom<u64> + TryInto<u64> + Copy>(
        &self,
        bounds: RangeInclusive<u64>,
        why: &str,
        default: T,
    ) -> T {
        self.note(|| (count_kind(&bounds), default.try_into().ok().map(Value::from)));
        self.read_count(bounds, why).unwrap_or(default)
    }

    /// A whole number within bounds; `None` if absent.
    pub(in crate::config) fn optional_count<T: TryFrom<u64>>(&self, bounds: RangeInclusive<u64>) -> Option<T> {
        self.note(|| (count_kind(&bounds), None));
        if self.is_word() { None } else { self.read_count(bounds, "") }
    }

    /// A whole number within bounds; `None` for the word of [`Key::or_word`], which is the default.
    pub(in crate::config) fn count_or_word<T: TryFrom<u64>>(&self, bounds: RangeInclusive<u64>) -> Option<T> {
        self.note(|| (count_kind(&bounds), self.word.map(Value::from)));
        if self.is_word() { None } else { self.read_count(bounds, "") }
    }

    /// A whole number within bounds; `None` for the word of [`Key::or_word`].
    pub(in crate::config) fn count_unless_word<T: TryFrom<u64> + TryInto<u64> + Copy>(
        &self,
        bounds: RangeInclusive<u64>,
        default: T,
    ) -> Option<T> {
        self.note(|| (count_kind(&bounds), default.try_into().ok().map(Value::from)));
        if self.is_word() { None } else { Some(self.read_count(bounds, "").unwrap_or(default)) }
    }

    fn read_count<T: TryFrom<u64>>(&self, bounds: RangeInclusive<u64>, why: &str) -> Option<T> {
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
    pub(in crate::config) fn is_text(&self, text: &str) -> bool {
        self.value.and_then(DeValue::as_str) == Some(text)
    }

    /// Whether the value is the word of [`Key::or_word`].
    pub(in crate::config) fn is_word(&self) -> bool {
        self.word.is_some_and(|word| self.is_text(word))
    }

    /// A duration.
    pub(in crate::config) fn duration(&self, default: Duration) -> Duration {
        self.duration_within(Duration::ZERO..=Duration::MAX, default)
    }

    /// A duration within bounds.
    pub(in crate::config) fn duration_within(&self, bounds: RangeInclusive<Duration>, default: Duration) -> Duration {
        self.note(|| (Kind::Duration, Some(HumanDuration(default).to_string().into())));
        let Some(HumanDuration(duration)) = self.quantity(BadQuantity::BareDuration) else { return default };
        if !bounds.contains(&duration) {
            let (least, most) = bounds.into_inner();
            let mend = match most {
                Duration::MAX => format!("write {} or more", HumanDuration(least)),
                most => format!("write {} to {}", HumanDuration(least), HumanDuration(most)),
            };
            self.problem(format!("`{}` is out of bounds", HumanDuration(duration)), mend);
        }
        duration
    }

    /// A duration, or the word of [`Key::or_word`] for none.
    pub(in crate::config) fn optional_duration(&self, default: Option<Duration>) -> Option<Duration> {
        self.note(|| (Kind::Duration, self.shown_or_word(default.map(HumanDuration))));
        if self.is_word() {
            return None;
        }
        self.quantity(BadQuantity::BareDuration).map(|HumanDuration(duration)| duration).or(default)
    }

    /// A size within bounds, in bytes.
    pub(in crate::config) fn bytes(&self, bounds: RangeInclusive<u64>, default: u64) -> u64 {
        self.optional_bytes(bounds, Some(default)).unwrap_or(default)
    }

    /// A size within bounds, in bytes, as a number of this machine.
    pub(in crate::config) fn size(&self, bounds: RangeInclusive<u64>, default: usize) -> usize {
        let read = self.optional_bytes(bounds, u64::try_from(default).ok());
        read.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
    }

    /// A size within bounds, in bytes, or the word of [`Key::or_word`] for no bound.
    pub(in crate::config) fn optional_bytes(&self, bounds: RangeInclusive<u64>, default: Option<u64>) -> Option<u64> {
        self.note(|| (Kind::Size, self.shown_or_word(default.map(ByteSize))));
        if self.is_word() {
            return None;
        }
        let Some(size) = self.quantity::<ByteSize>(BadQuantity::BareSize) else { return default };
        let (least, most) = bounds.clone().into_inner();
        if !bounds.contains(&size.0) {
            let mend = format!("write {} to {}", ByteSize(least), ByteSize(most));
            self.problem(format!("`{size}` is out of bounds"), mend);
        }
        Some(size.0)
    }

    /// A rate, or the word of [`Key::or_word`] for no limit.
    pub(in crate::config) fn optional_rate(&self, default: Option<Rate>) -> Option<Rate> {
        self.note(|| (Kind::Rate, self.shown_or_word(default)));
        if self.is_word() { None } else { self.quantity(|_| BadQuantity::NotARate).or(default) }
    }

    /// A number of bytes per second, or the word of [`Key::or_word`] for no limit.
    pub(in crate::config) fn optional_byte_rate(&self, default: Option<u64>) -> Option<u64> {
        let shown = default.map(|bytes| format!("{}/s", ByteSize(bytes)));
        self.note(|| (Kind::ByteRate, self.shown_or_word(shown)));
        if self.is_word() {
            return None;
        }
        let mend = || format!("write one such as \"50B/s\"{}", self.word_too());
        let read = self.read(|text| {
            let size = text.strip_suffix("/s").and_then(|size| size.parse().ok()).filter(|size: &ByteSize| size.0 > 0);
            size.map(|ByteSize(bytes)| bytes).ok_or_else(|| Fault::new("is not a size per second", mend()))
        });
        read.or(default)
    }

    fn quantity<T: FromStr<Err = BadQuantity>>(&self, bare: fn(u64) -> BadQuantity) -> Option<T> {
        if let Some(number) = self.value?.as_integer() {
            let number = number.to_string();
            let bad = number.parse().map_or(BadQuantity::TooLarge, bare);
            self.problem(format!("`{number}` {}", bad.what()), bad.mend() + &self.word_too());
            return None;
        }
        let fault = |bad: BadQuantity| Fault::new(bad.what(), bad.mend() + &self.word_too());
        self.read(|text| text.parse().map_err(fault))
    }

    /// A text that `read` accepts; `None` if absent.
    pub(in crate::config) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        self.note(|| (Kind::Text, None));
        self.read(read)
    }

    /// A text that `read` accepts.
    pub(in crate::config) fn parse_or<T: Display>(&self, default: T, read: impl FnOnce(&str) -> Result<T, Fault>) -> T {
        self.note(|| (Kind::Text, Some(default.to_string().into())));
        self.read(read).unwrap_or(default)
    }

    /// A text that `read` accepts; an absent key is read like the text `default`.
    pub(in crate::config) fn parse_text_or<T>(
        &self,
        default: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.note(|| (Kind::Text, Some(default.into())));
        if self.is_set() { self.read(read) } else { read(default).ok() }
    }

    /// Any text.
    pub(in crate::config) fn text(&self) -> Option<String> {
        self.parse(|text| Ok(text.to_owned()))
    }

    fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
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
    pub(in crate::config) fn choice<T: Copy + PartialEq>(&self, words: &[(&'static str, T)], default: T) -> T {
        let word = words.iter().find(|(_, value)| *value == default).map(|(word, _)| Value::from(*word));
        self.note(|| (Kind::Words(all(words)), word));
        self.word_in(words).unwrap_or(default)
    }

    /// One of a fixed list of words; `None` if absent.
    pub(in crate::config) fn optional_choice<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.note(|| (Kind::Words(all(words)), None));
        self.word_in(words)
    }

    /// A list of such words.
    pub(in crate::config) fn choices<T: Copy + PartialEq>(&self, words: &[(&'static str, T)], default: &[T]) -> Vec<T> {
        self.note(|| {
            let chosen = words.iter().filter(|(_, value)| default.contains(value)).map(|(word, _)| Value::from(*word));
            let chosen = Some(chosen.collect::<Vec<_>>()).filter(|chosen| !chosen.is_empty());
            (Kind::List(Box::new(Kind::Words(all(words)))), chosen.map(Value::from))
        });
        let listed = self.members().map(|list| list.iter().filter_map(|member| member.word_in(words)).collect());
        listed.filter(|list: &Vec<T>| !list.is_empty()).unwrap_or_else(|| default.to_vec())
    }

    fn word_in<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.read(|text| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let known = all(words);
                let quoted: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
                let mend = nearest(text, &known).unwrap_or_else(|| format!("write {}", quoted.join(" or ")));
                Fault::new("is not supported here", mend)
            })
        })
    }

    /// A path, relative to the configuration file; `None` if absent.
    pub(in crate::config) fn optional_file(&self) -> Option<PathBuf> {
        self.note(|| (Kind::Path, None));
        self.read(|text| self.file_named(text))
    }

    /// A path, relative to the configuration file.
    pub(in crate::config) fn file(&self, default: &str) -> PathBuf {
        self.note(|| (Kind::Path, Some(default.into())));
        self.read(|text| self.file_named(text)).unwrap_or_else(|| self.document.resolve(default))
    }

    fn file_named(&self, text: &str) -> Result<PathBuf, Fault> {
        match text {
            "" => Err(Fault::new("is not a file path", "write a path, relative to this file")),
            path => Ok(self.document.resolve(path)),
        }
    }

    /// A list of texts that `read` accepts. The others are reported and left out.
    pub(in crate::config) fn parse_list<T>(&self, read: impl Fn(&str) -> Result<T, Fault>) -> Vec<T> {
        self.each(|member| member.read(&read))
    }

    /// As [`Key::parse_list`], with a default.
    pub(in crate::config) fn parse_list_or<T: Display>(
        &self,
        default: Vec<T>,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<T> {
        let shown = || default.iter().map(|value| Value::from(value.to_string())).collect::<Vec<_>>().into();
        self.note(|| (Kind::List(Box::new(Kind::Text)), Some(shown())));
        let listed = self.members().map(|list| list.iter().filter_map(|member| member.read(&read)).collect());
        listed.unwrap_or(default)
    }

    /// A list of texts, each read by `read`.
    pub(in crate::config) fn each<T>(&self, read: impl Fn(&Key<'d>) -> Option<T>) -> Vec<T> {
        self.note(|| (Kind::List(Box::new(Kind::Text)), None));
        self.members().unwrap_or_default().iter().filter_map(read).collect()
    }

    /// The elements of a list, each a key of its own. Reports an empty list and duplicates.
    fn members(&self) -> Option<Vec<Key<'d>>> {
        if self.is_word() {
            return None;
        }
        let list = self.or_wrong_type(self.value?.as_array(), "a list, such as [\"a\", \"b\"]")?;
        if list.is_empty() {
            self.problem("an empty list", "name at least one, or leave the key out");
        }
        let mut seen = Vec::new();
        let mut members = Vec::new();
        for member in list {
            let line = Some(self.document.line_at(member.span().start));
            // Without a pattern, because an element is not a key.
            let place = Place { path: self.path.clone(), pattern: String::new(), line, table: None };
            let key = Key::new(self.document, self.name, place, Some(member.get_ref())).secret(self.secrecy);
            match member.get_ref().as_str() {
                Some(text) if seen.contains(&text) => key.problem(format!("`{text}` is listed twice"), "remove one"),
                Some(text) => seen.push(text),
                None => {}
            }
            members.push(key);
        }
        Some(members)
    }
}

fn all<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

fn count_kind(bounds: &RangeInclusive<u64>) -> Kind {
    Kind::Count { least: *bounds.start(), most: *bounds.end() }
}
