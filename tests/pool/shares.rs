//! The share of one client in the connections of an upstream.

use std::time::Duration;

use tokengate::config::settings::ClientShare;
use tokio::task::JoinSet;

use crate::support::client::{BOTH, from_elsewhere};
use crate::support::http2::H2;
use crate::support::origin::ok;
use crate::support::{Ask, Gate, Origin, PATIENCE, Site, Step, eventually, soon};

/// How long requests wait for a connection.
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn one_client_cannot_take_all_connections_of_an_upstream() {
    let gate = Gate::closed();
    let held = std::sync::Arc::clone(&gate);
    let origin = Origin::scripted(move |request| match request.target.as_str() {
        "/public/stalled" => vec![Step::Read, Step::Wait(std::sync::Arc::clone(&held)), Step::Send(ok("late"))],
        _ => vec![Step::Read, Step::Send(ok("hello"))],
    })
    .await;
    let site = Site::before(&origin).with(|settings| {
        settings.upstreams[0].max_connections = 100;
        settings.upstreams[0].connect_timeout = SHORT;
    });
    let gateway = site.start().await;
    let (mut clients, mut answers) = (Vec::new(), JoinSet::new());
    for _ in 0..4 {
        let mut client = H2::open(&gateway).await;
        for _ in 0..90 {
            let answer = client.begin(Ask::get("/public/stalled").http2());
            answers.spawn(async move {
                let answer = answer.await.unwrap();
                (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
            });
        }
        clients.push(client);
    }
    origin.has_seen(75).await;
    // All others are refused, in time.
    for _ in 0..360 - 75 {
        assert_eq!(soon("refusal", answers.join_next()).await.unwrap().unwrap(), (429, true));
    }
    assert_eq!(origin.count(), 75);
    gateway.has_counted("public", "upstream_share", 285).await;
    for http in BOTH {
        let answer = Ask::get("/public/x").over(http, &gateway).await;
        assert_eq!(answer.status, 429, "{http:?} {answer:?}");
    }
    let mut other = from_elsewhere(&gateway).await;
    for _ in 0..20 {
        assert_eq!(other.ask(Ask::get("/public/x").bytes()).await.text(), "hello");
    }
    gate.open();
    for _ in 0..75 {
        assert_eq!(soon("answer", answers.join_next()).await.unwrap().unwrap().0, 200);
    }
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200, "its space is released");
}

#[tokio::test]
async fn a_share_can_be_a_number_or_unlimited() {
    for (share, passing) in [(ClientShare::Most(5), 5), (ClientShare::Unlimited, 20)] {
        let gate = Gate::closed();
        let held = std::sync::Arc::clone(&gate);
        let origin = Origin::scripted(move |_| {
            vec![Step::Read, Step::Wait(std::sync::Arc::clone(&held)), Step::Send(ok("late"))]
        })
        .await;
        let site = Site::before(&origin).with(|settings| {
            settings.upstreams[0].max_connections = 20;
            settings.upstreams[0].client_share = share;
        });
        let gateway = site.start().await;
        let mut client = H2::open(&gateway).await;
        let answers: Vec<_> = (0..20).map(|_| tokio::spawn(client.begin(Ask::get("/public/x").http2()))).collect();
        origin.has_seen(passing).await;
        eventually(PATIENCE, "the rest waits", || async { origin.open_connections() == passing }).await;
        assert_eq!(origin.count(), passing, "{share:?}");
        gate.open();
        for answer in answers {
            assert_eq!(
                soon("answer", answer).await.unwrap().unwrap().status(),
                200,
                "{share:?}: what waited is served"
            );
        }
    }
}
