//! `tokengate init`, as a command without a terminal.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a command in `folder`, with this standard input.
fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    command.current_dir(folder).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names of the files below `folder`.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| text(entry.unwrap().file_name().as_encoded_bytes())).collect();
    names.sort();
    names
}

#[test]
fn the_configuration_passes_check_without_a_warning_and_the_superuser_exists() {
    let table: [(&[&str], &str); 5] = [
        (&[], "listeners.public"),
        (&["--no-login"], "certificates = [\"main\"]"),
        (&["--no-admin", "--upstream", "unix:/run/app.sock"], "endpoints = [\"unix:/run/app.sock\"]"),
        (&["--host", "api.test", "--host", "www.test", "--listen", "[::1]:9443"], "GET https://api.test/"),
        (&["--upstream", "http://127.0.0.1:9/", "--store", "sqlite:a \"b\".db"], r#"url = "sqlite:a \"b\".db""#),
    ];
    for (options, written) in table {
        let folder = tempfile::tempdir().unwrap();
        let done = run(folder.path(), &[&["init", "--password-stdin"], options].concat(), "correct horse battery\n");
        assert!(done.status.success() && done.stderr.is_empty(), "{options:?}: {}", text(&done.stderr));
        let file = folder.path().join("gateway.toml");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it can have a password");
        let configuration = fs::read_to_string(file).unwrap();
        assert!(configuration.contains(written), "{configuration}");
        assert_eq!(crate::config::schema::complaints(&configuration), [""; 0]);
        let check = run(folder.path(), &["check"], "");
        assert_eq!(
            (text(&check.stdout).as_str(), text(&check.stderr).as_str()),
            ("gateway.toml: OK\n", ""),
            "{options:?}"
        );
        let users = text(&run(folder.path(), &["user", "list"], "").stdout);
        assert_eq!(users.contains("admin\t\tactive\tsuperuser"), !options.contains(&"--no-admin"), "{users}");
        let told = text(&done.stdout);
        assert!(told.contains("tokengate serve\n") && told.contains("--cacert ./certs/dev-ca.pem"), "{told}");
    }
}

#[test]
fn another_folder_and_an_existing_certificate_are_used_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["cert", "--dir", "mine"], "").status.success());
    let files = ["--cert-file", "mine/dev-cert.pem", "--key-file", "mine/dev-key.pem"];
    let done =
        run(folder.path(), &[&["init", "--no-password", "--config", "etc/gate/way.toml"], &files[..]].concat(), "");
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(!folder.path().join("etc/gate/certs").exists() && folder.path().join("etc/gate/tokengate.db").exists());
    let told = text(&done.stdout);
    assert!(told.contains("tokengate serve --config etc/gate/way.toml\n"), "{told}");
    assert!(run(folder.path(), &["check", "--config", "etc/gate/way.toml"], "").status.success());
}

#[test]
fn no_file_is_replaced_and_a_failed_attempt_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gateway.toml"), "# mine\n").unwrap();
    let refused = run(folder.path(), &["init", "--no-password"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("gateway.toml: already exists, and init replaces no file"));
    assert_eq!(
        (files(folder.path()).len(), fs::read_to_string(folder.path().join("gateway.toml")).unwrap().as_str()),
        (1, "# mine\n")
    );

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("certs")).unwrap();
    fs::write(folder.path().join("certs/dev-key.pem"), "mine").unwrap();
    let refused = run(folder.path(), &["init", "--no-password"], "");
    assert!(text(&refused.stderr).contains("dev-key.pem: already exists"), "{}", text(&refused.stderr));
    assert_eq!(
        (files(folder.path()), files(&folder.path().join("certs"))),
        (vec!["certs".into()], vec!["dev-key.pem".into()])
    );

    let table: [(&[&str], &str, &str); 5] = [
        (&["--no-password", "--listen", "443"], "", "not an address with a port"),
        (&["--no-password", "--upstream", "http://user@host:1"], "", "upstreams.main.endpoints"),
        (&["--no-password", "--store", "mongodb://x"], "", "store.url"),
        (&["--password-stdin"], "", "no password on standard input"),
        (&["--no-password", "--store", "sqlite:missing/tokengate.db"], "", "missing"),
    ];
    for (options, input, wanted) in table {
        let folder = tempfile::tempdir().unwrap();
        let refused = run(folder.path(), &[&["init"], options].concat(), input);
        let told = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && told.contains(wanted), "{options:?}: {told}");
        let left: Vec<String> = files(folder.path()).into_iter().filter(|name| name != "certs").collect();
        assert_eq!(left, [""; 0], "{options:?}");
        // After the mistake is mended, the same command works.
        assert!(run(folder.path(), &["init", "--no-password"], "").status.success(), "{options:?}");
    }
}

#[test]
fn an_existing_store_is_used_and_its_user_stays() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), &["init", "--no-password"], "").status.success());
    fs::remove_file(folder.path().join("gateway.toml")).unwrap();
    fs::remove_dir_all(folder.path().join("certs")).unwrap();
    let again = run(folder.path(), &["init", "--no-password"], "");
    assert!(
        again.status.success() && text(&again.stderr).contains("note: user admin exists"),
        "{}",
        text(&again.stderr)
    );
    assert!(text(&again.stdout).contains("Token $KEY"));
}
