//! The descriptions of keys in `docs/CONFIGURATION.md`. They are written only there; the schema repeats them for
//! editors.

use std::collections::BTreeMap;

/// The page.
const PAGE: &str = include_str!("../../docs/CONFIGURATION.md");

/// A row of a table of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The cell "type".
    pub kind: String,
    /// The cell "default".
    pub default: String,
    /// The cell "meaning".
    pub meaning: String,
}

/// The rows of the page, by the full name of the key, such as `routes.NAME.upstream`.
///
/// The heading above a table has the names of the tables in the file, such as `[login]` and `[login.attempts]`; a row
/// then describes a key of each of them. If the first cell of a table's head is "key of `as`", its rows are keys of the
/// table `as` below.
pub(super) fn entries() -> BTreeMap<String, Entry> {
    let mut out = BTreeMap::new();
    let (mut heading, mut tables): (Vec<String>, Vec<String>) = Default::default();
    for line in PAGE.lines() {
        if line.starts_with('#') {
            heading = if line == "## Top" { vec![String::new()] } else { names(line) };
            continue;
        }
        let [first, kind, default, meaning] = cells(line)[..] else { continue };
        if first.starts_with("key") {
            tables = tables_of(&heading, first);
            continue;
        }
        let keys = first.split(", ").filter_map(|key| key.strip_prefix('`')?.strip_suffix('`'));
        for (key, table) in keys.flat_map(|key| tables.iter().map(move |table| (key, table))) {
            let name = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            let [kind, default, meaning] = [kind, default, meaning].map(str::to_owned);
            out.entry(name).or_insert(Entry { kind, default, meaning });
        }
    }
    out
}

/// The names of tables in a heading: `[login]` and `[[tests]]`.
fn names(heading: &str) -> Vec<String> {
    let quoted = heading.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with('[')).map(|text| text.trim_matches(['[', ']']).to_owned()).collect()
}

/// The tables that the rows below this head belong to.
fn tables_of(heading: &[String], first: &str) -> Vec<String> {
    let Some(part) = first.split('`').nth(1) else { return heading.to_vec() };
    let end = format!(".{part}");
    let ending: Vec<String> = heading.iter().filter(|table| table.ends_with(&end)).cloned().collect();
    if ending.is_empty() { heading.iter().map(|table| format!("{table}{end}")).collect() } else { ending }
}

/// The cells of a row.
fn cells(line: &str) -> Vec<&str> {
    let row = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
    row.map(|row| row.split('|').map(str::trim).collect()).unwrap_or_default()
}

/// The text with `[words](target)` as `words`.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("](") {
        let mark = if before.ends_with('`') { "[`" } else { "[" };
        let (ahead, words) = before.rfind(mark).map_or(("", before), |at| before.split_at(at));
        let words = words.strip_prefix('[').unwrap_or(words);
        out.push_str(ahead);
        out.push_str(words);
        rest = link.split_once(')').map_or("", |(_, after)| after);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::record::{Kind, Preset};
    use crate::units::HumanDuration;

    /// What the cell shows first as code, as a value of the file.
    fn shown(cell: &str, kind: &Kind) -> Option<Value> {
        let code = cell.strip_prefix('`')?.split('`').next()?;
        let table: toml::Table = format!("x = {code}").parse().ok()?;
        let value = serde_json::to_value(table.get("x")?).ok()?;
        let duration = value.as_str().filter(|_| *kind == Kind::Duration).and_then(|text| text.parse().ok());
        Some(duration.map_or(value, |duration: HumanDuration| duration.to_string().into()))
    }

    #[test]
    fn the_page_names_the_type_and_the_default_of_every_key() {
        let (page, grammar) = (entries(), crate::config::grammar());
        let mut wrong = Vec::new();
        for (key, definition) in &grammar.keys {
            let Some(entry) = page.get(key) else {
                // The tables of a route have one row each, which leads to the table that has the defaults.
                let (table, name) = key.rsplit_once('.').unwrap();
                let row = page.get(table).map(|row| (row.default.clone(), row.meaning.clone()));
                let wanted = match definition.preset {
                    Preset::Like(other) => other.rsplit_once('.').unwrap().0,
                    _ => "another table",
                };
                let leads = row.is_some_and(|(default, meaning)| {
                    default == format!("`[{wanted}]`") && meaning.contains(&format!("`{name}`"))
                });
                if !leads {
                    wrong.push(format!("{key}: there is no row"));
                }
                continue;
            };
            if entry.kind != definition.type_name() {
                wrong.push(format!("{key}: type {}, not {}", definition.type_name(), entry.kind));
            }
            let agrees = match &definition.preset {
                Preset::Required => entry.default == "required",
                Preset::Like(other) => entry.default == format!("`{other}`"),
                Preset::Value(value) => shown(&entry.default, &definition.kind).as_ref() == Some(value),
                Preset::None => !entry.default.starts_with('`') && entry.default != "required",
            };
            if !agrees {
                wrong.push(format!("{key}: default {:?}, not {}", definition.preset, entry.default));
            }
            if let Kind::Words(words) = &definition.kind {
                let text = format!("{} {}", entry.default, entry.meaning);
                wrong.extend(words.iter().filter(|word| !text.contains(*word)).map(|word| format!("{key}: no {word}")));
            }
        }
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }

    #[test]
    fn a_description_has_no_marks_of_links() {
        assert_eq!(plain("see [Keys](#keys), or [`[spool]`](#spool)"), "see Keys, or `[spool]`");
        assert_eq!(plain("no link [here]"), "no link [here]");
    }
}
