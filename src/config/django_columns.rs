//! `[store.django]`, the columns that a project's own tables of tokens and users have beyond those of Django and of Django
//! REST Framework: what each means, or that it means nothing for the gateway.

use super::django::{Django, checked_name};
use super::reader::Table;
use super::value::Fault;

/// What the further columns mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Tokens: when it expires.
    pub expires: Option<String>,
    /// Tokens: whether, or when, it was revoked.
    pub revoked: Option<String>,
    /// Tokens: whether it is enabled.
    pub enabled: Option<String>,
    /// Tokens: whether it may be used for requests that write.
    pub write_enabled: Option<String>,
    /// Tokens: the networks that it may be used from.
    pub allowed_networks: Option<String>,
    /// Users: whether the user is enabled; all of these together with `is_active`.
    pub user_enabled: Vec<Flag>,
    /// What the operator says the gateway need not understand.
    pub ignored: Vec<Ignored>,
}

/// A column that says yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name.
    pub column: String,
    /// Does it disable where it is set, as `is_banned` does?
    pub disables: bool,
}

/// A column that is waived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The table, as the settings name it; `None`: the one that has such a column.
    pub table: Option<String>,
    /// Its name.
    pub column: String,
}

impl Columns {
    /// The columns of the table of tokens that have a meaning, each with its setting.
    pub fn of_tokens(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let all = [
            (&self.expires, "expires_column"),
            (&self.revoked, "revoked_column"),
            (&self.enabled, "enabled_column"),
            (&self.write_enabled, "write_enabled_column"),
            (&self.allowed_networks, "allowed_networks_column"),
        ];
        all.into_iter().filter_map(|(column, setting)| Some((column.as_deref()?, setting)))
    }

    /// The same for the table of users.
    pub fn of_users(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.user_enabled.iter().map(|flag| (flag.column.as_str(), "user_enabled_columns"))
    }
}

/// The keys of `[store.django]` that say what columns mean. The tables have their names already.
pub(super) fn read(table: &Table<'_>, names: &Django) -> Columns {
    let column = |key| table.key(key).parse(|text| checked_name(text, 0));
    let columns = Columns {
        expires: column("expires_column"),
        revoked: column("revoked_column"),
        enabled: column("enabled_column"),
        write_enabled: column("write_enabled_column"),
        allowed_networks: column("allowed_networks_column"),
        user_enabled: table.key("user_enabled_columns").parse_list(flag).unwrap_or_default(),
        ignored: Vec::new(),
    };
    let ignored = table.key("ignore_columns");
    let waivers = ignored.parse_list(|text| waiver(text, names)).unwrap_or_default();
    for Ignored { table, column } in &waivers {
        let is_in = |other: &str| table.as_deref().is_none_or(|table| table == other);
        let meant_twice = columns
            .of_tokens()
            .filter(|_| is_in(&names.token_table))
            .chain(columns.of_users().filter(|_| is_in(&names.user_table)))
            .find(|(meant, _)| meant == column);
        if let Some((_, setting)) = meant_twice {
            let what = format!("`{column}` has a meaning (store.django.{setting}) and is ignored");
            ignored.problem(what, "remove it here or there");
        }
    }
    Columns { ignored: waivers, ..columns }
}

fn flag(text: &str) -> Result<Flag, Fault> {
    let disables = text.starts_with('!');
    let column = checked_name(text.strip_prefix('!').unwrap_or(text), 0);
    let mend = "name a column, with `!` before it if it disables a user where it is set, as in \"!is_banned\"";
    column.map(|column| Flag { column, disables }).map_err(|_| Fault::new("is no name of a column", mend))
}

fn waiver(text: &str, names: &Django) -> Result<Ignored, Fault> {
    // No statement holds such a name, so that it may be any that a database allows.
    let Some((table, column)) = text.rsplit_once('.') else {
        return Ok(Ignored { table: None, column: text.to_owned() });
    };
    if table != names.token_table && table != names.user_table {
        let mend = format!(
            "name a column, or {}.COLUMN or {}.COLUMN if both tables have one of that name",
            names.token_table, names.user_table
        );
        return Err(Fault::new("is in neither of the tables of tokens and users", mend));
    }
    Ok(Ignored { table: Some(table.to_owned()), column: column.to_owned() })
}
