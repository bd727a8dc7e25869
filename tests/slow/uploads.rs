//! Slow uploads that make progress.

use std::time::Duration;

use tokengate::config::settings::Route;

use crate::support::{Origin, Site, Wire};

/// Longer than the time for which every body may be slow.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_slow_upload_is_cut_only_where_a_higher_rate_is_configured() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| {
        let public = settings.routes[1].clone();
        let path = tokengate::config::settings::PathPattern::Prefix("/live/".to_owned());
        settings.routes.push(Route { name: "live".into(), path, streaming: true, body_rate: None, ..public.clone() });
        let path = tokengate::config::settings::PathPattern::Prefix("/brisk/".to_owned());
        settings.routes.push(Route { name: "brisk".into(), path, body_rate: Some(1_000), ..public });
    });
    let gateway = site.start().await;
    let pieces = 2 * LONG.as_secs();
    // 100 bytes per second on an ordinary route, and on one with a higher minimum; almost nothing on a streaming one.
    let uploads = [("/public/x", 50), ("/brisk/x", 50), ("/live/x", 1)].map(|(path, size)| {
        let gateway = &gateway;
        async move {
            let mut wire = Wire::open(gateway).await;
            let length = u64::try_from(size).unwrap() * pieces;
            wire.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")).await;
            let mut drops = tokio::time::interval(Duration::from_millis(500));
            for _ in 0..pieces {
                drops.tick().await;
                // A cut connection may lose its response.
                if wire.try_send("x".repeat(size)).await.is_err() {
                    return;
                }
            }
            if path != "/brisk/x" {
                assert_eq!(wire.answer().await.status, 200, "{path}");
            }
        }
    });
    let [ordinary, brisk, live] = uploads;
    tokio::join!(ordinary, brisk, live);
    for (route, outcome) in [("public", "forwarded"), ("live", "forwarded"), ("brisk", "request_timeout")] {
        gateway.has_counted(route, outcome, 1).await;
    }
    let served = |seen: &crate::support::origin::Request| seen.complete || seen.target == "/brisk/x";
    assert!(origin.requests().iter().all(served));
}
