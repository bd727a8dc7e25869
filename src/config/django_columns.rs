//! `[store.django]`: the additional columns of a project's own token and user tables. The operator states what each
//! column means, or that the gateway can ignore it.

use super::reader::Table;
use super::sql_name::checked_name;
use super::value::Fault;

/// The meaning of additional columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Token table: when a token expires.
    pub expires: Option<String>,
    /// Token table: whether, or when, a token was revoked.
    pub revoked: Option<String>,
    /// Token table: whether a token is enabled.
    pub enabled: Option<String>,
    /// Token table: whether a token may be used for requests that write.
    pub write_enabled: Option<String>,
    /// Token table: the networks that a token may be used from.
    pub allowed_networks: Option<String>,
    /// User table: whether a user is enabled. All of these must hold, and `is_active`.
    pub user_enabled: Vec<Flag>,
    /// The columns that the gateway can ignore.
    pub ignored: Vec<Ignored>,
}

/// A boolean column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name.
    pub column: String,
    /// Whether `true` disables the user, as in `is_banned`.
    pub disables: bool,
}

/// A column that the gateway can ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The table, as the settings name it; `None`: the only table with such a column.
    pub table: Option<String>,
    /// Its name.
    pub column: String,
}

impl Columns {
    /// The token columns with a meaning, each with its setting.
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

    /// The user columns with a meaning, each with its setting.
    pub fn of_users(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.user_enabled.iter().map(|flag| (flag.column.as_str(), "user_enabled_columns"))
    }
}

/// Reads the keys of `[store.django]` about columns of these two tables.
pub(super) fn read(table: &Table<'_>, token_table: &str, user_table: &str) -> Columns {
    let column = |key| table.key(key).parse(|text| checked_name(text, 0));
    let columns = Columns {
        expires: column("expires_column"),
        revoked: column("revoked_column"),
        enabled: column("enabled_column"),
        write_enabled: column("write_enabled_column"),
        allowed_networks: column("allowed_networks_column"),
        user_enabled: table.key("user_enabled_columns").parse_list(flag),
        ignored: Vec::new(),
    };
    let ignored = table.key("ignore_columns");
    let waivers = ignored.parse_list(|text| waiver(text, token_table, user_table));
    for Ignored { table, column } in &waivers {
        let is_in = |other: &str| table.as_deref().is_none_or(|table| table == other);
        let meant_twice = columns
            .of_tokens()
            .filter(|_| is_in(token_table))
            .chain(columns.of_users().filter(|_| is_in(user_table)))
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
    column.map(|column| Flag { column, disables }).map_err(|_| Fault::new("is not a column name", mend))
}

fn waiver(text: &str, token_table: &str, user_table: &str) -> Result<Ignored, Fault> {
    // Ignored names appear in no SQL statement, so any name is allowed.
    let Some((table, column)) = text.rsplit_once('.') else {
        return Ok(Ignored { table: None, column: text.to_owned() });
    };
    if table != token_table && table != user_table {
        let mend = format!(
            "name a column, or {token_table}.COLUMN or {user_table}.COLUMN if both tables have one of that name"
        );
        return Err(Fault::new("is in neither of the tables of tokens and users", mend));
    }
    Ok(Ignored { table: Some(table.to_owned()), column: column.to_owned() })
}
