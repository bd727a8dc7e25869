//! The HTTPS listener: versions, certificates, protocols, timeouts, resumption.

use std::sync::Arc;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
use tokengate::config::settings::ListenerRole;
use tokengate::tls::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{BOTH, Tls, connect};
use crate::support::gateway::tls;
use crate::support::http2::H2;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually, soon};

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_1_2_can_be_switched_off() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let stream = Tls { version: Some(version), ..Tls::default() }.connect(&gateway).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        assert_eq!(Wire::over(stream).ask(Ask::get("/public/x").bytes()).await.text(), "hello");
    }
    let site = Site::before(&origin).with(|settings| {
        let ListenerRole::Tls(listener) = &mut settings.listeners[0].role else { unreachable!() };
        listener.tls12 = false;
    });
    let strict = site.start().await;
    assert!(Tls { version: Some(&TLS12), ..Tls::default() }.connect(&strict).await.is_err());
    assert!(Tls { version: Some(&TLS13), ..Tls::default() }.connect(&strict).await.is_ok());
}

/// A gateway with two certificates: the first for `one.test` and `localhost`, the second for `two.test` and
/// `localhost`.
async fn with_two_certificates(origin: &Origin) -> Gateway {
    let mut site = Site::before(origin);
    let second = site.add_certificate("second", &["two.test"]);
    site.settings.listeners[0].role = ListenerRole::Tls(tls(vec![0, second]));
    site.start().await
}

#[tokio::test]
async fn the_name_in_the_handshake_selects_the_certificate() {
    let origin = Origin::answering("hello").await;
    let gateway = with_two_certificates(&origin).await;
    let mut shown = Vec::new();
    // The client verifies the name in the certificate.
    for name in ["one.test", "x.wild.test", "localhost", "127.0.0.1", "two.test"] {
        let stream = Tls { name, ..Tls::default() }.connect(&gateway).await.unwrap();
        shown.push(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned());
    }
    assert!(shown[..4].iter().all(|certificate| *certificate == shown[0]));
    assert_ne!(shown[4], shown[0]);
    for name in ["three.test", "y.x.wild.test"] {
        assert!(Tls { name, ..Tls::default() }.connect(&gateway).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_host_of_another_certificate_is_misdirected() {
    let origin = Origin::answering("hello").await;
    let gateway = with_two_certificates(&origin).await;
    for (name, host, status) in [
        ("two.test", "two.test", 200),
        ("two.test", "TWO.test.:8443", 200),
        ("two.test", "one.test", 421),
        ("two.test", "elsewhere.test", 421),
        ("one.test", "two.test", 421),
        ("one.test", "x.wild.test", 200),
        ("127.0.0.1", "two.test", 200),
    ] {
        let stream = Tls { name, ..Tls::default() }.connect(&gateway).await.unwrap();
        let request = format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(Wire::over(stream).ask(request).await.status, status, "{name} {host}");
    }
    assert_eq!(origin.count(), 4);
}

#[tokio::test]
async fn the_protocol_is_negotiated_and_an_unknown_one_is_refused() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let (h2, http1) = (&b"h2"[..], &b"http/1.1"[..]);
    for (alpn, agreed) in [
        (vec![h2, http1], Some(h2)),
        (vec![http1, h2], Some(h2)),
        (vec![b"spdy/3", http1], Some(http1)),
        (vec![], None),
    ] {
        let stream = Tls { alpn, ..Tls::default() }.connect(&gateway).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        if agreed != Some(h2) {
            assert_eq!(Wire::over(stream).ask(Ask::get("/public/x").bytes()).await.text(), "hello");
        }
    }
    for unknown in [vec![&b"spdy/3"[..]], vec![b"http/1.0", b"h3"]] {
        assert!(Tls { alpn: unknown, ..Tls::default() }.connect(&gateway).await.is_err());
    }
}

#[tokio::test]
async fn an_unfinished_handshake_times_out() {
    let origin = Origin::answering("hello").await;
    // Long enough for the other handshakes on a busy machine.
    let site = Site::before(&origin).with(|settings| settings.timeouts.handshake = Duration::from_secs(2));
    let gateway = site.start().await;
    // The beginning of a ClientHello record that announces 512 bytes.
    for begin in [&b""[..], &[0x16, 3, 1, 2, 0, 1, 0]] {
        let mut silent = TcpStream::connect(gateway.address()).await.unwrap();
        silent.write_all(begin).await.unwrap();
        assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200, "others are served");
        let mut rest = Vec::new();
        // Closing a connection with unread bytes can send a reset.
        drop(soon("the gateway closes", silent.read_to_end(&mut rest)).await);
        assert!(rest.is_empty());
    }
    eventually(PATIENCE, "both are counted", || async { gateway.metric("tokengate_handshake_failures_total") == 2 })
        .await;
}

#[tokio::test]
async fn an_invalid_handshake_is_closed_and_never_served() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for bytes in [&[0xff; 64][..], &[0x80, 0x2e, 1, 3, 1], &[0; 64], b"\r\n\r\n", b" GET / HTTP/1.1\r\n\r\n"] {
        let mut wire = Wire::over(TcpStream::connect(gateway.address()).await.unwrap());
        wire.send(bytes).await;
        let rest = wire.rest().await;
        assert!(!rest.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(origin.count(), 0);
}

/// The beginning of a ClientHello without its rest.
const HALF_HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

#[tokio::test]
async fn a_connection_that_has_sent_nothing_does_not_count_as_a_handshake() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.limits.handshakes = 1).start().await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(gateway.address()).await.unwrap());
        assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    }
    assert_eq!(gateway.metric("tokengate_turned_away_total{limit=\"handshakes\"}"), 0);
}

