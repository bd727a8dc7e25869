//! Client certificates with WebSockets, and behind a proxy that sends PROXY headers.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokengate::config::settings::{ForwardedFamily, ProxyTrust};
use tokengate::token::Networks;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Asks, ClientCa, ask_over, config, email, site};
use crate::support::client::{BOTH, Http, connect};
use crate::support::{Ask, Origin, Wire};
use crate::upgrade::{echo, echoes, handshake};

#[tokio::test]
async fn a_websocket_is_opened_with_a_certificate_and_ends_with_its_user() {
    let (origin, ca) = (echo().await, ClientCa::new());
    let gateway = site(&origin, &ca, &Asks::optional()).start().await;
    let alice = gateway.user("alice@x.test").await;
    gateway.user("bob@x.test").await;
    let open = async |client, ask: Ask| {
        let config = config(&gateway, client, Http::One);
        let mut wire = Wire::over(connect(gateway.address(), &config, "localhost").await.unwrap());
        wire.send(ask.bytes()).await;
        (wire.next_head().await.expect("an answer").0, wire)
    };
    let of = |name: &str| ca.issue(name, &[email(&format!("{name}@x.test"))]);
    let (hers, his, nobody) = (of("alice"), of("bob"), of("nobody"));
    let other_site = handshake("/live/ws").field("Origin", "https://evil.test");
    for (client, ask, status) in [
        (None, handshake("/live/ws"), 403),
        (Some(&nobody), handshake("/live/ws"), 403),
        (Some(&hers), other_site, 403),
        (Some(&hers), handshake("/live/ws").field("Origin", "https://localhost"), 101),
    ] {
        assert_eq!(open(client, ask).await.0, status);
    }
    let (mut ends, mut goes_on) =
        (open(Some(&hers), handshake("/live/ws")).await, open(Some(&his), handshake("/live/ws")).await);
    for (status, wire) in [&mut ends, &mut goes_on] {
        assert_eq!(*status, 101);
        echoes(wire, b"hello").await;
    }
    gateway.store.accounts.deactivate(alice).await.unwrap();
    ends.1.ends().await;
    echoes(&mut goes_on.1, b"still here").await;
}

#[tokio::test]
async fn behind_a_proxy_header_the_certificate_is_that_of_the_client() {
    let (origin, ca) = (Origin::answering("hello").await, ClientCa::new());
    let trust = ProxyTrust {
        proxies: Networks::parse("127.0.0.1").unwrap(),
        family: ForwardedFamily::XForwarded,
        protocol: true,
    };
    let site = site(&origin, &ca, &Asks { required: true, ..Asks::optional() });
    let gateway = site.with(|settings| settings.listeners[0].trust = trust).start().await;
    gateway.user("alice@x.test").await;
    let alice = ca.issue("alice", &[email("alice@x.test")]);
    for (header, address) in
        [("PROXY TCP4 203.0.113.7 192.0.2.1 4096 443\r\n", "203.0.113.7"), ("PROXY UNKNOWN\r\n", "127.0.0.1")]
    {
        for http in BOTH {
            let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
            stream.write_all(header.as_bytes()).await.unwrap();
            let connector = TlsConnector::from(Arc::clone(&config(&gateway, Some(&alice), http)));
            let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
            let answer = ask_over(stream, http, &Ask::get("/cert/x")).await.unwrap();
            let fields = origin.last().fields;
            let sent = ["x-user-name", "x-forwarded-for"].map(|name| fields.get(name));
            assert_eq!((answer.status, sent), (200, [Some("alice@x.test"), Some(address)]), "{http:?}");
            assert!(fields.has("client-cert"));
        }
    }
}
