//! Certificates from a CA: a real ACME server issues, renews and refuses them.

mod away;
mod command;
mod window;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use tokengate::acme::{self, Folder};
use tokengate::clock::Timestamp;
use tokengate::config::settings::{
    Acme, AcmeCertificate, AcmeChallenge, ExposedToken, ExternalAccount, ListenerRole, PlainListener, Plaintext,
};
use tokengate::tls::{ACME_PROTOCOL, Certificate};

use crate::support::authority::Authority;
use crate::support::client::{Tls, connect};
use crate::support::pebble::{CUSTOMER, Pebble};
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually, nowhere};

/// A name that the CA can check.
const NAME: &str = "a.test";
const DAY: Duration = Duration::from_secs(86_400);

/// The settings of a CA, and of one certificate from it.
fn ca(pebble: &Pebble, folder: &Path, challenge: AcmeChallenge, names: &[&str]) -> Acme {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Acme {
        directory: pebble.directory(),
        authorities: Some(pebble.authorities()),
        contact: vec!["mailto:admin@a.test".to_owned()],
        folder: folder.to_owned(),
        profile: None,
        external_account: None,
        dns_hook: None,
        dns_delay: Duration::ZERO,
        retry_after: Duration::from_secs(120),
        certificates: vec![AcmeCertificate { name: "main".to_owned(), names, challenge }],
    }
}

/// A gateway with a certificate from this CA, on the ports where the CA looks for answers.
fn site(origin: &Origin, ip: Ipv4Addr, ports: (u16, u16), acme: Acme) -> Site {
    let mut site = Site::before(origin);
    let (wanted, file) = (&acme.certificates[0], acme.file("main"));
    let now = Timestamp::from_micros(1_795_499_584_000_000);
    let issued = Certificate::read("main", &file, &file).ok();
    let made = || Certificate::stand_in("main", &wanted.names, &file, now).unwrap();
    site.settings.certificates[0] = issued.unwrap_or_else(made);
    let plain = PlainListener { plaintext: Plaintext::Redirect, exposed_token: ExposedToken::Mark };
    site.settings.listeners[0].address = SocketAddr::new(IpAddr::V4(ip), ports.1);
    site.settings.listeners[1].address = SocketAddr::new(IpAddr::V4(ip), ports.0);
    site.settings.listeners[1].role = ListenerRole::Plain(plain);
    site.settings.acme = Some(acme);
    site
}

async fn start(origin: &Origin, pebble: &Pebble, acme: Acme) -> Gateway {
    site(origin, Ipv4Addr::LOCALHOST, (pebble.http, pebble.tls), acme).start().await
}

fn count(gateway: &Gateway, what: &str) -> u64 {
    gateway.metric(&format!("tokengate_acme_{what}{{certificate=\"main\"}}"))
}

async fn has_counted(gateway: &Gateway, what: &str, number: u64) {
    eventually(PATIENCE, &format!("{what} is {number}"), || async { count(gateway, what) >= number }).await;
}

/// Whether a client that trusts these roots accepts the certificate for the name.
async fn is_trusted(gateway: &Gateway, roots: &Arc<RootCertStore>, name: &str) -> bool {
    connect(gateway.address(), &Tls::default().trusting(roots), name).await.is_ok()
}

async fn becomes_trusted(gateway: &Gateway, roots: &Arc<RootCertStore>, name: &str) {
    eventually(PATIENCE, "the certificate of the CA is in use", || is_trusted(gateway, roots, name)).await;
}

