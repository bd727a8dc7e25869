//! Proxies in front: forwarding headers, the PROXY protocol, and real HAProxy and nginx.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokengate::config::settings::{ForwardedFamily, ProxyTrust, RateFact, Settings};
use tokengate::token::Networks;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::rates::{limit, one, rate};
use crate::support::client::{BOTH, Tls};
use crate::support::redis::free_port;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Wire, eventually, soon};

/// Trusts 127.0.0.1 and 10.0.0.0/8.
pub fn trust(settings: &mut Settings, family: ForwardedFamily, protocol: bool) {
    let proxies = Networks::parse("127.0.0.1, 10.0.0.0/8").unwrap();
    for listener in &mut settings.listeners {
        listener.trust = ProxyTrust { proxies: proxies.clone(), family, protocol };
    }
}

#[tokio::test]
async fn headers_of_trusted_proxies_name_the_client_for_rates_logs_and_upstreams() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| {
        trust(settings, ForwardedFamily::XForwarded, false);
        limit(settings, vec![rate("a", one(RateFact::Address), "1/d", 1)]);
    });
    let gateway = site.start().await;
    for (http, first) in BOTH.into_iter().zip([7, 8]) {
        let ask = |client: &str| Ask::get("/public/x").field("X-Forwarded-For", client);
        let client = format!("203.0.113.{first}");
        assert_eq!(ask(&client).over(http, &gateway).await.status, 200, "{http:?}");
        let seen = origin.last();
        assert_eq!(seen.fields.get("x-forwarded-for"), Some(client.as_str()));
        assert_eq!(seen.fields.get("x-real-ip"), Some(client.as_str()));
        assert_eq!(seen.fields.get("x-forwarded-proto"), Some("https"));
        eventually(PATIENCE, "the log", || async { gateway.log.text().contains(&client) }).await;
        // What stands to the left is the client's own claim, and counts for nothing.
        for forged in [format!("1.1.1.1, {client}"), format!("127.0.0.1, {client}, 10.1.2.3"), format!("x, {client}")] {
            assert_eq!(ask(&forged).over(http, &gateway).await.status, 429, "{forged}");
        }
        let damaged = ask("203.0.113.99, unknown").over(http, &gateway).await;
        assert_eq!((damaged.status, damaged.fields.has("ratelimit")), (400, false));
        assert_eq!(damaged.detail(), "A proxy forwards a client address that cannot be read.");
    }
    // From another address, the headers have no effect.
    let mut elsewhere = crate::support::client::from_elsewhere(&gateway).await;
    for status in [200, 429] {
        let ask = Ask::get("/public/x").field("X-Forwarded-For", format!("198.51.100.{status}"));
        assert_eq!(elsewhere.ask(ask.bytes()).await.status, status);
    }
    assert_eq!(origin.last().fields.get("x-forwarded-for"), Some("127.0.0.2"));
}

#[tokio::test]
async fn a_trusted_proxy_names_scheme_and_host() {
    let origin = Origin::answering("ok").await;
    for family in [ForwardedFamily::XForwarded, ForwardedFamily::Forwarded] {
        let gateway = Site::before(&origin).with(|settings| trust(settings, family, false)).start().await;
        let ask = match family {
            ForwardedFamily::XForwarded => Ask::get("/public/x")
                .field("X-Forwarded-For", "203.0.113.7")
                .field("X-Forwarded-Proto", "https")
                .field("X-Forwarded-Host", "shop.test")
                .field("Forwarded", "for=1.1.1.1;proto=http;host=evil.test"),
            ForwardedFamily::Forwarded => Ask::get("/public/x")
                .field("Forwarded", "for=203.0.113.7;proto=https;host=shop.test")
                .field("X-Forwarded-For", "1.1.1.1")
                .field("X-Forwarded-Host", "evil.test"),
        };
        let answer = Wire::plain(&gateway).await.ask(ask.bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = origin.last().fields;
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.test"),
            ("host", "shop.test"),
        ] {
            assert_eq!(seen.get(name), Some(value), "{family:?}");
        }
        assert!(!seen.has("forwarded"));
        let two = ask.over(crate::support::Http::Two, &gateway).await;
        assert_eq!((two.status, origin.last().fields.get("host")), (200, Some("shop.test")), "over HTTP/2");
    }
}

/// A connection that begins with these bytes, then TLS. `None`: the gateway closes it.
async fn after(gateway: &Gateway, header: &[u8], from: &str) -> Option<Wire> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = soon("connect", socket.connect(gateway.address())).await.unwrap();
    stream.write_all(header).await.ok()?;
    let tls = Tls::default();
    let connector = TlsConnector::from(tls.config(gateway));
    soon("handshake", connector.connect(ServerName::try_from(tls.name).unwrap(), stream)).await.ok().map(Wire::over)
}

