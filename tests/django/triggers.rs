//! The PostgreSQL triggers: created all or none, on the configured tables, and each is checked.

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tempfile::TempDir;
use tokengate::config::settings::{Django, DjangoMode};
use tokio::time::timeout;

use super::commands::{folder, run};
use super::project::Project;
use crate::support::gateway::Captured;
use crate::support::{Ask, Origin, PATIENCE, Postgres, eventually};

const SCRIPT: &str = include_str!("../../docs/django/push-postgresql.sql");

const PEOPLE: &str = "[store.django]
user_table = \"people_person\"
membership_table = \"people_person_groups\"
membership_user_column = \"person_id\"
user_name_column = \"email\"
";

/// Each trigger, with its table in a stock project.
const TRIGGERS: [(&str, &str); 11] = [
    ("tokengate_token_changed", "authtoken_token"),
    ("tokengate_token_came_or_went", "authtoken_token"),
    ("tokengate_tokens_gone", "authtoken_token"),
    ("tokengate_user_changed", "auth_user"),
    ("tokengate_user_gone", "auth_user"),
    ("tokengate_users_gone", "auth_user"),
    ("tokengate_membership_changed", "auth_user_groups"),
    ("tokengate_memberships_gone", "auth_user_groups"),
    ("tokengate_group_changed", "auth_group"),
    ("tokengate_session_ended", "django_session"),
    ("tokengate_sessions_gone", "django_session"),
];

/// A folder with a configuration for this project, followed by `more`.
fn configured(project: &Project, more: &str) -> TempDir {
    folder(&format!("url = \"{}\"\n{more}", project.address))
}

/// The output of `check`.
fn check(folder: &TempDir) -> String {
    let (fine, text) = run(folder, &["check"]);
    assert!(fine, "{text}");
    text
}

/// Creates the triggers for this configuration, as in docs/DJANGO.md.
fn make(project: &Project, folder: &TempDir) {
    let (done, script) = run(folder, &["django", "triggers"]);
    assert!(done, "{script}");
    let (done, text) = project.psql(&script);
    assert!(done, "{text}");
}

