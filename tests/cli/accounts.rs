//! `tokengate user` and `tokengate token`.

use serde_json::{Value, json};

use super::{CONFIG, Folder, key_of};
use crate::support::Postgres;

#[test]
fn a_new_user_gets_a_token_at_once_and_is_shown_with_the_id_that_upstreams_see() {
    let folder = Folder::new();
    let created = folder.run_with(
        &[
            "user",
            "create",
            "alice",
            "--id",
            "41",
            "--email",
            "a@b.example",
            "--first-name",
            "Al",
            "--last-name",
            "Ice",
            "--staff",
            "--group",
            "red",
            "--group",
            "blue",
            "--password-stdin",
        ],
        "a walk of seven miles\n",
    );
    assert_eq!((created.code, created.err.as_str()), (0, ""));
    let lines: Vec<_> = created.out.lines().collect();
    assert_eq!(lines[0], "Created user alice (id 41)");
    key_of(lines[1], "alice");
    assert_eq!(lines.len(), 2);

    let mut alice = folder.json("user show alice --json");
    assert!(alice["created"].as_str().unwrap().ends_with('Z'));
    alice["created"] = Value::Null;
    let expected = json!({
        "id": 41, "name": "alice", "email": "a@b.example", "first_name": "Al", "last_name": "Ice", "active": true,
        "staff": true, "superuser": false, "groups": ["blue", "red"], "has_password": true, "created": null,
        "last_login": null,
        "rate": null, "quotas": [],
    });
    assert_eq!(alice, expected);
    let shown = folder.say("user show alice");
    assert!(shown.contains("41") && shown.contains("blue, red") && !shown.contains("seven miles"), "{shown}");

    folder.create_user("bob");
    let list = folder.json("user list --json");
    let names: Vec<_> = list.as_array().unwrap().iter().map(|user| (&user["id"], &user["name"])).collect();
    assert_eq!(names, [(&json!(41), &json!("alice")), (&json!(42), &json!("bob"))]);
    assert!(folder.say("user list").contains("bob"));
}

#[test]
fn users_that_cannot_be_created_are_refused() {
    let folder = Folder::new();
    folder.create_user("alice");
    folder.refused("user create alice --no-password", "user alice already exists");
    folder.refused("user create bob --no-password --id 1", "a user with the id 1 already exists");
    let asked = folder.run("user create bob");
    assert_eq!((asked.code, asked.out.as_str()), (1, ""));
    let empty = folder.run_with(&["user", "create", "bob", "--password-stdin"], "\n");
    assert_eq!((empty.code, empty.out.as_str()), (1, ""));
    let nameless = folder.run_with(&["user", "create", "", "--no-password"], "");
    assert_eq!((nameless.code, nameless.out.as_str()), (1, ""));
    assert_eq!(folder.json("user list --json").as_array().unwrap().len(), 1);
}

#[test]
fn a_user_is_deactivated_reactivated_and_deleted_with_all_tokens() {
    let folder = Folder::new();
    folder.create_user("alice");
    let state = || folder.json("token list --user alice --json")[0]["state"].clone();
    folder.say("user deactivate alice");
    assert_eq!(state(), "owner inactive");
    folder.say("user activate alice");
    assert_eq!(state(), "live");

    let set = folder.run_with(&["user", "set-password", "alice", "--password-stdin"], "a walk of seven miles\n");
    assert_eq!((set.code, set.err.as_str()), (0, ""));
    assert_eq!(folder.json("user show alice --json")["has_password"], true);
    folder.say("user set-password alice --no-password");
    assert_eq!(folder.json("user show alice --json")["has_password"], false);
    assert_eq!(state(), "live");

    folder.say("user delete alice");
    assert_eq!(folder.json("token list --json"), json!([]));
    for command in ["show", "activate", "deactivate", "delete", "set-password --no-password"] {
        folder.refused(&format!("user {command} alice"), "user alice does not exist");
    }
}

