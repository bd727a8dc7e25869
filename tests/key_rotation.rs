//! The key of the key file is replaced while gateways use the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokengate::clock::Clock;
use tokengate::config::settings::{self, Hashing, Login};
use tokengate::store::{self, NewUser, Password, RotationError, Steps, Store};
use tokengate::token::SubjectId;

use crate::support::dice::Dice;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Postgres, Site, eventually};

const PASSWORD: &str = "correct horse 9";

/// Writes a configuration for commands, which use the store of this gateway.
fn configure(folder: &Path, store: &settings::Store, url: &str) -> PathBuf {
    let config = folder.join("gateway.toml");
    let text = format!(
        "[store]\nurl = \"{url}\"\nkey_file = \"{}\"\n[listeners.plain]\naddress = \"127.0.0.1:1\"\nplaintext = \"serve\"\n\
         [upstreams.one]\nendpoints = [\"http://127.0.0.1:1\"]\n[routes.one]\npath_prefix = \"/\"\nupstream = \"one\"\n",
        store.key_file.display()
    );
    fs::write(&config, text).unwrap();
    config
}

fn rotation(config: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    command.arg("--config").arg(config).arg("rotate-key").args(more);
    command
}

fn start(config: &Path) -> Child {
    rotation(config, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Users and the keys of their login tokens.
async fn users(store: &Store, count: usize) -> Vec<(SubjectId, String)> {
    let mut users = Vec::new();
    for number in 0..count {
        let user = store.accounts.create(NewUser::named(format!("user{number}"))).await.unwrap().0.account.id;
        users.push((user, store.ledger.issue_login(user).await.unwrap().key.expose().to_owned()));
    }
    users
}

/// Every login still returns the same token.
async fn are_shown(store: &Store, users: &[(SubjectId, String)]) {
    for (user, key) in users {
        let issued = store.ledger.issue_login(*user).await.unwrap();
        assert_eq!((issued.key.expose(), issued.fresh), (key.as_str(), false));
    }
}

/// Uses the store and the gateway until told to stop: requests with tokens, logins that return a token, new users and
/// their logins. Returns the new users.
async fn load(
    gateway: &Gateway,
    known: &[(SubjectId, String)],
    stop: &AtomicBool,
    begun: &AtomicUsize,
) -> Vec<(SubjectId, String)> {
    let mut new = Vec::new();
    let form = format!("{{\"username\": \"with_password\", \"password\": \"{PASSWORD}\"}}");
    let login = Ask::post("/gettoken/", form).field("Content-Type", "application/json");
    let first = login.to(gateway).await;
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let (user, key) = &known[round % known.len()];
        assert_eq!(Ask::get("/api/x").token(key).to(gateway).await.status, 200);
        assert_eq!(gateway.store.ledger.issue_login(*user).await.unwrap().key.expose(), key);
        if round % 8 == 0 {
            let answer = login.to(gateway).await;
            assert_eq!((answer.status, answer.text()), (200, first.text()));
        }
        let user = gateway.user(&format!("new{round}")).await;
        let issued = gateway.store.ledger.issue_login(user).await.unwrap();
        assert!(issued.fresh);
        let key = issued.key.expose().to_owned();
        assert_eq!(Ask::get("/api/x").token(&key).to(gateway).await.status, 200);
        new.push((user, key));
        round += 1;
        begun.store(round, Ordering::Relaxed);
    }
    new
}

async fn is_replaced_under_load(gateway: Gateway, config: &Path, key_file: &Path) {
    let password = Some(Password::parse(PASSWORD).unwrap());
    let named = NewUser { password, ..NewUser::named("with_password") };
    gateway.store.accounts.create(named).await.unwrap();
    let known = users(&gateway.store, 500).await;
    let before = fs::read(key_file).unwrap();
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ending = async {
        eventually(PATIENCE, "the load has begun", || async { rounds.load(Ordering::Relaxed) > 0 }).await;
        // How long it takes, and then ten times less.
        let begin = tokio::time::Instant::now();
        let whole = tokio::task::spawn_blocking({
            let config = config.to_owned();
            move || start(&config).wait().unwrap()
        });
        assert!(whole.await.unwrap().success());
        let whole = begin.elapsed();
        let after_one = fs::read(key_file).unwrap();
        assert!(after_one.len() == 32 && after_one != before);
        let mut dice = Dice(17);
        for _ in 0..10 {
            let mut child = start(config);
            // Not a wait for anything: the moment of the kill is drawn.
            tokio::time::sleep(whole.mul_f64(f64::from(u32::try_from(dice.below(1_000)).unwrap()) / 1_000.0)).await;
            let _ = child.kill();
            child.wait().unwrap();
            assert!(matches!(fs::read(key_file).unwrap().len(), 32 | 64));
        }
        let config = config.to_owned();
        let last = tokio::task::spawn_blocking(move || rotation(&config, &["--json"]).output().unwrap()).await.unwrap();
        assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
        assert!(String::from_utf8_lossy(&last.stdout).contains("\"unreadable\": 0"));
        assert_eq!(fs::read(key_file).unwrap().len(), 32);
        let reached = rounds.load(Ordering::Relaxed);
        eventually(PATIENCE, "the load goes on", || async { rounds.load(Ordering::Relaxed) > reached + 3 }).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (new, ()) = tokio::join!(load(&gateway, &known, &stop, &rounds), ending);
    are_shown(&gateway.store, &known).await;
    are_shown(&gateway.store, &new).await;
    let settings = gateway.settings();
    let _folder = gateway.stop_and_keep(Duration::ZERO).await;
    // A process that has never seen the old key.
    let fresh = store::open(&settings.store, &settings.tokens, Clock::system()).await.unwrap();
    are_shown(&fresh, &known).await;
    are_shown(&fresh, &new).await;
}

fn with_login(site: Site) -> Site {
    site.with(|settings| {
        settings.login = Some(Login { per_user: None, per_address: None, ..Login::default() });
        settings.store.hashing = Hashing { at_once: 4, failed_after: Duration::from_millis(1) };
        settings.tokens.max_per_user = 1_000;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_under_load_and_killed_ten_times_without_a_lost_token() {
    let origin = Origin::answering("hello").await;
    let gateway = with_login(Site::before(&origin)).start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = gateway.settings().store.clone();
    let config = configure(folder.path(), &store, &format!("sqlite:{}", gateway.database.display()));
    is_replaced_under_load(gateway, &config, &store.key_file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_under_load_with_postgresql() {
    let origin = Origin::answering("hello").await;
    let server = Postgres::shared().await;
    let name = server.new_database().await;
    let url = server.url(&name);
    let site = with_login(Site::before(&origin)).with(|settings| settings.store.url = url);
    let gateway = site.start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = gateway.settings().store.clone();
    let config = configure(folder.path(), &store, &server.text(&name));
    is_replaced_under_load(gateway, &config, &store.key_file).await;
}

#[tokio::test]
async fn one_step_at_a_time_for_files_that_are_copied_and_never_two_at_once() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).start().await;
    let known = users(&gateway.store, 3).await;
    let settings = gateway.settings().store.clone();
    let key_file = &settings.key_file;
    let old = fs::read(key_file).unwrap();
    assert_eq!(store::rotate_key(&settings, Steps::AddKey, |_| ()).await.unwrap(), None);
    let both = fs::read(key_file).unwrap();
    assert!(both.len() == 64 && both.starts_with(&old));
    assert_eq!(store::rotate_key(&settings, Steps::AddKey, |_| ()).await.unwrap(), None);
    assert_eq!(fs::read(key_file).unwrap(), both, "a second new key is not added");
    // Until the store is switched, gateways with a copy of the old file read everything.
    known_to(&old, &settings, &gateway, &known).await;
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777;
    fs::set_permissions(key_file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let done = store::rotate_key(&settings, Steps::All, |_| ()).await.unwrap().unwrap();
    assert_eq!((done.total, done.renewed, done.unreadable, done.continued), (3, 3, 0, true));
    assert_eq!((fs::read(key_file).unwrap().as_slice(), mode(key_file)), (&both[32..], 0o640));
    are_shown(&gateway.store, &known).await;

    // The file of another store changes nothing, and neither does a second process.
    fs::write(key_file, &old).unwrap();
    assert!(matches!(store::rotate_key(&settings, Steps::All, |_| ()).await, Err(RotationError::Open(_))));
    assert_eq!(fs::read(key_file).unwrap(), old);
    fs::write(key_file, &both[32..]).unwrap();
    let lock = fs::File::options().write(true).open(key_file.with_file_name("tokengate.key.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(matches!(store::rotate_key(&settings, Steps::All, |_| ()).await, Err(RotationError::Busy(_))));
}

/// A store that is opened with another content of the key file still shows all tokens.
async fn known_to(content: &[u8], settings: &settings::Store, gateway: &Gateway, known: &[(SubjectId, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.key");
    fs::write(&copy, content).unwrap();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let elsewhere = settings::Store { key_file: copy, ..settings.clone() };
    let store = store::open(&elsewhere, &gateway.settings().tokens, Clock::system()).await.unwrap();
    are_shown(&store, known).await;
}
