//! An endpoint fails and returns under load: each request is accounted for, at its client and at the endpoints.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokengate::config::settings::{Balance, ClientShare, Ejection, Protocol};
use tokio::task::JoinSet;

use super::over_tls;
use crate::support::authority::Authority;
use crate::support::client::{BOTH, Tls, connect};
use crate::support::h2_origin::H2Origin;
use crate::support::origin::ok;
use crate::support::tls_front::TlsFront;
use crate::support::{Ask, Gateway, Http, Line, Origin, PATIENCE, Site, Step, Wire, eventually};

/// An endpoint of either version.
enum Endpoint {
    One(Origin),
    Two(H2Origin),
}

impl Endpoint {
    async fn start(protocol: Protocol) -> Endpoint {
        match protocol {
            Protocol::Http1 => Endpoint::One(Origin::answering("hello").await),
            Protocol::Http2 => Endpoint::Two(H2Origin::answering("hello").await),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Endpoint::One(origin) => origin.address(),
            Endpoint::Two(origin) => origin.address(),
        }
    }

    fn targets(&self) -> Vec<String> {
        match self {
            Endpoint::One(origin) => origin.requests().into_iter().map(|seen| seen.target).collect(),
            Endpoint::Two(origin) => origin.requests().into_iter().map(|seen| seen.target).collect(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Endpoint::One(origin) => origin.count(),
            Endpoint::Two(origin) => origin.count(),
        }
    }

    /// Waits for this many further requests.
    async fn goes_on(&self, more: usize) {
        let before = self.count();
        eventually(PATIENCE, "further requests", || async { self.count() >= before + more }).await;
    }
}

fn before(endpoints: &[SocketAddr], protocol: Protocol) -> Site {
    Site::before_all(endpoints).with(|settings| {
        let upstream = &mut settings.upstreams[0];
        upstream.protocol = protocol;
        upstream.balance = Balance::RoundRobin;
        upstream.client_share = ClientShare::Unlimited;
        upstream.slow_start = Duration::ZERO;
        let eject_for = Duration::from_secs(1);
        upstream.ejection = Some(Ejection { consecutive_errors: 2, eject_for, max_ejected: 50 });
        settings.routes[1].response_headers_timeout = Duration::from_millis(500);
    })
}

/// A request, and what its client got.
pub struct Told {
    pub target: String,
    is_safe: bool,
    pub status: u16,
}

/// Six clients that ask without a pause, until they are stopped. Every third request has an effect.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<Told>>,
}

impl Load {
    pub fn on(gateway: &Gateway) -> Load {
        let (at, tls, stop) = (gateway.address(), Tls::default().config(gateway), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for client in 0..6 {
            let (tls, stop) = (Arc::clone(&tls), Arc::clone(&stop));
            clients.spawn(async move {
                let open = || async { Wire::over(connect(at, &tls, "localhost").await.unwrap()) };
                let (mut wire, mut told) = (open().await, Vec::new());
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let target = format!("/public/{client}-{number}");
                    let is_safe = number % 3 != 0;
                    let ask = if is_safe { Ask::get(&target) } else { Ask::post(&target, "body") };
                    let answer = wire.ask(ask.bytes()).await;
                    if answer.fields.get("connection") == Some("close") {
                        wire = open().await;
                    }
                    told.push(Told { target, is_safe, status: answer.status });
                }
                told
            });
        }
        Load { stop, clients }
    }

