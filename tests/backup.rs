//! Backups of the SQLite store: taken under load, checked, restored only where nothing is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokengate::store::{self, BackupError};

use crate::support::{Ask, Origin, Site};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tokengate")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_every_token_that_was_confirmed_before_it_began() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).start().await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = gateway.database.with_file_name("tokengate.key");
    let mut keys = Vec::new();
    for number in 0..20 {
        keys.push(gateway.issue(&format!("user{number}")).await);
    }
    let backup = folder.path().join("backup.db");
    let writing = async {
        for number in 20..40 {
            gateway.issue(&format!("user{number}")).await;
        }
    };
    let (done, ()) = tokio::join!(store::back_up(&gateway.database, &backup, &key_file), writing);
    let done = done.unwrap();
    assert!(done.users >= 20 && done.users <= 40 && done.key_fits == Some(true), "{done:?}");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Ask::get("/api/x").token(&keys[0]).to(&gateway).await.status, 200);

    let restored = folder.path().join("restored.db");
    // As after a download.
    fs::set_permissions(&backup, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(store::restore(&backup, &restored, &key_file).await.unwrap(), done);
    assert_eq!(fs::metadata(&restored).unwrap().permissions().mode() & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["backup.db", "restored.db"], "nothing else is left");
    let site = Site::before(&origin).with(|settings| {
        settings.store.url = tokengate::config::settings::StoreUrl::Sqlite(restored.clone());
        settings.store.key_file = key_file.clone();
    });
    let second = site.start().await;
    for key in &keys {
        assert_eq!(Ask::get("/api/x").token(key).to(&second).await.status, 200);
    }
    // Login tokens can still be shown: the key file opens them.
    assert_eq!(second.issue("user0").await, keys[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_foreign_and_newer_files_are_refused_and_no_file_is_replaced() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).start().await;
    gateway.issue("alice").await;
    let folder = tempfile::tempdir().unwrap();
    let (good, place) = (folder.path().join("good.db"), folder.path().join("store.db"));
    let no_key = folder.path().join("missing.key");
    assert_eq!(store::back_up(&gateway.database, &good, &no_key).await.unwrap().key_fits, None);
    let again = store::back_up(&gateway.database, &good, &no_key).await;
    assert!(matches!(again, Err(BackupError::Exists(path)) if path == good));

    let bad = folder.path().join("bad.db");
    let execute = async |statement: &'static str| {
        fs::copy(&good, &bad).unwrap();
        let mut connection = SqliteConnectOptions::new().filename(&bad).connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
    };
    execute("INSERT INTO _sqlx_migrations SELECT 999, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1").await;
    assert!(matches!(store::restore(&bad, &place, &no_key).await, Err(BackupError::Newer(_))));
    execute("DROP TABLE tokens").await;
    assert!(matches!(store::restore(&bad, &place, &no_key).await, Err(BackupError::Database { .. })));
    // A page in the middle is overwritten.
    let mut bytes = fs::read(&good).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x5a);
    fs::write(&bad, &bytes).unwrap();
    let damaged = store::restore(&bad, &place, &no_key).await;
    assert!(matches!(damaged, Err(BackupError::Damaged { .. } | BackupError::Database { .. })), "{damaged:?}");
    fs::write(&bad, "not a database").unwrap();
    assert!(matches!(store::restore(&bad, &place, &no_key).await, Err(BackupError::Database { .. })));
    let missing = store::restore(&folder.path().join("missing.db"), &place, &no_key).await;
    assert!(matches!(missing, Err(BackupError::File { .. })), "{missing:?}");

    // What is left of the former store would be mixed with the new one.
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let taken = folder.path().join(format!("store.db{suffix}"));
        fs::write(&taken, "mine").unwrap();
        let refused = store::restore(&good, &place, &no_key).await;
        assert!(matches!(refused, Err(BackupError::Exists(path)) if path == taken), "{suffix}");
        assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
        fs::remove_file(taken).unwrap();
    }
    assert!(!place.exists());
    store::restore(&good, &place, &no_key).await.unwrap();
}

#[test]
fn the_commands_say_what_they_did_and_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init", "--no-password", "--yes"]).status.success());
    let done = run(folder.path(), &["backup", "copy.db"]);
    let told = text(&done.stdout);
    assert!(
        told.starts_with("Copied ")
            && told.contains("checked. Users: 1, tokens: 1, size: ")
            && told.contains("tokengate.key"),
        "{told}"
    );
    let refused = run(folder.path(), &["restore", "copy.db"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("tokengate.db: already exists, and is not replaced"));

    fs::create_dir(folder.path().join("old")).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("tokengate.db") || name == "tokengate.key" {
            fs::rename(folder.path().join(&name), folder.path().join("old").join(&name)).unwrap();
        }
    }
    let restored = run(folder.path(), &["restore", "copy.db"]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(text(&restored.stderr).contains("tokengate.key is missing"), "{}", text(&restored.stderr));
    fs::rename(folder.path().join("old/tokengate.key"), folder.path().join("tokengate.key")).unwrap();
    assert!(text(&run(folder.path(), &["user", "list"]).stdout).contains("admin"));
    fs::remove_file(folder.path().join("copy.db")).unwrap();
    let json = run(folder.path(), &["backup", "copy.db", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["users"], &json["key_fits"]), (&1.into(), &true.into()));
}
