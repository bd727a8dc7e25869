//! Which requests are sent once more, and which are never sent twice.

use crate::support::client::BOTH;
use crate::support::http2::H2;
use crate::support::origin::{Request, ok};
use crate::support::{Ask, Gateway, Http, Origin, Site, Step, Wire};

/// An endpoint that responds to the first request of each connection, and reads the second before it does `then`.
async fn dying(then: Step) -> Origin {
    let served = std::sync::Mutex::new(std::collections::HashSet::new());
    Origin::scripted(move |request: &Request| {
        let first = served.lock().unwrap().insert(request.connection);
        if first { vec![Step::Read, Step::Send(ok("hello"))] } else { vec![Step::Read, then.clone()] }
    })
    .await
}

/// Sends `ask` on a connection to the endpoint that served a request before.
async fn on_a_warm_connection(http: Http, gateway: &Gateway, ask: &Ask) -> u16 {
    match http {
        Http::One => {
            let mut wire = Wire::open(gateway).await;
            assert_eq!(wire.ask(Ask::get("/public/warm").bytes()).await.status, 200);
            wire.send(ask.bytes()).await;
            let answer = if ask.method == "HEAD" { wire.answer_to_head().await } else { wire.answer().await };
            answer.status
        }
        Http::Two => {
            let mut client = H2::open(gateway).await;
            assert_eq!(client.ask(&Ask::get("/public/warm")).await.status, 200);
            client.ask(ask).await.status
        }
    }
}

fn sent(origin: &Origin, target: &str) -> usize {
    origin.requests().iter().filter(|seen| seen.target == target).count()
}

#[tokio::test]
async fn invariant_7_a_request_with_effects_is_never_sent_twice() {
    for then in [Step::Close, Step::Reset] {
        for http in BOTH {
            for ask in [
                Ask::post("/public/once", "body"),
                Ask::new("POST", "/public/once"),
                Ask::post("/public/once", "body").trailer("x", "1"),
                Ask::new("DELETE", "/public/once"),
                Ask::new("PUT", "/public/once"),
                Ask::new("PATCH", "/public/once"),
                Ask { method: "DELETE".to_owned(), ..Ask::post("/public/once", "body") },
                Ask { method: "PUT".to_owned(), ..Ask::post("/public/once", "body") },
                Ask { method: "PATCH".to_owned(), ..Ask::post("/public/once", "body") },
                // A body makes a request not repeatable.
                Ask { method: "GET".to_owned(), ..Ask::post("/public/once", "body") },
            ] {
                let origin = dying(then.clone()).await;
                let gateway = Gateway::before(&origin).await;
                assert_eq!(on_a_warm_connection(http, &gateway, &ask).await, 502, "{http:?} {ask:?}");
                assert_eq!(sent(&origin, "/public/once"), 1, "{http:?} {ask:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_without_effects_is_sent_once_more_when_its_reused_connection_dies() {
    for then in [Step::Close, Step::Reset] {
        for http in BOTH {
            for method in ["GET", "HEAD", "OPTIONS"] {
                let origin = dying(then.clone()).await;
                let gateway = Gateway::before(&origin).await;
                let ask = Ask::new(method, "/public/again");
                // In this script the response to HEAD has a body, which the gateway must not forward; the status is
                // enough here.
                assert_eq!(on_a_warm_connection(http, &gateway, &ask).await, 200, "{http:?} {method}");
                assert_eq!((sent(&origin, "/public/again"), origin.connections()), (2, 2));
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_a_third_time() {
    let origin = Origin::scripted(|request: &Request| match request.target.as_str() {
        "/public/warm" => vec![Step::Read, Step::Send(ok("hello"))],
        _ => vec![Step::Read, Step::Close],
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    assert_eq!(on_a_warm_connection(Http::One, &gateway, &Ask::get("/public/again")).await, 502);
    assert_eq!(sent(&origin, "/public/again"), 2);
}

#[tokio::test]
async fn nothing_is_sent_again_when_a_new_connection_dies() {
    for steps in [vec![Step::Read, Step::Close], vec![Step::Close], vec![Step::Reset]] {
        let origin = Origin::doing(steps).await;
        let gateway = Gateway::before(&origin).await;
        assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 502);
        assert_eq!((origin.count(), origin.connections()), (1, 1));
    }
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_response_has_begun_or_where_configured() {
    let origin = dying(Step::Send(b"HTTP/1.1 ".to_vec())).await;
    let gateway = Site::before(&origin)
        .with(|s| s.routes[1].response_headers_timeout = std::time::Duration::from_secs(2))
        .start()
        .await;
    assert_eq!(on_a_warm_connection(Http::One, &gateway, &Ask::get("/public/x")).await, 504);
    assert_eq!(sent(&origin, "/public/x"), 1);

    let origin = dying(Step::Close).await;
    let gateway = Site::before(&origin).with(|s| s.upstreams[0].retry = false).start().await;
    assert_eq!(on_a_warm_connection(Http::One, &gateway, &Ask::get("/public/x")).await, 502);
    assert_eq!(sent(&origin, "/public/x"), 1);
}
