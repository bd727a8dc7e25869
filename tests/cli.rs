//! The `tokengate` command as a shell sees it: standard output, standard error, exit code.

mod accounts;
mod explain;
mod terminal;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokengate::admin::{self, Health};
use tokio::net::TcpListener;

use crate::support::{PATIENCE, eventually};

/// A folder with a configuration, in which commands run.
struct Folder(TempDir);

/// The result of a command.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

const CONFIG: &str = r#"
[listeners.plain]
address = "127.0.0.1:0"
plaintext = "serve"

[upstreams.products]
endpoints = ["http://127.0.0.1:8000"]

[routes.products]
path_prefix = "/product_api/"
upstream = "products"

# For machines that do much at once.
[store]
timeout = "1m"
"#;

impl Folder {
    fn new() -> Folder {
        Folder::with(CONFIG)
    }

    fn with(config: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::write(folder.path("gateway.toml"), config).unwrap();
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Runs a command whose arguments have no spaces.
    fn run(&self, line: &str) -> Ended {
        self.run_with(&line.split_whitespace().collect::<Vec<_>>(), "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        run_in(self.0.path(), arguments, input)
    }

    /// Runs a command that must succeed with an empty standard error.
    fn say(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{line}: {ended:?}");
        ended.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.say(line)).unwrap()
    }

    /// Creates a user without a password and returns the key of the login token.
    fn create_user(&self, name: &str) -> String {
        let out = self.say(&format!("user create {name} --no-password"));
        key_of(out.lines().nth(1).unwrap(), name)
    }

    /// Runs a command that must fail with exactly this message.
    fn refused(&self, line: &str, words: &str) {
        let ended = self.run(line);
        assert_eq!((ended.code, ended.out.as_str(), ended.err.trim_end()), (1, "", words), "{line}");
    }
}

fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    command.args(arguments).current_dir(folder);
    ended(command, input)
}

