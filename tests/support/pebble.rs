//! Pebble, an ACME server for tests, with a name server that leads every name to this machine. Real processes.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Child;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokengate::https::HttpsClient;
use tokengate::tls::Authorities;

use super::authority::Authority;
use super::redis::{free_port, start};
use super::{PATIENCE, eventually};

/// The account of a customer, and its key.
pub const CUSTOMER: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// The server, and the ports on which it looks for answers to challenges.
pub struct Pebble {
    pub http: u16,
    pub tls: u16,
    dns: u16,
    dns_management: u16,
    port: u16,
    management: u16,
    behaviour: Vec<(&'static str, String)>,
    for_customers: bool,
    authority: Authority,
    folder: TempDir,
    children: Vec<Child>,
    pebble: Option<Child>,
}

impl Pebble {
    /// A server that answers at once. `behaviour` are environment variables of Pebble.
    pub async fn start(behaviour: &[(&'static str, &str)]) -> Pebble {
        Pebble::start_with(behaviour, false).await
    }

    /// A server that issues certificates only to [`CUSTOMER`].
    pub async fn start_for_customers() -> Pebble {
        Pebble::start_with(&[], true).await
    }

    async fn start_with(behaviour: &[(&'static str, &str)], for_customers: bool) -> Pebble {
        let folder = tempfile::tempdir().unwrap();
        let [http, tls, dns, dns_management, port, management] = std::array::from_fn(|_| free_port());
        let mut pebble = Pebble {
            http,
            tls,
            dns,
            dns_management,
            port,
            management,
            behaviour: behaviour.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            for_customers,
            authority: Authority::new(),
            folder,
            children: Vec::new(),
            pebble: None,
        };
        let names = ["-management", &format!("127.0.0.1:{dns_management}"), "-dns01", &format!("127.0.0.1:{dns}")]
            .into_iter()
            .chain(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .map(str::to_owned)
            .collect::<Vec<_>>();
        pebble.children.push(start("pebble-challtestsrv", &names, &pebble.path("names.log")));
        pebble.restart().await;
        pebble
    }

    /// Starts the CA. It forgets accounts, orders and its own keys when it stops.
    pub async fn restart(&mut self) {
        let issued = self.authority.issue("pebble", &["localhost", "127.0.0.1"]);
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": issued.cert_file,
            "privateKey": issued.key_file,
            "httpPort": self.http,
            "tlsPort": self.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.for_customers,
            "externalAccountMACKeys": { CUSTOMER.0: CUSTOMER.1 },
            "certificateValidityPeriod": 90 * 86_400,
        } });
        fs::write(self.path("pebble.json"), config.to_string()).unwrap();
        let given =
            |name: &str| self.behaviour.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let mut args = vec!["env".to_owned()];
        let usual = [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")];
        args.extend(usual.map(|(name, value)| format!("{name}={}", given(name).unwrap_or_else(|| value.to_owned()))));
        let rest =
            ["pebble", "-config", &self.path("pebble.json").display().to_string(), "-dnsserver"].map(str::to_owned);
        args.extend(rest);
        args.push(format!("127.0.0.1:{}", self.dns));
        self.pebble = Some(start(&args.remove(0), &args, &self.path("pebble.log")));
        let log = self.path("pebble.log");
        let is_up = || async { self.ask(&self.directory()).await.is_some() };
        eventually(PATIENCE, &format!("Pebble answers: {}", log.display()), is_up).await;
    }

    /// Ends the CA.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.pebble.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The CA of its own certificate.
    pub fn authorities(&self) -> Authorities {
        Authorities::read(&self.authority.file()).unwrap()
    }

    /// The file of that CA.
    pub fn authority_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// A certificate for another server that its clients trust.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The root of the certificates that it issues.
    pub async fn roots(&self) -> RootCertStore {
        let pem = self.ask(&format!("https://localhost:{}/roots/0", self.management)).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        roots
    }

    /// What it says about a certificate: `Valid` or `Revoked`.
    pub async fn status(&self, serial: &str) -> String {
        let url = format!("https://localhost:{}/cert-status-by-serial/{serial}", self.management);
        let answer: Value = serde_json::from_slice(&self.ask(&url).await.unwrap()).unwrap();
        answer["Status"].as_str().unwrap().to_owned()
    }

    /// Leads a name to an address.
    pub async fn lead(&self, name: &str, to: Ipv4Addr) {
        self.manage("clear-a", &json!({ "host": format!("{name}.") }).to_string()).await;
        let body = json!({ "host": format!("{name}."), "addresses": [to.to_string()] });
        self.manage("add-a", &body.to_string()).await;
    }

    async fn manage(&self, what: &str, body: &str) {
        let url = format!("http://127.0.0.1:{}/{what}", self.dns_management);
        let body = Full::new(Bytes::from(body.to_owned()));
        let answer = self.client().send(Request::post(url).body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{what}");
    }

    /// A program that writes DNS records, and the file that it notes its calls in.
    pub fn hook(&self) -> (PathBuf, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let (hook, calls) = (self.path("hook"), self.path("calls"));
        let text = format!(
            "#!/bin/sh\nset -e\necho \"$1 $2\" >> {}\ncase $1 in add) p=set-txt ;; remove) p=clear-txt ;; esac\n\
             exec curl -sf -d \"{{\\\"host\\\": \\\"$2.\\\", \\\"value\\\": \\\"$3\\\"}}\" http://127.0.0.1:{}/$p\n",
            calls.display(),
            self.dns_management
        );
        fs::write(&hook, text).unwrap();
        fs::set_permissions(&hook, PermissionsExt::from_mode(0o700)).unwrap();
        (hook, calls)
    }

    /// A client that trusts it.
    pub fn client(&self) -> HttpsClient {
        HttpsClient::new(&self.authorities()).unwrap()
    }

    async fn ask(&self, url: &str) -> Option<Bytes> {
        let request = Request::get(url).body(Full::new(Bytes::new())).unwrap();
        self.client().send(request).await.ok().filter(|answer| answer.status() == 200).map(Response::into_body)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
