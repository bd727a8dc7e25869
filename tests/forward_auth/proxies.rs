//! Real nginx, Caddy, Traefik and Envoy with the files of `deploy/forward-auth`: each of them answers as the gateway itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use super::table::{self, Case, Keys};
use super::{asking, site};
use crate::support::nginx::Nginx;
use crate::support::origin::Request;
use crate::support::python::PROXIES;
use crate::support::redis::{free_port, start};
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, Wire, eventually, soon};

/// The headers that tell an upstream who the caller is. The ids of tokens differ between the two sides.
const IDENTITY: [&str; 6] =
    ["x-user-id", "x-user-name", "x-token-scopes", "x-auth-method", "authorization", "x-user-email"];

/// A file of the deployment, with the addresses of a test.
fn shipped(file: &str, port: u16, app: SocketAddr, gateway: &Gateway) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/forward-auth").join(file);
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in [(8080, port), (8000, app.port()), (9091, asking(gateway).port())] {
        for (before, after) in [(":", ""), ("port_value: ", "")] {
            let number = |port: u16| format!("{before}{port}{after}");
            text = text.replace(&number(from), &number(to));
        }
    }
    text
}

/// A proxy in front of an application.
pub enum Proxy {
    Nginx(Nginx),
    Other(Child, SocketAddr, TempDir),
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Proxy::Other(child, ..) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Proxy {
    pub async fn start(name: &str, app: SocketAddr, gateway: &Gateway) -> Proxy {
        if name == "nginx" {
            return Proxy::Nginx(Nginx::with(|address| shipped("nginx.conf", address.port(), app, gateway)).await);
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let at = |file: &str| folder.path().join(file).display().to_string();
        let files: &[&str] = match name {
            "caddy" => &["Caddyfile"],
            "traefik" => &["traefik.yaml", "traefik-routes.yaml"],
            _ => &["envoy.yaml"],
        };
        for file in files {
            let text = shipped(file, port, app, gateway)
                .replace("filename: ", &format!("filename: {}/", folder.path().display()));
            fs::write(at(file), text).unwrap();
        }
        let args = match name {
            "caddy" => vec![
                "run".to_owned(),
                "--adapter".to_owned(),
                "caddyfile".to_owned(),
                "--config".to_owned(),
                at("Caddyfile"),
            ],
            "traefik" => vec![format!("--configFile={}", at("traefik.yaml"))],
            _ => vec![
                "-c".to_owned(),
                at("envoy.yaml"),
                "--use-dynamic-base-id".to_owned(),
                "--concurrency".to_owned(),
                "1".to_owned(),
            ],
        };
        let program = Path::new(PROXIES.command().await.get_program()).with_file_name(name);
        let child = start(&program.display().to_string(), &args, &folder.path().join("log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = Proxy::Other(child, address, folder);
        let is_up = || async {
            let Ok(stream) = TcpStream::connect(address).await else { return false };
            // Traefik listens before it has its routes.
            Wire::over(stream).ask(Ask::get("/public/begin").bytes()).await.status == 200
        };
        if tokio::time::timeout(PATIENCE, eventually(PATIENCE, "the proxy serves", is_up)).await.is_err() {
            panic!("{}", proxy.log());
        }
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Proxy::Nginx(nginx) => nginx.address(),
            Proxy::Other(_, address, _) => *address,
        }
    }

    pub fn log(&self) -> String {
        match self {
            Proxy::Nginx(nginx) => nginx.log(),
            Proxy::Other(.., folder) => fs::read_to_string(folder.path().join("log")).unwrap_or_default(),
        }
    }
}

/// A connection from this address of the machine.
pub async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    soon("connect", socket.connect(to)).await.unwrap()
}

/// Sends a request from this address of the machine on a new connection.
pub async fn ask(from: &str, to: SocketAddr, ask: &Ask) -> Answer {
    let mut wire = Wire::over(connect(from, to).await);
    wire.send(ask.bytes()).await;
    if ask.method == "HEAD" { wire.answer_to_head().await } else { wire.answer().await }
}

/// What became of a request: the answer, and what the application saw.
async fn outcome(from: &str, to: SocketAddr, case: &Case, origin: &Origin) -> (Answer, Vec<Request>) {
    let before = origin.count();
    let answer = ask(from, to, &case.ask).await;
    (answer, origin.requests().split_off(before))
}

fn identity(request: &Request) -> Vec<(&'static str, Vec<&str>)> {
    IDENTITY.iter().map(|name| (*name, request.fields.all(name))).collect()
}

/// Compares the answers through a proxy with those of the gateway itself.
async fn compare(
    name: &str,
    proxy: &Proxy,
    gateway: &Gateway,
    origin: &Origin,
    cases: Vec<(Case, Case)>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (own, asked) in cases {
        let (answer, seen) = outcome("127.0.0.11", gateway.plain_address(), &own, origin).await;
        let (other, passed) = outcome("127.0.0.12", proxy.address(), &asked, origin).await;
        let what = format!(
            "{} {} {:?}",
            asked.ask.method,
            asked.ask.target,
            asked
                .ask
                .fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
                .collect::<Vec<_>>()
        );
        let instead = asked.or.iter().find(|(proxy, _)| *proxy == name).map_or(&[][..], |(_, statuses)| *statuses);
        let mut fault = |text: String| faults.push(format!("{what}: {text}"));
        if other.status != answer.status && !instead.contains(&other.status) {
            fault(format!("{} instead of {}: {:?}", other.status, answer.status, String::from_utf8_lossy(&other.body)));
            continue;
        }
        if passed.len() != usize::from(other.status == 200) {
            fault(format!("{} with {} requests to the application", other.status, passed.len()));
        }
        for request in &passed {
            for header in [
                "x-user-id",
                "x-user-name",
                "x-token-scopes",
                "x-auth-method",
                "x_user_id",
                "x_user-name",
                "x_auth_method",
                "x.user.id",
                "xuserid",
            ] {
                if request
                    .fields
                    .all(header)
                    .iter()
                    .any(|value| ["root", "1", "2", "session"].contains(value) && header != "x-user-id")
                {
                    fault(format!("a forged {header} reaches the application"));
                }
            }
        }
        if other.status != answer.status {
            continue;
        }
        if let (Some(own), Some(through)) = (seen.first(), passed.first()) {
            if identity(own) != identity(through) {
                fault(format!("{:?} instead of {:?}", identity(through), identity(own)));
            }
            if instead.is_empty()
                && (&own.method, &own.target, &own.body) != (&through.method, &through.target, &through.body)
            {
                fault(format!("the application gets {} {}", through.method, through.target));
            }
        } else if answer.status != 200 && instead.is_empty() {
            let of_envoy = name == "envoy" && answer.status >= 500;
            for header in ["www-authenticate", "retry-after", "content-type"] {
                if answer.fields.all(header) != other.fields.all(header) && !of_envoy {
                    fault(format!(
                        "{header}: {:?} instead of {:?}",
                        other.fields.all(header),
                        answer.fields.all(header)
                    ));
                }
            }
            if answer.body != other.body && !of_envoy {
                fault(format!(
                    "{:?} instead of {:?}",
                    String::from_utf8_lossy(&other.body),
                    String::from_utf8_lossy(&answer.body)
                ));
            }
        }
    }
    faults
}

async fn judge(name: &str) {
    let origin = Origin::answering("ok").await;
    let gateway = site(&origin, table::routes).start().await;
    let proxy = Proxy::start(name, origin.address(), &gateway).await;
    let (own, asked) = (Keys::issue(&gateway, "own").await, Keys::issue(&gateway, "asked").await);
    let fresh = gateway.issue("alice").await;
    gateway.hand.advance(Duration::from_secs(61));
    let pairs = |own: Vec<Case>, asked: Vec<Case>| own.into_iter().zip(asked).collect::<Vec<_>>();
    let cases = pairs(table::cases(&own), table::cases(&asked));
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut faults = compare(name, &proxy, &gateway, &origin, cases).await;

    let away = gateway.database.with_extension("away");
    fs::rename(&gateway.database, &away).unwrap();
    let cases = pairs(table::during_an_outage(&own, &fresh), table::during_an_outage(&asked, &fresh));
    faults.extend(compare(name, &proxy, &gateway, &origin, cases).await);
    fs::rename(&away, &gateway.database).unwrap();
    assert!(faults.is_empty(), "{name}:\n{}\n{}", faults.join("\n"), proxy.log());

    // Without an answer of the gateway, nothing passes.
    let _folder = gateway.stop_and_keep(PATIENCE).await;
    let seen = origin.count();
    for target in ["/public/x", "/api/x"] {
        let status = ask("127.0.0.12", proxy.address(), &Ask::get(target)).await.status;
        assert!(status >= 500, "{name}: {status}");
    }
    assert_eq!(origin.count(), seen);
}

#[tokio::test]
async fn nginx_answers_as_the_gateway_itself() {
    judge("nginx").await;
}

#[tokio::test]
async fn caddy_answers_as_the_gateway_itself() {
    judge("caddy").await;
}

#[tokio::test]
async fn traefik_answers_as_the_gateway_itself() {
    judge("traefik").await;
}

#[tokio::test]
async fn envoy_answers_as_the_gateway_itself() {
    judge("envoy").await;
}
