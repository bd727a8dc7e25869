//! Rows of a Django database that cannot be read: the other rows are listed and imported, and the unreadable ones are
//! reported.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::commands::folder;
use super::project::Project;

/// What a command printed on both outputs, and whether it succeeded.
struct Said {
    done: bool,
    out: String,
    err: String,
}

fn run(folder: &TempDir, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { done: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

/// Alice, Bob, Carol and Dave with a token each; the rows of Bob and Carol are damaged.
async fn project() -> (Project, Vec<i64>) {
    let project = Project::on_sqlite().await;
    let ids = project
        .python("for n in ('alice', 'bob', 'carol', 'dave'): print(User.objects.create_user(n, n + '@example.com').pk)")
        .await;
    (project, ids.lines().map(|id| id.parse().unwrap()).collect())
}

async fn sql(project: &Project, text: &str) {
    project.python(&format!("connection.cursor().execute(\"{text}\")")).await;
}

fn names(said: &Said, key: &str) -> Vec<String> {
    let listed: Value = serde_json::from_str(&said.out).unwrap();
    listed.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_read_are_named_and_the_others_listed() {
    // The damage to the rows, the users missing from the list of users, and those missing from the list of tokens.
    for (harm, bad_users, bad_tokens) in [
        ("UPDATE auth_user SET username = CAST(x'ff' AS TEXT) WHERE username = 'bob'", vec![1], vec![1]),
        (
            "UPDATE auth_user SET email = CAST(x'61ff' AS TEXT) WHERE username IN ('alice', 'dave')",
            vec![0, 3],
            vec![0, 3],
        ),
        (
            "UPDATE authtoken_token SET key = CAST(x'ff' AS TEXT) WHERE user_id = (SELECT id FROM auth_user WHERE username = 'dave')",
            vec![],
            vec![3],
        ),
        ("UPDATE auth_user SET last_name = CAST(x'ff' AS TEXT)", vec![0, 1, 2, 3], vec![]),
        ("UPDATE authtoken_token SET key = CAST(x'ff' || user_id AS TEXT)", vec![], vec![0, 1, 2, 3]),
    ] {
        let (project, ids) = project().await;
        sql(&project, harm).await;
        let folder = folder(&format!("url = \"{}\"", project.address));
        for (command, key, what, bad) in [("user", "name", "user", &bad_users), ("token", "user", "token", &bad_tokens)]
        {
            for arguments in [[command, "list"].as_slice(), &[command, "list", "--json"]] {
                let said = run(&folder, arguments);
                assert_eq!(said.done, bad.is_empty(), "{harm}: {arguments:?}: {}", said.err);
                for (at, id) in ids.iter().enumerate() {
                    let named = said.err.contains(&format!("the row of {what} {id} cannot be read"));
                    assert_eq!(named, bad.contains(&at), "{harm}: {arguments:?}: {}", said.err);
                }
                if !bad.is_empty() {
                    let rows = if bad.len() == 1 { "1 row".to_owned() } else { format!("{} rows", bad.len()) };
                    assert!(
                        said.err.contains(&format!("the list is incomplete: {rows} cannot be read")),
                        "{}",
                        said.err
                    );
                }
                let rest: Vec<&str> =
                    (0..4).filter(|at| !bad.contains(at)).map(|at| ["alice", "bob", "carol", "dave"][at]).collect();
                if arguments.len() == 3 {
                    assert_eq!(names(&said, key), rest, "{harm}");
                } else {
                    // The first line is the head.
                    assert_eq!(said.out.lines().count(), 1 + rest.len(), "{harm}: {}", said.out);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_skips_rows_that_cannot_be_read_and_ends_nothing_of_theirs() {
    let (project, ids) = project().await;
    let folder = folder("");
    let import = |more: &[&str]| {
        let said = run(&folder, &[&["import", "django", &project.address, "--json"], more].concat());
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
        (said.done, report)
    };
    let (done, report) = import(&[]);
    assert!(done, "{report}");
    // Bob's row and the row of Carol's token cannot be read; Dave's token was deleted.
    for text in [
        "UPDATE auth_user SET username = CAST(x'ff' AS TEXT) WHERE username = 'bob'",
        "UPDATE authtoken_token SET key = CAST(x'ff' AS TEXT) WHERE user_id = (SELECT id FROM auth_user WHERE username = 'carol')",
        "DELETE FROM authtoken_token WHERE user_id = (SELECT id FROM auth_user WHERE username = 'dave')",
    ] {
        sql(&project, text).await;
    }
    let (done, report) = import(&["--prune"]);
    assert!(!done, "{report}");
    assert_eq!(report["users"], json!({ "imported": 0, "there": 3, "skipped": 1 }), "{report}");
    assert_eq!(report["tokens"], json!({ "imported": 0, "there": 1, "skipped": 1 }), "{report}");
    let remark = |id: i64, part: &str| {
        let remarks = report["remarks"].as_array().unwrap().iter();
        remarks.filter(|remark| remark["id"] == id && remark["remark"].as_str().unwrap().contains(part)).count()
    };
    assert_eq!(remark(ids[1], "skipped: its row cannot be read (user_name: "), 1, "{report}");
    assert_eq!(remark(ids[2], "a token skipped: its row cannot be read (token_key: "), 1, "{report}");
    // An unreadable row does not count as deleted: it may be the imported token.
    let states = |name: &str| {
        let said = run(&folder, &["token", "list", "--user", name, "--json"]);
        let listed: Value = serde_json::from_str(&said.out).unwrap();
        listed.as_array().unwrap().iter().map(|token| token["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(["alice", "bob", "carol"].map(states), [["live"], ["live"], ["live"]], "{report}");
    assert_eq!(states("dave"), ["revoked"], "{report}");
    let text = run(&folder, &["import", "django", &project.address]).out;
    assert!(text.contains(&format!("?\t{}\tskipped: its row cannot be read", ids[1])), "{text}");
    let (done, report) = import(&["--allow-skipped", "--keep-gone"]);
    assert!(done, "{report}");
}
