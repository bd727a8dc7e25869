//! Endpoints with `https://`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokengate::config::settings::UpstreamTls;
use tokengate::tls::{Authorities, ServerName};

use super::over_tls;
use crate::leaks::said;
use crate::support::authority::{Authority, Issued};
use crate::support::client::BOTH;
use crate::support::nginx::Nginx;
use crate::support::origin::{Request, ok};
use crate::support::tls_front::TlsFront;
use crate::support::{Ask, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually};

/// nginx with this certificate, which says what it knows of the connection.
async fn nginx(server: &Issued, more: &str) -> Nginx {
    let says = "$ssl_protocol $ssl_session_reused $ssl_client_s_dn|$http_host|$http_x_user_name|$ssl_server_name";
    Nginx::serving(|address| {
        format!(
            "listen {address} ssl; ssl_certificate {}; ssl_certificate_key {}; {more}\n\
             location / {{ return 200 \"{says}\"; }}",
            server.cert_file.display(),
            server.key_file.display()
        )
    })
    .await
}

async fn gateway_before(endpoint: SocketAddr, tls: &UpstreamTls) -> Gateway {
    // The address of the scripted endpoint is replaced.
    let site = Site::before_all(&[endpoint]);
    site.with(|settings| over_tls(settings, &[endpoint], tls)).start().await
}

#[tokio::test]
async fn nginx_gets_requests_over_tls_with_a_client_certificate_and_resumes_sessions() {
    let authority = Authority::new();
    let (server, client) = (authority.issue("server", &["localhost"]), authority.issue("gateway", &[]));
    let verified = format!("ssl_client_certificate {}; ssl_verify_client on;", authority.file().display());
    for version in ["TLSv1.2", "TLSv1.3"] {
        // Each connection takes one request.
        let nginx = nginx(&server, &format!("{verified} ssl_protocols {version}; keepalive_timeout 0;")).await;
        let tls = UpstreamTls { client: Some(client.read()), ..authority.trusted() };
        let gateway = gateway_before(nginx.address(), &tls).await;
        let key = gateway.issue("alice").await;
        let answer = Ask::get("/api/x").token(&key).to(&gateway).await;
        assert_eq!(answer.text(), format!("{version} . CN=gateway|localhost|alice|localhost"), "{}", nginx.log());
        for http in BOTH {
            let answer = Ask::post("/api/x", "body").token(&key).over(http, &gateway).await;
            assert_eq!(answer.text(), format!("{version} r CN=gateway|localhost|alice|localhost"), "{}", nginx.log());
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_a_bad_gateway_with_its_cause_in_the_log() {
    let said = said();
    let (authority, other) = (Authority::new(), Authority::new());
    let client_wanted = format!("ssl_client_certificate {}; ssl_verify_client on;", authority.file().display());
    let cases = [
        (
            authority.issue_until("expired", &["localhost"], 2021),
            "",
            "expired",
            "renew the certificate of the endpoint",
        ),
        (authority.issue("elsewhere", &["elsewhere.test"]), "", "not valid for name", "tls.server_name"),
        (other.issue("foreign", &["localhost"]), "", "invalid peer certificate", "tls.ca_file"),
    ];
    for (certificate, more, what, mend) in &cases {
        let nginx = nginx(certificate, more).await;
        let gateway = gateway_before(nginx.address(), &authority.trusted()).await;
        for http in BOTH {
            for ask in [Ask::get("/public/x"), Ask::post("/public/x", "body")] {
                let answer = ask.over(http, &gateway).await;
                let detail = "The TLS connection to the upstream failed.".to_owned();
                assert_eq!((answer.status, answer.detail()), (502, detail), "{what}");
            }
        }
        gateway.has_counted("public", "origin_tls", 4).await;
        let endpoint = format!("localhost:{}", nginx.address().port());
        let log = said.text();
        let line = log.lines().find(|line| line.contains("endpoint_tls") && line.contains(&endpoint));
        let line = line.unwrap_or_else(|| panic!("{what} is not logged"));
        assert!(line.contains(what) && line.contains(mend), "{line}");
    }
    // nginx itself refuses a request without a client certificate.
    let server = authority.issue("server", &["localhost"]);
    let nginx = nginx(&server, &client_wanted).await;
    let gateway = gateway_before(nginx.address(), &authority.trusted()).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 400);
    // An endpoint without TLS.
    let unencrypted = Nginx::serving(|address| format!("listen {address};")).await;
    let gateway = gateway_before(unencrypted.address(), &authority.trusted()).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 502);
    gateway.has_counted("public", "origin_tls", 1).await;
}

#[tokio::test]
async fn the_server_name_and_the_ca_file_say_what_is_trusted() {
    let authority = Authority::new();
    let nginx = nginx(&authority.issue("elsewhere", &["elsewhere.test"]), "ssl_protocols TLSv1.3;").await;
    let name = ServerName::try_from("elsewhere.test").unwrap();
    let tls = UpstreamTls { server_name: Some(name), tls12: false, ..authority.trusted() };
    let gateway = gateway_before(nginx.address(), &tls).await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "TLSv1.3 . |localhost||elsewhere.test");
    // A change of the CAs closes connections that it would not have allowed.
    let change = gateway.reload(|settings| {
        let authorities = Authorities::read(&Authority::new().file()).unwrap();
        settings.upstreams[0].tls = Some(UpstreamTls { authorities, ..tls.clone() });
    });
    change.await.unwrap();
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 502);
}

