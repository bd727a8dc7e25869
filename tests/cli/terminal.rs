//! What the commands do on a terminal: they ask, and show their progress.

use serde_json::json;

use super::{Ended, Folder, ended};

/// Runs a command in a terminal, which `script` makes, and types an answer.
fn in_a_terminal(folder: &Folder, line: &str, answer: &str) -> Ended {
    let command = format!("{} {line}", env!("CARGO_BIN_EXE_tokengate"));
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path("."));
    script.env("TERM", "xterm").env("NO_COLOR", "1");
    ended(script, answer)
}

#[test]
fn acts_that_cannot_be_undone_ask_on_a_terminal() {
    let folder = Folder::new();
    folder.create_user("alice");
    folder.run("token create alice --name ci");
    for (line, asked) in [
        (
            "user delete alice",
            "Delete user alice (id 1) and all tokens of that user (2 live tokens)? This cannot be undone.",
        ),
        ("token revoke 2", "Revoke the named token 2 \"ci\" of user alice? This cannot be undone."),
        ("token create alice --reset", "Revoke the login token of user alice and issue a new one?"),
        ("token rotate 2 --at-once", "Replace token 2 of user alice? The old key stops at once."),
        ("migrate --new-key", "Create a new key file?"),
    ] {
        let done = in_a_terminal(&folder, line, "n\n");
        assert!(done.code == 1 && done.out.contains(asked), "{line}: {done:?}");
        assert!(done.out.contains("cancelled; nothing was changed"), "{line}: {done:?}");
    }
    assert_eq!(folder.json("token show 2 --json")["state"], "live");
    let done = in_a_terminal(&folder, "token revoke 2", "y\n");
    assert!(done.code == 0 && done.out.contains("Revoked token 2"), "{done:?}");
    let done = in_a_terminal(&folder, "user delete alice --yes", "");
    assert!(done.code == 0 && !done.out.contains("cannot be undone"), "{done:?}");
    assert_eq!(folder.json("user list --json"), json!([]));
}

#[test]
fn long_commands_show_counts_and_time_on_a_terminal_and_nothing_else_in_a_pipe() {
    let folder = Folder::new();
    for name in ["alice", "bob", "carol"] {
        folder.create_user(name);
    }
    for (line, shown) in [("rotate-key", "3 of 3 login tokens encrypted again ("), ("backup copy.db", "KiB copied (")] {
        let done = in_a_terminal(&folder, line, "");
        let seconds = done.out.split(shown).nth(1).unwrap_or_else(|| panic!("{line}: {done:?}"));
        assert!(done.code == 0 && seconds.split_once(" s)").unwrap().0.parse::<u32>().is_ok(), "{line}: {done:?}");
    }
    let piped = folder.run("rotate-key");
    assert!(piped.code == 0 && piped.err.is_empty(), "{piped:?}");
    let added = in_a_terminal(&folder, "rotate-key --only-add", "");
    assert!(added.code == 0 && !added.out.contains("encrypted again"), "{added:?}");
}

#[test]
fn colours_are_for_terminals_without_no_color() {
    let folder = Folder::new();
    folder.create_user("alice");
    let listed = |variables: &[(&str, &str)]| {
        let command = format!("{} user list", env!("CARGO_BIN_EXE_tokengate"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path("."));
        script.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
        ended(script, "").out
    };
    assert!(listed(&[]).contains("\x1b[1mID\x1b[0m"), "{:?}", listed(&[]));
    assert!(listed(&[("NO_COLOR", "")]).contains("\x1b[1m"), "an empty variable does not count");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = listed(&[variable]);
        assert!(shown.contains("alice") && !shown.contains('\x1b'), "{variable:?}: {shown:?}");
    }
    assert!(!folder.say("user list").contains('\x1b'), "a pipe gets no colours");
}

#[test]
fn heads_of_lists_stand_above_their_columns() {
    let folder = Folder::new();
    let empty = in_a_terminal(&folder, "token list", "");
    assert!(empty.code == 0 && empty.out.starts_with("ID  KEY"), "{empty:?}");
    folder.create_user("someone.with.a.long.name@departments.example.test");
    folder.create_user("bob");
    for (line, head, cell) in [("user list", "STATE", "active"), ("token list", "KIND", "login")] {
        let list = in_a_terminal(&folder, line, "").out;
        let place =
            |row: &str| [head, cell].iter().find_map(|word| Some(row.split_once(word)?.0.chars().count())).unwrap();
        let places: Vec<_> = list.lines().map(place).collect();
        assert!(places.len() == 3 && places.iter().all(|place| *place == places[0]), "{list}");
    }
}
