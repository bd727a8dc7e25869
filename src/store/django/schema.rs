//! Checks whether a database is that of a Django project with tokens, and reports all that is missing at once.

use super::columns::{Column, Kind, TOKENS, Unexplained};
use super::database::DjangoDatabase;
use super::dialect::Dialect;
use super::meaning::Meanings;
use super::rights;
use super::rows::{TokenRow, UserRow};
use super::sessions::SessionRow;
use super::statement;
use super::texts::{Shape, Texts};
use super::triggers::{self, TriggerCoverage};
use crate::config::settings::{Django, DjangoMode};
use crate::store::{NoSessions, OpenError, StoreError};
use crate::token::TokenKey;

/// The length of Django REST Framework's keys, and the width of their column, in characters.
const KEY_WIDTH: usize = 40;

/// The result of the checks.
pub(super) struct Looked {
    pub(super) texts: Texts,
    pub(super) meanings: Meanings,
    /// Maximum number of characters in the key column; `None`: no maximum.
    pub(super) key_width: Option<usize>,
    /// Whether a user can have only one token.
    pub(super) one_each: bool,
    /// Whether keys are unique.
    pub(super) keys_unique: bool,
    /// Why the gateway can create no tokens here.
    pub(super) no_new_tokens: Option<String>,
    /// Warnings about the tables.
    pub(super) remarks: Vec<String>,
    /// Why the gateway can store no sessions here.
    pub(super) no_sessions: Option<NoSessions>,
    /// Which triggers report changes.
    pub(super) triggers: TriggerCoverage,
}

/// The requirements for a table.
struct Wanted<'a> {
    /// The setting that names it.
    setting: &'a str,
    table: &'a str,
    /// Each with the setting that names it, if there is one.
    columns: &'a [(&'a str, &'a str)],
    /// The column that must be a whole number: upstreams and our own types require that of ids.
    whole: Option<&'a str>,
}

