//! `tokengate import django`: what is imported, what is not, and the report.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

use super::commands::{folder, run};
use super::for_each_database;
use super::project::Project;
use crate::support::Postgres;

for_each_database! {
    ids_that_clash_are_reported_and_mapped_on_request_and_a_dry_run_writes_nothing
    an_import_imports_everything_and_nothing_twice
    every_token_of_a_user_is_imported_or_reported
    a_key_of_several_tokens_is_not_imported
    an_unsupported_password_hash_is_skipped_and_reported
    deleted_and_inactive_users_are_reported_and_deactivated_on_request
    an_import_revokes_nothing_from_other_sources
}

/// Imports, and returns the success and the report.
fn import(folder: &TempDir, project: &Project, more: &[&str]) -> (bool, Value) {
    let (done, text) = run(folder, &[&["import", "django", &project.address, "--json"], more].concat());
    (done, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

/// The same with the report as text.
fn told(folder: &TempDir, project: &Project, more: &[&str]) -> (bool, String) {
    run(folder, &[&["import", "django", &project.address], more].concat())
}

fn user(folder: &TempDir, name: &str) -> Value {
    serde_json::from_str(&run(folder, &["user", "show", name, "--json"]).1).unwrap()
}

/// The tokens of a user: kind, name and state of each, oldest first.
fn tokens(folder: &TempDir, name: &str) -> Vec<[String; 3]> {
    let listed: Value = serde_json::from_str(&run(folder, &["token", "list", "--user", name, "--json"]).1).unwrap();
    let text = |token: &Value, key: &str| token[key].as_str().unwrap().to_owned();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|token| ["kind", "name", "state"].map(|key| text(token, key))).collect()
}

/// The remarks of the report about a user.
fn remarks<'r>(report: &'r Value, name: &str) -> Vec<&'r str> {
    let all = report["remarks"].as_array().unwrap().iter();
    all.filter(|remark| remark["user"] == name).map(|remark| remark["remark"].as_str().unwrap()).collect()
}

async fn an_import_imports_everything_and_nothing_twice(project: Project) {
    let code = "
from datetime import datetime, timezone
from django.contrib.auth.hashers import PBKDF2PasswordHasher
for n in ('alice', 'bob', 'lateCarol', 'dave', 'eve'):
    User.objects.create_user(n, n + '@example.com', first_name='F' + n)
User.objects.filter(username='alice').update(
    password=PBKDF2PasswordHasher().encode('secret', 'salt', 1), is_staff=True,
    last_login=datetime(2026, 1, 2, 3, 4, 5, 678900, timezone.utc))
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
    let (whole, first) = import(&folder, &project, &[]);
    assert!(!whole, "something was skipped");
    assert_eq!(first["users"], json!({ "imported": 4, "there": 0, "skipped": 1 }));
    assert_eq!(first["tokens"], json!({ "imported": 2, "there": 0, "skipped": 2 }));
    let [dave] = remarks(&first, "dave")[..] else { panic!("{first}") };
    assert!(dave.ends_with("skipped: the key contains characters that cannot be sent in a header, or is too long"));
    let [eve, token] = remarks(&first, "eve\n")[..] else { panic!("{first}") };
    assert!(eve.starts_with("skipped: a username has") && token.ends_with("skipped: the user was skipped"), "{first}");

    let shown = user(&folder, "alice");
    assert_eq!(shown["id"].to_string(), id);
    assert_eq!(
        (&shown["groups"], &shown["staff"], &shown["superuser"]),
        (&json!(["a", "b"]), &json!(true), &json!(false))
    );
    assert_eq!((&shown["email"], &shown["first_name"]), (&json!("alice@example.com"), &json!("Falice")));
    assert_eq!((&shown["last_login"], &shown["has_password"]), (&json!("2026-01-02T03:04:05.678Z"), &json!(true)));
    assert_eq!(user(&folder, "bob")["active"], false);
    let again = run(&folder, &["token", "create", "alice"]).1;
    assert_eq!(again, format!("Generated token {alice} for user alice\n"));
    assert_eq!(run(&folder, &["token", "create", "bob"]).1, format!("Generated token {bob} for user bob\n"));
    let listed: Value = serde_json::from_str(&run(&folder, &["token", "list", "--json"]).1).unwrap();
    assert_eq!(listed[0]["created"], "2025-01-02T03:04:05.006Z");
    let stored = fs::read(folder.path().join("tokengate.db")).unwrap();
    let stored = [stored, fs::read(folder.path().join("tokengate.db-wal")).unwrap_or_default()].concat();
    assert!(!stored.windows(40).any(|bytes| bytes == alice.as_bytes()), "keys are kept as digests and sealed");

    let tables = || run(&folder, &["user", "list", "--json"]).1 + &run(&folder, &["token", "list", "--json"]).1;
    let once = tables();
    for more in [["--allow-skipped"].as_slice(), &["--prune", "--allow-skipped"]] {
        let (whole, second) = import(&folder, &project, more);
        assert!(whole, "the rest is known: {second}");
        assert_eq!(second["users"], json!({ "imported": 0, "there": 4, "skipped": 1 }));
        assert_eq!(second["tokens"], json!({ "imported": 0, "there": 2, "skipped": 2 }));
        assert_eq!(second["remarks"], first["remarks"]);
        assert_eq!(tables(), once);
    }
    assert_eq!(project.dump().await, before, "the project is unchanged");

    let code = "
User.objects.filter(username='alice').update(email='x@example.com', is_superuser=True)
User.objects.get(username='alice').groups.remove(Group.objects.get(name='a'))";
    project.python(code).await;
    let (whole, text) = told(&folder, &project, &[]);
    let differs = format!(
        "alice\t{id}\tkept unchanged, although it differs: e-mail (here: alice@example.com; there: \
         x@example.com), groups (here: a, b; there: b), superuser (here: no; there: yes)\n"
    );
    assert!(
        !whole && text.contains(&differs) && text.contains("\ndifferent: 1; nothing here was overwritten\n"),
        "{text}"
    );
    assert!(text.ends_with("tokens: 0 imported, 2 there already, 2 skipped\n"), "{text}");
    assert!(text.contains("\neve\\n\t"), "a name keeps to its line: {text}");
    assert_eq!(tables(), once);
}

