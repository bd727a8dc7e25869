//! The demo: complete, in this process and as a command.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokengate::clock::Clock;
use tokengate::demo::{self, Demo, DemoError, Ports};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::soon;

const FREE: Ports = Ports { secure: 0, plain: 0, internal: 0, admin: 0 };

async fn start(dir: &Path, ports: Ports) -> Result<Demo, DemoError> {
    demo::start(dir, ports, Clock::system(), Box::new(std::io::sink())).await
}

/// Sends a request over HTTPS, trusting only the demo's CA.
async fn ask(demo: &Demo, method: &str, path: &str, fields: &str, body: &str) -> (u16, String) {
    exchange(connect(demo).await, method, path, fields, body).await
}

async fn connect(demo: &Demo) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&demo.ca_file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(demo.address("public").unwrap()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

async fn ask_in_clear(address: SocketAddr, path: &str, fields: &str) -> (u16, String) {
    exchange(TcpStream::connect(address).await.unwrap(), "GET", path, fields, "").await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn credentials(demo: &Demo) -> String {
    format!("Authorization: Token {}\r\n", demo.alice.expose())
}

#[tokio::test(flavor = "multi_thread")]
async fn products_need_a_token_and_tls() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path(), FREE).await.unwrap();
    let token = credentials(&demo);
    for path in ["/product_api/", "/porduct_api/"] {
        let (status, answer) = ask(&demo, "GET", path, &token, "").await;
        assert!(status == 200 && answer.contains("Coffee beans"), "{answer}");
        let (status, answer) = ask(&demo, "GET", path, "", "").await;
        assert_eq!(status, 401);
        assert!(answer.to_ascii_lowercase().contains("\r\nwww-authenticate: token\r\n"), "{answer}");
        assert!(answer.ends_with("{\"detail\":\"Authentication credentials were not provided.\"}"), "{answer}");
        let (status, answer) = ask_in_clear(demo.address("plain").unwrap(), path, &token).await;
        assert!(status == 403 && !answer.contains("Coffee"), "{answer}");
    }
    let json = format!("{token}Content-Type: application/json\r\n");
    let login = format!("{{\"username\":\"alice\",\"password\":\"{}\"}}", demo::PASSWORD);
    let (status, answer) = ask(&demo, "POST", "/gettoken/", "Content-Type: application/json\r\n", &login).await;
    assert!(status == 200 && answer.ends_with(&format!("{{\"token\":\"{}\"}}", demo.alice.expose())), "{answer}");
    let (status, answer) = ask(&demo, "POST", "/product_api/", &json, r#"{"name": "Lamp", "price": "19.90"}"#).await;
    assert!(status == 201 && answer.contains("\"price\":\"19.90\""), "{answer}");
    let (status, _) = ask_in_clear(demo.address("internal").unwrap(), "/health", "").await;
    assert_eq!(status, 200);
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_product_service_gets_the_callers_identity_and_never_the_token_or_forged_headers() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path(), FREE).await.unwrap();
    let fields = credentials(&demo) + "X-User-Id: 99\r\nX_User_Name: eve\r\nx-user_id: 98\r\nX-Auth-Method: forged\r\n";
    let (status, answer) = ask(&demo, "GET", "/product_api/whoami/", &fields, "").await;
    let seen: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let mut names: Vec<_> = seen.as_object().unwrap().keys().filter(|name| !name.contains("forwarded")).collect();
    names.sort();
    assert_eq!(status, 200);
    assert_eq!(names, ["x-auth-method", "x-request-id", "x-token-id", "x-user-id", "x-user-name"]);
    let told = ["x-auth-method", "x-token-id", "x-user-id", "x-user-name"].map(|name| seen[name].as_str().unwrap());
    assert_eq!(told, ["token", "1", "1", "alice"]);
    demo.stop().await;
}

/// Opens a connection over HTTPS, trusting only the demo's CA, and sends a request without a body.
async fn open(demo: &Demo, path: &str, fields: &str) -> TlsStream<TcpStream> {
    let mut stream = connect(demo).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes()).await.unwrap();
    stream
}

