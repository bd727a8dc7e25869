//! Revocation lists, and the end of running exchanges.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokengate::config::settings::CertificateUsers;
use tokengate::tls::{ClientAuthorities, ClientChain, NameKind};

use super::{Asks, Client, ClientCa, certificates, config, email, kept, set, site, status};
use crate::support::client::{BOTH, Http, connect};
use crate::support::gateway::Captured;
use crate::support::{Ask, Gate, Origin, PATIENCE, Step, Wire, eventually};

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
async fn a_list_that_expires_is_logged_once_and_metrics_tell_when_the_first_one_expires() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let (said, _guard) = Captured::of_this_thread();
    // The older list of the same CA expires first, but no longer decides.
    ca.revoke_since(&[], 2023, 2024);
    let old = fs::read_to_string(ca.list()).unwrap();
    ca.revoke(&[], 2100);
    fs::write(ca.list(), format!("{}{old}", fs::read_to_string(ca.list()).unwrap())).unwrap();
    let gateway = site(&origin, &ca, &Asks { lists: true, ..Asks::optional() }).start().await;
    let end = "tokengate_revocation_list_expires_timestamp_seconds{listener=\"public\"}";
    assert_eq!(gateway.metric(end), 4_102_444_800, "2100-01-01T00:00:00Z");
    let expired = || said.text().matches("revocation_list_expired").count();
    assert_eq!(expired(), 0, "{}", said.text());
    gateway.hand.advance(Duration::from_secs(100 * 366 * 86_400));
    eventually(PATIENCE, "it is logged", || async { expired() == 1 }).await;
    ca.revoke(&[], 2300);
    eventually(PATIENCE, "the metric follows", || async { gateway.metric(end) > 4_102_444_800 }).await;
    assert_eq!(expired(), 1);
}
