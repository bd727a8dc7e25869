//! Uploads that are refused while they are still being sent: ordinary clients see the status and no broken connection.

use std::path::Path;
use std::process::Command;

use tokengate::config::settings::Auth;

use crate::support::gateway::route;
use crate::support::{Origin, Site, python};

#[tokio::test]
async fn the_refusal_of_a_large_upload_reaches_ordinary_clients() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| {
        settings
            .routes
            .push(tokengate::config::settings::Route { body_limit: 1 << 20, ..route("small", "/small/", Auth::None) });
    });
    let gateway = site.start().await;
    let (authority, port) = (gateway.authority(), gateway.address().port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/uploads.py");
    for (path, status) in [("/api/x", 401), ("/nowhere", 404), ("/small/x", 413)] {
        for size in [200_000, 2 << 20, 11 << 20] {
            if status == 413 && size < 1 << 20 {
                continue;
            }
            let url = format!("https://localhost:{port}{path}");
            let mut python = python::CLIENTS.command().await;
            python.arg(&script).arg(&authority).args([&url, &port.to_string(), &size.to_string()]);
            let seen = String::from_utf8(python::output(python).await.stdout).unwrap();
            for line in seen.lines() {
                assert!(line.ends_with(&format!(" {status}")), "{path} {size}: {line}");
            }
            assert_eq!(seen.lines().count(), 6, "{path} {size}: {seen}");

            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(size).unwrap();
            for how in [["--http1.1", "Expect:"], ["--http1.1", "Expect: 100-continue"], ["--http2", "Expect:"]] {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}", how[0]]);
                curl.args(["--header", how[1]]).arg("--cacert").arg(&authority);
                curl.arg("--data-binary").arg(format!("@{}", file.path().display())).arg(&url);
                let output = python::output(curl).await;
                let (seen, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert_eq!(seen, status.to_string(), "curl {how:?} {path} {size}: {fault}");
            }
        }
    }
    assert!(origin.requests().iter().all(|seen| !seen.complete));
}
