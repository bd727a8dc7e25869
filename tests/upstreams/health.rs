//! Which endpoint a request goes to: balancing, ejection, checks, retries on another endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokengate::config::settings::{Balance, Ejection, HealthCheck, Settings};
use tokio::task::JoinSet;

use crate::leaks::said;
use crate::names::Silent;
use crate::support::client::{BOTH, Tls, connect};
use crate::support::http2::H2;
use crate::support::origin::{Request, ok};
use crate::support::{Ask, Gateway, Http, Origin, PATIENCE, Site, Step, Wire, eventually, nowhere, soon};

/// Two endpoints; those that fail are ejected for this time after two failures.
fn two(one: &Origin, other: &Origin, eject_for: Duration) -> Site {
    Site::before_all(&[one.address(), other.address()]).with(move |settings| {
        let rule = Ejection { consecutive_errors: 2, eject_for, max_ejected: 50 };
        settings.upstreams[0].ejection = Some(rule);
        settings.upstreams[0].slow_start = Duration::ZERO;
        settings.upstreams[0].balance = Balance::RoundRobin;
    })
}

const LONG: Duration = Duration::from_secs(3_600);

fn steps(answer: &str) -> Vec<Step> {
    vec![Step::Read, Step::Send(ok(answer))]
}

/// How often the endpoints saw each target.
fn seen(origins: &[&Origin]) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for request in origins.iter().flat_map(|origin| origin.requests()) {
        *seen.entry(request.target).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn a_request_without_effects_never_fails_while_another_endpoint_responds() {
    let short = Duration::from_millis(300);
    let begun = || Step::Send(b"HTTP/1.1 200 ".to_vec());
    for (what, bad) in [
        ("closes", vec![Step::Close]),
        ("closes after reading", vec![Step::Read, Step::Close]),
        ("resets", vec![Step::Read, Step::Reset]),
        ("responds with garbage", vec![Step::Read, Step::Send(b"garbage".to_vec()), Step::Close]),
        ("ends within its head", vec![Step::Read, begun(), Step::Close]),
        ("is frozen", vec![Step::Stall]),
        ("is slow", vec![Step::Read, begun(), Step::Hang]),
    ] {
        for http in BOTH {
            let (dead, alive) = (Origin::doing(bad.clone()).await, Origin::answering("hello").await);
            let site = two(&dead, &alive, LONG).with(|s| s.routes[1].response_headers_timeout = short);
            let gateway = site.start().await;
            let (mut wire, mut client) = (Wire::open(&gateway).await, H2::open(&gateway).await);
            for _ in 0..20 {
                let ask = Ask::get("/public/x");
                let answer = if http == Http::One { wire.ask(ask.bytes()).await } else { client.ask(&ask).await };
                assert_eq!((answer.status, answer.text()), (200, "hello"), "{what} {http:?}");
            }
            // Ejected after its second failure.
            assert_eq!((dead.count(), alive.count()), (2, 20), "{what} {http:?}");
        }
    }
}

#[tokio::test]
async fn a_request_with_effects_is_sent_to_no_second_endpoint() {
    for bad in [vec![Step::Close], vec![Step::Read, Step::Reset], vec![Step::Read, Step::Send(b"garbage".to_vec())]] {
        let (dead, alive) = (Origin::doing(bad).await, Origin::answering("hello").await);
        let gateway = two(&dead, &alive, LONG).start().await;
        let mut failed = 0;
        for number in 0..20 {
            let ask = Ask::post(&format!("/public/{number}"), "body");
            failed += usize::from(ask.to(&gateway).await.status == 502);
        }
        assert_eq!((failed, dead.count(), alive.count()), (2, 2, 18));
        assert!(seen(&[&dead, &alive]).values().all(|count| *count == 1));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_killed_and_restarted_under_load_loses_no_request_without_effects() {
    let script = |_: &Request| steps("hello");
    let (one, other) = (Origin::scripted(script).await, Origin::scripted(script).await);
    let address = one.address();
    let gateway = two(&one, &other, Duration::from_secs(1)).start().await;
    let (gateway_at, tls) = (gateway.address(), Tls::default().config(&gateway));
    let open = move || {
        let tls = Arc::clone(&tls);
        async move { Wire::over(connect(gateway_at, &tls, "localhost").await.unwrap()) }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (open, stop) = (open.clone(), Arc::clone(&stop));
        clients.spawn(async move {
            let mut wire = open().await;
            let mut results = Vec::new();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let target = format!("/public/{client}-{number}");
                let reads = number % 3 != 0;
                let ask = if reads { Ask::get(&target) } else { Ask::post(&target, "body") };
                let answer = wire.ask(ask.bytes()).await;
                if answer.fields.get("connection") == Some("close") {
                    wire = open().await;
                }
                results.push((target, reads, answer.status));
            }
            results
        });
    }
    let mut gone = Vec::new();
    let mut one = one;
    for _ in 0..3 {
        let before = other.count();
        other.has_seen(before + 100).await;
        gone.push(one.end().await);
        let before = other.count();
        other.has_seen(before + 200).await;
        one = Origin::scripted_at(address, script).await;
        one.has_seen(50).await;
    }
    stop.store(true, Ordering::Relaxed);
    let results: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    let mut counts = seen(&[&one, &other]);
    for request in gone.into_iter().flatten() {
        *counts.entry(request.target).or_default() += 1;
    }
    for (target, reads, status) in &results {
        let count = counts.get(target).copied().unwrap_or_default();
        if *reads {
            assert!(*status == 200 && (1..=2).contains(&count), "GET {target}: {status}, seen {count} times");
        } else {
            assert!(count <= 1 && (*status != 200 || count == 1), "POST {target}: {status}, seen {count} times");
            assert!([200, 502].contains(status), "POST {target}: {status}");
        }
    }
    assert!(results.len() > 600);
}

#[tokio::test]
async fn an_ejection_is_logged_shown_and_ends_in_time() {
    let said = said();
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let one =
        Origin::scripted(move |_| if is_broken.load(Ordering::Relaxed) { vec![Step::Close] } else { steps("one") });
    let (one, other) = (one.await, Origin::answering("other").await);
    let gateway = two(&one, &other, Duration::from_secs(2)).start().await;
    let begun = tokio::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "other");
    }
    broken.store(false, Ordering::Relaxed);
    let count = one.count();
    assert_eq!(count, 2);
    let endpoint = one.address().to_string();
    let logged = |code: &str| said.text().lines().filter(|l| l.contains(code) && l.contains(&endpoint)).count();
    assert_eq!(logged("endpoint_ejected"), 1);
    eventually(PATIENCE, "it returns", || async { Ask::get("/public/x").to(&gateway).await.text() == "one" }).await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!((logged("endpoint_ejected"), logged("endpoint_returned")), (1, 1));
}

