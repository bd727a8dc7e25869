//! What goes wrong at an upstream is told apart: in the answer, in the log, and in the metrics.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokengate::config::settings::{ClientShare, Protocol, Settings};

use crate::support::client::BOTH;
use crate::support::h2_origin::{Act, H2Origin};
use crate::support::{Ask, Gate, Http, Origin, PATIENCE, Site, Step, Wire, eventually, nowhere};

const SHORT: Duration = Duration::from_millis(200);

/// How a request fails: at an endpoint of HTTP/1.1, and at one of HTTP/2. `None`: no endpoint listens.
struct Failure {
    steps: Option<Vec<Step>>,
    act: Act,
    settings: fn(&mut Settings),
    status: u16,
    detail: &'static str,
    outcome: &'static str,
}

fn failures() -> Vec<Failure> {
    let begun = Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun".to_vec());
    let two_lengths =
        || Response::builder().header("content-length", "0").header("content-length", "1").body(()).unwrap();
    vec![
        Failure {
            steps: None,
            act: Act::Hang,
            settings: |_| {},
            status: 502,
            detail: "The upstream cannot be reached.",
            outcome: "origin_connect",
        },
        Failure {
            steps: Some(vec![Step::Read, Step::Close]),
            act: Act::Close,
            settings: |_| {},
            status: 502,
            detail: "The upstream closed the connection.",
            outcome: "origin_reset",
        },
        Failure {
            steps: Some(vec![Step::Read, Step::Send(b"garbage\r\n\r\n".to_vec())]),
            act: Act::Head(Arc::new(two_lengths)),
            settings: |_| {},
            status: 502,
            detail: "The upstream's response is invalid.",
            outcome: "origin_bad_response",
        },
        Failure {
            steps: Some(vec![Step::Read, Step::Hang]),
            act: Act::Hang,
            settings: |settings| settings.routes[1].response_headers_timeout = SHORT,
            status: 504,
            detail: "The upstream did not respond in time.",
            outcome: "origin_timeout",
        },
        // The head was passed on, so the response can only be cut.
        Failure {
            steps: Some(vec![Step::Read, begun, Step::Hang]),
            act: Act::Cut(Gate::closed()),
            settings: |settings| settings.routes[1].response_body_timeout = SHORT,
            status: 200,
            detail: "",
            outcome: "origin_body_timeout",
        },
    ]
}

#[tokio::test]
async fn each_failure_has_an_answer_and_an_outcome_of_its_own() {
    for Failure { steps, act, settings, status, detail, outcome } in failures() {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let one = Origin::doing(steps.clone().unwrap_or_default()).await;
            let act = act.clone();
            let two = H2Origin::scripted(100, move |_| act.clone()).await;
            let address = match (&steps, protocol) {
                (None, _) => nowhere(),
                (Some(_), Protocol::Http1) => one.address(),
                (Some(_), Protocol::Http2) => two.address(),
            };
            let site = Site::before_all(&[address]).with(settings);
            let gateway = site.with(|settings| settings.upstreams[0].protocol = protocol).start().await;
            let what = format!("{outcome} {protocol:?}");
            for http in BOTH {
                let answer = Ask::post("/public/x", "body").over(http, &gateway).await;
                assert_eq!((answer.status, answer.complete), (status, status != 200), "{what} {http:?}");
                if status != 200 {
                    assert_eq!(answer.detail(), detail, "{what} {http:?}");
                }
            }
            gateway.has_counted("public", outcome, 2).await;
            let word = format!("outcome={outcome}");
            let told = || gateway.log.text().split_ascii_whitespace().filter(|one| *one == word).count();
            let is_told = || async { told() == 2 };
            eventually(PATIENCE, "the log has both", is_told).await;
            if status != 200 {
                // Clients of gRPC get the same text.
                let call = Ask::post("/public/x", "body").field("Content-Type", "application/grpc");
                let answer = call.over(Http::Two, &gateway).await;
                let code = if status == 504 { "4" } else { "14" };
                let fields = ["grpc-status", "grpc-message"].map(|name| answer.fields.get(name));
                assert_eq!(fields, [Some(code), Some(detail)], "{what}");
            }
        }
    }
}

#[tokio::test]
async fn an_upstream_without_room_says_when_to_come_back() {
    let origin = Origin::doing(vec![Step::Hang]).await;
    let site = Site::before(&origin).with(|settings| {
        let upstream = &mut settings.upstreams[0];
        (upstream.max_connections, upstream.wait_timeout) = (1, SHORT);
        upstream.client_share = ClientShare::Unlimited;
    });
    let gateway = site.start().await;
    let mut first = Wire::open(&gateway).await;
    first.send(Ask::get("/public/x").bytes()).await;
    origin.has_seen(1).await;
    for http in BOTH {
        let answer = Ask::post("/public/x", "body").over(http, &gateway).await;
        assert_eq!((answer.status, answer.fields.has("retry-after")), (503, true), "{http:?}");
        assert_eq!(answer.detail(), "The upstream is overloaded. Try again.");
    }
    gateway.has_counted("public", "origin_overloaded", 2).await;
}
