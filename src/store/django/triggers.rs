//! The triggers that report changes in a Django database on PostgreSQL: their script, and checks that they exist.
//!
//! If triggers report all changes, the gateway keeps cached entries until it gets a notification. So a single trigger
//! that is missing, disabled or changed is as bad as none: then the gateway relies on no trigger.

use super::database::DjangoDatabase;
use super::dialect::Dialect;
use crate::config::settings::Django;
use crate::store::StoreError;
use crate::store::sql::{Statement, row};

const SCRIPT: &str = include_str!("triggers.sql");

/// The first argument of each trigger of the script.
const VERSION: &str = "2";

/// Which changes the triggers report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TriggerCoverage {
    /// All changes.
    All,
    /// Some changes; the errors of the other triggers.
    Some(Vec<String>),
    /// No changes.
    None,
}

/// A trigger of the script.
struct Wanted {
    name: &'static str,
    /// The bits of `pg_trigger.tgtype`: [`ROW`] and the events.
    kind: i64,
    /// Its condition.
    when: &'static str,
    function: &'static str,
    /// Whether its arguments include the column with the user's id.
    tells_column: bool,
}

row! {
    /// A trigger of the database, with its function.
    struct Found {
        name: String,
        enabled: String,
        arguments: String,
        kind: i64,
        /// The columns that it is restricted to.
        columns: String,
        when: String,
        function: String,
        body: String,
        language: String,
        settings: String,
    }
}

const ROW: i64 = 1;
const INSERT: i64 = 4;
const DELETE: i64 = 8;
const UPDATE: i64 = 16;
const TRUNCATE: i64 = 32;

/// The language and the settings of the functions.
const LANGUAGE: &str = "plpgsql";
const SETTINGS: &str = "search_path=pg_catalog";

/// The condition of update triggers, in the notation of the database.
const DIFFERS: &str = "to_jsonb(old.*) - '{last_login,last_used,last_used_at,last_used_ip,last_seen,last_activity}'::text[] \
                       IS DISTINCT FROM \
                       to_jsonb(new.*) - '{last_login,last_used,last_used_at,last_used_ip,last_seen,last_activity}'::text[]";

/// The condition of the trigger on sessions.
const IS_OURS: &str = "old.session_data ~~ 'tokengate:%'::text";

const fn wanted(name: &'static str, kind: i64, when: &'static str, function: &'static str) -> Wanted {
    Wanted { name, kind, when, function, tells_column: false }
}

const ON_TOKENS: [Wanted; 3] = [
    wanted("tokengate_token_changed", ROW | UPDATE, DIFFERS, "tokengate_token_changed"),
    wanted("tokengate_token_came_or_went", ROW | INSERT | DELETE, "", "tokengate_token_changed"),
    wanted("tokengate_tokens_gone", TRUNCATE, "", "tokengate_much_changed"),
];
const ON_USERS: [Wanted; 3] = [
    wanted("tokengate_user_changed", ROW | UPDATE, DIFFERS, "tokengate_user_changed"),
    wanted("tokengate_user_gone", ROW | DELETE, "", "tokengate_user_changed"),
    wanted("tokengate_users_gone", TRUNCATE, "", "tokengate_much_changed"),
];
const ON_MEMBERSHIPS: [Wanted; 2] = [
    Wanted {
        tells_column: true,
        ..wanted("tokengate_membership_changed", ROW | INSERT | UPDATE | DELETE, "", "tokengate_membership_changed")
    },
    wanted("tokengate_memberships_gone", TRUNCATE, "", "tokengate_much_changed"),
];
const ON_GROUPS: [Wanted; 1] =
    [wanted("tokengate_group_changed", UPDATE | DELETE | TRUNCATE, "", "tokengate_much_changed")];
const ON_SESSIONS: [Wanted; 2] = [
    wanted("tokengate_session_ended", ROW | UPDATE | DELETE, IS_OURS, "tokengate_session_ended"),
    wanted("tokengate_sessions_gone", TRUNCATE, "", "tokengate_much_changed"),
];

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
) -> Result<TriggerCoverage, StoreError> {
    let tables: [(&String, &[Wanted]); 5] = [
        (&names.token_table, &ON_TOKENS),
        (&names.user_table, &ON_USERS),
        (&names.membership_table, &ON_MEMBERSHIPS),
        (&names.group_table, &ON_GROUPS),
        (&names.session_table, if with_sessions { &ON_SESSIONS } else { &[] }),
    ];
    let (mut wrong, mut right) = (Vec::new(), 0);
    for (table, wanted) in tables {
        let statement = Statement::new(
            "SELECT CAST(tgname AS TEXT) AS name, CAST(tgenabled AS TEXT) AS enabled, encode(tgargs, 'escape') AS arguments, \
                    CAST(tgtype AS BIGINT) AS kind, CAST(tgattr AS TEXT) AS columns, \
                    coalesce(substring(pg_get_triggerdef(t.oid) FROM ' WHEN [(](.*)[)] EXECUTE '), '') AS when, \
                    CAST(proname AS TEXT) AS function, prosrc AS body, CAST(lanname AS TEXT) AS language, \
                    coalesce(array_to_string(proconfig, ', '), '') AS settings \
             FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = tgfoid JOIN pg_language AS l ON l.oid = prolang \
             WHERE NOT tgisinternal AND tgrelid = to_regclass($1)",
        );
        let found: Vec<Found> = database.rows(statement.bind(D::DIALECT.quoted(table))).await?;
        for wanted in wanted {
            let trigger = found.iter().find(|trigger| trigger.name == wanted.name);
            let fault = match trigger {
                Some(trigger) => trigger.fault(wanted, &names.membership_user_column),
                None => Some("is missing".to_owned()),
            };
            match fault {
                Some(fault) => wrong.push(format!("trigger {} on table {table} {fault}", wanted.name)),
                None => right += 1,
            }
        }
    }
    Ok(match (wrong.is_empty(), right) {
        (true, _) => TriggerCoverage::All,
        (false, 0) => TriggerCoverage::None,
        (false, _) => TriggerCoverage::Some(wrong),
    })
}

