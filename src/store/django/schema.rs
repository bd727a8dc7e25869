//! Looks whether a database is that of a Django project with tokens, and says all that is missing at once.

use super::database::DjangoDatabase;
use super::rows::{TokenRow, UserRow};
use super::statement;
use super::texts::{Extras, Texts};
use crate::config::settings::Django;
use crate::store::OpenError;
use crate::store::sql::Statement;

/// The trigger that docs/DJANGO.md puts on the table of tokens.
const TRIGGER: &str = "tokengate_token_changed";

/// What was found.
pub(super) struct Looked {
    pub(super) texts: Texts,
    /// Are there triggers that tell of changes?
    pub(super) is_told: bool,
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
    // Each with the setting that names it. Beside them: which columns have to be whole numbers, since upstreams and our own
    // types know users so.
    let users = [("id", ""), (name, "user_name_column"), (email, "user_email_column"), ("password", ""), ("is_active", "")];
    let wanted: [(&str, &str, &[(&str, &str)], &[&str]); 4] = [
        ("user_table", &names.user_table, &users, &["id"]),
        ("token_table", &names.token_table, &[("key", ""), ("created", ""), ("user_id", "")], &["user_id"]),
        ("group_table", &names.group_table, &[("id", ""), ("name", "")], &[]),
        ("membership_table", &names.membership_table, &[(member, "membership_user_column"), ("group_id", "")], &[]),
    ];
    let (mut wrong, mut extras) = (Vec::new(), Vec::new());
    for (setting, table, columns, whole) in wanted {
        let there: Vec<Column> = database.rows(D::DIALECT.columns(table)).await.map_err(failed)?;
        wrong.extend(judged(setting, table, &there, columns, whole));
        if table == names.user_table {
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
    let is_told = match database.feed() {
        None => false,
        Some(_) => {
            let text = "SELECT CAST(1 AS BIGINT) FROM pg_trigger WHERE tgname = $1 AND tgrelid = to_regclass($2)";
            let asked = Statement::new(text).bind(TRIGGER).bind(D::DIALECT.quoted(&names.token_table));
            !database.rows::<(i64,)>(asked).await.map_err(failed)?.is_empty()
        }
    };
    Ok(Looked { texts, is_told })
}

/// What is wrong with one table.
fn judged(setting: &str, table: &str, there: &[Column], wanted: &[(&str, &str)], whole: &[&str]) -> Vec<String> {
    if there.is_empty() {
        return vec![format!("table {table} is missing (store.django.{setting})")];
    }
    let kind = |name: &str| there.iter().find(|column| column.name == name).map(|column| column.kind.as_str());
    let missing = wanted.iter().filter(|(name, _)| kind(name).is_none()).map(|(name, own)| {
        let setting = if own.is_empty() { setting } else { own };
        format!("table {table} has no column {name} (store.django.{setting})")
    });
    let odd = whole.iter().filter_map(|name| kind(name).map(|kind| (name, kind)));
    let odd = odd.filter(|(_, kind)| !kind.to_ascii_lowercase().contains("int"));
    let odd = odd.map(|(name, kind)| format!("{table}.{name} is {kind}, and users are known here by whole numbers only"));
    missing.chain(odd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tables_and_columns_and_odd_ids_are_named() {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), kind: kind.to_owned() };
        let judged = |there: &[Column]| judged("user_table", "people", there, &[("id", ""), ("mail", "user_email_column")], &["id"]);
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
