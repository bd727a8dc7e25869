//! What upstreams learn about certificates.

use std::fs;

use tokengate::config::settings::{ForwardedFamily, ProxyTrust};
use tokengate::token::Networks;

use super::{Asks, ClientCa, ask, email, site};
use crate::support::client::{BOTH, Http};
use crate::support::{Ask, Origin};

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
