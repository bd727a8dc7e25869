//! The commands of `tokengate` beside a Django database.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::for_each_database;
use super::project::Project;

/// A configuration up to its store, which may take its time on a machine that does much at once.
const CONFIG: &str = r#"
[listeners.plain]
address = "127.0.0.1:0"
plaintext = "serve"

[upstreams.products]
endpoints = ["http://127.0.0.1:8000"]

[routes.products]
path_prefix = "/product_api/"
upstream = "products"

[store]
timeout = "1m"
"#;

for_each_database! {
    an_import_takes_everything_over_and_nothing_twice
    check_looks_into_the_database
    check_says_which_right_is_missing
}

/// What a command prints, both ways, and whether it succeeded.
pub fn run(folder: &TempDir, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

pub fn folder(store: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gateway.toml"), format!("{CONFIG}{store}")).unwrap();
    folder
}

async fn an_import_takes_everything_over_and_nothing_twice(project: Project) {
    let code = "
from datetime import datetime, timezone
for n in ('alice', 'bob', 'lateCarol', 'dave', 'eve'):
    User.objects.create_user(n, n + '@example.com', first_name='F' + n)
User.objects.filter(username='alice').update(
    password='argon2$argon2id$kept', is_staff=True, last_login=datetime(2026, 1, 2, 3, 4, 5, 678900, timezone.utc))
User.objects.filter(username='bob').update(is_active=False, is_superuser=True)
User.objects.get(username='alice').groups.set([Group.objects.create(name='b'), Group.objects.create(name='a')])
Token.objects.filter(user__username='alice').update(created=datetime(2025, 1, 2, 3, 4, 5, 6000, timezone.utc))
Token.objects.filter(user__username='dave').delete()
Token.objects.create(user=User.objects.get(username='dave'), key='with a blank')
User.objects.filter(username='eve').update(username='eve\\n')
print(User.objects.get(username='alice').pk, *Token.objects.filter(user__username__in=['alice', 'bob']).order_by('user_id').values_list('key', flat=True))
";
    let printed = project.python(code).await;
    let [id, alice, bob]: [&str; 3] = printed.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let before = project.dump().await;
    let folder = folder("");
    let import = || {
        let (done, text) = run(&folder, &["import", "django", &project.address, "--json"]);
        assert!(done, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let first = import();
    assert_eq!(first["users"], json!({ "imported": 4, "there": 0, "skipped": 1 }));
    assert_eq!(first["tokens"], json!({ "imported": 2, "there": 0, "skipped": 2 }));
    let remarks: Vec<_> = first["remarks"].as_array().unwrap().iter().map(|r| (&r["user"], &r["remark"])).collect();
    assert_eq!(*remarks[0].0, "dave");
    assert_eq!(*remarks[0].1, "token skipped: no request can show such a key");
    assert_eq!(*remarks[1].0, "eve\n");
    assert!(remarks[1].1.as_str().unwrap().starts_with("skipped: a user name has"), "{remarks:?}");

    let show =
        |name: &str| -> Value { serde_json::from_str(&run(&folder, &["user", "show", name, "--json"]).1).unwrap() };
    let user = show("alice");
    assert_eq!(user["id"].to_string(), id);
    assert_eq!(
        (&user["groups"], &user["staff"], &user["superuser"]),
        (&json!(["a", "b"]), &json!(true), &json!(false))
    );
    assert_eq!((&user["email"], &user["first_name"]), (&json!("alice@example.com"), &json!("Falice")));
    assert_eq!((&user["last_login"], &user["has_password"]), (&json!("2026-01-02T03:04:05.678Z"), &json!(true)));
    assert_eq!(show("bob")["active"], false);
    let again = run(&folder, &["token", "create", "alice"]).1;
    assert_eq!(again, format!("Generated token {alice} for user alice\n"));
    assert_eq!(run(&folder, &["token", "create", "bob"]).1, format!("Generated token {bob} for user bob\n"));
    let tokens: Value = serde_json::from_str(&run(&folder, &["token", "list", "--json"]).1).unwrap();
    assert_eq!(tokens[0]["created"], "2025-01-02T03:04:05.006Z");
    let stored = fs::read(folder.path().join("tokengate.db")).unwrap();
    let stored = [stored, fs::read(folder.path().join("tokengate.db-wal")).unwrap_or_default()].concat();
    assert!(!stored.windows(40).any(|bytes| bytes == alice.as_bytes()), "keys are kept as digests and sealed");

    let tables = || run(&folder, &["user", "list", "--json"]).1 + &run(&folder, &["token", "list", "--json"]).1;
    let once = tables();
    let second = import();
    assert_eq!(second["users"], json!({ "imported": 0, "there": 4, "skipped": 1 }));
    assert_eq!(second["tokens"], json!({ "imported": 0, "there": 2, "skipped": 2 }));
    assert_eq!(second["remarks"], first["remarks"]);
    assert_eq!(tables(), once);
    assert_eq!(project.dump().await, before, "nothing in the project is changed");

    project.python("User.objects.filter(username='alice').update(is_active=False, email='x@example.com')").await;
    let (_, text) = run(&folder, &["import", "django", &project.address]);
    let differs = format!("user alice (id {id}): left as it is here, though it differs: active, e-mail\n");
    assert!(text.starts_with(&differs) && text.ends_with("tokens: 0 imported, 2 there already, 2 skipped\n"), "{text}");
}

/// Somebody who may only read in the project's database: the address by which the gateway comes, and the user of the
/// system that it runs as, if that decides.
async fn reader(project: &Project) -> (String, Option<u32>) {
    let address = &project.address;
    if let Some(file) = address.strip_prefix("django+sqlite:") {
        fs::set_permissions(file, Permissions::from_mode(0o444)).unwrap();
        fs::set_permissions(Path::new(file).parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        let nobody = rustix::process::geteuid().is_root().then_some(65_534);
        return (address.clone(), nobody);
    }
    let code = "
with connection.cursor() as c:
    c.execute('SELECT current_database()' if connection.vendor == 'postgresql' else 'SELECT DATABASE()')
    name, = c.fetchone()
    if connection.vendor == 'postgresql':
        c.execute(f'CREATE ROLE reader_{name} LOGIN')
        c.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_{name}')
    else:
        c.execute(f'CREATE USER reader_{name}@localhost')
        c.execute(f'GRANT SELECT ON {name}.* TO reader_{name}@localhost')
print(f'reader_{name}')";
    let reader = project.python(code).await;
    (address.replace("user=postgres", &format!("user={reader}")).replace("root@", &format!("{reader}@")), None)
}

/// From now on that one may write tokens.
async fn let_write(project: &Project) {
    match project.address.strip_prefix("django+sqlite:") {
        Some(file) => fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap(),
        None => {
            let code = "
with connection.cursor() as c:
    c.execute('SELECT current_database()' if connection.vendor == 'postgresql' else 'SELECT DATABASE()')
    name, = c.fetchone()
    reader = f'reader_{name}' if connection.vendor == 'postgresql' else f'reader_{name}@localhost'
    c.execute(f'GRANT INSERT, UPDATE, DELETE ON authtoken_token TO {reader}')";
            project.python(code).await;
        }
    }
}

async fn check_says_which_right_is_missing(project: Project) {
    let before = project.dump().await;
    let (address, user) = reader(&project).await;
    let says = |more: &str| {
        let store = format!("url = \"{address}\"\n[store.django]\n{more}");
        let folder = folder(&store);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        if let Some(user) = user {
            command.uid(user);
        }
        let output = command.arg("check").current_dir(folder.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (fine, text) = says("");
    assert!(fine, "reading is enough: {text}");
    let (fine, text) = says("mode = \"read-write\"");
    assert!(!fine && text.contains("may not INSERT, UPDATE, DELETE in table authtoken_token"), "{text}");
    let_write(&project).await;
    let (fine, text) = says("mode = \"read-write\"");
    assert!(fine, "sessions are not wanted: {text}");
    if !address.contains("sqlite") {
        let (fine, text) = says("mode = \"read-write\"\n[login.browser]");
        assert!(!fine && text.contains("may not INSERT, DELETE in table django_session"), "{text}");
    }
    assert_eq!(project.dump().await, before);
}

async fn check_looks_into_the_database(project: Project) {
    let url = &project.address;
    let good = folder(&format!("url = \"{url}\""));
    let (fine, text) = run(&good, &["check"]);
    assert!(fine && text.contains("may count here for 1m") && text.contains("gateway.toml: good"), "{text}");
    let (fine, text) = run(&folder(&format!("url = \"{url}\"\n[store.django]\ntoken_table = \"knox\"")), &["check"]);
    assert!(!fine && text.contains("table knox is missing (store.django.token_table)"), "{text}");
    let wrong = url.replace("db.sqlite3", "gone.sqlite3").replace("/store_", "/gone_").replace("/shop_", "/gone_");
    let (fine, text) = run(&folder(&format!("url = \"{wrong}\"")), &["check"]);
    assert!(!fine && text.contains("the store cannot be opened"), "{text}");

    let browsers = |django: &str| {
        let store = format!("url = \"{url}\"\n[store.django]\n{django}\n[login.browser]\n");
        run(&folder(&store), &["check"])
    };
    let (fine, text) = browsers("");
    assert!(!fine && text.contains("login.browser: there is no place for sessions"), "{text}");
    assert!(text.contains("`mode = \"read-write\"` below [store.django]"), "{text}");
    let (fine, text) = browsers("mode = \"read-write\"\nsession_table = \"knox\"");
    assert!(!fine && text.contains("table knox is missing (store.django.session_table)"), "{text}");
    let (fine, text) = browsers("mode = \"read-write\"");
    assert!(fine, "{text}");

    let key = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    assert_eq!(run(&good, &["token", "create", "alice"]).1, format!("Generated token {key} for user alice\n"));
    let (done, text) = run(&good, &["token", "create", "alice", "--reset"]);
    assert!(!done && text.contains("only read"), "{text}");
    for work in ["deactivate", "set-password", "create"] {
        let (done, text) = run(&good, &["user", work, "alice"]);
        assert!(!done && text.contains("manage them there"), "{work}: {text}");
    }
    assert_eq!(run(&good, &["migrate"]), (true, "the schema is up to date\n".to_owned()));
    assert!(!good.path().join("tokengate.key").exists() && !good.path().join("tokengate.db").exists());
}
