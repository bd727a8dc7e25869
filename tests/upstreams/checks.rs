//! Active checks use the transport of the requests: TLS, and HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Response;
use tokengate::config::settings::{Balance, HealthCheck, Protocol, Settings};

use super::over_tls;
use crate::leaks::said;
use crate::support::authority::Authority;
use crate::support::h2_origin::{Act, H2Origin};
use crate::support::origin::ok;
use crate::support::tls_front::TlsFront;
use crate::support::{Ask, Origin, PATIENCE, Site, Step, eventually};

fn checked(settings: &mut Settings) {
    let upstream = &mut settings.upstreams[0];
    (upstream.balance, upstream.slow_start) = (Balance::RoundRobin, Duration::ZERO);
    upstream.health_check = Some(HealthCheck {
        path: "/healthz?deep".parse().unwrap(),
        host: Some(http::HeaderValue::from_static("health.test")),
        status: 200..=299,
        every: Duration::from_millis(100),
        timeout: PATIENCE,
        healthy: 2,
        unhealthy: 2,
    });
}

/// Endpoints of both versions that say `text`, and are healthy while `is_well`.
async fn endpoints(text: &'static str, is_well: &Arc<AtomicBool>) -> (Origin, H2Origin) {
    let (one_is_well, two_is_well) = (Arc::clone(is_well), Arc::clone(is_well));
    let one = Origin::scripted(move |request| match request.target.as_str() {
        "/healthz?deep" if !one_is_well.load(Ordering::Relaxed) => {
            let unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            vec![Step::Read, Step::Send(unavailable.as_bytes().to_vec())]
        }
        _ => vec![Step::Read, Step::Send(ok(text))],
    })
    .await;
    let two = H2Origin::scripted(100, move |seen| match seen.target.as_str() {
        "/healthz?deep" if !two_is_well.load(Ordering::Relaxed) => {
            Act::Head(Arc::new(|| Response::builder().status(503).body(()).unwrap()))
        }
        _ => Act::Answer(text.to_owned()),
    })
    .await;
    (one, two)
}

#[tokio::test]
async fn checks_over_tls_and_http2_take_an_endpoint_out_until_they_succeed() {
    let said = said();
    let authority = Authority::new();
    let certificate = authority.issue("server", &["localhost"]).read();
    for (protocol, alpn) in [
        (Protocol::Http1, Some(&b"http/1.1"[..])),
        (Protocol::Http2, None),
        (Protocol::Http2, Some(b"h2")),
        // The endpoint chooses HTTP/1.1.
        (Protocol::Http2, Some(b"http/1.1")),
    ] {
        let what = format!("{protocol:?} {:?}", alpn.map(String::from_utf8_lossy));
        let (is_well, always) = (Arc::<AtomicBool>::default(), Arc::new(AtomicBool::new(true)));
        let (sick, other) = (endpoints("sick", &is_well).await, endpoints("other", &always).await);
        let is_http2 = protocol == Protocol::Http2 && alpn != Some(b"http/1.1");
        let addresses = [&sick, &other].map(|(one, two)| if is_http2 { two.address() } else { one.address() });
        let mut fronts = Vec::new();
        for address in addresses {
            if let Some(alpn) = alpn {
                fronts.push(TlsFront::with(address, &certificate, &[alpn]).await);
            }
        }
        let reached: Vec<_> = match alpn {
            Some(_) => fronts.iter().map(TlsFront::address).collect(),
            None => addresses.to_vec(),
        };
        let site = Site::before_all(&reached).with(checked).with(|settings| {
            settings.upstreams[0].protocol = protocol;
            if alpn.is_some() {
                over_tls(settings, &reached, &authority.trusted());
            }
        });
        let gateway = site.start().await;
        let port = format!(":{}", reached[0].port());
        let logged = |code: &str| said.text().lines().filter(|l| l.contains(code) && l.contains(&port)).count();
        eventually(PATIENCE, &format!("it is unhealthy: {what}"), || async { logged("endpoint_unhealthy") == 1 }).await;
        for _ in 0..6 {
            assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "other", "{what}");
        }
        is_well.store(true, Ordering::Relaxed);
        eventually(PATIENCE, "it is healthy", || async { logged("endpoint_healthy") == 1 }).await;
        let mut texts = Vec::new();
        for _ in 0..4 {
            texts.push(Ask::get("/public/x").to(&gateway).await.text().to_owned());
        }
        texts.sort();
        assert_eq!(texts, ["other", "other", "sick", "sick"], "{what}");
        let host = if is_http2 {
            sick.1.requests().into_iter().find(|seen| seen.target == "/healthz?deep").unwrap().authority
        } else {
            let check = sick.0.requests().into_iter().find(|seen| seen.target == "/healthz?deep").unwrap();
            check.fields.get("host").unwrap().to_owned()
        };
        assert_eq!(host, "health.test", "{what}");
    }
}