#[test]
fn token_create_prints_like_drf_create_token() {
    let folder = Folder::new();
    let key = folder.create_user("alice");
    assert_eq!(folder.say("token create alice"), format!("Generated token {key} for user alice\n"));
    let reset = key_of(folder.say("token create alice --reset").trim_end(), "alice");
    assert_ne!(reset, key);
    assert_eq!(key_of(folder.say("--config gateway.toml token create alice").trim_end(), "alice"), reset);
    assert_ne!(key_of(folder.say("token create -r alice").trim_end(), "alice"), reset);
    assert_eq!(folder.json("token list --user alice --json")[0]["state"], "revoked");

    folder.refused("token create nobody", "Cannot create the Token: user nobody does not exist");
    folder.refused("token create Alice", "Cannot create the Token: user Alice does not exist");
    for name in ["", " alice"] {
        let ended = folder.run_with(&["token", "create", name], "");
        let words = format!("Cannot create the Token: user {name} does not exist\n");
        assert_eq!((ended.code, ended.out.as_str(), ended.err), (1, "", words));
    }
    folder.say("user create dora --no-password --inactive");
    key_of(folder.say("token create dora").trim_end(), "dora");
}

#[test]
fn after_a_revocation_token_create_issues_a_fresh_token() {
    let folder = Folder::new();
    let first = folder.create_user("alice");
    assert_eq!(folder.say("token revoke 1"), "Revoked token 1\n");
    assert_eq!(folder.say("token revoke 1"), "Token 1 was already revoked or expired\n");
    let second = key_of(folder.say("token create alice").trim_end(), "alice");
    assert_ne!(second, first);

    assert_eq!(folder.say(&format!("token revoke {second}")), "Revoked token 2\n");
    let third = key_of(folder.say("token create alice").trim_end(), "alice");
    let by_stdin = folder.run_with(&["token", "revoke", "--key-stdin"], &format!("{third}\n"));
    assert_eq!((by_stdin.code, by_stdin.out.as_str(), by_stdin.err.as_str()), (0, "Revoked token 3\n", ""));
    folder.refused("token revoke 99", "no such token");
    folder.refused("token revoke 0123456789", "no such token");
    let states: Vec<_> =
        folder.json("token list --json").as_array().unwrap().iter().map(|t| t["state"].clone()).collect();
    assert_eq!(states, ["revoked", "revoked", "revoked"]);
}

#[test]
fn what_tokens_and_users_have_left_of_quotas_is_shown() {
    let quota = |name, key| format!("[quotas.{name}]\nkey = \"{key}\"\nlimit = 10\nperiod = \"month\"\n");
    let folder = Folder::with(&format!("{}{}{}", super::CONFIG, quota("monthly", "token"), quota("all", "user")));
    folder.create_user("alice");
    let shown = folder.say("token show 1");
    for shown in [shown, folder.say("user show alice")] {
        for end in ["(monthly, for each token)", "(all, for each user)"] {
            let line = shown.lines().find(|line| line.ends_with(end)).unwrap();
            assert!(
                line.starts_with("quota         10 of 10 left until ") && line.contains("01T00:00:00.000Z"),
                "{line}"
            );
        }
    }
    for shown in [folder.json("token show 1 --json"), folder.json("user show alice --json")] {
        let quotas = shown["quotas"].as_array().unwrap();
        let of = |place: usize| (&quotas[place]["name"], &quotas[place]["key"], &quotas[place]["remaining"]);
        let mut shown = [of(0), of(1)];
        shown.sort_by_key(|(name, ..)| name.to_string());
        assert_eq!(
            shown,
            [(&json!("all"), &json!("user"), &json!(10)), (&json!("monthly"), &json!("token"), &json!(10))]
        );
    }
}

#[test]
fn a_named_token_is_shown_once_and_lists_show_no_keys() {
    let folder = Folder::new();
    let login = folder.create_user("alice");
    let made = folder.run("token create alice --name ci --expires 90d --scope write --scope read");
    let named = key_of(made.out.trim_end(), "alice");
    assert_eq!(made.code, 0);
    assert!(made.err.contains("not shown again"), "{}", made.err);
    assert_eq!(folder.say("token create alice"), format!("Generated token {login} for user alice\n"));

    let token = folder.json("token show 2 --json");
    assert_eq!(token["name"], "ci");
    assert_eq!(token["kind"], "named");
    assert_eq!(token["scopes"], json!(["read", "write"]));
    assert!(token["expires"].is_string());
    assert_eq!(token["hint"], json!(&named[..8]));
    for line in ["token list", "token list --json", "token show 2", "token show 1 --json", "user show alice --json"] {
        let out = folder.say(line);
        assert!(!out.contains(&named) && !out.contains(&login), "{line}: {out}");
    }
    folder.refused("token show 3", "token 3 does not exist");
}

