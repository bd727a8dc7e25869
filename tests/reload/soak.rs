//! Many reloads under steady load: no request fails, no connection is lost, no answer is of two configurations, and
//! nothing is left behind.
//!
//! Thirty reloads by default; `RELOADS=1000` for the long run of `scripts/nightly`.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokengate::clock::Clock;
use tokengate::demo::certificate::{self, Wish};

use crate::serve::Gateway;
use crate::support::client::{Tls, connect};
use crate::support::origin::Request;
use crate::support::{Ask, Origin, Step, Wire, soon};

pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
pub const PIECES: usize = 200;

/// An endpoint that answers downloads, uploads and WebSocket handshakes.
pub async fn steady() -> Origin {
    Origin::scripted(|request: &Request| {
        if request.fields.has("upgrade") {
            let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
            let head = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
            return vec![Step::Send(head.into_bytes()), Step::Echo];
        }
        let length = PIECES * 1_000;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        vec![Step::Read, Step::Send(head), Step::Flood(vec![b'x'; 1_000], PIECES)]
    })
    .await
}

/// The gateway, and what its file says in each configuration.
struct Site {
    gateway: Gateway,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    base: String,
    endpoints: [SocketAddr; 3],
}

impl Site {
    async fn serve(endpoints: [SocketAddr; 3]) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let mut roots = RootCertStore::empty();
        for name in ["even", "odd"] {
            let wish = Wish { names: vec!["one.test".to_owned()], ..Wish::default() };
            let made = certificate::make(&dir.path().join(name), &wish, Clock::system().now()).unwrap();
            roots.add(CertificateDer::from_pem_file(&made.ca_file).unwrap()).unwrap();
        }
        let tls = Tls::default().trusting(&Arc::new(roots));
        let mut gateway = Gateway::serve_in(dir, &more(endpoints, 0)).await;
        let address = gateway.https();
        gateway.drop_log();
        let text = fs::read_to_string(&gateway.config).unwrap();
        let base = text.strip_suffix(&more(endpoints, 0)).unwrap().to_owned();
        Site { gateway, address, tls, base, endpoints }
    }

    /// Reloads by the control socket; returns whether the configuration was loaded.
    async fn reload(&self, text: String) -> bool {
        fs::write(&self.gateway.config, text).unwrap();
        let socket = self.gateway.dir.path().join("control.sock");
        let answer = tokio::task::spawn_blocking(move || ask(&socket)).await.unwrap();
        answer.starts_with("{\"changes\"")
    }

    async fn connect(&self) -> Wire {
        Wire::over(soon("a handshake", connect(self.address, &self.tls, "one.test")).await.unwrap())
    }

    fn process(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.gateway.id()))
    }

    /// Open files, threads, and resident memory in KiB.
    fn holds(&self) -> (usize, usize, usize) {
        let count = |folder: &str| fs::read_dir(self.process().join(folder)).unwrap().count();
        let status = fs::read_to_string(self.process().join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        (count("fd"), count("task"), resident.trim().trim_end_matches(" kB").parse().unwrap())
    }
}

