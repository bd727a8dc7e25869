//! Records the values that a key accepts, and its value.

use serde_json::Value;
use std::fmt::Display;
use toml::de::DeValue;

use super::Key;
use crate::config::record::{Definition, KeyReading, Kind, Preset};
use crate::config::secret::{self, Secrecy};

impl Key<'_> {
    /// Records the kind, the default, and the value in effect.
    pub(super) fn note(&self, what: impl FnOnce() -> (Kind, Option<Value>)) {
        let Some(record) = self.document.record() else { return };
        let (kind, default) = what();
        let preset = match (&default, self.like) {
            _ if self.is_required => Preset::Required,
            (_, Some(other)) => Preset::Like(other),
            (Some(value), None) if !self.varies => Preset::Value(value.clone()),
            _ => Preset::None,
        };
        record.key(self.pattern.clone(), Definition { kind, word: self.word, preset });
        let (mut variables, mut is_hidden) = (Vec::new(), false);
        let value = match self.value {
            Some(value) => self.resolved(value, &mut variables, &mut is_hidden),
            None => default,
        };
        let (Some(table), Some(value)) = (self.table, value) else { return };
        let line = self.line.filter(|_| self.is_set());
        let like = self.like.filter(|_| !self.is_set());
        record.reading(KeyReading { table, name: self.name, value, line, like, variables, is_hidden });
    }

    /// The default as it would be written; the word of [`Key::or_word`] for none.
    pub(super) fn shown_or_word<T: Display>(&self, default: Option<T>) -> Option<Value> {
        default.map(|value| value.to_string().into()).or_else(|| self.word.map(Value::from))
    }

    /// The value with variables replaced and secrets hidden.
    fn resolved(&self, value: &DeValue<'_>, variables: &mut Vec<String>, is_hidden: &mut bool) -> Option<Value> {
        match value {
            DeValue::String(written) => {
                let variable = secret::variable(written);
                variables.extend(variable.map(str::to_owned));
                if variable.is_some() && self.secrecy != Secrecy::Open {
                    *is_hidden = true;
                    return Some(written.as_ref().into());
                }
                let text = variable.and_then(|name| self.document.variable(name).ok());
                let text = text.as_deref().unwrap_or(written);
                let shown = self.secrecy.shown(text);
                *is_hidden |= shown != text;
                Some(shown.into())
            }
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
            DeValue::Boolean(truth) => Some((*truth).into()),
            DeValue::Array(list) => {
                list.iter().map(|member| self.resolved(member.get_ref(), variables, is_hidden)).collect()
            }
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
        }
    }
}
