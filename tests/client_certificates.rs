//! Certificates of clients: which are accepted, whose they are, what upstreams learn, and when they end.

mod handshakes;
mod programs;
mod revocation;
mod stores;
mod streams;
mod upstreams;
mod users;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokengate::config::settings::{
    Auth, CertificateUsers, ClientCertificates, ForwardCertificate, ListenerRole, Route, Settings,
};
use tokengate::tls::{ClientAuthorities, NameKind};
use tokengate::token::AuthMethod;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::client::{Http, connect};
use crate::support::gateway::route;
use crate::support::http2::{H2, collect};
use crate::support::{Answer, Ask, Gateway, Origin, Site, Wire};

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
    asking(Site::before(origin), ca, asks)
}

/// The same on another site.
fn asking(site: Site, ca: &ClientCa, asks: &Asks) -> Site {
    let with = |name: &str, credentials: &[AuthMethod], auth| Route {
        credentials: credentials.to_vec(),
        forward_certificate: ForwardCertificate::Leaf,
        ..route(name, &format!("/{name}/"), auth)
    };
    let certificate = [AuthMethod::Certificate];
    let both = [AuthMethod::Token, AuthMethod::Certificate];
    site.with(|settings| {
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
    ask_over(stream, http, ask).await
}

async fn ask_over(stream: TlsStream<TcpStream>, http: Http, ask: &Ask) -> Option<Answer> {
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
