//! Commands of `tokengate` with a Django database.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::for_each_database;
use super::project::Project;

/// A configuration up to its store, with a long timeout for busy machines.
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
    check_opens_the_database
    check_reports_missing_permissions
}

/// The exit status and the combined output of a command.
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

/// A user with read access only in the project's database: the URL for the gateway, and the system user that runs it,
/// if that matters.
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

/// Grants this user write access to tokens.
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

async fn check_reports_missing_permissions(project: Project) {
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

async fn check_opens_the_database(project: Project) {
    let url = &project.address;
    let good = folder(&format!("url = \"{url}\""));
    let (fine, text) = run(&good, &["check"]);
    assert!(fine && text.contains("may work here for 1m") && text.contains("gateway.toml: OK"), "{text}");
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
    assert!(!fine && text.contains("login.browser: sessions cannot be stored"), "{text}");
    assert!(text.contains("`mode = \"read-write\"` in [store.django]"), "{text}");
    let (fine, text) = browsers("mode = \"read-write\"\nsession_table = \"knox\"");
    assert!(!fine && text.contains("table knox is missing (store.django.session_table)"), "{text}");
    let (fine, text) = browsers("mode = \"read-write\"");
    assert!(fine, "{text}");

    let key = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    assert_eq!(run(&good, &["token", "create", "alice"]).1, format!("Generated token {key} for user alice\n"));
    let (done, text) = run(&good, &["token", "create", "alice", "--reset"]);
    assert!(!done && text.contains("read-only Django database"), "{text}");
    for work in ["deactivate", "set-password", "create"] {
        let (done, text) = run(&good, &["user", work, "alice"]);
        assert!(!done && text.contains("manage them there"), "{work}: {text}");
    }
    assert_eq!(run(&good, &["migrate"]), (true, "the schema is up to date\n".to_owned()));
    assert!(!good.path().join("tokengate.key").exists() && !good.path().join("tokengate.db").exists());
}
