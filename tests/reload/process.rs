//! Reload of a gateway in a process of its own: by signal, by command, and by itself when files change.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokengate::clock::Clock;
use tokengate::demo::certificate::{self, Wish};

use crate::serve::{Gateway, status};
use crate::support::client::{Tls, connect};
use crate::support::{Ask, PATIENCE, Wire, eventually};

const CONTROL: &str = "[control]\nsocket = \"control.sock\"\n";

/// Adds a route without credentials to the file.
fn add_route(gateway: &Gateway, name: &str) {
    let route = format!("[routes.{name}]\npath_prefix = \"/{name}/\"\nupstream = \"products\"\nauth = \"none\"\n");
    let text = fs::read_to_string(&gateway.config).unwrap();
    fs::write(&gateway.config, text + &route).unwrap();
}

async fn becomes(gateway: &Gateway, path: &str, wanted: &[u16]) {
    let what = format!("{path} answers {wanted:?}");
    eventually(PATIENCE, &what, || async { wanted.contains(&status(gateway.address, path, "").await) }).await;
}

async fn has_metric(gateway: &Gateway, line: &str) {
    eventually(PATIENCE, line, || async { gateway.metrics().await.lines().any(|found| found == line) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_the_file_and_an_invalid_one_changes_nothing() {
    let gateway = Gateway::serve_with("").await;
    assert_eq!(status(gateway.address, "/new/", "").await, 401);
    add_route(&gateway, "new");
    gateway.signal(Signal::HUP);
    // The product service knows no such path; the gateway did.
    becomes(&gateway, "/new/", &[404]).await;
    has_metric(&gateway, "tokengate_config_generation 2").await;
    let good = fs::read_to_string(&gateway.config).unwrap();
    fs::write(&gateway.config, format!("{good}[routes.broken]\npath_prefix = \"/x/\"\nupstraem = \"products\"\n"))
        .unwrap();
    gateway.signal(Signal::HUP);
    has_metric(&gateway, "tokengate_config_reload_ok 0").await;
    assert_eq!(status(gateway.address, "/new/", "").await, 404);
    fs::write(&gateway.config, good).unwrap();
    gateway.signal(Signal::HUP);
    has_metric(&gateway, "tokengate_config_reload_ok 1").await;
    has_metric(&gateway, "tokengate_config_generation 2").await;
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_what_changed_or_every_problem() {
    let gateway = Gateway::serve_with(CONTROL).await;
    let socket = gateway.dir.path().join("control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(gateway.run("reload"), "reloaded; nothing changed\n");
    add_route(&gateway, "new");
    assert_eq!(gateway.run("reload"), "route `new` added\n");
    assert_eq!(status(gateway.address, "/new/", "").await, 404);
    let good = fs::read_to_string(&gateway.config).unwrap();
    fs::write(&gateway.config, format!("workers = 9\n{good}")).unwrap();
    let refused = gateway.try_run("reload");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("can only be changed by a restart: workers"), "{said}");
    fs::write(&gateway.config, format!("{good}[routes.a]\nwrong = 1\n[routes.b]\nworse = 2\n")).unwrap();
    let said = String::from_utf8(gateway.try_run("reload").stderr).unwrap();
    assert!(said.contains("routes.a.wrong") && said.contains("routes.b.worse"), "{said}");
    assert!(said.ends_with("the configuration was not reloaded; the running one stays\n"), "{said}");
    let told = gateway.run("status");
    assert!(told.contains("configuration 2 since") && told.contains("routes.b.worse"), "{told}");
    let told: serde_json::Value = serde_json::from_str(&gateway.run("status --json")).unwrap();
    assert_eq!(told["reload"]["generation"], 2);
    gateway.stop(Signal::TERM).await;
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_need_a_restart_are_told_beforehand_and_may_be_left_out() {
    let gateway = Gateway::serve_with(CONTROL).await;
    assert!(gateway.run("check --against-running").ends_with("OK\nthe running gateway uses the same settings\n"));
    add_route(&gateway, "new");
    let compared = gateway.run("check --against-running");
    assert!(compared.ends_with("OK\na reload changes: route `new` added\n"), "{compared}");
    let text = fs::read_to_string(&gateway.config).unwrap();
    fs::write(&gateway.config, format!("workers = 9\n{text}[cache.memory]\nmax_entries = 5_000\n")).unwrap();
    let compared = gateway.try_run("check --against-running");
    let said = String::from_utf8(compared.stdout).unwrap();
    assert!(said.ends_with("route `new` added\nneeds a restart: workers\nneeds a restart: [cache.memory]\n"), "{said}");
    assert_eq!(compared.status.code(), Some(1));
    let compared = gateway.try_run("check --against-running --json");
    let told: serde_json::Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(
        (&told["ok"], &told["restart"][0], &told["changes"][0]),
        (&false.into(), &"workers".into(), &"route `new` added".into())
    );
    assert_eq!(status(gateway.address, "/new/", "").await, 401, "a comparison changes nothing");

    assert_eq!(gateway.try_run("reload").status.code(), Some(1));
    let partly = gateway.try_run("reload --force-partial");
    assert_eq!((partly.status.code(), partly.stdout), (Some(0), b"route `new` added\n".to_vec()));
    let said = String::from_utf8(partly.stderr).unwrap();
    assert_eq!(said, "not changed, needs a restart: workers\nnot changed, needs a restart: [cache.memory]\n");
    assert_eq!(status(gateway.address, "/new/", "").await, 404);
    has_metric(&gateway, "tokengate_config_reload_ok 1").await;
    assert!(gateway.run("status").contains("not changed, needs a restart: workers\n"));
    fs::write(&gateway.config, text).unwrap();
    assert_eq!(gateway.run("reload"), "reloaded; nothing changed\n");
    assert!(!gateway.run("status").contains("restart"));
    gateway.stop(Signal::TERM).await;
}

/// Every path in the settings begins with the folder of the file. Another way to write the folder is no change.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_compares_alike_however_its_folder_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    symlink(&folder, folder.join("link")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    command.stdout(Stdio::null()).current_dir(&folder);
    let gateway = Gateway::serve_by(command, dir, "", CONTROL).await;
    for (from, file) in [
        (&*folder, "gateway.toml".into()),
        (&*folder, "./gateway.toml".into()),
        (Path::new("/"), folder.join("gateway.toml")),
        (Path::new("/"), folder.join("link/gateway.toml")),
        (&*folder, PathBuf::from("link/./gateway.toml")),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(["check", "--against-running", "--config"]).arg(&file).current_dir(from);
        let compared = command.output().unwrap();
        let said = String::from_utf8(compared.stdout).unwrap();
        assert!(said.ends_with("OK\nthe running gateway uses the same settings\n"), "{}: {said}", file.display());
    }
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_toml_is_reported_by_each_command_that_asks_the_gateway() {
    let gateway = Gateway::serve_with(CONTROL).await;
    let good = fs::read_to_string(&gateway.config).unwrap();
    fs::write(&gateway.config, format!("{good}[routes.x\n")).unwrap();
    for command in ["reload", "status", "upgrade", "drain"] {
        let refused = gateway.try_run(command);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{command}");
        assert!(said.starts_with("error: ") && said.contains("gateway.toml:"), "{command}: {said}");
        assert!(said.ends_with("the gateway was not asked: this file says where its control socket is; --socket PATH says it without the file\n"), "{said}");
    }
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_is_reloaded_once_it_stops_changing() {
    let gateway = Gateway::serve_with("[reload]\nwatch = true\n").await;
    add_route(&gateway, "new");
    becomes(&gateway, "/new/", &[404]).await;
    // As editors do: a new file under the old name.
    let other = gateway.dir.path().join("other.toml");
    fs::copy(&gateway.config, &other).unwrap();
    let text = fs::read_to_string(&other)
        .unwrap()
        .replace("[routes.new]\npath_prefix = \"/new/\"", "[routes.new]\npath_prefix = \"/newer/\"");
    fs::write(&other, text).unwrap();
    fs::rename(&other, &gateway.config).unwrap();
    has_metric(&gateway, "tokengate_config_generation 3").await;
    assert_eq!(status(gateway.address, "/newer/", "").await, 404);
    has_metric(&gateway, "tokengate_requests_total{route=\"new\",outcome=\"forwarded\"} 2").await;
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_watched_folder_are_included_when_they_appear_and_when_they_are_fixed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("conf.d");
    fs::create_dir(&folder).unwrap();
    let gateway = Gateway::serve_as(dir, "include = [\"conf.d/*.toml\"]\n", "[reload]\nwatch = true\n").await;
    fs::write(folder.join("new.toml"), "[routes.new]\npath_prefix = \"/new/\"\nupstream = \"nowhere\"\n").unwrap();
    has_metric(&gateway, "tokengate_config_reload_ok 0").await;
    let route = "[routes.new]\npath_prefix = \"/new/\"\nupstream = \"products\"\nauth = \"none\"\n";
    fs::write(folder.join("new.toml"), route).unwrap();
    becomes(&gateway, "/new/", &[404]).await;
    has_metric(&gateway, "tokengate_config_reload_ok 1").await;
    fs::remove_file(folder.join("new.toml")).unwrap();
    becomes(&gateway, "/new/", &[401]).await;
    gateway.stop(Signal::TERM).await;
}

/// A gateway with HTTPS. Its certificate is in `now/`, a symbolic link to the folder `first/`.
struct Secure {
    gateway: Gateway,
    address: SocketAddr,
    roots: RootCertStore,
}

impl Secure {
    async fn serve() -> Secure {
        let dir = tempfile::tempdir().unwrap();
        let mut roots = RootCertStore::empty();
        for name in ["first", "second", "third", "fourth"] {
            let wish = Wish { names: vec!["one.test".to_owned()], ..Wish::default() };
            let made = certificate::make(&dir.path().join(name), &wish, Clock::system().now()).unwrap();
            roots.add(CertificateDer::from_pem_file(&made.ca_file).unwrap()).unwrap();
            fs::rename(made.cert_file, dir.path().join(name).join("cert.pem")).unwrap();
            fs::rename(made.key_file, dir.path().join(name).join("key.pem")).unwrap();
        }
        symlink("first", dir.path().join("now")).unwrap();
        let more = "[listeners.public]\naddress = \"127.0.0.1:0\"\ncertificates = [\"main\"]\n\
                    [certificates.main]\ncert_file = \"now/cert.pem\"\nkey_file = \"now/key.pem\"\n";
        let mut gateway = Gateway::serve_in(dir, more).await;
        let address = gateway.https();
        Secure { gateway, address, roots }
    }

    async fn connect(&self) -> Wire {
        Wire::over(
            connect(self.address, &Tls::default().trusting(&Arc::new(self.roots.clone())), "one.test").await.unwrap(),
        )
    }

    /// Waits until a new connection gets the certificate in this folder.
    async fn shows(&self, folder: &str) {
        let config = Tls::default().trusting(&Arc::new(self.roots.clone()));
        let wanted = CertificateDer::from_pem_file(self.at(folder).join("cert.pem")).unwrap();
        let shown = || async {
            let stream = connect(self.address, &config, "one.test").await.unwrap();
            stream.get_ref().1.peer_certificates().unwrap()[0] == wanted
        };
        eventually(PATIENCE, folder, shown).await;
    }

    fn at(&self, path: &str) -> PathBuf {
        self.gateway.dir.path().join(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_however_it_came_and_old_connections_live_on() {
    let secure = Secure::serve().await;
    let mut old = secure.connect().await;
    let ask = Ask::get("/none").bytes();
    assert_eq!(old.ask(&ask).await.status, 401);
    secure.shows("first").await;
    // A symbolic link is swapped, as Kubernetes does for mounted secrets.
    symlink("second", secure.at("next")).unwrap();
    fs::rename(secure.at("next"), secure.at("now")).unwrap();
    secure.shows("second").await;
    // Two files are moved over the old ones.
    for file in ["key.pem", "cert.pem"] {
        fs::copy(secure.at("third").join(file), secure.at("moved")).unwrap();
        fs::rename(secure.at("moved"), secure.at("now").join(file)).unwrap();
    }
    secure.shows("third").await;
    // The same files are written slowly.
    for file in ["cert.pem", "key.pem"] {
        let bytes = fs::read(secure.at("fourth").join(file)).unwrap();
        let mut to = fs::File::create(secure.at("now").join(file)).unwrap();
        for piece in bytes.chunks(bytes.len().div_ceil(4)) {
            to.write_all(piece).unwrap();
            // The pace of the writer.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }
    secure.shows("fourth").await;
    assert_eq!(old.ask(&ask).await.status, 401);
    has_metric(&secure.gateway, "tokengate_certificate_reload_ok{certificate=\"main\"} 1").await;
    secure.gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_match_leaves_the_previous_one_in_use_and_shows_in_the_metrics() {
    let secure = Secure::serve().await;
    fs::copy(secure.at("second/key.pem"), secure.at("first/key.pem")).unwrap();
    has_metric(&secure.gateway, "tokengate_certificate_reload_ok{certificate=\"main\"} 0").await;
    secure.shows("first").await;
    fs::copy(secure.at("second/cert.pem"), secure.at("first/cert.pem")).unwrap();
    secure.shows("second").await;
    has_metric(&secure.gateway, "tokengate_certificate_reload_ok{certificate=\"main\"} 1").await;
    secure.gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_does_not_hide_that_the_configuration_was_refused() {
    let secure = Secure::serve().await;
    let text = fs::read_to_string(&secure.gateway.config).unwrap();
    fs::write(&secure.gateway.config, format!("wrong = 1\n{text}")).unwrap();
    secure.gateway.signal(Signal::HUP);
    has_metric(&secure.gateway, "tokengate_config_reload_ok 0").await;
    symlink("second", secure.at("next")).unwrap();
    fs::rename(secure.at("next"), secure.at("now")).unwrap();
    secure.shows("second").await;
    has_metric(&secure.gateway, "tokengate_config_generation 2").await;
    has_metric(&secure.gateway, "tokengate_config_reload_ok 0").await;
    secure.gateway.stop(Signal::TERM).await;
}