/// Checks all tables, and tries the statements that will be used.
pub(super) async fn look<D: DjangoDatabase>(database: &D, names: &Django) -> Result<Looked, OpenError> {
    let failed = |error| database.unopened(error);
    let (name, email) = (names.user_name_column.as_str(), names.user_email_column.as_str());
    let member = names.membership_user_column.as_str();
    let of = |setting, table, columns, whole| Wanted { setting, table, columns, whole };
    let user_columns =
        [("id", ""), (name, "user_name_column"), (email, "user_email_column"), ("password", ""), ("is_active", "")];
    let token_columns = TOKENS.map(|name| (name, ""));
    let group_columns = [("id", ""), ("name", "")];
    let member_columns = [(member, "membership_user_column"), ("group_id", "")];
    let all = [
        of("user_table", &names.user_table, &user_columns, Some("id")),
        of("token_table", &names.token_table, &token_columns, Some("user_id")),
        of("group_table", &names.group_table, &group_columns, None),
        of("membership_table", &names.membership_table, &member_columns, None),
    ];
    let (mut wrong, mut users, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    for wanted in all {
        let there: Vec<Column> = database.rows(D::DIALECT.columns(wanted.table)).await.map_err(failed)?;
        wrong.extend(wanted.judged(&there));
        match wanted.setting {
            "user_table" => users = there,
            "token_table" => tokens = there,
            _ => {}
        }
    }
    if !wrong.is_empty() {
        return Err(OpenError::NotDjango { store: database.place(), wrong: wrong.join("; ") });
    }
    let meanings = understand(D::DIALECT, names, &tokens, &users, &[name, email])
        .map_err(|wrong| OpenError::NotUnderstood { store: database.place(), wrong: wrong.join("; ") })?;
    let asked = D::DIALECT.unique_columns(&names.token_table);
    let unique: Vec<(String,)> = database.rows(asked).await.map_err(failed)?;
    let is_unique = |column: &str| unique.iter().any(|(name,)| name == column);
    let numbered = tokens.iter().any(|column| column.name == "id" && column.is_whole()) && is_unique("id");
    let texts = Texts::new(D::DIALECT, names, &Shape { users: &users, numbered, meanings: &meanings });
    // Checks read permission with an empty key and an empty name, which match no row.
    let _: Vec<TokenRow> = database.rows(statement(&texts.token).bind("")).await.map_err(failed)?;
    let _: Vec<UserRow> = database.rows(statement(&texts.user_named).bind("")).await.map_err(failed)?;
    if names.mode == DjangoMode::ReadWrite
        && let Some(missing) = rights::of_tokens(database, &texts).await
    {
        return Err(OpenError::NotWritable { store: database.place(), wrong: missing.told(&names.token_table) });
    }
    let no_sessions = look_for_sessions(database, names, &texts).await.map_err(failed)?;
    let triggers = match database.feed() {
        None => TriggerCoverage::None,
        Some(_) => triggers::look(database, names, no_sessions.is_none()).await.map_err(failed)?,
    };
    let no_new_tokens = no_new_tokens(&names.token_table, &tokens, &meanings);
    let mut remarks = oddities(&names.token_table, &tokens, &is_unique);
    if names.mode == DjangoMode::ReadWrite {
        remarks.extend(no_new_tokens.clone());
    }
    let (one_each, keys_unique) = (is_unique("user_id"), is_unique("key"));
    let key_width = tokens.iter().find(|column| column.name == "key").and_then(Column::width);
    Ok(Looked { texts, meanings, key_width, one_each, keys_unique, no_new_tokens, remarks, no_sessions, triggers })
}

/// Finds the meaning of the token and user columns.
///
/// # Errors
/// Settings that do not match the columns, and all unknown columns.
fn understand(
    dialect: Dialect,
    names: &Django,
    tokens: &[Column],
    users: &[Column],
    named: &[&str],
) -> Result<Meanings, Vec<String>> {
    let (token_table, user_table) = (names.token_table.as_str(), names.user_table.as_str());
    let meanings = Meanings::find(dialect, &names.columns, (token_table, tokens), (user_table, users));
    let unexplained = Unexplained::of(tokens, users, named, &names.columns);
    let mut wrong = unexplained.told(token_table, user_table, &names.columns.ignored);
    wrong.extend(keys_that_do_not_fit(token_table, tokens));
    match meanings {
        Ok(meanings) if wrong.is_empty() => Ok(meanings),
        Ok(_) => Err(wrong),
        Err(more) => Err(wrong.into_iter().chain(more).collect()),
    }
}

/// Why the key column cannot hold keys of Django REST Framework.
fn keys_that_do_not_fit(table: &str, tokens: &[Column]) -> Option<String> {
    let key = tokens.iter().find(|column| column.name == "key")?;
    let kind = &key.kind;
    match (key.kind(), key.width()) {
        (Kind::Text, None) => None,
        (Kind::Text, Some(width)) if width < KEY_WIDTH => Some(format!(
            "{table}.key is {kind}, too narrow for a key of Django REST Framework ({KEY_WIDTH} characters): it holds \
             the name of a token, not its secret"
        )),
        (Kind::Text, Some(width)) if width > TokenKey::MAX_LENGTH => Some(format!(
            "{table}.key is {kind}, and no request can send a key of more than {} characters",
            TokenKey::MAX_LENGTH
        )),
        (Kind::Text, Some(_)) => None,
        _ => Some(format!("{table}.key is {kind}, but keys are texts")),
    }
}

/// Differences from Django REST Framework's table that are not necessarily wrong.
fn oddities(table: &str, tokens: &[Column], is_unique: &dyn Fn(&str) -> bool) -> Vec<String> {
    let key = tokens.iter().find(|column| column.name == "key" && column.width() != Some(KEY_WIDTH));
    let wide = key.map(|key| {
        format!(
            "{table}.key is {}, where Django REST Framework keeps {KEY_WIDTH} characters; a key counts if it stands there \
             unhashed and has at most {} characters",
            key.kind,
            TokenKey::MAX_LENGTH
        )
    });
    let twice = (!is_unique("key")).then(|| format!("{table}.key is not unique; a key of several tokens is not valid"));
    let several = (!is_unique("user_id")).then(|| {
        format!(
            "{table}.user_id is not unique: users may have several tokens; all of them count, and a login gives the newest \
             that does"
        )
    });
    wide.into_iter().chain(twice).chain(several).collect()
}

/// Why the gateway cannot create a row as Django would.
fn no_new_tokens(table: &str, tokens: &[Column], meanings: &Meanings) -> Option<String> {
    let needed = tokens.iter().filter(|column| column.needed != 0 && !TOKENS.contains(&column.name.as_str()));
    let needed: Vec<&str> = needed.map(|column| column.name.as_str()).collect();
    if !needed.is_empty() {
        let needed = needed.join(", ");
        return Some(format!("no tokens can be created in table {table}: only Django knows the values of {needed}"));
    }
    let restricted = "no tokens can be created in table";
    meanings.restrict_tokens().then(|| {
        format!("{restricted} {table}: it has columns that restrict tokens, and only Django knows with what values")
    })
}

/// Why the gateway can store no sessions. Sessions are optional, so this is no error of the store.
async fn look_for_sessions<D: DjangoDatabase>(
    database: &D,
    names: &Django,
    texts: &Texts,
) -> Result<Option<NoSessions>, StoreError> {
    if names.mode == DjangoMode::ReadOnly {
        return Ok(Some(NoSessions::ReadOnly));
    }
    let columns = [("session_key", ""), ("session_data", ""), ("expire_date", "")];
    let wanted = Wanted { setting: "session_table", table: &names.session_table, columns: &columns, whole: None };
    let there: Vec<Column> = database.rows(D::DIALECT.columns(wanted.table)).await?;
    let wrong = wanted.judged(&there);
    if !wrong.is_empty() {
        return Ok(Some(NoSessions::Table { wrong: wrong.join("; ") }));
    }
    match database.rows::<SessionRow>(statement(&texts.session).bind("")).await {
        Ok(_) => {
            let missing = rights::of_sessions(database, texts).await;
            Ok(missing.map(|missing| NoSessions::Table { wrong: missing.told(&names.session_table) }))
        }
        Err(StoreError::Broken(why)) => {
            Ok(Some(NoSessions::Table { wrong: format!("table {} cannot be read: {why}", names.session_table) }))
        }
        Err(unavailable) => Err(unavailable),
    }
}

impl Wanted<'_> {
    /// The problems of an existing table.
    fn judged(&self, there: &[Column]) -> Vec<String> {
        let Wanted { setting, table, columns, whole } = self;
        if there.is_empty() {
            return vec![format!("table {table} is missing (store.django.{setting})")];
        }
        let find = |name: &str| there.iter().find(|column| column.name == name);
        let missing = columns.iter().filter(|(name, _)| find(name).is_none()).map(|(name, own)| {
            let setting = if own.is_empty() { setting } else { own };
            format!("table {table} has no column {name} (store.django.{setting})")
        });
        let odd = whole.and_then(find).filter(|column| !column.is_whole());
        let odd = odd
            .map(|Column { name, kind, .. }| format!("{table}.{name} is {kind}, but user ids must be whole numbers"));
        missing.chain(odd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tables_and_columns_and_odd_ids_are_named() {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), kind: kind.to_owned(), needed: 0 };
        let columns = [("id", ""), ("mail", "user_email_column")];
        let wanted = Wanted { setting: "user_table", table: "people", columns: &columns, whole: Some("id") };
        let judged = |there: &[Column]| wanted.judged(there);
        assert_eq!(judged(&[column("id", "integer"), column("mail", "varchar(254)")]), Vec::<String>::new());
        assert_eq!(judged(&[]), ["table people is missing (store.django.user_table)"]);
        assert_eq!(
            judged(&[column("id", "char(32)")]),
            [
                "table people has no column mail (store.django.user_email_column)",
                "people.id is char(32), but user ids must be whole numbers"
            ]
        );
    }
}