/// The triggers and functions of the script that exist.
fn remains(project: &Project) -> String {
    let text = "SELECT (SELECT count(*) FROM pg_proc WHERE proname LIKE 'tokengate%'), \
                (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tokengate%');";
    project.psql(text).1.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_script_creates_nothing() {
    let project = Project::on_with(Postgres::shared().await, &["PEOPLE"]).await;
    let folder = configured(&project, PEOPLE);
    // The tables of a stock project do not all exist here.
    let (_, text) = project.psql(SCRIPT);
    assert_eq!(text.matches("ERROR").count(), 1, "{text}");
    assert!(text.contains("\"auth_user\" does not exist"), "{text}");
    assert_eq!(remains(&project), "0|0");
    let wrong = configured(&project, &PEOPLE.replace("person_id", "user_id"));
    let script = run(&wrong, &["django", "triggers"]).1;
    let (done, text) = project.psql(&script);
    assert!(!done && text.contains("table people_person_groups has no column user_id"), "{text}");
    assert_eq!(remains(&project), "0|0");
    assert!(check(&folder).contains("does not push changes"), "as before");

    for _ in 0..2 {
        make(&project, &folder);
        assert_eq!(remains(&project), "5|11");
        assert!(!check(&folder).contains("may work here"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trigger_is_checked_on_its_table() {
    let project = Project::on(Postgres::shared().await).await;
    let folder = configured(&project, "[store.django]\nmode = \"read-write\"\n");
    make(&project, &folder);
    assert!(!check(&folder).contains("may work here"));
    let settings = project.settings(DjangoMode::ReadWrite);
    for (trigger, table) in TRIGGERS {
        for (harm, fault) in [
            (format!("DROP TRIGGER {trigger} ON {table}"), "is missing"),
            (format!("ALTER TABLE {table} DISABLE TRIGGER {trigger}"), "is disabled"),
            (format!("ALTER TABLE {table} ENABLE REPLICA TRIGGER {trigger}"), "is disabled"),
        ] {
            let (done, text) = project.psql(&harm);
            assert!(done, "{harm}: {text}");
            let text = check(&folder);
            let told = format!(
                "not all triggers report changes in this database, so the gateway relies on none: trigger {trigger} \
                 on table {table} {fault}."
            );
            assert!(text.contains(&told) && text.contains("may work here for 1m"), "{harm}: {text}");
            assert!(!project.try_open(&settings).await.unwrap().pushes_changes, "{harm}");
            make(&project, &folder);
            assert!(project.try_open(&settings).await.unwrap().pushes_changes, "{harm}");
        }
    }
    // Triggers with the right names on another table, or of an older version, are not accepted.
    project.psql("DROP TRIGGER tokengate_user_gone ON auth_user");
    project.psql("CREATE TRIGGER tokengate_user_gone AFTER DELETE ON auth_group FOR EACH ROW EXECUTE FUNCTION tokengate_user_changed(2)");
    assert!(check(&folder).contains("trigger tokengate_user_gone on table auth_user is missing"));
    make(&project, &folder);
    project.psql(
        "DROP TRIGGER tokengate_user_changed ON auth_user; CREATE TRIGGER tokengate_user_changed AFTER UPDATE ON auth_user \
         FOR EACH ROW WHEN (OLD.is_active <> NEW.is_active) EXECUTE FUNCTION tokengate_user_changed()",
    );
    let text = check(&folder);
    assert!(text.contains("trigger tokengate_user_changed on table auth_user belongs to another version"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_user_tables_have_triggers_too() {
    let server = Postgres::start().await;
    for push in [false, true] {
        let switches: &[&'static str] = if push { &["PEOPLE", "PUSH"] } else { &["PEOPLE"] };
        let project = Project::on_with(&server, switches).await;
        let folder = configured(&project, PEOPLE);
        if !push {
            make(&project, &folder);
        }
        assert!(!check(&folder).contains("may work here"), "push: {push}");
        let code = "
from people.models import Person
for n in ('off', 'gone', 'new', 'moved'):
    print(Token.objects.create(user=Person.objects.create(email=n + '@example.com')).key)";
        let keys = project.python(code).await;
        let keys: Vec<&str> = keys.lines().collect();
        let origin = Origin::answering("hello").await;
        let names = Django {
            user_table: "people_person".to_owned(),
            membership_table: "people_person_groups".to_owned(),
            membership_user_column: "person_id".to_owned(),
            user_name_column: "email".to_owned(),
            ..Django::default()
        };
        let site = project.site(&origin, DjangoMode::ReadOnly).with(|settings| settings.store.django = names);
        let gateway = site.start().await;
        let status = async |key: &str| Ask::get("/api/x").token(key).to(&gateway).await.status;
        for key in &keys {
            assert_eq!(status(key).await, 200);
        }
        // The clock stands still: only a notification evicts entries.
        for (key, code) in keys.iter().zip([
            "Person.objects.filter(email='off@example.com').update(is_active=False)",
            "Person.objects.get(email='gone@example.com').delete()",
            "Token.objects.get(user__email='new@example.com').delete()",
        ]) {
            project.python(&format!("from people.models import Person; {code}")).await;
            eventually(PATIENCE, code, || async { status(key).await == 401 }).await;
        }
        let code = "
from people.models import Person
p = Person.objects.get(email='moved@example.com'); p.groups.add(Group.objects.create(name='g'))
Person.objects.filter(pk=p.pk).update(email='other@example.com')";
        project.python(code).await;
        eventually(PATIENCE, "name and group", || async {
            assert_eq!(status(keys[3]).await, 200);
            let seen = origin.last();
            (seen.fields.get("x-user-name"), seen.fields.get("x-user-groups")) == (Some("other@example.com"), Some("g"))
        })
        .await;
    }
}

/// The notifications of a statement, up to a marker.
async fn heard(project: &Project, listener: &mut PgListener, statement: &str) -> Vec<String> {
    let (done, text) = project.psql(&format!("{statement}; NOTIFY tokengate, 'mark'"));
    assert!(done, "{statement}: {text}");
    let mut heard = Vec::new();
    loop {
        let said = timeout(PATIENCE, listener.recv()).await.unwrap().unwrap();
        if said.payload() == "mark" {
            return heard;
        }
        heard.push(said.payload().to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_notifies_except_of_last_use_columns() {
    let server = Postgres::start().await;
    let project = Project::on(&server).await;
    let key = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    let (done, text) = project.psql(
        "ALTER TABLE authtoken_token ADD expires timestamptz, ADD revoked boolean, ADD enabled boolean DEFAULT true, \
             ADD write_enabled boolean, ADD allowed_ips inet[], ADD scopes json, ADD last_used timestamptz; \
         ALTER TABLE auth_user ADD is_banned boolean DEFAULT false, ADD deleted_at timestamptz;",
    );
    assert!(done, "{text}");
    make(&project, &configured(&project, ""));
    let options = PgConnectOptions::new_without_pgpass().socket(server.socket_folder()).username("postgres");
    let name = project.psql("SELECT current_database()").1;
    let pool = PgPoolOptions::new().connect_with(options.database(name.trim())).await.unwrap();
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("tokengate").await.unwrap();
    let digest = tokengate::token::TokenKey::parse(&key).unwrap().digest().to_hex();
    for change in [
        "expires = now()",
        "expires = 'infinity'",
        "expires = NULL",
        "revoked = true",
        "enabled = false",
        "write_enabled = true",
        "allowed_ips = '{10.0.0.0/8}'",
        "scopes = '[1]'",
        "scopes = '[2]', last_used = now()",
    ] {
        let said = heard(&project, &mut listener, &format!("UPDATE authtoken_token SET {change}")).await;
        assert!(!said.is_empty() && said.iter().all(|said| *said == format!("token {digest}")), "{change}: {said:?}");
    }
    for change in ["is_banned = true", "deleted_at = now()", "username = 'x'", "is_active = false", "email = 'a@b'"] {
        let said = heard(&project, &mut listener, &format!("UPDATE auth_user SET {change}")).await;
        assert!(said.len() == 1 && said[0].starts_with("user "), "{change}: {said:?}");
    }
    for quiet in [
        "UPDATE authtoken_token SET last_used = clock_timestamp()",
        "UPDATE authtoken_token SET key = key, revoked = revoked",
        "UPDATE auth_user SET last_login = clock_timestamp()",
    ] {
        assert_eq!(heard(&project, &mut listener, quiet).await, Vec::<String>::new(), "{quiet}");
    }
    assert_eq!(heard(&project, &mut listener, "TRUNCATE auth_user CASCADE").await, ["all"]);
}

/// The functions of the script.
const FUNCTIONS: [&str; 5] = [
    "tokengate_token_changed",
    "tokengate_user_changed",
    "tokengate_membership_changed",
    "tokengate_session_ended",
    "tokengate_much_changed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_or_trigger_that_was_changed_under_its_own_name_is_out_of_date() {
    let project = Project::on(Postgres::shared().await).await;
    let folder = configured(&project, "[store.django]\nmode = \"read-write\"\n");
    make(&project, &folder);
    let settings = project.settings(DjangoMode::ReadWrite);
    let empty = |name: &str, head: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {head} AS $$ BEGIN RETURN NULL; END $$"
        )
    };
    let mut harms: Vec<(String, &str)> = Vec::new();
    for name in FUNCTIONS {
        harms.push((empty(name, "SET search_path = pg_catalog"), name));
    }
    // The same body within an `IF`, a body in another language, a search path with other functions of these names.
    harms.push((
        "CREATE OR REPLACE FUNCTION tokengate_user_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS \
         $$ BEGIN IF false THEN PERFORM pg_notify('tokengate', 'user ' || OLD.id); END IF; RETURN NULL; END $$"
            .to_owned(),
        "tokengate_user_changed",
    ));
    harms.push((
        "ALTER FUNCTION tokengate_much_changed() SET search_path = public".to_owned(),
        "tokengate_much_changed",
    ));
    harms.push(("ALTER FUNCTION tokengate_much_changed() RESET ALL".to_owned(), "tokengate_much_changed"));
    for (harm, function) in harms {
        let (done, text) = project.psql(&harm);
        assert!(done, "{harm}: {text}");
        let text = check(&folder);
        assert!(text.contains(&format!("calls function {function}, which is out of date")), "{harm}: {text}");
        assert!(text.contains("`tokengate django triggers | psql DATABASE`"), "{harm}: {text}");
        let (said, guard) = Captured::of_this_thread();
        let store = project.try_open(&settings).await.unwrap();
        drop(guard);
        assert!(!store.pushes_changes && !store.broken_triggers.is_empty(), "{harm}");
        let text = said.text();
        assert!(text.contains("django_triggers_out_of_date") && text.contains(function), "{text}");
        assert!(text.contains("`tokengate django triggers | psql DATABASE`"), "{text}");
        make(&project, &folder);
        assert!(project.try_open(&settings).await.unwrap().pushes_changes, "{harm}");
    }
    for (trigger, table, made) in [
        (
            "tokengate_user_changed",
            "auth_user",
            "AFTER UPDATE ON auth_user FOR EACH ROW WHEN (false) EXECUTE FUNCTION tokengate_user_changed(2)",
        ),
        (
            "tokengate_user_changed",
            "auth_user",
            "AFTER UPDATE OF email ON auth_user FOR EACH ROW EXECUTE FUNCTION tokengate_user_changed(2)",
        ),
        (
            "tokengate_user_changed",
            "auth_user",
            "AFTER INSERT ON auth_user FOR EACH ROW EXECUTE FUNCTION tokengate_user_changed(2)",
        ),
        (
            "tokengate_user_gone",
            "auth_user",
            "AFTER DELETE ON auth_user FOR EACH ROW WHEN (OLD.id < 0) EXECUTE FUNCTION tokengate_user_changed(2)",
        ),
        (
            "tokengate_users_gone",
            "auth_user",
            "AFTER TRUNCATE ON auth_user FOR EACH STATEMENT EXECUTE FUNCTION tokengate_user_changed(2)",
        ),
        (
            "tokengate_group_changed",
            "auth_group",
            "AFTER UPDATE ON auth_group FOR EACH STATEMENT EXECUTE FUNCTION tokengate_much_changed(2)",
        ),
        (
            "tokengate_token_came_or_went",
            "authtoken_token",
            "AFTER INSERT ON authtoken_token FOR EACH ROW EXECUTE FUNCTION tokengate_token_changed(2)",
        ),
        (
            "tokengate_session_ended",
            "django_session",
            "AFTER UPDATE OR DELETE ON django_session FOR EACH ROW WHEN (OLD.session_data LIKE 'x%') EXECUTE FUNCTION tokengate_session_ended(2)",
        ),
    ] {
        let (done, text) = project.psql(&format!("DROP TRIGGER {trigger} ON {table}; CREATE TRIGGER {trigger} {made}"));
        assert!(done, "{made}: {text}");
        let text = check(&folder);
        assert!(text.contains(&format!("trigger {trigger} on table {table} ")), "{made}: {text}");
        assert!(text.contains("out of date") && text.contains("so the gateway relies on none"), "{made}: {text}");
        make(&project, &folder);
        assert!(!check(&folder).contains("may work here"), "{made}");
    }
    // Other line endings, blanks and moved comments are not differences.
    let (done, text) = project.psql(
        "CREATE OR REPLACE FUNCTION tokengate_much_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS \
         $$\nBEGIN\n\n  PERFORM pg_notify('tokengate', 'all');\r\n\tRETURN NULL;\nEND $$",
    );
    assert!(done, "{text}");
    assert!(!check(&folder).contains("may work here"));
}