#[tokio::test]
async fn a_renewed_client_certificate_is_used_without_a_reload() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"]);
    let verified = format!("ssl_client_certificate {}; ssl_verify_client on;", authority.file().display());
    let nginx = nginx(&server, &verified).await;
    let client = authority.issue("old", &[]);
    let tls = UpstreamTls { client: Some(client.read()), ..authority.trusted() };
    let gateway = gateway_before(nginx.address(), &tls).await;
    assert!(Ask::get("/public/x").to(&gateway).await.text().contains("CN=old|"));
    let renewed = authority.issue("new", &[]);
    std::fs::rename(&renewed.key_file, &client.key_file).unwrap();
    std::fs::rename(&renewed.cert_file, &client.cert_file).unwrap();
    eventually(PATIENCE, "the new certificate is used", || async {
        Ask::get("/public/x").to(&gateway).await.text().contains("CN=new|")
    })
    .await;
}

#[tokio::test]
async fn connections_with_tls_are_reused_and_never_mixed_up_with_others() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    let origin = Origin::answering("hello").await;
    let front = TlsFront::before(origin.address(), &certificate).await;
    let gateway = gateway_before(front.address(), &authority.trusted()).await;
    for number in 0..20 {
        let ask = if number % 2 == 0 { Ask::get("/public/x") } else { Ask::post("/public/x", "body") };
        assert_eq!(ask.to(&gateway).await.text(), "hello");
    }
    assert_eq!((origin.count(), origin.connections()), (20, 1));
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    let body: Vec<u8> = (0..9_000_000_u32).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    let answer = Arc::new(body.clone());
    let origin = Origin::scripted(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len()).into_bytes();
        vec![Step::Read, Step::Send(head), Step::Send(answer.to_vec())]
    })
    .await;
    let front = TlsFront::before(origin.address(), &certificate).await;
    let gateway = gateway_before(front.address(), &authority.trusted()).await;
    for http in BOTH {
        let answer = Ask::post("/public/x", &body).over(http, &gateway).await;
        assert!(answer.complete && answer.body == body, "{http:?}");
        assert!(origin.last().complete && origin.last().body == body, "{http:?}");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_endpoint_has_closed_takes_no_request() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    let origin = Origin::doing(vec![Step::Read, Step::Send(ok("hello")), Step::Close]).await;
    let front = TlsFront::before(origin.address(), &certificate).await;
    let gateway = gateway_before(front.address(), &authority.trusted()).await;
    for _ in 0..20 {
        assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "hello");
        origin.is_left().await;
    }
    assert_eq!(origin.count(), 20);
}

#[tokio::test]
async fn a_cut_response_is_cut_at_the_client() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    let begun = |head: &str| Step::Send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n").into_bytes());
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked", "X-Ends-With: the connection"] {
        for then in [Step::Close, Step::Reset] {
            let is_ended = matches!(then, Step::Close) && head.starts_with("X-");
            let begun = begun(head);
            let origin = Origin::scripted(move |_: &Request| vec![Step::Read, begun.clone(), then.clone()]).await;
            let front = TlsFront::before(origin.address(), &certificate).await;
            let gateway = gateway_before(front.address(), &authority.trusted()).await;
            let answer = Ask::get("/public/x").over(Http::Two, &gateway).await;
            assert_eq!((answer.status, answer.complete), (200, is_ended), "{head}");
        }
    }
}

#[tokio::test]
async fn a_tunnel_passes_through_tls() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let origin = Origin::doing(vec![Step::Send(switch.as_bytes().to_vec()), Step::Echo]).await;
    let front = TlsFront::before(origin.address(), &certificate).await;
    let site = Site::before_all(&[front.address()]).with(|settings| {
        over_tls(settings, &[front.address()], &authority.trusted());
        settings.routes[1].streaming = true;
    });
    let gateway = site.start().await;
    let mut wire = Wire::open(&gateway).await;
    let ask = Ask::get("/public/x").field("Upgrade", "websocket").field("Connection", "Upgrade");
    let ask = ask.field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").field("Sec-WebSocket-Version", "13");
    wire.send(ask.bytes()).await;
    let (status, _) = wire.next_head().await.unwrap();
    assert_eq!(status, 101);
    for text in ["one", "another"] {
        wire.send(text).await;
        while !wire.0.buffer.ends_with(text.as_bytes()) {
            assert!(wire.0.fill().await.unwrap());
        }
    }
    assert_eq!(wire.0.buffer, b"oneanother");
}

#[tokio::test]
async fn bytes_after_a_response_never_reach_another_client() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    // Lengths around the size of a read, so that some of the bytes may stay in the TLS library.
    for length in (8_000..8_400).step_by(20) {
        let origin = Origin::scripted(move |request: &Request| {
            let own = format!("{}{}", request.target, "x".repeat(length));
            let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".repeat(20);
            vec![Step::Read, Step::Send([ok(&own), evil.into_bytes()].concat())]
        })
        .await;
        let front = TlsFront::before(origin.address(), &certificate).await;
        let gateway = gateway_before(front.address(), &authority.trusted()).await;
        for number in 0..3 {
            let target = format!("/public/{number}");
            let answer = Ask::get(&target).to(&gateway).await;
            assert!(answer.status == 200 && answer.text().starts_with(&target), "{length}: {}", answer.status);
        }
    }
}