#[tokio::test]
async fn a_certificate_is_issued_after_each_kind_of_challenge() {
    let origin = Origin::answering("hello").await;
    let pebble = Pebble::start(&[("PEBBLE_AUTHZREUSE", "50")]).await;
    let roots = Arc::new(pebble.roots().await);
    for (challenge, names) in [
        (AcmeChallenge::TlsAlpn, &[NAME, "b.test"][..]),
        (AcmeChallenge::Http, &[NAME, "c.test"]),
        (AcmeChallenge::Dns, &["*.d.test", "d.test"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (hook, calls) = pebble.hook();
        let acme = Acme { dns_hook: Some(hook), ..ca(&pebble, folder.path(), challenge, names) };
        let gateway = start(&origin, &pebble, acme.clone()).await;
        for name in names {
            becomes_trusted(&gateway, &roots, &name.replace('*', "x")).await;
        }
        let stream = connect(gateway.address(), &Tls::default().trusting(&roots), &names[0].replace('*', "x")).await;
        let asked = format!("GET /public/x HTTP/1.1\r\nHost: {}\r\n\r\n", names[0].replace('*', "x"));
        assert_eq!(Wire::over(stream.unwrap()).ask(asked).await.text(), "hello", "{challenge:?}");
        assert_eq!((count(&gateway, "issued_total"), count(&gateway, "failures_total")), (1, 0));
        let renewal = i64::try_from(count(&gateway, "renewal_timestamp_seconds")).unwrap();
        let in_days = (renewal - gateway.clock().now().as_seconds()) / 86_400;
        assert!((59..=60).contains(&in_days), "after two thirds of 90 days: {in_days}");
        for file in ["main.pem", "account.json"] {
            let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(Folder::at(folder.path()).pending(), [], "no challenge is left");
        if challenge == AcmeChallenge::Dns {
            let calls = fs::read_to_string(calls).unwrap();
            let of = |act: &str| calls.lines().filter(|line| line.starts_with(act)).count();
            assert!(of("add") > 0 && of("add") == of("remove"), "{calls}");
        }
        gateway.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_expires_and_nothing_is_interrupted() {
    let origin = Origin::answering("hello").await;
    // A fifth of all nonces is rejected, as busy servers do.
    let mut pebble = Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "20"), ("PEBBLE_AUTHZREUSE", "100")]).await;
    let folder = tempfile::tempdir().unwrap();
    let acme = ca(&pebble, folder.path(), AcmeChallenge::TlsAlpn, &[NAME]);
    let gateway = start(&origin, &pebble, Acme { retry_after: Duration::from_secs(1), ..acme.clone() }).await;
    let begin = gateway.clock().now();
    // Attempts that fail because of many rejected nonces are repeated when time has passed.
    let issued = |number| {
        let gateway = &gateway;
        eventually(PATIENCE, "it is issued", move || async move {
            gateway.hand.advance(Duration::from_secs(1));
            count(gateway, "issued_total") >= number
        })
    };
    issued(1).await;
    let roots = Arc::new(pebble.roots().await);
    becomes_trusted(&gateway, &roots, NAME).await;
    let file = acme.file("main");
    let first = fs::read(&file).unwrap();
    let stream = connect(gateway.address(), &Tls::default().trusting(&roots), NAME).await.unwrap();
    let mut open = Wire::over(stream);
    let ask = format!("GET /public/x HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    assert_eq!(open.ask(&ask).await.text(), "hello");

    gateway.hand.advance(DAY * 59);
    let looks_again = || async { count(&gateway, "renewal_timestamp_seconds") > 0 };
    eventually(PATIENCE, "it is looked at", looks_again).await;
    assert_eq!(fs::read(&file).unwrap(), first, "it is not due yet");
    gateway.hand.advance(DAY);
    issued(2).await;
    gateway.hand.set(begin);
    assert_ne!(fs::read(&file).unwrap(), first);
    assert_eq!(open.ask(&ask).await.text(), "hello", "the connection goes on");
    becomes_trusted(&gateway, &roots, NAME).await;

    // The CA has lost its accounts: a new one is created. Its root is another one, too.
    pebble.stop();
    pebble.restart().await;
    let issued_before = count(&gateway, "issued_total");
    gateway.hand.advance(DAY * 61);
    issued(issued_before + 1).await;
    let roots = Arc::new(pebble.roots().await);
    becomes_trusted(&gateway, &roots, NAME).await;
}

#[tokio::test]
async fn a_name_that_cannot_be_verified_is_told_and_tried_again_later() {
    let origin = Origin::answering("hello").await;
    let pebble = Pebble::start(&[]).await;
    let roots = Arc::new(pebble.roots().await);
    for challenge in [AcmeChallenge::TlsAlpn, AcmeChallenge::Http] {
        // Nothing listens there.
        pebble.lead("away.test", Ipv4Addr::new(127, 0, 0, 9)).await;
        let folder = tempfile::tempdir().unwrap();
        let acme = ca(&pebble, folder.path(), challenge, &["away.test"]);
        let gateway = start(&origin, &pebble, acme.clone()).await;
        has_counted(&gateway, "failures_total", 1).await;
        assert!(!acme.file("main").exists());
        assert!(!is_trusted(&gateway, &roots, "away.test").await, "a certificate of its own stands in");
        pebble.lead("away.test", Ipv4Addr::LOCALHOST).await;
        gateway.hand.advance(Duration::from_secs(119));
        let lock = Folder::at(folder.path()).try_lock().unwrap();
        assert!(lock.is_some(), "it does not try again before the pause is over");
        drop(lock);
        gateway.hand.advance(Duration::from_secs(32));
        becomes_trusted(&gateway, &roots, "away.test").await;
        assert_eq!((count(&gateway, "issued_total"), count(&gateway, "failures_total")), (1, 1));
        gateway.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn a_ca_for_customers_gets_the_account_of_the_customer() {
    let origin = Origin::answering("hello").await;
    let pebble = Pebble::start_for_customers().await;
    for (id, key, is_issued) in [
        (None, "", false),
        (Some(CUSTOMER.0), "AAAA", false),
        (Some("kid-2"), CUSTOMER.1, false),
        (Some(CUSTOMER.0), CUSTOMER.1, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("eab.key");
        fs::write(&key_file, format!("{key}\n")).unwrap();
        let external_account = id.map(|id| ExternalAccount { id: id.to_owned(), key_file });
        let acme = ca(&pebble, folder.path(), AcmeChallenge::Http, &[NAME]);
        let gateway = start(&origin, &pebble, Acme { external_account, ..acme }).await;
        has_counted(&gateway, if is_issued { "issued_total" } else { "failures_total" }, 1).await;
        gateway.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn gateways_that_share_a_folder_order_once_and_answer_for_one_another() {
    let origin = Origin::answering("hello").await;
    let pebble = Pebble::start(&[]).await;
    let roots = Arc::new(pebble.roots().await);
    for challenge in [AcmeChallenge::TlsAlpn, AcmeChallenge::Http] {
        let folder = tempfile::tempdir().unwrap();
        // The CA asks the second gateway for one name, and the first one for the other.
        pebble.lead("second.test", Ipv4Addr::new(127, 0, 0, 2)).await;
        let acme = ca(&pebble, folder.path(), challenge, &["first.test", "second.test"]);
        let ports = (pebble.http, pebble.tls);
        let second = site(&origin, Ipv4Addr::new(127, 0, 0, 2), ports, acme.clone()).start();
        let (first, second) = tokio::join!(start(&origin, &pebble, acme.clone()), second);
        for gateway in [&first, &second] {
            becomes_trusted(gateway, &roots, "second.test").await;
        }
        let issued = || count(&first, "issued_total") + count(&second, "issued_total");
        assert_eq!(issued(), 1);
        // Both find it due at the same time.
        let before = fs::read(acme.file("main")).unwrap();
        let begin = first.clock().now();
        first.hand.advance(DAY * 61);
        second.hand.advance(DAY * 61);
        eventually(PATIENCE, "it is renewed", || async { issued() >= 2 }).await;
        first.hand.set(begin);
        second.hand.set(begin);
        assert_ne!(fs::read(acme.file("main")).unwrap(), before);
        // A command is a third process; both gateways answer for it.
        let lock = loop {
            if let Some(lock) = Folder::at(folder.path()).try_lock().unwrap() {
                break lock;
            }
            tokio::task::yield_now().await;
        };
        let wanted = &acme.certificates[0];
        acme::issue(&acme, wanted, None, &lock).await.unwrap();
        drop(lock);
        assert_eq!(count(&first, "failures_total") + count(&second, "failures_total"), 0);
        first.stop(Duration::ZERO).await;
        second.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn a_ca_that_is_away_changes_nothing() {
    let origin = Origin::answering("hello").await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let issued = authority.issue_until("main", &[NAME], 2100);
    let both = fs::read_to_string(&issued.key_file).unwrap() + &fs::read_to_string(&issued.cert_file).unwrap();
    let file = folder.path().join("main.pem");
    fs::write(&file, &both).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let pebble = Pebble::start(&[]).await;
    let acme = Acme {
        directory: format!("https://{}/dir", nowhere()),
        ..ca(&pebble, folder.path(), AcmeChallenge::Http, &[NAME])
    };
    let gateway = start(&origin, &pebble, acme).await;
    let mut roots = RootCertStore::empty();
    authority.trusted().authorities.roots().roots.iter().for_each(|root| roots.roots.push(root.clone()));
    let roots = Arc::new(roots);
    assert!(is_trusted(&gateway, &roots, NAME).await);
    eventually(PATIENCE, "it is looked at", || async { count(&gateway, "renewal_timestamp_seconds") > 0 }).await;
    assert_eq!(count(&gateway, "failures_total"), 0);
    // It becomes due, and stays in use whatever fails.
    gateway
        .hand
        .set(Timestamp::from_micros(i64::try_from(count(&gateway, "renewal_timestamp_seconds")).unwrap() * 1_000_000));
    for failures in 1..=3 {
        has_counted(&gateway, "failures_total", failures).await;
        assert!(is_trusted(&gateway, &roots, NAME).await);
        assert_eq!(fs::read_to_string(&file).unwrap(), both);
        gateway.hand.advance(Duration::from_secs(120) * 2_u32.pow(u32::try_from(failures).unwrap()));
    }
}

#[tokio::test]
async fn handshakes_for_challenges_serve_nothing_else() {
    let origin = Origin::answering("hello").await;
    let pebble = Pebble::start(&[]).await;
    let roots = Arc::new(pebble.roots().await);
    let folder = tempfile::tempdir().unwrap();
    let acme = ca(&pebble, folder.path(), AcmeChallenge::TlsAlpn, &[NAME]);
    let gateway = start(&origin, &pebble, acme).await;
    becomes_trusted(&gateway, &roots, NAME).await;
    let folder = Folder::at(folder.path());
    let http1 = &b"http/1.1"[..];
    let handshake = async |alpn: Vec<&'static [u8]>| {
        let stream = connect(gateway.address(), &Tls { alpn, ..Tls::default() }.trusting(&roots), NAME).await;
        stream.map(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert!(handshake(vec![ACME_PROTOCOL]).await.is_err(), "no challenge is pending");
    assert_eq!(handshake(vec![ACME_PROTOCOL, b"h2"]).await.unwrap().as_deref(), Some(&b"h2"[..]));
    assert_eq!(handshake(vec![ACME_PROTOCOL, http1]).await.unwrap().as_deref(), Some(http1));
    // A client that offers it beside an unknown protocol gets the ordinary certificate, and no requests.
    let config = Tls { alpn: vec![ACME_PROTOCOL, b"x"], ..Tls::default() }.trusting(&roots);
    let mut wire = Wire::over(connect(gateway.address(), &config, NAME).await.unwrap());
    let _ = wire.try_send(format!("GET /public/x HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await;
    wire.ends().await;
    assert_eq!(origin.count(), 0);

    // Over unencrypted HTTP, only the path of a pending challenge is answered.
    let pending = acme::Pending {
        name: "b.test".to_owned(),
        token: "token-1".to_owned(),
        key_authorization: "token-1.thumb".to_owned(),
    };
    folder.announce(&pending).unwrap();
    let path = "/.well-known/acme-challenge/token-1";
    let answers = || async { Wire::plain(&gateway).await.ask(Ask::get(path).bytes()).await.status == 200 };
    eventually(PATIENCE, "the pending challenge is answered", answers).await;
    for (ask, status, text) in [
        (Ask::get(path), 200, Some("token-1.thumb")),
        (Ask::new("HEAD", path), 200, None),
        (Ask::get("/.well-known/acme-challenge/token-2"), 308, None),
        (Ask::get("/.well-known/acme-challenge/"), 308, None),
        (Ask::get("/public/x"), 308, None),
        (Ask::post(path, "x"), 403, None),
        (Ask::get("/.well-known/acme-challenge/%74oken-1"), 308, None),
    ] {
        let mut wire = Wire::plain(&gateway).await;
        wire.send(ask.bytes()).await;
        let is_head = ask.bytes().starts_with(b"HEAD");
        let answer = if is_head { wire.answer_to_head().await } else { wire.answer().await };
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&ask.bytes()));
        if let Some(text) = text {
            assert_eq!(answer.text(), text);
        }
    }
    let over_tls = connect(gateway.address(), &Tls::default().trusting(&roots), NAME).await.unwrap();
    let answer = Wire::over(over_tls).ask(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await;
    assert_ne!(answer.status, 200, "over TLS it is a request like any other");
    assert_eq!(origin.count(), 0);
}