/// A token table with several tokens per user and wide keys, beside that of Django REST Framework.
const SEVERAL: &str = "
from datetime import datetime, timezone
quoted = connection.ops.quote_name
time = {'postgresql': 'timestamp with time zone', 'mysql': 'datetime(6)', 'sqlite': 'datetime'}[connection.vendor]
with connection.cursor() as c:
    c.execute(f'CREATE TABLE several ({quoted(\"key\")} varchar(255) PRIMARY KEY, created {time}, user_id integer)')
";

/// Inserts a row into that table.
const TOKEN: &str = "
def token(name, key, day):
    with connection.cursor() as c:
        user, made = User.objects.get(username=name).pk, f'2025-01-{day:02} 03:04:05.000001'
        c.execute('INSERT INTO several VALUES (%s, %s, %s)', [key, made, user])
";

const WIDE: &str = "[store.django]\ntoken_table = \"several\"\n";

async fn every_token_of_a_user_is_imported_or_reported(project: Project) {
    let (hex, padded, long) = ("0123456789abcdef".repeat(4), format!("{}==", "Q+/d".repeat(25)), "x".repeat(255));
    let code = format!(
        "{SEVERAL}{TOKEN}
for n in ('alice', 'bob'): User.objects.create_user(n)
token('alice', '{hex}', 2); token('alice', '{padded}', 1); token('alice', 'two words', 4)
token('alice', '{long}', 3); token('alice', 'y' * 41 + '!', 5); token('bob', 'of-bob', 6)"
    );
    project.python(&code).await;
    let folder = folder(WIDE);
    let (whole, report) = import(&folder, &project, &[]);
    assert!(!whole);
    assert_eq!(report["tokens"], json!({ "imported": 4, "there": 0, "skipped": 2 }), "{report}");
    let told = remarks(&report, "alice");
    assert_eq!(
        told,
        [
            "token of 2025-01-05 skipped: the key contains characters that cannot be sent in a header, or is too long",
            "token of 2025-01-04 skipped: the key contains characters that cannot be sent in a header, or is too long",
            "token 01234567… of 2025-01-02 became the named token \"imported, made 2025-01-02\"",
            "token Q+/dQ+/d… of 2025-01-01 became the named token \"imported, made 2025-01-01\"",
        ]
    );
    let kinds: Vec<_> = tokens(&folder, "alice").into_iter().map(|[kind, _, state]| [kind, state]).collect();
    assert_eq!(kinds, [["login", "live"], ["named", "live"], ["named", "live"]]);
    let shown = run(&folder, &["token", "create", "alice"]).1;
    assert_eq!(shown, format!("Generated token {long} for user alice\n"), "the newest is the login token");
    let (whole, again) = import(&folder, &project, &["--allow-skipped"]);
    assert!(whole);
    assert_eq!(again["tokens"], json!({ "imported": 0, "there": 4, "skipped": 2 }), "{again}");
}

