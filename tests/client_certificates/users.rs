//! Whose a certificate is, and what it may do.

use std::sync::Arc;
use std::time::Duration;

use rcgen::SanType;
use tokengate::config::settings::{CertificateUsers, Listed};
use tokengate::tls::{ClientName, NameKind};
use tokio::sync::Mutex;

use super::{Asks, ClientCa, ask, dns, email, kept, site, status, uri};
use crate::support::client::{BOTH, Http};
use crate::support::{Ask, Origin, PATIENCE, eventually};

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
