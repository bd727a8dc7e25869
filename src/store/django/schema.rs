//! Looks whether a database is that of a Django project with tokens, and says all that is missing at once.

use super::database::DjangoDatabase;
use super::rights;
use super::rows::{TokenRow, UserRow};
use super::sessions::SessionRow;
use super::statement;
use super::texts::{Extras, Texts};
use crate::config::settings::{Django, DjangoMode};
use crate::store::sql::Statement;
use crate::store::{NoSessions, OpenError, StoreError};

/// The trigger that docs/DJANGO.md puts on the table of tokens.
const TRIGGER: &str = "tokengate_token_changed";

/// What was found.
pub(super) struct Looked {
    pub(super) texts: Texts,
    /// Why there is no place for sessions, if there is none.
    pub(super) no_sessions: Option<NoSessions>,
    /// Are there triggers that tell of changes?
    pub(super) is_told: bool,
}

/// What a table has to have.
struct Wanted<'a> {
    /// The setting that names it.
    setting: &'a str,
    table: &'a str,
    /// Each with the setting that names it, if there is one.
    columns: &'a [(&'a str, &'a str)],
    /// What has to be a whole number, since upstreams and our own types know users so.
    whole: Option<&'a str>,
}

#[derive(sqlx::FromRow)]
struct Column {
    name: String,
    kind: String,
}

/// Looks at all tables, and tries the questions that will be asked.
pub(super) async fn look<D: DjangoDatabase>(database: &D, names: &Django) -> Result<Looked, OpenError> {
    let failed = |error| database.unopened(error);
    let (name, email) = (names.user_name_column.as_str(), names.user_email_column.as_str());
    let member = names.membership_user_column.as_str();
    let of = |setting, table, columns, whole| Wanted { setting, table, columns, whole };
    let users =
        [("id", ""), (name, "user_name_column"), (email, "user_email_column"), ("password", ""), ("is_active", "")];
    let tokens = [("key", ""), ("created", ""), ("user_id", "")];
    let groups = [("id", ""), ("name", "")];
    let members = [(member, "membership_user_column"), ("group_id", "")];
    let all = [
        of("user_table", &names.user_table, &users, Some("id")),
        of("token_table", &names.token_table, &tokens, Some("user_id")),
        of("group_table", &names.group_table, &groups, None),
        of("membership_table", &names.membership_table, &members, None),
    ];
    let (mut wrong, mut extras) = (Vec::new(), Vec::new());
    for wanted in all {
        let there: Vec<Column> = database.rows(D::DIALECT.columns(wanted.table)).await.map_err(failed)?;
        wrong.extend(wanted.judged(&there));
        if wanted.table == names.user_table {
            extras = there.into_iter().map(|column| column.name).collect();
        }
    }
    if !wrong.is_empty() {
        return Err(OpenError::NotDjango { store: database.place(), wrong: wrong.join("; ") });
    }
    let texts = Texts::new(D::DIALECT, names, &Extras(&extras));
    // May we read there? Nobody has this key, and nobody this name.
    let _: Vec<TokenRow> = database.rows(statement(&texts.token).bind("")).await.map_err(failed)?;
    let _: Vec<UserRow> = database.rows(statement(&texts.user_named).bind("")).await.map_err(failed)?;
    if names.mode == DjangoMode::ReadWrite
        && let Some(missing) = rights::of_tokens(database, &texts).await
    {
        return Err(OpenError::NotWritable { store: database.place(), wrong: missing.told(&names.token_table) });
    }
    let is_told = match database.feed() {
        None => false,
        Some(_) => {
            let text = "SELECT CAST(1 AS BIGINT) FROM pg_trigger WHERE tgname = $1 AND tgrelid = to_regclass($2)";
            let asked = Statement::new(text).bind(TRIGGER).bind(D::DIALECT.quoted(&names.token_table));
            !database.rows::<(i64,)>(asked).await.map_err(failed)?.is_empty()
        }
    };
    let no_sessions = look_for_sessions(database, names, &texts).await.map_err(failed)?;
    Ok(Looked { texts, no_sessions, is_told })
}

/// Why there is no place for sessions. Who wants none need not have it, so this keeps no store from being opened.
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
    /// What is wrong with the table that is there.
    fn judged(&self, there: &[Column]) -> Vec<String> {
        let Wanted { setting, table, columns, whole } = self;
        if there.is_empty() {
            return vec![format!("table {table} is missing (store.django.{setting})")];
        }
        let kind = |name: &str| there.iter().find(|column| column.name == name).map(|column| column.kind.as_str());
        let missing = columns.iter().filter(|(name, _)| kind(name).is_none()).map(|(name, own)| {
            let setting = if own.is_empty() { setting } else { own };
            format!("table {table} has no column {name} (store.django.{setting})")
        });
        let odd = whole.and_then(|name| kind(name).map(|kind| (name, kind)));
        let odd = odd.filter(|(_, kind)| !kind.to_ascii_lowercase().contains("int"));
        let odd =
            odd.map(|(name, kind)| format!("{table}.{name} is {kind}, and users are known here by whole numbers only"));
        missing.chain(odd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tables_and_columns_and_odd_ids_are_named() {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), kind: kind.to_owned() };
        let columns = [("id", ""), ("mail", "user_email_column")];
        let wanted = Wanted { setting: "user_table", table: "people", columns: &columns, whole: Some("id") };
        let judged = |there: &[Column]| wanted.judged(there);
        assert_eq!(judged(&[column("id", "integer"), column("mail", "varchar(254)")]), Vec::<String>::new());
        assert_eq!(judged(&[]), ["table people is missing (store.django.user_table)"]);
        assert_eq!(
            judged(&[column("id", "char(32)")]),
            [
                "table people has no column mail (store.django.user_email_column)",
                "people.id is char(32), and users are known here by whole numbers only"
            ]
        );
    }
}