#[test]
fn a_key_of_django_is_imported_unchanged() {
    let folder = Folder::new();
    let key = "b0aa76431f386f86ff6dfb3c7784a7939634a1df";
    let import = |user: &str, more: &[&str]| {
        let arguments = [&["token", "import", user, "--key-stdin"], more].concat();
        folder.run_with(&arguments, &format!("{key}\n"))
    };
    folder.create_user("alice");
    let refused = import("alice", &[]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    let replaced = import("alice", &["--replace"]);
    assert_eq!((replaced.code, replaced.err.as_str()), (0, ""));
    assert!(!replaced.out.contains(key), "{}", replaced.out);
    assert_eq!(folder.say("token create alice"), format!("Generated token {key} for user alice\n"));
    assert_eq!(import("alice", &[]).code, 0);

    folder.create_user("bob");
    assert_eq!(import("bob", &["--replace"]).code, 1);
    assert_eq!(import("nobody", &[]).code, 1);
    let further = |key: &str, more: &[&str]| {
        let arguments = [&["token", "import", "alice", "--key-stdin"], more].concat();
        folder.run_with(&arguments, &format!("{key}\n"))
    };
    let (long, padded) = ("0123456789abcdef".repeat(15), format!("{}==", "ab+/".repeat(30)));
    for (key, name) in [(&long, "knox"), (&padded, "base64")] {
        for _ in 0..2 {
            let imported = further(key, &["--name", name, "--scope", "read"]);
            assert_eq!(imported.code, 0, "{imported:?}");
        }
    }
    let listed = folder.say("token list --user alice");
    assert!(listed.contains("\tnamed\tknox\tlive") && listed.contains("\tnamed\tbase64\tlive"), "{listed}");
    assert!(!listed.contains(&long[..12]), "hints are as short as ever: {listed}");
    assert_eq!(further(&long, &["--name", "knox", "--replace"]).code, 2, "a named token replaces none");
    assert_eq!(further(&"a".repeat(256), &["--name", "x"]).code, 1);
    let malformed = folder.run_with(&["token", "import", "alice", "--key-stdin"], "two words\n");
    assert_eq!((malformed.code, malformed.out.as_str()), (1, ""));
    assert!(!malformed.err.contains("two words"), "{}", malformed.err);
}

#[tokio::test]
async fn everything_works_on_a_server_as_well() {
    let server = Postgres::shared().await;
    let (database, socket) = (server.new_database().await, server.socket_folder().display());
    let folder = Folder::with(&format!("{CONFIG}url = \"postgres:///{database}?host={socket}&user=postgres\"\n"));
    tokio::task::spawn_blocking(move || {
        assert_eq!(
            folder.say("migrate"),
            "applied 0001 users and tokens\napplied 0002 sessions\napplied 0003 directory\napplied 0004 audit by name\napplied 0005 imported\napplied 0006 for people\napplied 0007 limits of tokens\napplied 0008 quotas\n"
        );
        assert_eq!(folder.say("migrate"), "the schema is up to date\n");
        let key = folder.create_user("alice");
        assert_eq!(folder.say("token create alice"), format!("Generated token {key} for user alice\n"));
        folder.say("user deactivate alice");
        assert_eq!(folder.json("user show alice --json")["active"], json!(false));
    })
    .await
    .unwrap();
}

#[test]
fn lists_have_a_head_and_are_printed_in_parts() {
    let folder = Folder::new();
    for name in ["ann", "bob", "cid"] {
        folder.create_user(name);
    }
    assert!(folder.say("user list").starts_with("ID\tUSERNAME\tEMAIL\tSTATE\tRIGHTS\tLAST SIGN-IN\n1\tann\t"));
    assert!(folder.say("token list").starts_with("ID\tKEY\tUSER\tKIND\tNAME\tSTATE\tEXPIRES\tLAST USED\n1\t"));
    for list in ["user", "token"] {
        let part = folder.run(&format!("{list} list --limit 2"));
        assert_eq!((part.code, part.out.lines().count()), (0, 3), "{part:?}");
        assert_eq!(part.err, "There are more; go on with --after 2.\n");
        let rest = folder.run(&format!("{list} list --limit 2 --after 2"));
        assert_eq!((rest.code, rest.out.lines().count(), rest.err.as_str()), (0, 2, ""), "{rest:?}");
        let json = folder.run(&format!("{list} list --limit 1 --json"));
        assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap().as_array().unwrap().len(), 1);
    }
}

