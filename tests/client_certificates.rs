//! Certificates of clients: which are accepted, whose they are, what upstreams learn, and when they end.

mod programs;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, HandshakeKind};
use tempfile::TempDir;
use tokengate::client::certificate::ClientCertificate;
use tokengate::clock::Timestamp;
use tokengate::config::settings::{
    Auth, CertificateUsers, ClientCertificates, ForwardCertificate, ForwardedFamily, Listed, ListenerRole, ProxyTrust,
    Route, Settings,
};
use tokengate::tls::{ClientAuthorities, ClientChain, ClientName, NameKind};
use tokengate::token::{AuthMethod, Networks};
use tokio::sync::Mutex;

use crate::support::client::{BOTH, Http, connect};
use crate::support::gateway::{Captured, route};
use crate::support::http2::{H2, collect};
use crate::support::{Answer, Ask, Gate, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually};

/// A CA for clients.
struct ClientCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate of a client.
#[derive(Clone)]
struct Client {
    cert_file: PathBuf,
    key_file: PathBuf,
    serial: SerialNumber,
    der: Vec<u8>,
}

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(ia5(text))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(ia5(text))
}

fn uri(text: &str) -> SanType {
    SanType::URI(ia5(text))
}

impl ClientCa {
    fn new() -> ClientCa {
        ClientCa::named("CA of clients")
    }

