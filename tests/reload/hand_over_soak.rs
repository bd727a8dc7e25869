//! Hand-overs under steady load: no request fails, no WebSocket connection is lost, and nothing is left behind.
//!
//! Three hand-overs by default; `HAND_OVERS=10` for the long run of `scripts/nightly`.

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokengate::clock::Clock;
use tokengate::demo::certificate::{self, Wish};

use super::soak::{PIECES, steady};
use crate::serve::{Gateway, has_ended};
use crate::support::client::{Tls, connect};
use crate::support::{Ask, Origin, PATIENCE, Wire, eventually, soon};
use crate::upgrade::{echoes, handshake};

/// The kinds of load.
const KINDS: [&str; 8] = [
    "HTTP/1.1 on kept connections",
    "HTTP/2",
    "echoes of a WebSocket that is never closed",
    "WebSockets that come and go",
    "downloads",
    "uploads across hand-overs",
    "new connections",
    "new unencrypted connections",
];

/// A gateway and its clients.
struct Site {
    gateway: Gateway,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    over: Cell<bool>,
    hand_overs: Cell<usize>,
    counts: [Cell<usize>; KINDS.len()],
    /// Connections that ended with a response that said so.
    closed: Cell<usize>,
}

impl Site {
    async fn before(endpoint: SocketAddr) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let wish = Wish { names: vec!["one.test".to_owned()], ..Wish::default() };
        let made = certificate::make(&dir.path().join("tls"), &wish, Clock::system().now()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&made.ca_file).unwrap()).unwrap();
        let tls = Tls::default().trusting(&Arc::new(roots));
        let more = format!(
            "[control]\nsocket = \"control.sock\"\n[log]\naccess = false\n\
             [listeners.public]\naddress = \"127.0.0.1:0\"\ncertificates = [\"main\"]\n\
             [certificates.main]\ncert_file = \"tls/dev-cert.pem\"\nkey_file = \"tls/dev-key.pem\"\n\
             [upstreams.steady]\nendpoints = [\"http://{endpoint}\"]\n\
             [routes.steady]\npath_prefix = \"/steady/\"\nupstream = \"steady\"\nauth = \"none\"\nstreaming = true\n"
        );
        let mut gateway = Gateway::serve_in(dir, &more).await;
        let address = gateway.https();
        gateway.drop_log();
        let (over, hand_overs, counts, closed) = Default::default();
        Site { gateway, address, tls, over, hand_overs, counts, closed }
    }

    fn more_of(&self, kind: usize) {
        self.counts[kind].set(self.counts[kind].get() + 1);
    }

    async fn connect(&self) -> Wire {
        Wire::over(soon("a handshake", connect(self.address, &self.tls, "one.test")).await.unwrap())
    }

    /// Asks on a connection that is kept as long as the gateway keeps it.
    async fn keep_asking(&self, kind: usize, ask: Ask) {
        let mut wire = self.connect().await;
        while !self.over.get() {
            let answer = wire.ask(ask.bytes()).await;
            assert_eq!(
                (answer.status, answer.body.len(), answer.complete),
                (200, PIECES * 1_000, true),
                "{}",
                KINDS[kind]
            );
            self.more_of(kind);
            if answer.fields.get("connection") == Some("close") {
                self.closed.set(self.closed.get() + 1);
                wire.ends().await;
                wire = self.connect().await;
            }
        }
    }

    async fn http2(&self) -> SendRequest<Full<Bytes>> {
        let mut config = ClientConfig::clone(&self.tls);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect(self.address, &Arc::new(config), "one.test").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn keep_asking_http2(&self, endpoint: &Origin) {
        let mut sender = self.http2().await;
        for number in 0.. {
            if self.over.get() {
                return;
            }
            let target = format!("/steady/x?number={number}");
            let request = http::Request::post(format!("https://one.test{target}")).body(Full::from("body")).unwrap();
            let answered = match sender.ready().await {
                Ok(()) => soon("an answer", sender.try_send_request(request)).await,
                // The connection was announced to end, and has.
                Err(_) => {
                    sender = self.http2().await;
                    continue;
                }
            };
            match answered {
                Ok(response) => {
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body.len(), PIECES * 1_000);
                    self.more_of(1);
                }
                Err(mut error) => {
                    let is_sent = error.take_message().is_none();
                    let error = error.into_error();
                    // The library may send a request after it was told that the connection ends. The last GOAWAY says
                    // that such a request was not processed (RFC 9113 §6.8), so a client can repeat it.
                    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
                    let is_refused = cause.is_some_and(|cause| {
                        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
                    });
                    let is_seen = endpoint.requests().iter().any(|seen| seen.target == target);
                    assert!(!is_sent || (is_refused && !is_seen), "HTTP/2, {target}, seen: {is_seen}: {error:?}");
                    sender = self.http2().await;
                }
            }
        }
    }

    async fn tunnel(&self) -> Wire {
        let mut wire = self.connect().await;
        wire.send(handshake("/steady/ws").bytes()).await;
        assert_eq!(wire.next_head().await.unwrap().0, 101);
        wire
    }

    async fn keep_a_tunnel(&self) {
        let mut wire = self.tunnel().await;
        while !self.over.get() {
            echoes(&mut wire, b"hello").await;
            self.more_of(2);
        }
    }

    async fn open_tunnels(&self) {
        while !self.over.get() {
            let mut wire = self.tunnel().await;
            for _ in 0..20 {
                echoes(&mut wire, b"hello").await;
            }
            self.more_of(3);
        }
    }

    /// Sends the second half of each body after another hand-over.
    async fn upload(&self) {
        let mut wire = self.connect().await;
        while !self.over.get() {
            let begun = self.hand_overs.get();
            let head = "POST /steady/x HTTP/1.1\r\nHost: one.test\r\nContent-Length: 20000\r\n\r\n";
            wire.send(head).await;
            wire.send(vec![b'y'; 10_000]).await;
            // Longer than each step of a hand-over may take: what hangs is then reported by its own name.
            let another = || async { self.hand_overs.get() > begun || self.over.get() };
            eventually(PATIENCE * 10, "another hand-over", another).await;
            wire.send(vec![b'y'; 10_000]).await;
            let answer = wire.answer().await;
            assert_eq!((answer.status, answer.complete), (200, true), "an upload");
            self.more_of(5);
            if answer.fields.get("connection") == Some("close") {
                self.closed.set(self.closed.get() + 1);
                wire = self.connect().await;
            }
        }
    }

    async fn open_connections(&self, kind: usize, is_encrypted: bool) {
        let ask = Ask::get("/none").field("Connection", "close").bytes();
        while !self.over.get() {
            let mut wire = if is_encrypted {
                self.connect().await
            } else {
                Wire::over(tokio::net::TcpStream::connect(self.gateway.address).await.unwrap())
            };
            assert_eq!(wire.ask(&ask).await.status, 404);
            self.more_of(kind);
        }
    }

    /// Waits until every kind of load has gone on.
    async fn goes_on(&self) {
        let counts = || self.counts.each_ref().map(Cell::get);
        let before = counts();
        // An upload ends with a hand-over.
        let all = || async {
            counts().iter().zip(before).enumerate().all(|(kind, (now, before))| kind == 5 || *now > before)
        };
        let standing = || {
            let stands = |kind: &usize| counts()[*kind] == before[*kind];
            (0..KINDS.len()).filter(stands).map(|kind| KINDS[kind]).collect::<Vec<_>>()
        };
        if tokio::time::timeout(PATIENCE, eventually(PATIENCE * 2, "all clients go on", all)).await.is_err() {
            panic!("not within {PATIENCE:?}: {:?} (uploads wait for a hand-over)", standing());
        }
    }

    /// Open files, threads, and resident memory in KiB of the process that serves.
    fn holds(process: u32) -> (usize, usize, usize) {
        let at = std::path::PathBuf::from(format!("/proc/{process}"));
        let count = |folder: &str| fs::read_dir(at.join(folder)).unwrap().count();
        let status = fs::read_to_string(at.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        (count("fd"), count("task"), resident.trim().trim_end_matches(" kB").parse().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_under_load_fail_no_request_lose_no_tunnel_and_leave_nothing_behind() {
    let times: usize = std::env::var("HAND_OVERS").map_or(3, |count| count.parse().unwrap());
    let steady = steady().await;
    let site = Site::before(steady.address()).await;
    let file = fs::read_to_string(&site.gateway.config).unwrap();
    let handing_over = async {
        let (mut processes, mut held) = (vec![site.gateway.id()], Vec::new());
        for number in 1..=times {
            site.goes_on().await;
            // The same number of workers at the first hand-over and at the last one.
            let workers = if number == 1 || number == times { 2 } else { 1 + number % 4 };
            fs::write(&site.gateway.config, format!("workers = {workers}\n{file}")).unwrap();
            processes.push(site.gateway.upgrade().await);
            site.hand_overs.set(number);
            for _ in 0..5 {
                site.goes_on().await;
            }
            held.push(Site::holds(processes[number]));
        }
        site.over.set(true);
        println!("{times} hand-overs: (files, threads, KiB) {held:?}");
        let (first, last) = (held[0], held[times - 1]);
        assert!(last.0 <= first.0 + 20 && last.1 <= first.1 + 2, "{first:?} -> {last:?}");
        assert!(last.2 <= first.2 + first.2 / 4, "{first:?} -> {last:?}");
        processes
    };
    let (.., processes) = tokio::join!(
        site.keep_asking(0, Ask::post("/steady/x", "body")),
        site.keep_asking_http2(&steady),
        site.keep_a_tunnel(),
        site.open_tunnels(),
        site.keep_asking(4, Ask::get("/steady/x")),
        site.upload(),
        site.open_connections(6, true),
        site.open_connections(7, false),
        handing_over,
    );
    for (kind, count) in KINDS.iter().zip(&site.counts) {
        println!("{}: {}", kind, count.get());
        assert!(count.get() > 0, "{kind}");
    }
    println!("connections that ended with their response: {}", site.closed.get());
    assert!(site.closed.get() > 0);
    let (serving, before) = processes.split_last().unwrap();
    for process in before {
        eventually(PATIENCE, "the processes before end", || async { has_ended(*process) }).await;
    }
    assert_eq!(site.gateway.told()["pid"], *serving);
    assert_eq!(site.gateway.told()["predecessor"], serde_json::Value::Null);
    site.gateway.drain().await;
    drop(steady);
}
