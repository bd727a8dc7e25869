//! Programs that show a certificate: curl, requests and a page in Chromium.

use std::path::Path;
use std::process::Command;

use super::{Asks, Client, ClientCa, email, site};
use crate::support::python::{self, output};
use crate::support::{Gateway, Origin};

async fn secured(origin: &Origin, required: bool) -> (ClientCa, Gateway, Client) {
    let ca = ClientCa::new();
    let gateway = site(origin, &ca, &Asks { required, ..Asks::optional() }).start().await;
    gateway.user("alice@x.test").await;
    let alice = ca.issue("alice", &[email("alice@x.test")]);
    (ca, gateway, alice)
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("https://localhost:{}{path}", gateway.address().port())
}

/// The user that the upstream saw last.
fn user(origin: &Origin) -> Option<String> {
    origin.last().fields.get("x-user-name").map(str::to_owned)
}

#[tokio::test]
async fn curl_shows_its_certificate() {
    let origin = Origin::answering("hello").await;
    for required in [false, true] {
        let (_ca, gateway, alice) = secured(&origin, required).await;
        for version in ["--http1.1", "--http2"] {
            let curl = |client: Option<&Client>, path: &str| {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", version, "--cacert"]).arg(gateway.authority());
                curl.args(["--write-out", " %{http_code}", &url(&gateway, path)]);
                if let Some(client) = client {
                    curl.arg("--cert").arg(&client.cert_file).arg("--key").arg(&client.key_file);
                }
                curl
            };
            let shown = output(curl(Some(&alice), "/cert/x")).await;
            assert_eq!(String::from_utf8_lossy(&shown.stdout), "hello 200", "{shown:?}");
            assert_eq!(user(&origin).as_deref(), Some("alice@x.test"));
            let without = output(curl(None, "/cert/x")).await;
            match required {
                true => assert!(!without.status.success(), "{without:?}"),
                false => assert!(without.stdout.ends_with(b" 403"), "{without:?}"),
            }
        }
    }
}

const REQUESTS: &str = "
import sys, requests
url, authority, cert, key = sys.argv[1:]
session = requests.Session()
how = {'verify': authority, 'timeout': 120}
plain = session.get(url, **how).status_code
session.close()
session.cert = (cert, key)
print(plain, session.get(url, **how).status_code, session.post(url, data={'a': 'b'}, **how).status_code)
";

#[tokio::test]
async fn requests_shows_its_certificate() {
    let origin = Origin::answering("hello").await;
    let (_ca, gateway, alice) = secured(&origin, false).await;
    let mut program = python::CLIENTS.command().await;
    program.args(["-c", REQUESTS, &url(&gateway, "/cert/x")]).arg(gateway.authority());
    program.args([&alice.cert_file, &alice.key_file]);
    let shown = output(program).await;
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "403 200 200\n", "{shown:?}");
    assert_eq!(user(&origin).as_deref(), Some("alice@x.test"));
}

#[tokio::test]
async fn a_page_in_chromium_is_loaded_with_a_certificate() {
    let origin = Origin::answering("hello").await;
    let (_ca, gateway, alice) = secured(&origin, false).await;
    let home = tempfile::tempdir().unwrap();
    let mut browser = python::CLIENTS.command().await;
    browser.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/certificate.py"));
    browser.arg(url(&gateway, "")).arg(gateway.authority()).args([&alice.cert_file, &alice.key_file]);
    browser.env("HOME", home.path()).env("NODE_EXTRA_CA_CERTS", gateway.authority());
    let shown = output(browser).await;
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "403 200 hello\n", "{shown:?}");
    assert_eq!(user(&origin).as_deref(), Some("alice@x.test"));
}