fn ask(socket: &PathBuf) -> String {
    use std::io::{Read, Write};
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"reload\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The part of the file that differs. `max-age` and the endpoint of `/marked/` are both even or both odd.
fn more([even, odd, steady]: [SocketAddr; 3], number: usize) -> String {
    let (mark, endpoint) = if number.is_multiple_of(2) { ("even", even) } else { ("odd", odd) };
    let certificate = if number % 4 < 2 { "even" } else { "odd" };
    let seconds = if mark == "even" { 2 } else { 1 };
    format!(
        "[control]\nsocket = \"control.sock\"\n\
         [listeners.public]\naddress = \"127.0.0.1:0\"\ncertificates = [\"main\"]\nhsts = \"{seconds}s\"\n\
         [certificates.main]\ncert_file = \"{certificate}/dev-cert.pem\"\nkey_file = \"{certificate}/dev-key.pem\"\n\
         [upstreams.marked]\nendpoints = [\"http://{endpoint}\"]\n\
         [routes.marked]\npath_prefix = \"/marked/\"\nupstream = \"marked\"\nauth = \"none\"\n\
         [upstreams.steady]\nendpoints = [\"http://{steady}\"]\n\
         [routes.steady]\npath_prefix = \"/steady/\"\nupstream = \"steady\"\nauth = \"none\"\nstreaming = true\n\
         [routes.r{number}]\npath_prefix = \"/r{number}/\"\nupstream = \"steady\"\nauth = \"none\"\n"
    )
}

fn assert_one_configuration(text: &[u8], mark: Option<&str>) {
    let wanted = if text == b"even" { "max-age=2" } else { "max-age=1" };
    assert_eq!(mark, Some(wanted), "{}", String::from_utf8_lossy(text));
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_fail_no_request_lose_no_connection_and_leave_nothing_behind() {
    let reloads: usize = std::env::var("RELOADS").map_or(30, |count| count.parse().unwrap());
    let (even, odd, steady) = (Origin::answering("even").await, Origin::answering("odd").await, steady().await);
    let site = Site::serve([even.address(), odd.address(), steady.address()]).await;
    let (over, counts) = (Cell::new(false), [const { Cell::new(0_usize) }; 6]);
    let more_of = |kind: usize| counts[kind].set(counts[kind].get() + 1);

    // Each client has one connection for the whole time.
    let http1 = async {
        let mut wire = site.connect().await;
        while !over.get() {
            let answer = wire.ask(Ask::get("/marked/x").bytes()).await;
            assert_one_configuration(answer.text().as_bytes(), answer.fields.get("strict-transport-security"));
            more_of(0);
        }
    };
    let http2 = async {
        let mut config = ClientConfig::clone(&site.tls);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect(site.address, &Arc::new(config), "one.test").await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        while !over.get() {
            let request = http::Request::get("https://one.test/marked/x").body(Empty::<Bytes>::new()).unwrap();
            sender.ready().await.unwrap();
            let response = soon("an answer", sender.send_request(request)).await.unwrap();
            let mark =
                response.headers().get("strict-transport-security").map(|mark| mark.to_str().unwrap().to_owned());
            let text = response.into_body().collect().await.unwrap().to_bytes();
            assert_one_configuration(&text, mark.as_deref());
            more_of(1);
        }
        assert!(!connection.is_finished());
    };
    let websocket = async {
        let mut wire = site.connect().await;
        let handshake = Ask::get("/steady/ws")
            .field("Connection", "Upgrade")
            .field("Upgrade", "websocket")
            .field("Sec-WebSocket-Version", "13")
            .field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        wire.send(handshake.bytes()).await;
        assert_eq!(wire.next_head().await.unwrap().0, 101);
        while !over.get() {
            wire.send(b"hello").await;
            while wire.0.buffer.len() < 5 {
                assert!(soon("an echo", wire.0.fill()).await.unwrap(), "the tunnel ended");
            }
            wire.0.buffer.clear();
            more_of(2);
        }
    };
    let download = async {
        let mut wire = site.connect().await;
        while !over.get() {
            let answer = wire.ask(Ask::get("/steady/x").bytes()).await;
            assert_eq!((answer.body.len(), answer.complete), (PIECES * 1_000, true));
            more_of(3);
        }
    };
    let upload = async {
        let mut wire = site.connect().await;
        while !over.get() {
            let answer = wire.ask(Ask::post("/steady/x", vec![b'y'; 20_000]).bytes()).await;
            assert_eq!((answer.status, answer.complete), (200, true));
            more_of(4);
        }
    };
    let fresh = async {
        while !over.get() {
            let answer = site.connect().await.ask(Ask::get("/marked/x").field("Connection", "close").bytes()).await;
            assert_one_configuration(answer.text().as_bytes(), answer.fields.get("strict-transport-security"));
            more_of(5);
        }
    };
    let reloading = async {
        let mut first = None;
        for number in 1..=reloads {
            let broken = number % 5 == 0;
            let text = format!("{}{}", site.base, more(site.endpoints, number));
            let text = if broken { format!("{text}wrong = 1\n") } else { text };
            assert_eq!(site.reload(text).await, !broken, "reload {number}");
            // Memory and open files settle during the first reloads.
            if number == 20.min(reloads) {
                first = Some(site.holds());
            }
        }
        let (files, threads, memory) = first.unwrap();
        let now = site.holds();
        println!("{reloads} reloads: (files, threads, KiB) {files} {threads} {memory} -> {now:?}");
        assert!(now.0 <= files + 20 && now.1 <= threads + 2, "{files} {threads} -> {now:?}");
        assert!(now.2 <= memory + memory / 4, "{memory} KiB -> {} KiB", now.2);
        over.set(true);
    };
    tokio::join!(http1, http2, websocket, download, upload, fresh, reloading);
    let counts = counts.map(|count| count.get());
    println!(
        "requests: HTTP/1 {}, HTTP/2 {}, echoes {}, downloads {}, uploads {}, new connections {}",
        counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]
    );
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let page = site.gateway.metrics().await;
    let names = page.matches("tokengate_requests_total{route=\"r").count();
    assert!(names == 0 && page.len() < 100_000, "counters of routes that are gone");
    site.gateway.stop(Signal::TERM).await;
    drop((even, odd, steady));
}