#[tokio::test]
async fn unfinished_handshakes_are_closed_for_waiting_ones_of_the_same_client() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| {
        settings.limits.handshakes_per_ip = 2;
        settings.timeouts.handshake = Duration::from_secs(20);
    });
    let gateway = site.start().await;
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut half = TcpStream::connect(gateway.address()).await.unwrap();
        half.write_all(&HALF_HELLO).await.unwrap();
        stuck.push(half);
    }
    // Two are unfinished and two wait; none of the first two would end before the timeout.
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    assert!(gateway.metric("tokengate_turned_away_total{limit=\"handshakes_per_ip\"}") >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_many_connections_at_once_loses_none() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| settings.limits.handshakes_per_ip = 2);
    let gateway = site.start().await;
    let (address, config) = (gateway.address(), Tls::default().config(&gateway));
    let all: Vec<_> = (0..100)
        .map(|_| {
            let config = std::sync::Arc::clone(&config);
            tokio::spawn(async move {
                let mut wire = Wire::over(connect(address, &config, "localhost").await.unwrap());
                wire.ask(Ask::get("/public/x").bytes()).await.status
            })
        })
        .collect();
    for one in all {
        assert_eq!(soon("answer", one).await.unwrap(), 200);
    }
    assert_eq!(gateway.metric("tokengate_handshake_failures_total"), 0);
}

#[tokio::test]
async fn a_session_resumes_on_every_worker_and_brings_no_early_data() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.workers = 3).start().await;
    for version in [&TLS12, &TLS13] {
        let config = Tls { version: Some(version), ..Tls::default() }.config(&gateway);
        let mut eager = (*config).clone();
        eager.enable_early_data = true;
        let config = std::sync::Arc::new(eager);
        for number in 0..30 {
            let mut stream = connect(gateway.address(), &config, "localhost").await.unwrap();
            let session = stream.get_mut().1;
            let expected = if number == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(session.handshake_kind(), Some(expected), "{version:?}, connection {number}");
            assert!(!session.is_early_data_accepted());
            // The session ticket arrives with the gateway's first bytes.
            assert_eq!(Wire::over(stream).ask(Ask::get("/public/x").bytes()).await.text(), "hello");
        }
    }
}

