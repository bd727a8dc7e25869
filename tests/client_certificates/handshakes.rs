//! Which certificates are accepted in a handshake, and how long.

use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::CertificateDer;
use tokengate::client::certificate::ClientCertificate;
use tokengate::clock::Timestamp;
use tokengate::config::settings::{CertificateUsers, ClientCertificates};
use tokengate::tls::{ClientAuthorities, ClientChain, NameKind};

use super::{Asks, ClientCa, certificates, config, email, set, site, status};
use crate::support::client::{BOTH, Http, connect};
use crate::support::{Ask, Origin, Wire};

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
