//! gRPC through the gateway, with the programs of PyPI.

use std::fs;
use std::path::Path;
use std::process::Child;

use tempfile::TempDir;
use tokengate::config::settings::{Auth, PathPattern, Protocol, Route, Upstream};
use tokengate::token::ScopeSet;

use crate::support::client::{BOTH, Http};
use crate::support::gateway::route;
use crate::support::h2_origin::H2Origin;
use crate::support::python::{CLIENTS, output};
use crate::support::redis::start;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, eventually, nowhere};

/// A gRPC server, killed at the end.
struct Server {
    port: u16,
    child: Child,
    _folder: TempDir,
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams").join(name).display().to_string()
}

impl Server {
    async fn start() -> Server {
        let python = CLIENTS.command().await.get_program().to_str().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("port");
        let args = ["-B".to_owned(), script("grpc_server.py"), port.display().to_string()];
        let child = start(&python, &args, &folder.path().join("log"));
        eventually(PATIENCE, "the gRPC server starts", || async { port.exists() }).await;
        let port = fs::read_to_string(port).unwrap().parse().unwrap();
        Server { port, child, _folder: folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `/test.Echo/` and reflection lead to the server, `/scoped.Echo/` needs a scope, `/dead.Echo/` has no endpoint.
async fn before(server: &Server) -> Gateway {
    let site = Site::before_all(&[([127, 0, 0, 1], server.port).into()]).with(|settings| {
        settings.upstreams[0].protocol = Protocol::Http2;
        let dead = Site::before_all(&[nowhere()]).settings.upstreams.remove(0);
        settings.upstreams.push(Upstream { name: "dead".to_owned(), protocol: Protocol::Http2, ..dead });
        let call = |name: &str, path: &str| Route { streaming: true, ..route(name, path, Auth::Required) };
        settings.routes = vec![
            call("echo", "/test.Echo/"),
            Route {
                path: PathPattern::Prefix("/grpc.reflection.v1alpha.ServerReflection/".to_owned()),
                ..call("reflection", "/")
            },
            Route { scopes: ScopeSet::parse("admin").unwrap(), ..call("scoped", "/scoped.Echo/") },
            Route { upstream: 1, ..call("dead", "/dead.Echo/") },
        ];
    });
    site.start().await
}

#[tokio::test]
async fn clients_of_grpc_work_unchanged_and_understand_refusals() {
    let server = Server::start().await;
    let gateway = before(&server).await;
    let key = gateway.issue("alice").await;
    let mut client = CLIENTS.command().await;
    client.arg(script("grpc_client.py")).arg(format!("localhost:{}", gateway.address().port()));
    client.arg(gateway.authority()).arg(key);
    let output = output(client).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "OK\n");
}

#[tokio::test]
async fn a_refusal_of_a_call_is_a_response_of_headers_only() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for (ask, status, message) in [
        (Ask::post("/api/x", "body"), "16", "Authentication credentials were not provided."),
        (Ask::post("/api/x", "body").token(&"0".repeat(40)), "16", "Invalid token."),
        (Ask::post("/scoped/x", "body"), "16", "Authentication credentials were not provided."),
    ] {
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc-web"] {
            for http in BOTH {
                let answer = ask.clone().field("Content-Type", kind).over(http, &gateway).await;
                assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
                let fields = ["content-type", "grpc-status", "grpc-message"].map(|name| answer.fields.get(name));
                assert_eq!(fields, [Some(kind), Some(status), Some(message)], "{http:?}");
            }
        }
        // Other requests get an HTTP status.
        assert!(ask.over(Http::Two, &gateway).await.status >= 400);
    }
    assert_eq!(origin.count(), 0);
}

/// Messages and the result of a call are in the body.
#[tokio::test]
async fn grpc_web_passes_unchanged() {
    let body = b"\0\0\0\0\x02hi\x80\0\0\0\x0fgrpc-status:0\r\n";
    let origin = H2Origin::scripted(100, |_| crate::support::h2_origin::Act::Echo).await;
    let site = Site::before_all(&[origin.address()]);
    let gateway = site.with(|settings| settings.upstreams[0].protocol = Protocol::Http2).start().await;
    let key = gateway.issue("alice").await;
    for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"] {
        for http in BOTH {
            let call = Ask::post("/api/x", body).token(&key).field("Content-Type", kind).field("X-Grpc-Web", "1");
            let answer = call.over(http, &gateway).await;
            assert_eq!((answer.status, &answer.body[..], answer.complete), (200, &body[..], true), "{kind} {http:?}");
            let seen = origin.last();
            let fields = ["content-type", "x-grpc-web", "x-user-name"].map(|name| seen.headers[name].to_str().unwrap());
            assert_eq!((fields, &seen.body[..]), ([kind, "1", "alice"], &body[..]), "{http:?}");
        }
    }
}

#[tokio::test]
async fn the_deadline_of_a_call_is_its_total_timeout_and_says_nothing_about_the_endpoint() {
    let hanging = H2Origin::scripted(100, |_| crate::support::h2_origin::Act::Hang).await;
    let site = Site::before_all(&[hanging.address(), hanging.address()]);
    let gateway = site.with(|settings| settings.upstreams[0].protocol = Protocol::Http2).start().await;
    for _ in 0..8 {
        let call = Ask::post("/public/x", "body").field("Content-Type", "application/grpc");
        let answer = call.field("grpc-timeout", "50m").over(Http::Two, &gateway).await;
        assert_eq!((answer.status, answer.fields.get("grpc-status")), (200, Some("4")), "{answer:?}");
    }
    assert_eq!(hanging.count(), 8);
    assert_eq!(hanging.requests().iter().filter(|seen| seen.connection > 1).count(), 0, "connections stay in use");
    assert_eq!(hanging.last().headers.get("grpc-timeout").unwrap(), "50m");
}