impl Found {
    fn fault(&self, wanted: &Wanted, member: &str) -> Option<String> {
        // Each argument ends in a NUL, which is written as `\000`.
        let column = wanted.tells_column.then_some(member);
        let arguments: String =
            [Some(VERSION), column].into_iter().flatten().map(|text| format!("{text}\\000")).collect();
        if self.arguments != arguments {
            return Some("belongs to another version or configuration".to_owned());
        }
        // `R`: only on a replica. `D`: disabled.
        if !matches!(self.enabled.as_str(), "O" | "A") {
            return Some("is disabled".to_owned());
        }
        let is_same = self.kind == wanted.kind
            && self.columns.is_empty()
            && self.function == wanted.function
            && bare(&self.when) == bare(wanted.when);
        if !is_same {
            return Some("is out of date: it was changed under its name".to_owned());
        }
        let is_same = self.language == LANGUAGE
            && self.settings == SETTINGS
            && body_of(wanted.function).is_some_and(|body| self.body.split_whitespace().eq(body.split_whitespace()));
        (!is_same).then(|| format!("calls function {}, which is out of date", wanted.function))
    }
}

/// The body of a function in the script.
fn body_of(function: &str) -> Option<&'static str> {
    let (_, rest) = SCRIPT.split_once(&format!("FUNCTION {function}() RETURNS trigger"))?;
    rest.split("$body$").nth(1)
}

/// Removes differences in notation between versions of the database from a condition.
fn bare(condition: &str) -> String {
    let kept = condition.replace("::text", "");
    kept.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')')).map(|c| c.to_ascii_lowercase()).collect()
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

    /// A correct trigger.
    fn right(wanted: &Wanted) -> Found {
        let column = if wanted.tells_column { "person_id\\000" } else { "" };
        Found {
            name: wanted.name.to_owned(),
            enabled: "O".to_owned(),
            arguments: format!("2\\000{column}"),
            kind: wanted.kind,
            columns: String::new(),
            when: wanted.when.to_owned(),
            function: wanted.function.to_owned(),
            body: body_of(wanted.function).unwrap().replace('\n', "\r\n  "),
            language: LANGUAGE.to_owned(),
            settings: SETTINGS.to_owned(),
        }
    }

    #[test]
    fn a_trigger_must_be_enabled_and_of_this_version() {
        for wanted in ON_TOKENS.iter().chain(&ON_USERS).chain(&ON_MEMBERSHIPS).chain(&ON_GROUPS).chain(&ON_SESSIONS) {
            let fault = |found: Found| found.fault(wanted, "person_id");
            assert_eq!(fault(right(wanted)), None);
            assert_eq!(fault(Found { enabled: "A".to_owned(), ..right(wanted) }), None);
            for enabled in ["D", "R"] {
                let found = Found { enabled: enabled.to_owned(), ..right(wanted) };
                assert_eq!(fault(found).unwrap(), "is disabled");
            }
            for arguments in ["", "1\\000", "2\\000user_id\\000", "2"] {
                assert!(fault(Found { arguments: arguments.to_owned(), ..right(wanted) }).is_some(), "{arguments}");
            }
            for found in [
                Found { kind: 0, ..right(wanted) },
                Found { columns: "3".to_owned(), ..right(wanted) },
                Found { when: "false".to_owned(), ..right(wanted) },
                Found { function: "other".to_owned(), ..right(wanted) },
                Found { body: String::new(), ..right(wanted) },
                Found { language: "sql".to_owned(), ..right(wanted) },
                Found { settings: String::new(), ..right(wanted) },
            ] {
                assert!(fault(found).unwrap().contains("out of date"), "{}", wanted.name);
            }
        }
    }

    #[test]
    fn the_conditions_match_the_script() {
        let quiet = DIFFERS.split('\'').nth(1).unwrap();
        assert!(SCRIPT.contains(&format!("quiet CONSTANT text := '{quiet}'")));
        assert!(SCRIPT.contains("(to_jsonb(OLD) - %L::text[]) IS DISTINCT FROM (to_jsonb(NEW) - %L::text[])"));
        assert!(SCRIPT.contains("WHEN (OLD.session_data LIKE %L)") && SCRIPT.contains("'tokengate:%'"));
    }
}
