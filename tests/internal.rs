//! The internal listener: health and metrics over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokengate::admin::server::Stop;
use tokengate::admin::{self, AskHealth, Health, WriteMetrics};
use tokengate::limits::TurnedAway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;

fn get(address: SocketAddr, path: &str) -> String {
    get_with(address, path, "")
}

fn get_with(address: SocketAddr, path: &str, fields: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

async fn get_aside(address: SocketAddr, path: &'static str) -> String {
    tokio::task::spawn_blocking(move || get(address, path)).await.unwrap()
}

#[tokio::test]
async fn health_reports_the_given_state_and_each_page_exists_only_if_enabled() {
    let broken = Arc::new(AtomicBool::new(false));
    let health: AskHealth = {
        let broken = Arc::clone(&broken);
        Arc::new(move || match broken.load(Ordering::Acquire) {
            false => Health::Ok,
            true => Health::Failing(vec!["the store cannot be reached".to_owned()]),
        })
    };
    let metrics: WriteMetrics = Arc::new(|| "requests_total 1\n".to_owned());
    let with = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let without = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics_only = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics_only_at = metrics_only.local_addr().unwrap();
    let (with_at, without_at) = (with.local_addr().unwrap(), without.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let router = admin::internal_router(Some(Arc::clone(&health)), Some(Arc::clone(&metrics)));
    let serving = tokio::spawn(admin::serve(with, router, Arc::default(), async {
        drop(stopped.await);
        Stop::AfterThisResponse
    }));
    tokio::spawn(admin::serve(
        metrics_only,
        admin::internal_router(None, Some(metrics)),
        Arc::default(),
        std::future::pending(),
    ));
    tokio::spawn(admin::serve(
        without,
        admin::internal_router(Some(health), None),
        Arc::default(),
        std::future::pending(),
    ));

    let well = get_aside(with_at, "/health").await;
    assert!(well.starts_with("HTTP/1.1 200") && well.ends_with("\r\n\r\n{\"status\":\"ok\"}"), "{well}");
    broken.store(true, Ordering::Release);
    let ill = get_aside(with_at, "/health").await;
    assert!(ill.starts_with("HTTP/1.1 503"), "{ill}");
    assert!(ill.ends_with("{\"problems\":[\"the store cannot be reached\"],\"status\":\"failing\"}"), "{ill}");

    let metrics = get_aside(with_at, "/metrics").await;
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.ends_with("\r\n\r\nrequests_total 1\n"));
    assert!(get_aside(without_at, "/metrics").await.starts_with("HTTP/1.1 404"));
    assert!(get_aside(metrics_only_at, "/health").await.starts_with("HTTP/1.1 404"));
    assert!(get_aside(metrics_only_at, "/metrics").await.starts_with("HTTP/1.1 200"));

    stop.send(()).unwrap();
    serving.await.unwrap();
    assert!(TcpStream::connect(with_at).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_partial_head_times_out_after_ten_seconds() {
    for begin in ["", "GET /hea", "GET /health HTTP/1.1\r\nHost: x\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health: AskHealth = Arc::new(|| Health::Ok);
        tokio::spawn(admin::serve(
            listener,
            admin::internal_router(Some(health), None),
            Arc::default(),
            std::future::pending(),
        ));
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(begin.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let end = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "{begin:?}: not closed within {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn many_silent_connections_do_not_block_health() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (health, turned_away): (AskHealth, Arc<TurnedAway>) = (Arc::new(|| Health::Ok), Arc::default());
    let router = admin::internal_router(Some(health), None);
    tokio::spawn(admin::serve(listener, router, Arc::clone(&turned_away), std::future::pending()));
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..5 {
        let answer = get_aside(address, "/health").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let ended = turned_away.counts().find(|(limit, _)| *limit == "admin_connections").unwrap().1;
    assert!(ended >= 400 - 128, "{ended}");
}

#[tokio::test]
async fn a_scrape_that_asks_for_open_metrics_gets_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics: WriteMetrics = Arc::new(|| "# HELP x_total X.\n# TYPE x_total counter\nx_total 1\n".to_owned());
    let router = admin::internal_router(None, Some(metrics));
    tokio::spawn(admin::serve(listener, router, Arc::default(), std::future::pending()));
    let prometheus =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    for (fields, media_type, page) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", "# TYPE x_total counter\nx_total 1\n"),
        ("Accept: text/plain\r\n", "text/plain; version=0.0.4; charset=utf-8", "# TYPE x_total counter\nx_total 1\n"),
        (
            prometheus,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE x counter\nx_total 1\n# EOF\n",
        ),
    ] {
        let answer = tokio::task::spawn_blocking(move || get_with(address, "/metrics", fields)).await.unwrap();
        let head = answer.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\ncontent-type: {media_type}\r\n")) && answer.ends_with(page), "{answer}");
    }
}