#[tokio::test]
async fn one_endpoint_alone_is_never_ejected() {
    let origin = Origin::doing(vec![Step::Close]).await;
    let gateway = Gateway::before(&origin).await;
    for _ in 0..20 {
        assert_eq!(Ask::post("/public/x", "").to(&gateway).await.status, 502);
    }
    assert_eq!(origin.count(), 20);
}

#[tokio::test]
async fn the_state_of_an_endpoint_outlives_a_reload() {
    let (dead, alive) = (Origin::doing(vec![Step::Close]).await, Origin::answering("hello").await);
    let gateway = two(&dead, &alive, LONG).start().await;
    for number in 0..12 {
        if number == 6 {
            gateway.reload(|settings| settings.upstreams[0].idle_timeout = Duration::from_secs(7)).await.unwrap();
        }
        assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    }
    assert_eq!(dead.count(), 2);
}

fn checked(settings: &mut Settings) {
    settings.upstreams[0].balance = Balance::RoundRobin;
    settings.upstreams[0].slow_start = Duration::ZERO;
    settings.upstreams[0].health_check = Some(HealthCheck {
        path: "/healthz?deep".parse().unwrap(),
        host: Some(http::HeaderValue::from_static("health.test")),
        status: 200..=299,
        every: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
        healthy: 2,
        unhealthy: 2,
    });
}

