//! The JSON Schema of `gateway.toml`, for editors, generated from the record of the reader.
//!
//! Draft 7, because Taplo, which checks TOML in editors, supports later drafts only in part.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::manual::{self, Entry};
use super::record::{Definition, Grammar, Kind, Preset, Shape};
use crate::units::{ByteSize, HumanDuration, Rate};

/// `"${NAME}"` in place of a text.
const VARIABLE: &str = r"\$\{[^${}]+\}";

/// The schema of a file with these keys.
pub(super) fn of(grammar: &Grammar) -> Value {
    let page = manual::entries();
    let schema = with(Schema { grammar, page: &page }.table(""), "$schema", "http://json-schema.org/draft-07/schema#");
    with(schema, "title", format!("tokengate {}", env!("CARGO_PKG_VERSION")))
}

struct Schema<'a> {
    grammar: &'a Grammar,
    page: &'a BTreeMap<String, Entry>,
}

impl Schema<'_> {
    /// A table with keys of the file format.
    fn table(&self, pattern: &str) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (path, shape) in &self.grammar.shapes {
            if let Some(name) = child(pattern, path) {
                let inner = match shape {
                    Shape::Table => self.table(path),
                    Shape::Named => {
                        json!({ "type": "object", "additionalProperties": self.table(&format!("{path}.NAME")) })
                    }
                    Shape::List => json!({ "type": "array", "items": self.table(path) }),
                };
                properties.insert(name.to_owned(), self.described(path, inner));
            }
        }
        for (path, definition) in &self.grammar.keys {
            if let Some(name) = child(pattern, path) {
                properties.insert(name.to_owned(), self.key(path, definition));
                if definition.preset == Preset::Required {
                    required.push(name);
                }
            }
        }
        let mut table = json!({ "type": "object", "additionalProperties": false, "properties": properties });
        if !required.is_empty() {
            table = with(table, "required", required);
        }
        if let Some(keys) = self.grammar.alternatives.get(pattern) {
            table = with(table, "oneOf", keys.iter().map(|key| json!({ "required": [key] })).collect::<Value>());
        }
        table
    }

    fn key(&self, path: &str, definition: &Definition) -> Value {
        let mut schema = kind(&definition.kind);
        if let Some(word) = definition.word {
            schema = json!({ "anyOf": [schema, { "enum": [word] }] });
        }
        if let Preset::Value(value) = &definition.preset {
            schema = with(schema, "default", value.clone());
        }
        let explained = match &definition.preset {
            Preset::Like(other) if !self.page.contains_key(path) => other,
            _ => path,
        };
        self.described(explained, schema)
    }

    fn described(&self, path: &str, schema: Value) -> Value {
        let Some(entry) = self.page.get(path) else { return schema };
        let default = match entry.default.as_str() {
            "" | "required" => String::new(),
            default => format!(" Default: {}.", manual::plain(default)),
        };
        let meaning = manual::plain(&entry.meaning);
        with(schema, "description", format!("{}.{default}", meaning.trim_end_matches('.')))
    }
}

fn with(mut schema: Value, keyword: &str, value: impl Into<Value>) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert(keyword.to_owned(), value.into());
    }
    schema
}

/// The name of `path` in the table `pattern`, if it is one of its keys.
fn child<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let rest = if pattern.is_empty() { path } else { path.strip_prefix(pattern)?.strip_prefix('.')? };
    (!rest.contains('.')).then_some(rest)
}

fn kind(kind: &Kind) -> Value {
    let text = |pattern: String| json!({ "type": "string", "pattern": format!("^({pattern}|{VARIABLE})$") });
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Count { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Duration => text(HumanDuration::pattern()),
        Kind::Size => text(ByteSize::pattern()),
        Kind::Rate => text(Rate::pattern()),
        Kind::ByteRate => text(format!("{}/s", ByteSize::pattern())),
        Kind::Words(words) => {
            json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": format!("^{VARIABLE}$") }] })
        }
        Kind::Text | Kind::Path => json!({ "type": "string" }),
        Kind::List(member) => {
            json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": self::kind(member) })
        }
    }
}