#[test]
fn users_are_edited_and_get_groups_and_rights() {
    let folder = Folder::new();
    folder.create_user("alice");
    folder.refused(
        "user edit alice",
        "nothing to change; name at least one of --name, --email, --first-name, --last-name and --rate",
    );
    assert_eq!(folder.say("user edit alice --email a@b.test --first-name Al"), "Changed user alice\n");
    assert_eq!(folder.say("user edit alice --email a@b.test"), "User alice is unchanged\n");
    let edited = folder.json("user edit alice --name alicia --json");
    assert_eq!((&edited["changed"], &edited["user"]["name"]), (&json!(true), &json!("alicia")));
    folder.refused("user edit alice --email x", "user alice does not exist");

    assert_eq!(folder.say("user groups alicia --add red --add blue"), "Changed user alicia\n");
    assert_eq!(folder.say("user groups alicia"), "blue\nred\n");
    folder.refused("user groups alicia --remove green", "user alicia is not in the group green");
    assert_eq!(folder.say("user groups alicia --remove red"), "Changed user alicia\n");
    assert_eq!(folder.json("user groups alicia --json"), json!(["blue"]));
    assert_eq!(folder.say("user groups alicia --clear"), "Changed user alicia\n");

    assert_eq!(folder.say("user rights alicia --superuser true"), "Changed user alicia\n");
    assert_eq!(folder.say("user rights alicia"), "superuser\n");
    assert_eq!(folder.json("user rights alicia --json"), json!({"staff": false, "superuser": true}));
    for (act, json) in [("deactivate", "Deactivated user alicia"), ("deactivate", "User alicia was already inactive")] {
        assert_eq!(folder.json(&format!("user {act} alicia --json"))["done"], json);
    }
}

#[test]
fn weak_passwords_are_refused_at_the_command_line_too() {
    let folder = Folder::new();
    folder.create_user("margaret");
    for (password, why) in [
        ("seven77", "a password has at least 8 characters"),
        ("password1", "this password is too common; attackers try it first"),
        ("8675309017", "a password must not consist only of digits"),
        ("margaret7", "this password is too similar to the username of the user"),
    ] {
        for line in [["user", "create", "margareta"], ["user", "set-password", "margaret"]] {
            let ended = folder.run_with(&[&line[..], &["--password-stdin"]].concat(), &format!("{password}\n"));
            assert_eq!((ended.code, ended.err.trim_end()), (1, why), "{line:?} {password}");
        }
    }
    assert_eq!(folder.json("user list --json").as_array().unwrap().len(), 1);
}

#[test]
fn tokens_are_edited_disabled_and_rotated_with_an_overlap() {
    let folder = Folder::new();
    let login = folder.create_user("alice");
    folder.run("token create alice --name ci --scope read --expires 90d");
    assert_eq!(folder.say("token edit 2 --name build --note ask-bob --scope write"), "Changed token 2\n");
    assert_eq!(folder.say("token edit 2 --name build"), "Token 2 is unchanged\n");
    let token = folder.json("token show 2 --json");
    assert_eq!(
        (&token["name"], &token["note"], &token["scopes"]),
        (&json!("build"), &json!("ask-bob"), &json!(["write"]))
    );
    folder.refused("token edit 1 --name mine", "a login token has no name; only named tokens can be renamed");
    folder.say("token edit 2 --disable");
    assert_eq!(folder.json("token show 2 --json")["state"], "disabled");
    let refused = folder.run("token rotate 2");
    assert!(refused.code == 1 && refused.err.contains("revoked, expired or disabled"), "{refused:?}");
    folder.say("token edit 2 --enable");

    let rotated = folder.run("token rotate 2 --overlap 1h");
    assert_eq!(rotated.err, "Token 3 replaces token 2, whose key works for another 1h.\n");
    let (old, new) = (folder.json("token show 2 --json"), folder.json("token show 3 --json"));
    assert_eq!((&old["state"], &new["state"]), (&json!("live"), &json!("live")));
    assert_eq!((&new["name"], &new["scopes"], &new["note"]), (&old["name"], &old["scopes"], &old["note"]));
    assert!(old["expires"].as_str().unwrap() < new["expires"].as_str().unwrap(), "{old} {new}");

    // A user has one login token, so the former one becomes a named token.
    let rotated = folder.run("token rotate 1");
    let fresh = key_of(rotated.out.trim_end(), "alice");
    assert_ne!(fresh, login);
    assert_eq!(folder.say("token create alice"), format!("Generated token {fresh} for user alice\n"));
    let former = folder.json("token show 1 --json");
    assert_eq!(
        (&former["kind"], &former["name"], &former["state"]),
        (&json!("named"), &json!("former login token"), &json!("live"))
    );
    folder.run("token rotate 4 --at-once");
    assert_eq!(folder.json("token show 4 --json")["state"], "revoked");
}