    fn named(name: &str) -> ClientCa {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = ClientCa { issuer, folder: tempfile::tempdir().unwrap() };
        fs::write(ca.file(), ca.issuer.pem()).unwrap();
        ca
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn list(&self) -> PathBuf {
        self.folder.path().join("crl.pem")
    }

    fn issue(&self, name: &str, names: &[SanType]) -> Client {
        self.issue_until(name, names, 2100, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue_until(&self, name: &str, names: &[SanType], year: i32, usage: ExtendedKeyUsagePurpose) -> Client {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = names.to_vec();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![usage];
        let serial = SerialNumber::from(name.bytes().map(|byte| byte & 0x7f).collect::<Vec<_>>());
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let at = |end: &str| self.folder.path().join(format!("{name}-{end}.pem"));
        let client = Client { cert_file: at("cert"), key_file: at("key"), serial, der: cert.der().to_vec() };
        fs::write(&client.cert_file, cert.pem()).unwrap();
        fs::write(&client.key_file, key.serialize_pem()).unwrap();
        fs::set_permissions(&client.key_file, fs::Permissions::from_mode(0o600)).unwrap();
        client
    }

    /// Writes the revocation list with these certificates, valid until the beginning of this year.
    fn revoke(&self, revoked: &[&Client], year: i32) {
        self.revoke_since(revoked, 2024, year);
    }

    /// The same, with a list that was issued at the beginning of the year `issued`.
    fn revoke_since(&self, revoked: &[&Client], issued: i32, year: i32) {
        let entry = |client: &&Client| RevokedCertParams {
            serial_number: client.serial.clone(),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(issued, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let written = self.folder.path().join("new.pem");
        fs::write(&written, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        fs::rename(written, self.list()).unwrap();
    }
}

/// How a listener asks for certificates.
struct Asks {
    required: bool,
    lists: bool,
    users: CertificateUsers,
}

impl Asks {
    fn optional() -> Asks {
        Asks { required: false, lists: false, users: CertificateUsers::new(Some(NameKind::Email), []) }
    }
}

fn certificates(ca: &ClientCa, asks: &Asks) -> Option<Arc<ClientCertificates>> {
    let list = asks.lists.then(|| ca.list());
    let authorities = ClientAuthorities::read(&ca.file(), list.as_deref(), asks.required).unwrap();
    Some(Arc::new(ClientCertificates { authorities, users: asks.users.clone() }))
}

fn set(settings: &mut Settings, clients: Option<Arc<ClientCertificates>>) {
    let ListenerRole::Tls(tls) = &mut settings.listeners[0].role else { unreachable!() };
    tls.clients = clients;
}

/// `/cert/` needs a certificate, `/both/` a certificate or a token, `/free/` takes one, `/live/` streams.
fn site(origin: &Origin, ca: &ClientCa, asks: &Asks) -> Site {
    let with = |name: &str, credentials: &[AuthMethod], auth| Route {
        credentials: credentials.to_vec(),
        forward_certificate: ForwardCertificate::Leaf,
        ..route(name, &format!("/{name}/"), auth)
    };
    let certificate = [AuthMethod::Certificate];
    let both = [AuthMethod::Token, AuthMethod::Certificate];
    Site::before(origin).with(|settings| {
        set(settings, certificates(ca, asks));
        settings.routes.extend([
            with("cert", &certificate, Auth::Required),
            with("both", &both, Auth::Required),
            with("free", &certificate, Auth::Optional),
            with("open", &[], Auth::None),
            Route { streaming: true, ..with("live", &certificate, Auth::Required) },
            Route { forward_certificate: ForwardCertificate::Chain, ..with("chain", &certificate, Auth::Required) },
        ]);
    })
}

fn config(gateway: &Gateway, client: Option<&Client>, http: Http) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(Arc::clone(&gateway.roots));
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = CertificateDer::pem_file_iter(&client.cert_file).unwrap().map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&client.key_file).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![if http == Http::Two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Arc::new(config)
}

/// The response; `None` if the handshake or the connection fails.
async fn ask(gateway: &Gateway, client: Option<&Client>, http: Http, ask: &Ask) -> Option<Answer> {
    let config = config(gateway, client, http);
    let stream = connect(gateway.address(), &config, "localhost").await.ok()?;
    match http {
        Http::One => {
            let mut wire = Wire::over(stream);
            wire.try_send(ask.bytes()).await.ok()?;
            let (status, head) = wire.next_head().await?;
            let (fields, trailers) = (head.fields, Default::default());
            Some(Answer { status, fields, body: Vec::new(), trailers, complete: true })
        }
        Http::Two => {
            let mut connection = H2::over(stream).await.ok()?;
            let response = connection.send(ask.http2()).await.ok()?;
            Some(collect(response).await)
        }
    }
}

async fn status(gateway: &Gateway, client: Option<&Client>, http: Http, path: &str) -> Option<u16> {
    ask(gateway, client, http, &Ask::get(path)).await.map(|answer| answer.status)
}

/// The connection, once its first request was answered.
async fn kept(gateway: &Gateway, client: &Client) -> Wire {
    let stream = connect(gateway.address(), &config(gateway, Some(client), Http::One), "localhost").await.unwrap();
    let mut wire = Wire::over(stream);
    assert_eq!(wire.ask(Ask::get("/cert/x").bytes()).await.status, 200);
    wire
}

#[tokio::test]
async fn a_certificate_authenticates_the_one_active_user_that_it_names() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let listed = |kind, text: &str| Listed::Name(ClientName::parse(kind, text).unwrap());
    let pinned = ca.issue("pinned", &[email("alice@x.test"), email("bob@x.test")]);
    let fingerprint: [u8; 32] =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pinned.der).as_ref().try_into().unwrap();
    let users = CertificateUsers::new(
        Some(NameKind::Email),
        [
            (listed(NameKind::Dns, "Build.X.test"), "ci".into()),
            (listed(NameKind::Uri, "spiffe://x.test/deploy"), "deploy".into()),
            (listed(NameKind::Email, "ops@x.test"), "alice@x.test".into()),
            (Listed::Fingerprint(fingerprint), "deploy".into()),
        ],
    );
    let gateway = site(&origin, &ca, &Asks { users, ..Asks::optional() }).start().await;
    for user in ["alice@x.test", "bob@x.test", "ci", "deploy", "gone@x.test"] {
        gateway.user(user).await;
    }
    let gone = gateway.user("gone@x.test").await;
    gateway.store.accounts.deactivate(gone).await.unwrap();
    let table: [(&[SanType], Option<&str>); 16] = [
        (&[email("alice@x.test")], Some("alice@x.test")),
        (&[email("alice@X.TEST")], Some("alice@x.test")),
        (&[email("ALICE@x.test")], None),
        (&[email("alice@x.test"), email("ops@x.test")], Some("alice@x.test")),
        (&[email("alice@x.test"), email("bob@x.test")], None),
        (&[email("alice@x.test"), dns("build.x.test")], None),
        (&[email("alice@x.test"), dns("other.test")], Some("alice@x.test")),
        (&[dns("build.x.TEST"), dns("other.test")], Some("ci")),
        (&[dns("alice@x.test")], None),
        (&[uri("spiffe://x.test/deploy")], Some("deploy")),
        (&[uri("spiffe://x.test/DEPLOY")], None),
        (&[email("nobody@x.test")], None),
        (&[email("gone@x.test")], None),
        (&[email("")], None),
        (&[email("alice@x.test"), email("a b@x.test")], None),
        (&[], None),
    ];
    for (place, (names, user)) in table.into_iter().enumerate() {
        let client = ca.issue(&format!("client{place}"), names);
        for http in BOTH {
            let seen = origin.count();
            let found = status(&gateway, Some(&client), http, "/cert/x").await;
            assert_eq!(found, Some(if user.is_some() { 200 } else { 403 }), "{place} {http:?}");
            let optional = status(&gateway, Some(&client), http, "/free/x").await;
            assert_eq!(optional, found, "a certificate of nobody is not anonymous: {place}");
            match user {
                None => assert_eq!(origin.count(), seen),
                Some(user) => {
                    let fields = origin.last().fields;
                    let sent = ["x-user-name", "x-auth-method", "x-token-id"].map(|name| fields.get(name));
                    assert_eq!(sent, [Some(user), Some("certificate"), None], "{place}");
                }
            }
        }
    }
    assert_eq!(status(&gateway, Some(&pinned), Http::One, "/cert/x").await, Some(200));
    assert_eq!(origin.last().fields.get("x-user-name"), Some("deploy"), "the fingerprint decides alone");
    for http in BOTH {
        assert_eq!(status(&gateway, None, http, "/cert/x").await, Some(403));
        assert_eq!(status(&gateway, None, http, "/free/x").await, Some(200));
        assert_eq!(origin.last().fields.get("x-auth-method"), Some("anonymous"));
    }
}

#[tokio::test]
async fn the_order_of_credentials_decides_and_a_certificate_of_nobody_gives_way_to_a_token() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let gateway = site(&origin, &ca, &Asks::optional()).start().await;
    gateway.user("alice@x.test").await;
    let key = gateway.issue("bob").await;
    let (alice, nobody) = (ca.issue("alice", &[email("alice@x.test")]), ca.issue("nobody", &[]));
    for http in BOTH {
        for (client, token, status, user) in [
            (Some(&alice), None, 200, Some("alice@x.test")),
            (Some(&alice), Some(key.as_str()), 200, Some("bob")),
            (Some(&nobody), Some(&key), 200, Some("bob")),
            (None, Some(&key), 200, Some("bob")),
            (Some(&nobody), None, 401, None),
            (Some(&alice), Some("wrong"), 401, None),
            (None, None, 401, None),
        ] {
            let mut request = Ask::get("/both/x");
            request = if let Some(key) = token { request.token(key) } else { request };
            let answer = ask(&gateway, client, http, &request).await.unwrap();
            assert_eq!(answer.status, status, "{user:?} {token:?}");
            if user.is_some() {
                assert_eq!(origin.last().fields.get("x-user-name"), user);
            }
        }
    }
}

#[tokio::test]
async fn upstreams_get_the_certificate_of_the_handshake_and_never_a_forged_one() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let gateway = site(&origin, &ca, &Asks::optional()).start().await;
    gateway.user("alice@x.test").await;
    let mut alice = ca.issue("alice", &[email("alice@x.test")]);
    // A chain: the CA follows.
    let chain = alice.cert_file.with_file_name("chain.pem");
    fs::write(&chain, format!("{}{}", fs::read_to_string(&alice.cert_file).unwrap(), ca.issuer.pem())).unwrap();
    alice.cert_file = chain;
    let field = |bytes: &[u8]| {
        use base64ct::{Base64, Encoding};
        format!(":{}:", Base64::encode_string(bytes))
    };
    let (leaf, root) = (field(&alice.der), field(ca.issuer.der()));
    let forged = [
        "Client-Cert",
        "client-cert",
        "CLIENT-CERT",
        "Client_Cert",
        "client.cert",
        "ClientCert",
        "Client-Cert-Chain",
        "client_cert_chain",
        "Client-Cert-Verified",
        "client-certificate",
        "Client--Cert",
        "X-Client-Cert",
        "SSL_CLIENT_CERT",
    ];
    for http in BOTH {
        for (client, path, cert, others) in [
            (Some(&alice), "/cert/x", Some(leaf.as_str()), None),
            (Some(&alice), "/chain/x", Some(&leaf), Some(root.as_str())),
            (Some(&alice), "/free/x", Some(&leaf), None),
            (Some(&alice), "/public/x", None, None),
            (None, "/free/x", None, None),
            (None, "/public/x", None, None),
        ] {
            for name in forged {
                let name = if http == Http::Two { name.to_ascii_lowercase() } else { name.to_owned() };
                let request = Ask::get(path).field(&name, ":Zm9yZ2Vk:").field("Connection-Test", "x");
                let answer = ask(&gateway, client, http, &request).await.unwrap();
                assert_eq!(answer.status, 200, "{name} {path}");
                let fields = origin.last().fields;
                assert_eq!(fields.get("client-cert"), cert, "{name} {path}");
                assert_eq!(fields.get("client-cert-chain"), others, "{name} {path}");
                let text = format!("{fields:?}");
                assert!(!text.contains("Zm9yZ2Vk"), "{name} {path}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_without_an_acceptable_certificate_fails() {
    let (origin, ca, foreign) = (Origin::answering("hello").await, ClientCa::new(), ClientCa::new());
    let alice = email("alice@x.test");
    let good = ca.issue("good", std::slice::from_ref(&alice));
    let bad = [
        foreign.issue("foreign", std::slice::from_ref(&alice)),
        ca.issue_until("expired", std::slice::from_ref(&alice), 2021, ExtendedKeyUsagePurpose::ClientAuth),
        ca.issue_until("server", std::slice::from_ref(&alice), 2100, ExtendedKeyUsagePurpose::ServerAuth),
        ca.issue("revoked", &[alice]),
    ];
    ca.revoke(&[&bad[3]], 2100);
    for required in [true, false] {
        let gateway = site(&origin, &ca, &Asks { required, lists: true, ..Asks::optional() }).start().await;
        gateway.user("alice@x.test").await;
        for http in BOTH {
            assert_eq!(status(&gateway, Some(&good), http, "/cert/x").await, Some(200));
            for client in &bad {
                assert_eq!(status(&gateway, Some(client), http, "/public/x").await, None, "{:?}", client.cert_file);
            }
            let without = status(&gateway, None, http, "/public/x").await;
            assert_eq!(without, (!required).then_some(200));
        }
    }
    let other = ClientCa::named("Another CA");
    // Without a list of its CA, or with an expired one, no certificate is known to be valid.
    for year in [2025, 2100] {
        let (issuer, lists) = if year == 2025 { (&ca, &ca) } else { (&other, &ca) };
        issuer.revoke(&[], year);
        let authorities = ClientAuthorities::read(&lists.file(), Some(&issuer.list()), false).unwrap();
        assert!(!authorities.notes(tokengate::clock::Clock::system().now()).is_empty());
        let users = CertificateUsers::new(Some(NameKind::Email), []);
        let clients = Some(Arc::new(ClientCertificates { authorities, users }));
        let gateway = site(&origin, &ca, &Asks::optional()).with(|settings| set(settings, clients)).start().await;
        assert_eq!(status(&gateway, Some(&good), Http::One, "/public/x").await, None, "{year}");
        assert_eq!(status(&gateway, None, Http::One, "/public/x").await, Some(200));
    }
}

#[tokio::test]
async fn a_revocation_list_that_changes_ends_the_connections_of_revoked_certificates_and_no_others() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let (alice, bob) = (ca.issue("alice", &[email("alice@x.test")]), ca.issue("bob", &[email("bob@x.test")]));
    ca.revoke(&[], 2100);
    let gateway = site(&origin, &ca, &Asks { lists: true, ..Asks::optional() }).start().await;
    for user in ["alice@x.test", "bob@x.test"] {
        gateway.user(user).await;
    }
    let (mut hers, mut his) = (kept(&gateway, &alice).await, kept(&gateway, &bob).await);
    ca.revoke(&[&alice], 2100);
    // Nothing is sent: the connection ends by itself.
    hers.ends().await;
    assert_eq!(his.ask(Ask::get("/cert/x").bytes()).await.status, 200);
    for http in BOTH {
        assert_eq!(status(&gateway, Some(&alice), http, "/cert/x").await, None);
        assert_eq!(status(&gateway, Some(&bob), http, "/cert/x").await, Some(200));
    }
    // A damaged list changes nothing.
    let (said, _guard) = Captured::of_this_thread();
    fs::write(ca.list(), "damaged").unwrap();
    eventually(PATIENCE, "it is refused", || async { said.text().contains("certificate_not_renewed") }).await;
    assert_eq!(status(&gateway, Some(&alice), Http::One, "/cert/x").await, None);
    assert_eq!(his.ask(Ask::get("/cert/x").bytes()).await.status, 200);
    // Nor does a session that began before: there is none to resume.
    let config = config(&gateway, Some(&bob), Http::One);
    for _ in 0..3 {
        let stream = connect(gateway.address(), &config, "localhost").await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(Wire::over(stream).ask(Ask::get("/cert/x").bytes()).await.status, 200);
    }
}

#[tokio::test]
async fn a_running_exchange_ends_when_its_user_or_its_certificate_ends() {
    let origin = Origin::doing(vec![
        Step::Read,
        Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n".to_vec()),
        Step::Wait(Gate::closed()),
    ])
    .await;
    let ca = ClientCa::new();
    let clients: HashMap<&str, Client> = ["user", "list", "date", "rules", "removed"]
        .map(|name| (name, ca.issue(name, &[email(&format!("{name}@x.test"))])))
        .into();
    ca.revoke(&[], 2100);
    for case in ["user", "list", "rules", "date", "removed"] {
        let gateway = site(&origin, &ca, &Asks { lists: true, ..Asks::optional() }).start().await;
        let user = gateway.user(&format!("{case}@x.test")).await;
        let stream =
            connect(gateway.address(), &config(&gateway, Some(&clients[case]), Http::One), "localhost").await.unwrap();
        let mut wire = Wire::over(stream);
        wire.send(Ask::get("/live/x").bytes()).await;
        assert_eq!(wire.next_head().await.unwrap().0, 200);
        match case {
            "user" => drop(gateway.store.accounts.deactivate(user).await.unwrap()),
            "list" => ca.revoke(&[&clients[case]], 2100),
            "rules" => {
                let other = Asks { users: CertificateUsers::new(Some(NameKind::Dns), []), ..Asks::optional() };
                gateway.reload(|settings| set(settings, certificates(&ca, &other))).await.unwrap();
            }
            date => {
                if date == "removed" {
                    gateway.reload(|settings| drop(settings.listeners.remove(0))).await.unwrap();
                }
                gateway.hand.advance(Duration::from_secs(100 * 366 * 86_400));
            }
        }
        let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(!rest.ends_with("0\r\n\r\n"), "{case}: it was cut: {rest:?}");
    }
}

#[tokio::test]
async fn a_user_who_is_deactivated_or_renamed_is_refused_on_an_open_connection() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let gateway = site(&origin, &ca, &Asks::optional()).start().await;
    let alice = gateway.user("alice@x.test").await;
    let mut wire = kept(&gateway, &ca.issue("alice", &[email("alice@x.test")])).await;
    let asked = Ask::get("/cert/x").bytes();
    let accounts = Arc::clone(&gateway.store.accounts);
    for (step, status) in [("deactivate", 403), ("activate", 200), ("rename", 403), ("back", 200)] {
        match step {
            "deactivate" => drop(accounts.deactivate(alice).await.unwrap()),
            "activate" => drop(accounts.activate(alice).await.unwrap()),
            "rename" => accounts.rename(alice, "other").await.unwrap(),
            _ => accounts.rename(alice, "alice@x.test").await.unwrap(),
        }
        let open = Mutex::new(&mut wire);
        let reached = || async {
            gateway.hand.advance(Duration::from_millis(20));
            open.lock().await.ask(&asked).await.status == status
        };
        eventually(PATIENCE, step, reached).await;
    }
}

#[tokio::test]
async fn the_certificate_of_a_proxy_is_not_that_of_its_clients() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let trust = ProxyTrust {
        proxies: Networks::parse("127.0.0.1").unwrap(),
        family: ForwardedFamily::XForwarded,
        protocol: false,
    };
    let site = site(&origin, &ca, &Asks::optional()).with(|settings| settings.listeners[0].trust = trust);
    let gateway = site.start().await;
    gateway.user("proxy@x.test").await;
    let proxy = ca.issue("proxy", &[email("proxy@x.test")]);
    for http in BOTH {
        for from in [None, Some("192.0.2.7")] {
            let with = |path: &str| match from {
                None => Ask::get(path),
                Some(from) => Ask::get(path).field("X-Forwarded-For", from),
            };
            assert_eq!(ask(&gateway, Some(&proxy), http, &with("/cert/x")).await.unwrap().status, 403);
            assert_eq!(ask(&gateway, Some(&proxy), http, &with("/free/x")).await.unwrap().status, 200);
            let fields = origin.last().fields;
            assert_eq!((fields.get("x-auth-method"), fields.get("client-cert")), (Some("anonymous"), None));
        }
    }
}

#[test]
fn a_certificate_that_was_checked_in_the_last_second_of_its_life_is_checked_again_after_it() {
    let ca = ClientCa::new();
    let client = ca.issue_until("short", &[email("alice@x.test")], 2030, ExtendedKeyUsagePurpose::ClientAuth);
    let rules = certificates(&ca, &Asks::optional()).unwrap();
    let chain = ClientChain::read(&[CertificateDer::from(client.der)]).unwrap();
    // 2030-01-01T00:00:00Z. A certificate is valid in the whole second that it names as its end (RFC 5280 §4.1.2.5).
    let at = |micros: i64| Timestamp::from_micros(1_893_456_000_000_000 + micros);
    let certificate = ClientCertificate::new(chain, &rules, at(-1)).unwrap();
    for (micros, is_accepted) in [(0, true), (500_000, true), (1_000_000, false), (2_000_000, false)] {
        assert_eq!(certificate.is_accepted(Some(&rules), at(micros)), is_accepted, "{micros}");
    }
}

#[test]
fn the_newest_of_several_lists_of_a_ca_decides() {
    let ca = ClientCa::new();
    let client = ca.issue("revoked", &[email("alice@x.test")]);
    let list = |revoked: &[&Client], issued: i32| {
        ca.revoke_since(revoked, issued, 2100);
        fs::read_to_string(ca.list()).unwrap()
    };
    let (old, new) = (list(&[], 2023), list(&[&client], 2024));
    let chain = ClientChain::read(&[CertificateDer::from(client.der)]).unwrap();
    for lists in [format!("{old}{new}"), format!("{new}{old}")] {
        fs::write(ca.list(), lists).unwrap();
        let authorities = ClientAuthorities::read(&ca.file(), Some(&ca.list()), false).unwrap();
        assert!(!authorities.accept(&chain, tokengate::clock::Clock::system().now()));
    }
}

#[tokio::test]
async fn a_page_of_another_site_causes_no_effect_with_a_certificate() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let gateway = site(&origin, &ca, &Asks::optional()).start().await;
    gateway.user("alice@x.test").await;
    let alice = ca.issue("alice", &[email("alice@x.test")]);
    for http in BOTH {
        for (method, fields, status) in [
            ("GET", &[("Origin", "https://evil.test")][..], 200),
            ("POST", &[], 200),
            ("POST", &[("Origin", "https://localhost")], 200),
            ("POST", &[("Origin", "https://evil.test")], 403),
            ("POST", &[("Origin", "https://localhost:1")], 403),
            ("POST", &[("Origin", "http://localhost")], 403),
            ("POST", &[("Origin", "null")], 403),
            ("DELETE", &[("Sec-Fetch-Site", "cross-site")], 403),
            ("DELETE", &[("Sec-Fetch-Site", "same-site")], 403),
            ("DELETE", &[("Sec-Fetch-Site", "same-origin")], 200),
            ("PUT", &[("Origin", "https://localhost"), ("Origin", "https://evil.test")], 403),
        ] {
            // `/open/` needs no credentials, but its upstream is told the certificate.
            for path in ["/cert/x", "/open/x"] {
                let mut request = Ask { body: Some(Vec::new()), ..Ask::new(method, path) };
                for (name, value) in fields {
                    request = request.field(name, value);
                }
                let answer = ask(&gateway, Some(&alice), http, &request).await.unwrap();
                assert_eq!(answer.status, status, "{http:?} {method} {path} {fields:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_listener_that_comes_to_require_certificates_serves_no_further_request_without_one() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let gateway = site(&origin, &ca, &Asks::optional()).start().await;
    let stream = connect(gateway.address(), &config(&gateway, None, Http::One), "localhost").await.unwrap();
    let mut wire = Wire::over(stream);
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
    let required = Asks { required: true, ..Asks::optional() };
    gateway.reload(|settings| set(settings, certificates(&ca, &required))).await.unwrap();
    let seen = origin.count();
    wire.send(Ask::get("/public/x").bytes()).await;
    wire.ends().await;
    assert_eq!(origin.count(), seen);
}