/// Reads until `text` has come.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let byte = soon(text, stream.read_u8()).await.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read)));
        read.push(byte);
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_websockets_pass_and_end_when_their_token_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path(), FREE).await.unwrap();
    let token = credentials(&demo);
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut events = open(&demo, "/live/events/", &token).await;
    let mut socket = open(&demo, "/live/socket/", &format!("{token}{handshake}")).await;
    let head = read_until(&mut events, "data: event 2").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let head = read_until(&mut socket, "event 2").await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(ask(&demo, "GET", "/live/events/", "", "").await.0, 401);
    assert_eq!(ask(&demo, "GET", "/live/socket/", &token, "").await.0, 426);

    let mut revoke = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    revoke.args(["token", "revoke", "--key-stdin", "--config"]).arg(&demo.config);
    let mut revoke = revoke.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut revoke.stdin.take().unwrap(), demo.alice.expose().as_bytes()).unwrap();
    assert!(revoke.wait().unwrap().success());
    // Both end, with an error or without.
    let mut rest = Vec::new();
    let _ = soon("the end of the stream", events.read_to_end(&mut rest)).await;
    let _ = soon("the end of the WebSocket", socket.read_to_end(&mut rest)).await;
    assert_eq!(ask(&demo, "GET", "/product_api/", &token, "").await.0, 401);
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_needs_credentials_and_the_sign_in_page_leads_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path(), FREE).await.unwrap();
    assert_eq!(ask(&demo, "GET", "/live/", "", "").await.0, 401);
    let (status, page) = ask(&demo, "GET", "/auth/login/?next=/live/", "", "").await;
    assert!(status == 200 && page.contains("value=\"/live/\""), "{page}");
    let (status, page) = ask(&demo, "GET", "/live/", &credentials(&demo), "").await;
    assert!(status == 200 && page.contains("new WebSocket"), "{page}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_asks_too_often_gets_429_and_other_routes_still_serve_it() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path(), FREE).await.unwrap();
    let token = credentials(&demo);
    let mut statuses = Vec::new();
    // More than the machine can send in the seconds that a slow one needs: the rate refills once a second.
    while statuses.last() != Some(&429) && statuses.len() < 1_000 {
        statuses.push(ask(&demo, "GET", "/product_api/whoami/", &token, "").await.0);
    }
    assert!(statuses.len() > 5 && statuses.iter().rev().skip(1).all(|status| *status == 200), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429));
    assert_eq!(ask(&demo, "GET", "/product_api/", &token, "").await.0, 200);
    demo.stop().await;
}

#[test]
fn the_command_explains_how_to_trust_a_ca_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        let output = command.current_dir(folder.path()).args(["demo", "--trust"]).args(options).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let kept = folder.path().join("tokengate-demo/dev-ca.pem");
    let told = ask(&[]);
    assert!(told.contains(&kept.display().to_string()) && told.contains("--dir tokengate-demo\n"), "{told}");
    let authority = fs::read(&kept).unwrap();
    assert_eq!((ask(&[]), fs::read(&kept).unwrap()), (told, authority));
    let told = ask(&["--dir", "my demo"]);
    assert!(told.contains("my demo/dev-ca.pem'") && told.contains("--dir 'my demo'\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_demo_in_the_same_folder_keeps_users_tokens_and_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), FREE).await.unwrap();
    let configuration = fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    assert_eq!(crate::config::schema::complaints(&configuration), [""; 0]);
    let keys = (first.alice.expose().to_owned(), first.admin.expose().to_owned());
    let authority = fs::read(&first.ca_file).unwrap();
    first.stop().await;
    let second = start(dir.path(), FREE).await.unwrap();
    assert_eq!((second.alice.expose(), second.admin.expose()), (keys.0.as_str(), keys.1.as_str()));
    assert_eq!(fs::read(&second.ca_file).unwrap(), authority);
    assert_eq!(ask(&second, "GET", "/product_api/1/", &credentials(&second), "").await.0, 200);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported_with_the_option_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (ports, option) in [
        (Ports { secure: port, ..FREE }, "--port"),
        (Ports { plain: port, ..FREE }, "--plain-port"),
        (Ports { internal: port, ..FREE }, "--internal-port"),
        (Ports { admin: port, ..FREE }, "--admin-port"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let told = start(dir.path(), ports).await.err().unwrap().to_string();
        let words = format!("port {port} is in use; choose another with {option} (0 takes a free one)");
        assert_eq!(told, words);
    }
    // The workers of a gateway share a port, but no other process can use it.
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = start(dirs[0].path(), FREE).await.unwrap();
    let port = first.address("public").unwrap().port();
    let second = start(dirs[1].path(), Ports { secure: port, ..FREE }).await;
    assert!(matches!(second.err().unwrap(), DemoError::PortTaken { option: "--port", .. }));
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_configuration_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    fs::write(&config, "# mine\n").unwrap();
    assert!(matches!(start(dir.path(), FREE).await.err().unwrap(), DemoError::Foreign(_)));
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_command_prints_what_to_paste_and_an_interrupt_ends_everything() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    command.args(["demo", "--port", "0", "--plain-port", "0", "--internal-port", "0", "--admin-port", "0"]);
    command.env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("metrics")).collect();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    let address = told.iter().find_map(|line| line.split_once("serving on https://")).unwrap().1;
    let address: SocketAddr = address.split_once(',').unwrap().0.parse().unwrap();
    assert!(std::net::TcpStream::connect(address).is_ok());

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    told.extend(lines);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    let told = told.join("\n");
    for part in [
        "  curl --cacert ",
        "  http --verify ",
        "-H \"Authorization: Token ",
        "http://127.0.0.1:",
        "--json '{",
        "password looking-glass",
        "/auth/login/",
        "/live/events/",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
