//! `tokengate acme`, the file's keys and `tokengate status`, with the gateway in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use super::*;

/// A gateway in a process of its own.
pub(super) struct Process {
    child: Child,
    config: std::path::PathBuf,
    said: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Process {
    pub(super) fn start(folder: &Path, text: &str) -> Process {
        let config = folder.join("gateway.toml");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(["serve", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let (lines, sink) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&said));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| sink.lock().unwrap().push(line)));
        Process { child, config, said }
    }

    pub(super) async fn says(&self, part: &str) {
        let has = || async { self.said.lock().unwrap().iter().any(|line| line.contains(part)) };
        eventually(PATIENCE, part, has).await;
    }

    pub(super) async fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.arg("--config").arg(&self.config).args(words);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The warnings and errors in its log.
    pub(super) fn warnings(&self) -> Vec<String> {
        let said = self.said.lock().unwrap();
        said.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).cloned().collect()
    }

    /// The metrics of its internal listener.
    pub(super) async fn metrics(&self) -> String {
        let address = self.said.lock().unwrap().iter().find_map(|line| {
            let (_, rest) = line.split_once("listening on http://")?;
            line.contains("internal").then(|| rest.split([' ', ',']).next().unwrap().parse::<SocketAddr>().unwrap())
        });
        let stream = tokio::net::TcpStream::connect(address.unwrap()).await.unwrap();
        Wire::over(stream).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.text().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub(super) fn serial(file: &Path) -> String {
    let read = Certificate::read("main", file, file).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&read.key.cert[0]).unwrap();
    parsed.tbs_certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
}

#[tokio::test]
async fn the_command_renews_and_revokes_while_the_gateway_answers_the_ca() {
    let mut pebble = Pebble::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (http, tls, directory, ca) = (pebble.http, pebble.tls, pebble.directory(), pebble.authority_file());
    let process = Process::start(
        folder.path(),
        &format!(
            "workers = 1\n[control]\nsocket = \"control.sock\"\n\
             [acme]\naccept_terms = true\ncontact = [\"admin@a.test\"]\ndirectory = \"{directory}\"\nca_file = \"{}\"\n\
             [certificates.main]\nacme_names = [\"{NAME}\"]\nchallenge = \"http-01\"\n\
             [listeners.public]\naddress = \"127.0.0.1:{tls}\"\ncertificates = [\"main\"]\n\
             [listeners.plain]\naddress = \"127.0.0.1:{http}\"\nplaintext = \"redirect\"\n\
             [upstreams.one]\nendpoints = [\"http://{}\"]\n[routes.one]\npath_prefix = \"/\"\nupstream = \"one\"\n",
            ca.display(),
            nowhere()
        ),
    );
    process.says("the CA has issued a certificate").await;
    process.says("certificates_renewed").await;
    let file = folder.path().join("acme/main.pem");
    let (first, roots) = (serial(&file), Arc::new(pebble.roots().await));
    let address = SocketAddr::from(([127, 0, 0, 1], tls));
    let shown = async || {
        let stream = connect(address, &Tls::default().trusting(&roots), NAME).await.ok()?;
        stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned())
    };
    let status = text(&process.run(&["status"]).await);
    assert!(status.contains("certificate main: expires 20") && status.contains("to be renewed 20"), "{status}");

    let renewed = process.run(&["acme", "renew", "main"]).await;
    assert!(renewed.status.success() && text(&renewed).contains("issued main for a.test"), "{}", text(&renewed));
    let second = serial(&file);
    assert_ne!(first, second);
    let in_use = Certificate::read("main", &file, &file).unwrap().key.cert[0].clone();
    eventually(PATIENCE, "it is in use", || async { shown().await.as_ref() == Some(&in_use) }).await;
    assert_eq!(pebble.status(&first).await, "Valid");

    let revoked = process.run(&["acme", "revoke", "main", "--reason", "key-compromise", "--json"]).await;
    assert!(revoked.status.success() && text(&revoked).contains("\"revoked\": true"), "{}", text(&revoked));
    assert_eq!(pebble.status(&second).await, "Revoked");
    let third = serial(&file);
    assert_eq!(pebble.status(&third).await, "Valid");

    let unknown = process.run(&["acme", "renew", "other"]).await;
    assert!(!unknown.status.success() && text(&unknown).contains("there are: main"), "{}", text(&unknown));
    // The CA is away: nothing is revoked, and the certificate stays.
    pebble.stop();
    let failed = process.run(&["acme", "revoke", "main"]).await;
    assert!(!failed.status.success() && text(&failed).contains("nothing was revoked"), "{}", text(&failed));
    assert_eq!(serial(&file), third);
}
