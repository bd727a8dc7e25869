//! The triggers that report changes in a Django database on PostgreSQL: their script, and checks that they exist.
//!
//! If triggers report all changes, the gateway keeps cached entries until it gets a notification. So a single missing
//! or disabled trigger is as bad as none: then the gateway relies on no trigger.

use super::database::DjangoDatabase;
use super::dialect::Dialect;
use crate::config::settings::Django;
use crate::store::StoreError;
use crate::store::sql::Statement;

const SCRIPT: &str = include_str!("triggers.sql");

/// The first argument of each trigger of the script.
const VERSION: &str = "2";

/// Which changes the triggers report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// All changes.
    All,
    /// Some changes; the errors of the other triggers.
    Some(Vec<String>),
    /// No changes.
    Nothing,
}

#[derive(sqlx::FromRow)]
struct Found {
    name: String,
    enabled: String,
    arguments: String,
}

/// The script for these tables and columns, as input for `psql`.
pub fn script(names: &Django) -> String {
    let table = |name: &str| Dialect::Postgres.quoted(name);
    let settings = [
        ("token_table", table(&names.token_table)),
        ("user_table", table(&names.user_table)),
        ("group_table", table(&names.group_table)),
        ("membership_table", table(&names.membership_table)),
        ("membership_user_column", names.membership_user_column.clone()),
        ("session_table", table(&names.session_table)),
    ];
    let settings: String = settings.map(|(name, value)| format!("SET tokengate.{name} = '{value}';\n")).concat();
    format!("\\set ON_ERROR_STOP on\n{settings}\n{SCRIPT}")
}

/// Checks each trigger on each table.
pub(super) async fn look<D: DjangoDatabase>(
    database: &D,
    names: &Django,
    with_sessions: bool,
) -> Result<Told, StoreError> {
    let member = names.membership_user_column.as_str();
    let sessions = ["tokengate_session_ended", "tokengate_sessions_gone"].map(|name| (name, None));
    let tables = [
        (
            &names.token_table,
            &["tokengate_token_changed", "tokengate_token_came_or_went", "tokengate_tokens_gone"]
                .map(|name| (name, None))[..],
        ),
        (
            &names.user_table,
            &["tokengate_user_changed", "tokengate_user_gone", "tokengate_users_gone"].map(|name| (name, None)),
        ),
        (
            &names.membership_table,
            &[("tokengate_membership_changed", Some(member)), ("tokengate_memberships_gone", None)],
        ),
        (&names.group_table, &[("tokengate_group_changed", None)]),
        (&names.session_table, if with_sessions { &sessions } else { &[] }),
    ];
    let (mut wrong, mut right) = (Vec::new(), 0);
    for (table, wanted) in tables {
        let statement = Statement::new(
            "SELECT CAST(tgname AS TEXT) AS name, CAST(tgenabled AS TEXT) AS enabled, encode(tgargs, 'escape') AS arguments \
             FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = to_regclass($1)",
        );
        let found: Vec<Found> = database.rows(statement.bind(D::DIALECT.quoted(table))).await?;
        for (name, argument) in wanted {
            let trigger = found.iter().find(|trigger| trigger.name == *name);
            match trigger.map_or(Some("is missing"), |trigger| trigger.fault(*argument)) {
                Some(fault) => wrong.push(format!("trigger {name} on table {table} {fault}")),
                None => right += 1,
            }
        }
    }
    Ok(match (wrong.is_empty(), right) {
        (true, _) => Told::All,
        (false, 0) => Told::Nothing,
        (false, _) => Told::Some(wrong),
    })
}

impl Found {
    fn fault(&self, argument: Option<&str>) -> Option<&'static str> {
        // Each argument ends in a NUL, which is written as `\000`.
        let wanted: String =
            [Some(VERSION), argument].into_iter().flatten().map(|text| format!("{text}\\000")).collect();
        if self.arguments != wanted {
            return Some("belongs to another version or configuration");
        }
        // `R`: only on a replica. `D`: disabled.
        (!matches!(self.enabled.as_str(), "O" | "A")).then_some("is disabled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_the_one_in_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/django/push-postgresql.sql");
        assert_eq!(std::fs::read_to_string(path).unwrap(), SCRIPT);
    }

    #[test]
    fn the_script_uses_the_tables_of_the_settings() {
        let names = Django {
            user_table: "shop.people_person".to_owned(),
            membership_user_column: "person_id".to_owned(),
            ..Django::default()
        };
        let script = script(&names);
        assert!(script.starts_with("\\set ON_ERROR_STOP on\n"));
        assert!(script.contains("\nSET tokengate.user_table = '\"shop\".\"people_person\"';\n"), "{script}");
        assert!(script.contains("\nSET tokengate.membership_user_column = 'person_id';\n"), "{script}");
    }

    #[test]
    fn a_trigger_must_be_enabled_and_of_this_version() {
        let fault = |enabled: &str, arguments: &str, argument| {
            let (enabled, arguments) = (enabled.to_owned(), arguments.to_owned());
            Found { name: String::new(), enabled, arguments }.fault(argument)
        };
        for enabled in ["O", "A"] {
            assert_eq!(fault(enabled, "2\\000", None), None);
            assert_eq!(fault(enabled, "2\\000person_id\\000", Some("person_id")), None);
        }
        for enabled in ["D", "R"] {
            assert_eq!(fault(enabled, "2\\000", None), Some("is disabled"));
        }
        for arguments in ["", "1\\000", "2\\000user_id\\000", "2"] {
            assert!(fault("O", arguments, None).is_some(), "{arguments}");
        }
    }
}