#[tokio::test]
async fn only_responses_over_tls_have_hsts() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for (path, status) in [("/public/x", 200), ("/api/x", 401), ("/nope", 404), ("/public/%00", 400)] {
        for http in BOTH {
            let answer = Ask::get(path).over(http, &gateway).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.fields.get("strict-transport-security"), Some("max-age=600"), "{http:?} {path}");
        }
        let clear = Wire::plain(&gateway).await.ask(Ask::get(path).bytes()).await;
        assert!(!clear.fields.has("strict-transport-security"));
    }
    let damaged = Wire::open(&gateway).await.ask("GET / HTTP/1.1\nHost: x\n\n").await;
    assert_eq!(damaged.fields.get("strict-transport-security"), Some("max-age=600"));
}

#[tokio::test]
async fn streams_of_one_connection_are_served_at_the_same_time_up_to_the_limit() {
    let gate = crate::support::Gate::closed();
    let waiting = crate::support::Step::Wait(std::sync::Arc::clone(&gate));
    let origin = Origin::doing(vec![
        crate::support::Step::Read,
        waiting,
        crate::support::Step::Send(crate::support::origin::ok("hello")),
    ])
    .await;
    let gateway = Site::before(&origin).with(|settings| settings.limits.h2_streams = 10).start().await;
    let mut client = H2::open(&gateway).await;
    // With the first response the client has received the limit.
    assert_eq!(client.ask(&Ask::get("/api/x")).await.status, 401);
    let answers: Vec<_> = (0..15).map(|_| tokio::spawn(client.begin(Ask::get("/public/x").http2()))).collect();
    origin.has_seen(10).await;
    assert_eq!(crate::support::settled("no more than ten", || origin.count()).await, 10);
    gate.open();
    for answer in answers {
        assert_eq!(soon("answer", answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(origin.count(), 15);
}

/// A certificate for `localhost` from a CA of its own, with a key of this kind.
fn self_signed(site: &mut Site, name: &str, key: &rcgen::KeyPair) {
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    site.roots.add(certificate.der().clone()).unwrap();
    site.settings.certificates.push(Certificate::read(name, &cert_file, &key_file).unwrap());
}

/// The key algorithm of the certificate that is sent to a client which verifies only such signatures.
async fn shown_to(
    gateway: &Gateway,
    version: &'static SupportedProtocolVersion,
    verifies: &str,
) -> Option<&'static str> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let mapping = provider.signature_verification_algorithms.mapping.iter();
    let kept = mapping.filter(|(scheme, _)| scheme.as_str().is_some_and(|name| name.starts_with(verifies)));
    provider.signature_verification_algorithms.mapping = kept.copied().collect::<Vec<_>>().leak();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(Arc::clone(&gateway.roots)).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = connect(gateway.address(), &Arc::new(config), "localhost").await.ok()?;
    let shown = stream.get_ref().1.peer_certificates()?[0].clone().into_owned();
    let (_, parsed) = x509_parser::parse_x509_certificate(&shown).unwrap();
    Some(match parsed.public_key().parsed().unwrap() {
        x509_parser::public_key::PublicKey::RSA(_) => "RSA",
        x509_parser::public_key::PublicKey::EC(_) => "ECDSA",
        _ => "another",
    })
}

#[tokio::test]
async fn a_client_gets_the_certificate_that_it_can_verify() {
    let origin = Origin::answering("hello").await;
    let ecdsa = || rcgen::KeyPair::generate().unwrap();
    let rsa = || rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    for rsa_first in [false, true] {
        let mut site = Site::before(&origin);
        site.settings.certificates.clear();
        let keys = if rsa_first { [("rsa", rsa()), ("ecdsa", ecdsa())] } else { [("ecdsa", ecdsa()), ("rsa", rsa())] };
        for (name, key) in &keys {
            self_signed(&mut site, name, key);
        }
        site.settings.listeners[0].role = ListenerRole::Tls(tls(vec![0, 1]));
        let gateway = site.start().await;
        let first = if rsa_first { "RSA" } else { "ECDSA" };
        for version in [&TLS12, &TLS13] {
            assert_eq!(shown_to(&gateway, version, "RSA").await, Some("RSA"), "{version:?}, {first} first");
            assert_eq!(shown_to(&gateway, version, "ECDSA").await, Some("ECDSA"), "{version:?}, {first} first");
            assert_eq!(shown_to(&gateway, version, "").await, Some(first), "{version:?}: the first that fits");
        }
    }
}