#[tokio::test]
async fn an_endpoint_whose_checks_fail_gets_no_requests_until_they_succeed() {
    let said = said();
    for bad in [
        vec![Step::Read, Step::Send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec())],
        vec![Step::Close],
        vec![Step::Stall],
        vec![Step::Send(b"garbage".to_vec())],
    ] {
        let is_well = Arc::new(AtomicBool::new(false));
        let well = Arc::clone(&is_well);
        let sick = Origin::scripted(move |request| match request.target.as_str() {
            "/healthz?deep" if !well.load(Ordering::Relaxed) => bad.clone(),
            _ => steps("sick"),
        })
        .await;
        let other = Origin::answering("other").await;
        let gateway = Site::before_all(&[sick.address(), other.address()]).with(checked).start().await;
        let endpoint = sick.address().to_string();
        let logged = |code: &str| said.text().lines().filter(|l| l.contains(code) && l.contains(&endpoint)).count();
        eventually(PATIENCE, "it is unhealthy", || async { logged("endpoint_unhealthy") == 1 }).await;
        let check = sick.requests().into_iter().find(|request| request.target == "/healthz?deep").unwrap();
        assert_eq!((check.method.as_str(), check.fields.get("host")), ("GET", Some("health.test")));
        for _ in 0..6 {
            assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "other");
        }
        is_well.store(true, Ordering::Relaxed);
        eventually(PATIENCE, "it is healthy", || async { logged("endpoint_healthy") == 1 }).await;
        let answers = [Ask::get("/public/x").to(&gateway).await, Ask::get("/public/x").to(&gateway).await];
        assert_eq!(answers.iter().filter(|answer| answer.text() == "sick").count(), 1);
        // Without checks, nothing is known against it.
        is_well.store(false, Ordering::Relaxed);
        eventually(PATIENCE, "it is unhealthy", || async { logged("endpoint_unhealthy") == 2 }).await;
        gateway.reload(|settings| settings.upstreams[0].health_check = None).await.unwrap();
        eventually(PATIENCE, "it is used", || async { Ask::get("/public/x").to(&gateway).await.text() == "sick" })
            .await;
    }
}

#[tokio::test]
async fn if_all_endpoints_are_unhealthy_all_are_tried() {
    let origin = Origin::scripted(|request| match request.target.as_str() {
        "/healthz?deep" => vec![Step::Close],
        _ => steps("hello"),
    })
    .await;
    let gateway = Site::before_all(&[origin.address(), nowhere()]).with(checked).start().await;
    let said = said();
    let endpoint = origin.address().to_string();
    eventually(PATIENCE, "it is unhealthy", || async {
        said.text().lines().any(|line| line.contains("endpoint_unhealthy") && line.contains(&endpoint))
    })
    .await;
    for _ in 0..6 {
        assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "hello");
    }
}

#[tokio::test]
async fn the_requests_of_a_user_go_to_one_endpoint() {
    let script = |_: &Request| steps("hello");
    let origins = [Origin::scripted(script).await, Origin::scripted(script).await, Origin::scripted(script).await];
    let site = Site::before_all(&origins.each_ref().map(Origin::address));
    let gateway = site.with(|settings| settings.upstreams[0].balance = Balance::HashUser).start().await;
    let mut used = [false; 3];
    for user in 0..12 {
        let key = gateway.issue(&format!("user{user}")).await;
        let target = format!("/api/{user}");
        for http in [Http::One, Http::Two, Http::One] {
            assert_eq!(Ask::get(&target).token(&key).over(http, &gateway).await.status, 200);
        }
        let count = |origin: &Origin| origin.requests().iter().filter(|seen| seen.target == target).count();
        let counts = origins.each_ref().map(count);
        let place = counts.iter().position(|count| *count == 3).unwrap_or_else(|| panic!("{counts:?}"));
        used[place] = true;
    }
    assert!(used.iter().filter(|used| **used).count() > 1);
    for _ in 0..6 {
        assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    }
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_in_time_is_a_gateway_timeout() {
    let silent = Silent::new();
    let site = Site::before_all(&[silent.address()]);
    let gateway =
        site.with(|settings| settings.upstreams[0].connect_timeout = Duration::from_millis(200)).start().await;
    for http in BOTH {
        let answer = soon("an answer", Ask::post("/public/x", "body").over(http, &gateway)).await;
        let detail = "The upstream did not accept the connection in time.".to_owned();
        assert_eq!((answer.status, answer.detail()), (504, detail));
    }
    gateway.has_counted("public", "origin_connect_timeout", 2).await;
}