    pub async fn end(self) -> Vec<Told> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// What happens to an endpoint, how it is done, and the statuses that clients may get meanwhile.
type Failure = (&'static str, fn(&Line), &'static [u16]);

#[tokio::test]
async fn every_request_is_accounted_for_while_an_endpoint_fails_and_returns() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        // A machine that has vanished looks like one that is frozen: its connections stay, and nothing comes.
        let failures: [Failure; 2] = [("killed", Line::cut, &[200, 502]), ("frozen", Line::stall, &[200, 502, 504])];
        for (what, fail, statuses) in failures {
            let (one, other) = (Endpoint::start(protocol).await, Endpoint::start(protocol).await);
            let line = Line::to(one.address()).await;
            let gateway = before(&[line.address, other.address()], protocol).start().await;
            let load = Load::on(&gateway);
            for _ in 0..2 {
                one.goes_on(50).await;
                fail(&line);
                other.goes_on(400).await;
                line.pass();
            }
            // It returns.
            one.goes_on(100).await;
            let told = load.end().await;
            let mut seen: HashMap<String, usize> = HashMap::new();
            for target in one.targets().into_iter().chain(other.targets()) {
                *seen.entry(target).or_default() += 1;
            }
            let mut failed = 0;
            for Told { target, is_safe, status } in &told {
                let count = seen.get(target).copied().unwrap_or_default();
                let about = format!("{what} {protocol:?} {target}: {status}, seen {count} times");
                match is_safe {
                    true => assert!(*status == 200 && (1..=2).contains(&count), "GET {about}"),
                    false => {
                        assert!(statuses.contains(status), "POST {about}");
                        assert!(count <= 1 && (*status != 200 || count == 1), "POST {about}");
                    }
                }
                failed += usize::from(*status != 200);
            }
            assert!(told.len() > 800 && failed <= 60, "{what} {protocol:?}: {failed} of {}", told.len());
        }
    }
}

#[tokio::test]
async fn a_request_is_never_lost_between_an_endpoint_with_an_expired_certificate_and_a_good_one() {
    let authority = Authority::new();
    let expired = authority.issue_until("expired", &["localhost"], 2021);
    let good = authority.issue("good", &["localhost"]);
    for (protocol, alpn) in [(Protocol::Http1, &b"http/1.1"[..]), (Protocol::Http2, b"h2")] {
        let (one, other) = (Endpoint::start(protocol).await, Endpoint::start(protocol).await);
        let behind = TlsFront::with(one.address(), &expired.read(), &[alpn]).await;
        let front = TlsFront::with(other.address(), &good.read(), &[alpn]).await;
        let endpoints = [behind.address(), front.address()];
        let site = before(&endpoints, protocol);
        let gateway = site.with(|settings| over_tls(settings, &endpoints, &authority.trusted())).start().await;
        for number in 0..30 {
            for ask in [Ask::get(&format!("/public/{number}")), Ask::post(&format!("/public/p{number}"), "body")] {
                let http = if number % 2 == 0 { Http::One } else { Http::Two };
                assert_eq!(ask.over(http, &gateway).await.status, 200, "no byte of a request was sent to the bad one");
            }
        }
        assert_eq!((one.count(), other.count()), (0, 60), "{protocol:?}");
    }
}

/// The head of the response was passed on, so nothing can be repeated.
#[tokio::test]
async fn a_reset_within_a_body_is_told_to_the_client_and_sends_nothing_twice() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun".to_vec();
    for step in [Step::Reset, Step::Close] {
        let begun = Step::Send(begun.clone());
        let (one, other) = (Origin::doing(vec![Step::Read, begun, step]).await, Origin::answering("hello").await);
        let gateway = before(&[one.address(), other.address()], Protocol::Http1).start().await;
        let mut cut = 0;
        for http in BOTH {
            for ask in [Ask::get("/public/x"), Ask::post("/public/x", "body")] {
                for _ in 0..2 {
                    let answer = ask.over(http, &gateway).await;
                    assert_eq!((answer.status, answer.complete), (200, answer.body == b"hello"), "{http:?} {ask:?}");
                    cut += usize::from(!answer.complete);
                }
            }
        }
        assert_eq!((one.count(), other.count(), cut), (4, 4, 4));
        gateway.has_counted("public", "origin_reset", 4).await;
    }
}

/// The endpoint closes, or resets, while it still gets the body.
#[tokio::test]
async fn an_upload_that_an_endpoint_breaks_off_is_a_bad_gateway_and_is_not_repeated() {
    for step in [Step::Reset, Step::Close] {
        let one = Origin::doing(vec![step]).await;
        let other = Origin::doing(vec![Step::Read, Step::Send(ok("hello"))]).await;
        let gateway = before(&[one.address(), other.address()], Protocol::Http1).start().await;
        for http in BOTH {
            let mut statuses = Vec::new();
            for _ in 0..2 {
                statuses.push(Ask::post("/public/x", vec![b'x'; 4 << 20]).over(http, &gateway).await.status);
            }
            assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{http:?} {statuses:?}");
        }
        assert_eq!(one.count() + other.count(), 4, "each was sent once");
    }
}