#[test]
fn the_audit_trail_is_listed_filtered_and_exported() {
    let folder = Folder::new();
    folder.create_user("zoë");
    folder.create_user("bob");
    folder.say("user edit bob --email b@example.test");
    folder.say("user edit bob --email c@example.test");
    let list = folder.say("audit list --user BO --action user_edited");
    assert!(list.starts_with("TIME\tACTION\tBY\tVIA\tFROM\tUSER\tTOKEN\tDETAILS\n"), "{list}");
    assert!(list.contains("e-mail: b@example.test → c@example.test"), "{list}");
    assert_eq!(list.lines().count(), 3);
    for (filter, count) in [
        ("--user ZO", 2),
        ("--user #2", 4),
        ("--actor command", 6),
        ("--actor nobody", 0),
        ("--token 1", 1),
        ("--since 2020-01-01", 6),
        ("--until 2020-01-01", 0),
    ] {
        let listed = folder.json(&format!("audit list --json {filter}"));
        assert_eq!(listed["entries"].as_array().unwrap().len(), count, "{filter}: {listed}");
    }
    let first = folder.run("audit list --limit 4 --json");
    let page = serde_json::from_str::<Value>(&first.out).unwrap()["next_page"].as_str().unwrap().to_owned();
    let rest = folder.json(&format!("audit list --limit 4 --json --page={page}"));
    assert_eq!((rest["entries"].as_array().unwrap().len(), &rest["next_page"]), (2, &Value::Null));
    assert_eq!(folder.say("audit export").lines().count(), 7);
    assert_eq!(folder.say("audit export --format jsonl --user bob").lines().count(), 4);
    folder.refused("audit list --since yesterday", "yesterday is not a day; write it as 2026-11-24");
}

#[test]
fn limits_of_a_token_are_set_changed_shown_and_copied() {
    let folder = Folder::new();
    folder.create_user("alice");
    let limits = |id: i64| {
        let token = folder.json(&format!("token show {id} --json"));
        json!([token["read_only"], token["networks"], token["unused_days"], token["rate"]])
    };
    folder.run(
        "token create alice --name ci --read-only --network 10.0.0.0/8 --network ::1 --unused-days 30 --rate 60/min",
    );
    let id = folder.json("token list --json").as_array().unwrap().last().unwrap()["id"].as_i64().unwrap();
    assert_eq!(limits(id), json!([true, "10.0.0.0/8,::1/128", 30, "60/min"]));
    let shown = folder.say(&format!("token show {id}"));
    for line in ["access        read\n", "networks      10.0.0.0/8,::1/128\n", "ends unused   after 30 days\n"] {
        assert!(shown.contains(line), "{shown}");
    }
    folder.run(&format!("token rotate {id}"));
    assert_eq!(limits(id + 1), limits(id));
    folder.say(&format!("token edit {id} --any-network"));
    assert_eq!(limits(id), json!([true, null, 30, "60/min"]));
    folder.say(&format!("token edit {id} --network 192.0.2.0/24 --read-write --unused-forever --no-rate"));
    assert_eq!(limits(id), json!([false, "192.0.2.0/24", null, null]));
    assert_eq!(folder.say(&format!("token edit {id} --read-write")), format!("Token {id} is unchanged\n"));
    let office = folder.run(&format!("token edit {id} --network office"));
    assert!(office.code == 1 && office.err.starts_with("`office`: a list of networks"), "{office:?}");
    assert_eq!(folder.say("user edit alice --rate 9/s"), "Changed user alice\n");
    assert_eq!(folder.json("user show alice --json")["rate"], json!("9/s"));
    folder.say("user edit alice --no-rate");
    assert_eq!(folder.json("user show alice --json")["rate"], json!(null));
    let days = "a token ends after 1 to 3650 days without a use";
    folder.refused(&format!("token edit {id} --unused-days 0"), days);
}