fn ended(mut command: Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have exited before the write.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The key in the output of `token create`, which must have exactly the format of `drf_create_token`.
fn key_of(line: &str, user: &str) -> String {
    let key = line.strip_prefix("Generated token ").and_then(|rest| rest.strip_suffix(&format!(" for user {user}")));
    let key = key.unwrap_or_else(|| panic!("{line}")).to_owned();
    assert!(key.len() == 40 && key.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{key}");
    key
}

#[test]
fn the_effective_configuration_and_the_schema_are_printed() {
    let folder = Folder::new();
    let printed = folder.say("config");
    assert!(printed.contains("timeout = \"1m\""), "{printed}");
    assert!(printed.contains("# gateway.toml:") && printed.contains("# default"), "{printed}");
    assert_eq!(folder.say("config --effective"), printed);
    let tables = folder.json("config --json");
    assert_eq!(tables["tables"][0]["values"][0]["key"], "version");
    assert_eq!(folder.json("schema"), tokengate::config::schema());
    let faulty = Folder::with(&CONFIG.replace("plaintext", "plaintxt"));
    let ended = faulty.run("config");
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    assert!(ended.err.contains("did you mean `plaintext`?"), "{ended:?}");
}

#[test]
fn wrong_usage_exits_with_2_and_shows_the_usage() {
    let folder = Folder::new();
    for line in [
        "",
        "serf",
        "serve extra",
        "user",
        "user create",
        "user create a --password-stdin --no-password",
        "token create",
        "token create alice bob",
        "token create alice --nope",
        "token create alice --reset --name ci",
        "token create alice --expires 90d",
        "token create alice --name ci --expires 90",
        "token import alice",
        "token show first",
        "token revoke",
        "token revoke 1 --key-stdin",
        "completions tcl",
    ] {
        let ended = folder.run(line);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{line}: {ended:?}");
        assert!(ended.err.contains("--help") || ended.err.contains("Usage:"), "{line}: {}", ended.err);
    }
    for (line, told) in [
        ("token show first", "not an id; an id is a number"),
        ("token rotate -x", "unexpected argument"),
        ("token edit 99999999999999999999", "not an id; an id is a number"),
        ("token list --after first", "not an id; an id is a number"),
        ("user create alice --id first", "not an id; an id is a number"),
        ("user list --limit 0", "write a whole number above zero"),
        ("token list --limit many", "write a whole number above zero"),
        ("audit list --limit 5000", "write a whole number from 1 to 1000"),
        ("audit list --token first", "not an id; an id is a number"),
        ("token create alice --name ci --unused-days few", "not a whole number of days"),
    ] {
        let ended = folder.run(line);
        assert!(ended.code == 2 && ended.err.contains(told), "{line}: {ended:?}");
        assert!(!ended.err.contains("digit") && !ended.err.contains("..="), "{line}: {}", ended.err);
    }
    assert!(!folder.path("tokengate.db").exists());
}

#[test]
fn help_version_and_completions_need_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for (line, part) in [
        ("--version", "tokengate 0."),
        ("--help", "Usage: tokengate"),
        ("token revoke --help", "--key-stdin"),
        ("completions bash", "complete -F _tokengate"),
        ("completions zsh", "#compdef tokengate"),
        ("completions fish", "complete -c tokengate"),
    ] {
        let ended = run_in(folder.path(), &line.split(' ').collect::<Vec<_>>(), "");
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{line}");
        assert!(ended.out.contains(part), "{line}: {}", ended.out);
    }
}

#[test]
fn check_reports_every_problem_at_once_with_its_place() {
    let folder = Folder::new();
    let good = folder.run("check");
    assert_eq!((good.code, good.out.as_str()), (0, "gateway.toml: OK\n"), "{good:?}");
    assert_eq!(folder.json("check --json"), json!({"ok": true, "errors": [], "warnings": []}));

    fs::write(folder.path("bad.toml"), CONFIG.replace("upstream =", "upsteam =") + "[log]\nlevel = 7\n").unwrap();
    let bad = folder.run("check --config bad.toml");
    assert_eq!((bad.code, bad.out.as_str()), (1, ""));
    for part in ["bad.toml:11", "routes.products.upsteam", "`upstream`?", "bad.toml:17", "log.level"] {
        assert!(bad.err.contains(part), "{part}: {}", bad.err);
    }
    let json = folder.run("--config bad.toml check --json");
    assert_eq!((json.code, json.err.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["ok"], false);
    let errors = report["errors"].as_array().unwrap();
    assert!(errors.iter().any(|error| error["line"] == 11 && error["key"] == "routes.products.upsteam"), "{errors:?}");
    assert!(errors.len() >= 2);
}

#[test]
fn commands_that_need_a_configuration_are_refused_without_one() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["serve", "check", "migrate", "health", "user list", "token list"] {
        let ended = run_in(folder.path(), &line.split(' ').collect::<Vec<_>>(), "");
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{line}");
        assert!(ended.err.contains("gateway.toml: cannot be read: "), "{line}: {}", ended.err);
        assert!(ended.err.contains("--config"), "{line}: {}", ended.err);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn migrate_lists_its_migrations_and_is_idempotent() {
    let folder = Folder::new();
    let first = folder.json("migrate --json");
    assert_eq!(first["applied"][0]["version"], 1);
    assert_eq!(folder.json("migrate --json"), json!({"applied": []}));
    assert_eq!(folder.say("migrate"), "the schema is up to date\n");
    let mode = fs::metadata(folder.path("tokengate.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_lost_key_file_is_reported_and_replaced_only_on_request() {
    let folder = Folder::new();
    let old = folder.create_user("alice");
    fs::remove_file(folder.path("tokengate.key")).unwrap();
    let refused = folder.run("token create alice");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("tokengate.key: missing") && refused.err.contains("migrate --new-key"));

    folder.say("migrate --new-key");
    assert_eq!(folder.json("token show 1 --json")["state"], "live");
    assert_ne!(key_of(folder.say("token create alice").trim_end(), "alice"), old);
}

#[test]
fn cert_creates_a_pair_that_the_configuration_accepts_and_never_overwrites() {
    let tls = CONFIG.replace("plaintext = \"serve\"", "certificates = [\"dev\"]")
        + "[certificates.dev]\ncert_file = \"certs/dev-cert.pem\"\nkey_file = \"certs/dev-key.pem\"\n";
    let folder = Folder::with(&tls);
    assert_eq!(folder.run("check").code, 1);
    let out = folder.say("cert --name api.test");
    assert!(out.contains("localhost, 127.0.0.1, ::1, api.test"), "{out}");
    assert!(out.contains("curl --cacert certs/dev-ca.pem https://"), "{out}");
    assert!(!folder.path("certs/dev-ca-key.pem").exists());
    assert_eq!(folder.run("check").code, 0);

    let before = fs::read(folder.path("certs/dev-key.pem")).unwrap();
    folder.refused("cert", "certs/dev-ca.pem: already exists; add --force to replace it");
    assert_eq!(fs::read(folder.path("certs/dev-key.pem")).unwrap(), before);
    folder.say("cert --force --keep-ca-key");
    assert_ne!(fs::read(folder.path("certs/dev-key.pem")).unwrap(), before);
    assert!(folder.path("certs/dev-ca-key.pem").exists());
    assert_eq!(folder.run("check").code, 0);
}

#[test]
fn a_closed_standard_output_is_no_failure() {
    let folder = Folder::new();
    for arguments in [["completions", "bash"], ["migrate", "--json"], ["user", "list"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(arguments).current_dir(folder.0.path());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_the_internal_listener() {
    let none = Folder::new().run("health");
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert!(none.err.contains("services = [\"health\"]"), "{}", none.err);

    for (health, code, part) in [
        (Health::Ok, 0, "ok"),
        (Health::Failing(vec!["the store cannot be reached".to_owned()]), 1, "the store cannot be reached"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let internal = format!("[listeners.internal]\naddress = \"127.0.0.1:{port}\"\nservices = [\"health\"]\n");
        let folder = Folder::with(&(CONFIG.to_owned() + &internal));
        let router = admin::internal_router(Some(Arc::new(move || health.clone())), None);
        let serving = tokio::spawn(admin::serve(listener, router, Arc::default(), std::future::pending()));
        // The command waits three seconds, in which a busy machine may not respond.
        let is_told = || async {
            let asked = tokio::task::block_in_place(|| folder.run("health"));
            asked.code == code && (asked.out + &asked.err).contains(part)
        };
        eventually(PATIENCE, part, is_told).await;

        serving.abort();
        let _ = serving.await;
        let gone = tokio::task::block_in_place(|| folder.run("health"));
        assert_eq!((gone.code, gone.out.as_str()), (1, ""));
        assert!(gone.err.contains(&format!("the gateway does not answer on 127.0.0.1:{port}")), "{}", gone.err);
    }
}

#[test]
fn health_asks_only_whether_the_process_runs_if_told_so() {
    let help = Folder::new().say("health --help");
    assert!(help.contains("--live") && help.contains("ready to serve requests"), "{help}");
}

#[test]
fn migrate_lists_what_it_would_do_and_writes_nothing() {
    let folder = Folder::new();
    let pending = folder.json("migrate --dry-run --json");
    assert_eq!(pending["pending"][0]["version"], 1);
    assert!(!folder.path("tokengate.db").exists() && !folder.path("tokengate.key").exists());
    assert!(folder.say("migrate --dry-run").starts_with("would apply 0001 users and tokens\n"));
    folder.say("migrate");
    assert_eq!(folder.say("migrate --dry-run"), "the schema is up to date\n");
}

#[test]
fn control_commands_find_the_socket_without_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["status", "drain", "upgrade", "reload"] {
        let ended = run_in(folder.path(), &[command, "--socket", "nowhere.sock"], "");
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{command}");
        assert!(ended.err.contains("no gateway answers at nowhere.sock"), "{command}: {}", ended.err);
        let without = run_in(folder.path(), &[command], "");
        assert!(without.err.contains("gateway.toml: cannot be read"), "{command}: {}", without.err);
        assert!(without.err.contains("--socket PATH"), "{command}: {}", without.err);
    }
}

#[test]
fn check_live_asks_the_store_the_endpoints_and_the_ports() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = CONFIG
        .replace("http://127.0.0.1:8000", &format!("http://{free}"))
        .replace("address = \"127.0.0.1:0\"", &format!("address = \"{}\"", taken.local_addr().unwrap()));
    let folder = Folder::with(&config);
    assert_eq!(folder.run("check").code, 0, "without --live nothing is asked");
    let ended = folder.run("check --live");
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    for part in ["run `tokengate migrate`", "upstreams.products.endpoints", "listeners.plain.address", "is in use"] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    assert!(!folder.path("tokengate.db").exists(), "it creates nothing");
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = CONFIG.replace("127.0.0.1:8000", &origin.local_addr().unwrap().to_string());
    let folder = Folder::with(&config);
    folder.say("migrate");
    assert_eq!(folder.say("check --live"), "gateway.toml: OK\n");
}

#[test]
fn check_reports_an_endpoint_whose_name_cannot_be_resolved() {
    let folder = Folder::with(&CONFIG.replace("http://127.0.0.1:8000", "http://no-such-host.invalid:8000"));
    let ended = folder.run("check");
    assert_eq!(ended.code, 0, "{ended:?}");
    let place =
        "warning: gateway.toml: upstreams.products.endpoints: the host of no-such-host.invalid:8000 cannot be resolved";
    assert!(ended.err.contains(place), "{ended:?}");
    assert!(ended.err.contains("1 warning"), "{ended:?}");
    assert_eq!(folder.run("check --json").code, 0);
}
