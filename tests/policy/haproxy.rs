//! Real HAProxy with the files of `deploy/haproxy`: in front of the gateway, by headers and by the PROXY protocol.

use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::proxies::Program;
use crate::support::client::Tls;
use crate::support::redis::free_port;
use crate::support::{Ask, PATIENCE, Wire, eventually, shipped, soon};
use crate::upgrade::{echo, echoes, handshake};

/// A connection from another address of this machine.
async fn connect(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    soon("connect", socket.connect(format!("127.0.0.1:{port}").parse().unwrap())).await.unwrap()
}

#[tokio::test]
async fn haproxy_in_front_gives_the_answers_of_the_gateway() {
    let origin = echo().await;
    let app = format!(":{}", origin.address().port());
    let addresses = [(":9091", ":0"), (":9443", ":0"), (":8000", app.as_str())];
    let site = shipped::site(&origin, &shipped::file("haproxy/gateway.toml", &addresses), &[]);
    let gateway = site.start().await;
    let (web, tls) = (free_port(), free_port());
    let at = |port: u16| format!(":{port}");
    let of = |name: &str| at(gateway.listener(name).unwrap().port());
    let addresses = [(":8080", at(web)), (":8443", at(tls)), (":9091", of("web")), (":9443", of("tls"))];
    let addresses = addresses.each_ref().map(|(from, to)| (*from, to.as_str()));
    let config = shipped::file("haproxy/haproxy.cfg", &addresses);
    let _haproxy = Program::start("haproxy", &["-db", "-f"], &config, web).await;

    let (key, revoked) = (gateway.issue("alice").await, gateway.issue("bob").await);
    gateway.revoke(&revoked).await;
    for port in [web, tls] {
        let open = async || {
            let stream = connect(port).await;
            if port == web {
                return Wire::over(stream);
            }
            let (tls, name) = (Tls::default(), ServerName::try_from("localhost").unwrap());
            let listener = TlsConnector::from(tls.trusting(&gateway.roots));
            Wire::over(soon("handshake", listener.connect(name, stream)).await.unwrap())
        };
        let forged = |ask: Ask| {
            ask.field("X-Forwarded-For", "10.0.0.1")
                .field("X-Forwarded-For", "127.0.0.1")
                .field("X-Forwarded-Proto", "https")
                .field("X-Forwarded-Host", "evil.test")
                .field("X-Forwarded-Host", "other.test")
                .field("Forwarded", "for=10.0.0.1;host=evil.test;proto=https")
                .field("X-Real-IP", "10.0.0.1")
                .field("X_Forwarded_For", "10.0.0.1")
                .field("X-User-Name", "root")
                .field("X_User_Name", "root")
        };
        for (ask, status) in [
            (Ask::get("/x?y=%2F"), 401),
            (Ask::get("/x").token(&revoked), 401),
            (Ask::get("/x/../y").token(&key), 400),
            (Ask::get("/x?y=%2F").token(&key), 200),
            (Ask::post("/x?y=%2F", "body").token(&key), 200),
        ] {
            let before = origin.count();
            let answer = open().await.ask(forged(ask.clone()).bytes()).await;
            assert_eq!(answer.status, status, "{port} {ask:?} {answer:?}");
            assert_eq!(origin.count() - before, usize::from(status == 200));
            if status != 200 {
                continue;
            }
            let seen = origin.last();
            assert_eq!(seen.target, "/x?y=%2F");
            let scheme = if port == web { "http" } else { "https" };
            for (name, value) in [
                ("x-forwarded-for", Some("127.0.0.2")),
                ("x-real-ip", Some("127.0.0.2")),
                ("x-forwarded-proto", Some(scheme)),
                ("x-forwarded-host", Some("localhost")),
                ("host", Some("localhost")),
                ("forwarded", None),
                ("x_forwarded_for", None),
                ("x-user-name", Some("alice")),
                ("x_user_name", None),
                ("authorization", None),
            ] {
                assert_eq!(seen.fields.get(name), value, "{port} {name}");
            }
        }
        for (ask, status) in [(handshake("/ws").token(&revoked), 401), (handshake("/ws").token(&key), 101)] {
            let mut wire = open().await;
            wire.send(ask.bytes()).await;
            assert_eq!(wire.next_head().await.expect("an answer").0, status, "{port}");
            if status == 101 {
                echoes(&mut wire, b"hello").await;
                // A tunnel ends with its token, because it goes through the gateway.
                let other = gateway.issue("carol").await;
                let mut of_carol = open().await;
                of_carol.send(handshake("/ws").token(&other).bytes()).await;
                assert_eq!(of_carol.next_head().await.expect("an answer").0, 101);
                gateway.revoke(&other).await;
                of_carol.rest().await;
                echoes(&mut wire, b"still").await;
            }
        }
    }
    eventually(PATIENCE, "the log names the client", || async { gateway.log.text().contains("127.0.0.2") }).await;
}