#[tokio::test]
async fn a_proxy_header_names_the_client_and_is_required() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| trust(settings, ForwardedFamily::XForwarded, true));
    let gateway = site.start().await;
    let v2 = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
    };
    let four = [203, 0, 113, 7, 192, 0, 2, 1, 0x10, 0, 0x01, 0xbb];
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 4096 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4096 443\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4096 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &four), "203.0.113.7"),
        (v2(0x21, 0x11, &[&four[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat()), "203.0.113.7"),
        // The endpoint of a private network, as AWS and Google Cloud name it.
        (v2(0x21, 0x11, &[&four[..], &[0xea, 0, 5, 1, b'v', b'p', b'c', b'e']].concat()), "203.0.113.7"),
        (v2(0x21, 0x11, &[&four[..], &[0xe0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]].concat()), "203.0.113.7"),
        // Health checks: a Network Load Balancer of AWS sends LOCAL, with or without an address; Google Cloud UNKNOWN.
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
        (v2(0x20, 0x11, &four), "127.0.0.1"),
    ] {
        let mut wire = after(&gateway, &header, "127.0.0.1").await.expect("an open connection");
        // The header names a client that is not a proxy, or says that the client is unknown: its claims count for nothing.
        let ask = Ask::get("/public/x").field("X-Forwarded-For", "1.1.1.1");
        assert_eq!(wire.ask(ask.bytes()).await.status, 200, "{client}");
        assert_eq!(origin.last().fields.get("x-forwarded-for"), Some(client));
    }
    let good: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4096 443\r\n";
    for (header, from) in [
        (&b""[..], "127.0.0.1"),
        (b"PROXY TCP4 203.0.113.7\r\n\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "127.0.0.1"),
        (good, "127.0.0.2"),
        (&[good, good].concat(), "127.0.0.1"),
    ] {
        assert!(after(&gateway, header, from).await.is_none(), "{header:?} {from}");
    }
    // Unencrypted too.
    let mut plain = Wire::over(TcpStream::connect(gateway.plain_address()).await.unwrap());
    plain.send([good, &Ask::get("/public/x").bytes()].concat()).await;
    assert_eq!(plain.answer().await.status, 200);
    assert_eq!(origin.last().fields.get("x-forwarded-for"), Some("203.0.113.7"));
    let mut plain = Wire::over(TcpStream::connect(gateway.plain_address()).await.unwrap());
    plain.send(Ask::get("/public/x").bytes()).await;
    plain.ends().await;
}

#[tokio::test]
async fn a_connection_that_waits_for_its_proxy_header_does_not_delay_a_shutdown() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| trust(settings, ForwardedFamily::XForwarded, true));
    let gateway = site.start().await;
    let mut silent = Wire::over(TcpStream::connect(gateway.plain_address()).await.unwrap());
    eventually(PATIENCE, "it is accepted", || async { gateway.metric("tokengate_connections_accepted_total") > 0 })
        .await;
    soon("the shutdown", gateway.stop(10 * PATIENCE)).await;
    silent.ends().await;
}

/// A program that ends with its test.
pub struct Program(Child, TempDir);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts it with a configuration file, and waits until it listens.
    pub async fn start(program: &str, args: &[&str], config: &str, port: u16) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, config.replace("FOLDER", &folder.path().display().to_string())).unwrap();
        let mut command = Command::new(program);
        command.args(args).arg(&file).stdin(Stdio::null());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let program = Program(command.spawn().unwrap(), folder);
        let path: &Path = program.1.path();
        eventually(PATIENCE, &format!("{} listens", path.display()), || async {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        program
    }
}

/// A TLS connection to a port from another address of this machine.
async fn through(gateway: &Gateway, port: u16) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = soon("connect", socket.connect(SocketAddr::from(([127, 0, 0, 1], port)))).await.unwrap();
    let tls = Tls::default();
    let connector = TlsConnector::from(tls.config(gateway));
    Wire::over(soon("handshake", connector.connect(ServerName::try_from(tls.name).unwrap(), stream)).await.unwrap())
}

#[tokio::test]
async fn haproxy_names_the_client_by_the_proxy_protocol() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| trust(settings, ForwardedFamily::XForwarded, true));
    let gateway = site.start().await;
    for how in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"] {
        let port = free_port();
        let config = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
             frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
             backend b\n  server gateway {} {how}\n",
            gateway.address()
        );
        let _haproxy = Program::start("haproxy", &["-db", "-f"], &config, port).await;
        let mut wire = through(&gateway, port).await;
        let ask = Ask::get("/public/x").field("X-Forwarded-For", "1.1.1.1");
        assert_eq!(wire.ask(ask.bytes()).await.status, 200, "{how}");
        assert_eq!(origin.last().fields.get("x-forwarded-for"), Some("127.0.0.2"), "{how}");
    }
}

#[tokio::test]
async fn nginx_names_the_client_by_its_headers() {
    let origin = Origin::answering("ok").await;
    let site = Site::before(&origin).with(|settings| trust(settings, ForwardedFamily::XForwarded, false));
    let gateway = site.start().await;
    let port = free_port();
    let config = format!(
        "user root;\ndaemon off;\npid FOLDER/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n\
         client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;\n\
         uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;\n\
         server {{\n  listen 127.0.0.1:{port};\n  location / {{\n    proxy_pass http://{};\n\
         proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n    proxy_set_header Host $host;\n    proxy_set_header X-Forwarded-Host $host;\n\
         proxy_set_header X-Forwarded-Proto https;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n  }}\n}}\n}}\n",
        gateway.plain_address()
    );
    let _nginx = Program::start("nginx", &["-c"], &config, port).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    let forged = Ask::get("/public/x").field("X-Forwarded-For", "10.9.9.9").field("X-Forwarded-Host", "evil.test");
    assert_eq!(Wire::over(stream).ask(forged.field("X-Forwarded-Proto", "http").bytes()).await.status, 200);
    let seen = origin.last().fields;
    for (name, value) in
        [("x-forwarded-for", "127.0.0.2"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "localhost")]
    {
        assert_eq!(seen.get(name), Some(value));
    }
}