async fn a_key_of_several_tokens_is_not_imported(project: Project) {
    let code = format!(
        "{}{TOKEN}
for n in ('alice', 'bob'): User.objects.create_user(n)
token('alice', 'k' * 40, 1); token('bob', 'k' * 40, 2); token('bob', 'l' * 40, 3)",
        SEVERAL.replace(" PRIMARY KEY", "")
    );
    project.python(&code).await;
    let folder = folder(WIDE);
    let (_, report) = import(&folder, &project, &[]);
    assert_eq!(report["tokens"], json!({ "imported": 1, "there": 0, "skipped": 2 }), "{report}");
    for (name, day) in [("alice", "01"), ("bob", "02")] {
        let told = format!(
            "token kkkkkkkk… of 2025-01-{day} skipped: several tokens have this key there, so none of them is valid"
        );
        assert_eq!(remarks(&report, name), [told]);
    }
    assert_eq!(tokens(&folder, "alice"), Vec::<[String; 3]>::new());
    // A token that was imported while its key was unique is reported, and revoked on request.
    project.python(&format!("{TOKEN}\ntoken('alice', 'l' * 40, 4)")).await;
    let (_, pruned) = import(&folder, &project, &["--prune"]);
    assert_eq!(pruned["gone"], json!({ "users": 0, "tokens": 1, "ended": true }), "{pruned}");
    assert_eq!(tokens(&folder, "bob"), [["login", "", "revoked"].map(str::to_owned)]);
}

async fn an_unsupported_password_hash_is_skipped_and_reported(project: Project) {
    let code = "
from django.contrib.auth.hashers import PBKDF2PasswordHasher
good = PBKDF2PasswordHasher().encode('secret', 'salt', 1)
for n, password in (('good', good), ('none', '!'), ('md5', 'md5$salt$0123456789abcdef0123456789abcdef'),
                    ('bare', '0123456789abcdef0123456789abcdef'), ('crypt', 'crypt$$ab1234567890.')):
    User.objects.create(username=n, password=password)";
    project.python(code).await;
    let folder = folder("");
    for _ in 0..2 {
        let (whole, report) = import(&folder, &project, &[]);
        assert!(!whole);
        assert_eq!((&report["passwords_left_out"], &report["different"]), (&json!(3), &json!(0)), "{report}");
        assert_eq!(report["remarks"].as_array().unwrap().len(), 3, "{report}");
        for (name, kind) in [("md5", "md5"), ("bare", "unknown"), ("crypt", "crypt")] {
            let what = format!("has no password here: hashes of the kind {kind} cannot be verified; set a new one");
            assert_eq!(remarks(&report, name), [what]);
            assert_eq!(user(&folder, name)["has_password"], false);
        }
        assert!(!report.to_string().contains("0123456789abcdef"), "a hash is never shown");
    }
    assert_eq!(user(&folder, "good")["has_password"], true);
    assert!(import(&folder, &project, &["--allow-skipped"]).0);
    let (_, text) = told(&folder, &project, &[]);
    assert!(text.contains("\npasswords: 3 cannot be verified and were left out\n"), "{text}");
}

