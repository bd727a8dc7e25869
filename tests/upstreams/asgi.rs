//! hypercorn as the endpoint: HTTP/1.1, HTTP/2 with prior knowledge, HTTP/2 over TLS; requests, and WebSockets of Chromium.

use std::fs;
use std::path::Path;
use std::process::Child;

use tempfile::TempDir;
use tokengate::config::settings::Protocol;

use super::over_tls;
use crate::clients::chromium::play;
use crate::support::authority::{Authority, Issued};
use crate::support::client::BOTH;
use crate::support::python::CLIENTS;
use crate::support::redis::start;
use crate::support::{Ask, Gateway, PATIENCE, Site, eventually};
use crate::upgrade::streaming;

/// The server, killed at the end.
struct Server {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl Server {
    async fn start(pair: Option<&Issued>) -> Server {
        let python = CLIENTS.command().await.get_program().to_str().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("port");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams/asgi_server.py");
        let pair = pair.iter().flat_map(|pair| [&pair.cert_file, &pair.key_file]);
        let files = [&script, &port].into_iter().chain(pair).map(|path| path.display().to_string());
        let args: Vec<String> = ["-B".to_owned()].into_iter().chain(files).collect();
        let child = start(&python, &args, &folder.path().join("log"));
        eventually(PATIENCE, "hypercorn starts", || async { port.exists() }).await;
        let port = fs::read_to_string(port).unwrap().parse().unwrap();
        Server { port, child, _folder: folder }
    }

    /// A gateway before it.
    async fn gateway(&self, protocol: Protocol, authority: Option<&Authority>) -> Gateway {
        let address = ([127, 0, 0, 1], self.port).into();
        let site = Site::before_all(&[address]).with(streaming).with(|settings| {
            if let Some(authority) = authority {
                over_tls(settings, &[address], &authority.trusted());
            }
            settings.upstreams[0].protocol = protocol;
        });
        site.start().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn an_asgi_application_gets_requests_and_websockets_of_a_browser_over_both_versions() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost"]);
    let (plain, encrypted) = (Server::start(None).await, Server::start(Some(&pair)).await);
    for (server, protocol, trusted, version) in [
        (&plain, Protocol::Http1, None, "1.1"),
        (&plain, Protocol::Http2, None, "2"),
        (&encrypted, Protocol::Http1, Some(&authority), "1.1"),
        (&encrypted, Protocol::Http2, Some(&authority), "2"),
    ] {
        let gateway = server.gateway(protocol, trusted).await;
        let key = gateway.issue("alice").await;
        for http in BOTH {
            for length in [0, 5, 2_000_000] {
                let answer = Ask::post("/api/x", vec![b'x'; length]).token(&key).over(http, &gateway).await;
                let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!((&told["http"], &told["user"]), (&version.into(), &"alice".into()), "{told}");
                assert_eq!(told["length"], length, "{told}");
            }
        }
        play("sockets.py", "echo", &gateway, &[version]).await;
        // The browser used its open connection.
        let over_http2 =
            |line: &str| line.contains("/public/ws") && line.contains("http=2 ") && line.contains("status=200");
        eventually(PATIENCE, "the tunnel in the log", || async { gateway.log.text().lines().any(over_http2) }).await;
        assert!(!gateway.log.text().contains("status=101"), "{}", gateway.log.text());
    }
}