async fn deleted_and_inactive_users_are_reported_and_deactivated_on_request(project: Project) {
    let code = "
for n in ('stays', 'gone', 'tokenless', 'reset', 'off', 'last'): User.objects.create_user(n)
print(Token.objects.get(user__username='reset').key)";
    let former = project.python(code).await;
    let folder = folder("");
    assert!(import(&folder, &project, &[]).0);
    // Created here, so not affected by the import: a user, and additional tokens of an imported user.
    for arguments in [
        ["user", "create", "native", "--no-password"].as_slice(),
        &["token", "create", "gone", "--name", "ci"],
        &["token", "create", "tokenless", "--name", "ci"],
    ] {
        assert!(run(&folder, arguments).0, "{arguments:?}");
    }
    let code = "
User.objects.get(username='gone').delete()
Token.objects.get(user__username='tokenless').delete()
Token.objects.get(user__username='reset').delete()
User.objects.filter(username='off').update(is_active=False)
print(Token.objects.create(user=User.objects.get(username='reset')).key)";
    let renewed = project.python(code).await;
    let tables = || run(&folder, &["user", "list", "--json"]).1;
    let before = tables();

    let (whole, text) = told(&folder, &project, &[]);
    assert!(!whole, "{text}");
    for part in [
        "gone\t2\tis deleted in the Django database: active here\n",
        "\ttoken ",
        "is invalid or more restricted in the Django database: valid here\n",
        "is inactive in the Django database: active here\n",
        "no longer valid in the Django database: 2 users, 3 tokens, still valid here; --prune revokes them\n",
    ] {
        let part = part.replace("\t2\t", &format!("\t{}\t", user(&folder, "gone")["id"]));
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert_eq!(tables(), before, "nothing was ended");
    assert_eq!(tokens(&folder, "reset").len(), 2, "the new token was imported, in addition to the old one");
    assert!(
        !import(&folder, &project, &["--allow-skipped"]).0,
        "--allow-skipped does not accept data that is still valid here"
    );
    let (whole, report) = import(&folder, &project, &["--keep-gone", "--allow-skipped"]);
    assert!(whole, "{report}");
    assert_eq!(report["gone"], json!({ "users": 2, "tokens": 3, "ended": false }));
    assert!(!run(&folder, &["import", "django", &project.address, "--keep-gone", "--prune"]).0);

    let (whole, report) = import(&folder, &project, &["--prune"]);
    assert_eq!(report["gone"], json!({ "users": 2, "tokens": 3, "ended": true }), "{report}");
    assert!(whole, "{report}");
    let states = |name: &str| -> Vec<String> { tokens(&folder, name).into_iter().map(|[_, _, state]| state).collect() };
    assert_eq!(user(&folder, "gone")["active"], false);
    assert_eq!(states("gone"), ["revoked", "revoked"], "with everything that was issued here");
    assert_eq!(user(&folder, "off")["active"], false);
    assert_eq!(
        (&user(&folder, "tokenless")["active"], states("tokenless")),
        (&json!(true), vec!["revoked".to_owned(), "live".to_owned()])
    );
    assert_eq!(states("reset"), ["revoked", "live"]);
    for (name, active) in [("native", true), ("stays", true), ("last", true)] {
        assert_eq!(user(&folder, name)["active"], active, "{name}");
        assert!(states(name).iter().all(|state| state == "live"), "{name}");
    }
    let listed = run(&folder, &["token", "list", "--user", "reset"]).1;
    assert!(listed.contains(&renewed[..8]) && listed.contains(&former[..8]), "{listed}");
    let (whole, report) = import(&folder, &project, &["--prune"]);
    assert!(whole, "{report}");
    assert_eq!(report["remarks"], json!([]), "all is told once");
}

async fn an_import_revokes_nothing_from_other_sources(project: Project) {
    project.python("for n in ('alice', 'bob', 'carol'): User.objects.create_user(n)").await;
    let other = Project::on_sqlite().await;
    other.python("User.objects.create_user('dora', id=4711)").await;
    let folder = folder("");
    assert!(import(&folder, &project, &[]).0);
    let all = || run(&folder, &["user", "list", "--json"]).1 + &run(&folder, &["token", "list", "--json"]).1;
    let (_, report) = import(&folder, &other, &["--prune", "--allow-skipped"]);
    assert_eq!(report["gone"]["users"], 0, "{report}");
    for name in ["alice", "bob", "carol"] {
        assert_eq!(user(&folder, name)["active"], true);
        assert_eq!(tokens(&folder, name)[0][2], "live");
    }
    let before = all();
    // A database without users or tokens is probably the wrong one, or newly created.
    project.python("Token.objects.all().delete(); User.objects.get(username='carol').delete()").await;
    for more in [[].as_slice(), &["--keep-gone"]] {
        let (_, report) = import(&folder, &project, more);
        assert_eq!(report["gone"], json!({ "users": 1, "tokens": 3, "ended": false }), "{report}");
    }
    let (done, text) = told(&folder, &project, &["--prune", "--allow-skipped"]);
    assert!(!done && text.contains("has no tokens at all, so nothing was revoked here"), "{text}");
    assert!(text.contains("`tokengate token revoke ID`"), "{text}");
    assert!(text.contains("no longer valid in the Django database: 1 user, 3 tokens, still valid here\n"), "{text}");
    assert_eq!(all(), before);
    project.python("User.objects.all().delete()").await;
    let (done, text) = told(&folder, &project, &["--prune"]);
    assert!(!done && text.contains("has no users at all, so nothing was revoked here"), "{text}");
    assert_eq!(all(), before);
    assert_eq!(user(&folder, "alice")["active"], true);
    assert_eq!(tokens(&folder, "alice")[0][2], "live");
}

/// Where the file of a project on SQLite is.
fn file(project: &Project) -> std::path::PathBuf {
    project.address.strip_prefix("django+sqlite:").unwrap().into()
}

/// The address of a copy of a project on SQLite.
fn copied(project: &Project, to: &TempDir) -> String {
    let copy = to.path().join("copy.sqlite3");
    fs::copy(file(project), &copy).unwrap();
    format!("django+sqlite:{}", copy.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_moved_is_named_until_the_operator_says_so() {
    let project = Project::on_sqlite().await;
    project
        .python("for n in ('stays', 'tokenless', 'gone', 'revoked'): User.objects.create_user(n)\nToken.objects.filter(user__username='tokenless').delete()")
        .await;
    let folder = folder("");
    let before = file(&project).display().to_string();
    assert!(import(&folder, &project, &[]).0);
    project
        .python("User.objects.get(username='gone').delete(); Token.objects.filter(user__username='revoked').delete()")
        .await;
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = copied(&project, &elsewhere);
    let import = |more: &[&str]| run(&folder, &[&["import", "django", &moved], more].concat());
    let all = || run(&folder, &["user", "list", "--json"]).1 + &run(&folder, &["token", "list", "--json"]).1;
    let once = all();
    let told = format!("3 users and 1 token in this database were imported from {before} before");
    let mend = format!("`--was {before}`");
    // Without a flag it reports the tokens and exits with 1. With --prune it refuses before it revokes or imports anything.
    for more in [[].as_slice(), &["--allow-skipped"], &["--prune"], &["--prune", "--allow-skipped"]] {
        let (done, text) = import(more);
        assert!(!done && text.contains(&told) && text.contains(&mend), "{more:?}: {text}");
        assert!(text.contains("nothing was revoked here") == more.contains(&"--prune"), "{more:?}: {text}");
        assert_eq!(all(), once, "{more:?}");
    }
    // It records no new address either: the data of the former address are unchanged.
    let (_, report) = self::import(&folder, &project, &[]);
    assert_eq!(report["gone"], json!({ "users": 1, "tokens": 2, "ended": false }), "{report}");
    let (done, text) = import(&["--keep-gone"]);
    assert!(done && text.contains(&told), "{text}");
    let (done, text) = import(&["--prune", "--was", "/elsewhere/db.sqlite3"]);
    assert!(!done && text.contains("nothing here came from /elsewhere/db.sqlite3"), "{text}");
    assert!(text.contains(&before), "it names the addresses that it knows: {text}");
    assert_eq!(all(), once);

    let (done, text) = import(&["--was", &format!("django+sqlite:{before}")]);
    assert!(!done && !text.contains("imported from"), "{text}");
    assert!(
        text.contains(
            "no longer valid in the Django database: 1 user, 2 tokens, still valid here; --prune revokes them"
        ),
        "{text}"
    );
    let (done, text) = import(&["--prune"]);
    assert!(done && text.contains("1 user, 2 tokens, deactivated or revoked here"), "{text}");
    assert_eq!(user(&folder, "gone")["active"], false);
    assert_eq!(tokens(&folder, "revoked")[0][2], "revoked");
    assert_eq!(tokens(&folder, "stays")[0][2], "live");
    assert!(import(&["--prune"]).0, "all is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_does_not_claim_what_came_from_the_original() {
    let project = Project::on_sqlite().await;
    project.python("for n in ('alice', 'bob'): User.objects.create_user(n)").await;
    let folder = folder("");
    assert!(import(&folder, &project, &[]).0);
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = copied(&project, &elsewhere);
    // They are two databases: new users of the copy are imported and belong to the copy.
    let from_copy = |more: &[&str]| run(&folder, &[&["import", "django", &copy, "--was", "none"], more].concat());
    let (done, text) = from_copy(&["--prune"]);
    assert!(done && !text.contains("imported from"), "{text}");
    project.python("User.objects.get(username='bob').delete()").await;
    let (done, report) = import(&folder, &project, &["--prune"]);
    assert!(done, "{report}");
    assert_eq!(report["gone"], json!({ "users": 1, "tokens": 1, "ended": true }), "{report}");
    assert_eq!(user(&folder, "bob")["active"], false);
}

/// A port of this machine at which this server can be reached as well.
async fn over_tcp(server: &Postgres) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, socket) = (listener.local_addr().unwrap().port(), server.socket_folder().join(".s.PGSQL.5432"));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_has_one_address_in_all_spellings() {
    let server = Postgres::shared().await;
    let project = Project::on(server).await;
    project.python("for n in ('alice', 'bob'): User.objects.create_user(n)").await;
    let name = project.psql("SELECT current_database()").1;
    let (name, port) = (name.trim(), over_tcp(server).await);
    let folder = folder("");
    let import = |host: &str, more: &[&str]| {
        let address = format!("django+postgres://postgres@{host}:{port}/{name}?sslmode=disable");
        run(&folder, &[&["import", "django", &address], more].concat())
    };
    let (done, text) = import("127.0.0.1", &[]);
    assert!(done, "{text}");
    project.python("User.objects.get(username='bob').delete()").await;
    let (done, text) = import("localhost", &["--prune"]);
    assert!(
        done && text.contains("1 user, 1 token, deactivated or revoked here") && !text.contains("imported from"),
        "{text}"
    );
    let (done, text) = import("LOCALHOST", &["--prune"]);
    assert!(done && !text.contains("imported from"), "{text}");
}

async fn ids_that_clash_are_reported_and_mapped_on_request_and_a_dry_run_writes_nothing(project: Project) {
    let code = "
for n in ('alice', 'bob'): User.objects.create_user(n, n + '@example.com')
print(User.objects.get(username='alice').pk, Token.objects.get(user__username='alice').key)";
    let printed = project.python(code).await;
    let (id, key) = printed.trim().split_once(' ').unwrap();
    let folder = folder("");
    assert!(run(&folder, &["migrate"]).0);
    let (made, text) = run(&folder, &["user", "create", "zed", "--id", id, "--no-password"]);
    assert!(made, "{text}");
    let tables = || run(&folder, &["user", "list", "--json"]).1 + &run(&folder, &["token", "list", "--json"]).1;
    let before = tables();

    let (whole, report) = import(&folder, &project, &["--dry-run"]);
    assert!(!whole && report["dry_run"] == true && report["users"]["skipped"] == 1, "{report}");
    let (whole, text) = told(&folder, &project, &["--dry-run", "--map-ids"]);
    assert!(whole && text.contains("dry run: nothing was written"), "{text}");
    assert_eq!(tables(), before, "a dry run writes nothing");

    let (whole, text) = told(&folder, &project, &[]);
    assert!(!whole, "exits with 1 while something is missing: {text}");
    let head = text.lines().find(|line| line.starts_with("USER")).unwrap();
    assert_eq!(head, "USER\tID\tWHAT");
    assert!(text.contains(&format!("alice\t{id}\tskipped: its id {id} belongs to user zed here")), "{text}");
    assert!(text.contains("skipped: the user was skipped"), "{text}");

    let (whole, report) = import(&folder, &project, &["--map-ids"]);
    let [told] = remarks(&report, "alice")[..] else { panic!("{report}") };
    assert!(whole && told.starts_with("imported with the id "), "{report}");
    assert_ne!(user(&folder, "alice")["id"].to_string(), id);
    assert_eq!(run(&folder, &["token", "create", "alice"]).1, format!("Generated token {key} for user alice\n"));
    let mapped = tables();
    let (whole, report) = import(&folder, &project, &["--map-ids"]);
    assert!(whole && report["users"]["imported"] == 0, "{report}");
    assert_eq!(tables(), mapped, "the second run finds the same users");
}
