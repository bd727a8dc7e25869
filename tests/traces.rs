//! Traces of requests: what a collector gets, what upstreams see, and what happens without a collector.

mod collector;

use std::net::SocketAddr;

use serde_json::Value;
use tokengate::config::settings::{Collector, Redacted, Traces};

use crate::support::authority::Authority;
use crate::support::client::BOTH;
use crate::support::tls_front::TlsFront;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Step, eventually, nowhere};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn traces(collector: SocketAddr, sample: u32) -> Option<Traces> {
    let (host, port, path) = ("127.0.0.1".to_owned(), collector.port(), "/v1/traces".to_owned());
    let endpoint = Collector { is_encrypted: false, host, port, path };
    Some(Traces { endpoint, authorities: None, sample, trust_parent: false, service_name: "site".to_owned() })
}

/// All spans that a collector has got, and the attributes of the resource.
fn spans(collector: &Origin) -> Vec<Value> {
    let mut spans = Vec::new();
    for request in collector.requests() {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
        // The body may still be on its way.
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { continue };
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "site");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
    }
    spans
}

/// The spans with this name.
fn named(collector: &Origin, name: &str) -> Vec<Value> {
    spans(collector).into_iter().filter(|span| span["name"] == name).collect()
}

async fn wait_for(collector: &Origin, count: usize) -> Vec<Value> {
    eventually(PATIENCE, "spans arrive", || async { spans(collector).len() >= count }).await;
    let spans = spans(collector);
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.map(|attribute| attribute["value"].as_object().unwrap().values().next().unwrap().clone()).unwrap_or_default()
}

fn traceparent(origin: &Origin) -> String {
    origin.last().fields.get("traceparent").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_request_is_spans_and_the_upstream_sees_the_attempt_as_its_parent() {
    for http in BOTH {
        let (origin, collector) = (Origin::answering("hello").await, Origin::answering("{}").await);
        let gateway =
            Site::before(&origin).with(|settings| settings.traces = traces(collector.address(), 1)).start().await;
        let key = gateway.issue("alice").await;
        let ask = Ask::get("/api/x?secret=1").token(&key).field("traceparent", PARENT).field("tracestate", "a=b");
        let answer = ask.field("baggage", "c=d").over(http, &gateway).await;
        assert_eq!(answer.status, 200);
        let fields = origin.last().fields;
        assert_eq!((fields.get("tracestate").unwrap(), fields.get("baggage").unwrap()), ("a=b", "c=d"));

        // A lookup that the store answers at once has no span, so there are two or three.
        let is_whole = || async { named(&collector, "GET api").len() == 1 };
        eventually(PATIENCE, "the spans arrive", is_whole).await;
        let spans = spans(&collector);
        assert!((2..=3).contains(&spans.len()), "{spans:#?}");
        assert!(spans.iter().all(|span| span["traceId"] == "0af7651916cd43dd8448eb211c80319c"));
        let request = &named(&collector, "GET api")[0];
        assert_eq!(request["parentSpanId"], "b7ad6b7169203331");
        for lookup in named(&collector, "look up credentials") {
            assert_eq!(lookup["parentSpanId"], request["spanId"]);
        }
        let attempt = spans.last().unwrap();
        assert_eq!(attempt["parentSpanId"], request["spanId"]);
        let id = attempt["spanId"].as_str().unwrap();
        assert_eq!(traceparent(&origin), format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01"));
        assert_eq!(attribute(attempt, "http.response.status_code"), "200");
        assert_eq!(
            (attribute(request, "url.path"), attribute(request, "client.address")),
            ("/api/x".into(), "127.0.0.1".into())
        );
        let text = format!("{spans:?}");
        assert!(!text.contains("secret") && !text.contains(&key), "{text}");

        // Memory knows the token now: no lookup.
        Ask::get("/api/x").token(&key).over(http, &gateway).await;
        let before = spans.len();
        let spans = wait_for(&collector, before + 2).await;
        assert_eq!(spans[before].get("parentSpanId"), None);
        assert_ne!(spans[before]["traceId"], spans[0]["traceId"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_with_tls_must_have_a_certificate_of_the_configured_authority() {
    let (origin, collector) = (Origin::answering("hello").await, Origin::answering("{}").await);
    let (ours, other) = (Authority::new(), Authority::new());
    let front = TlsFront::before(collector.address(), &ours.issue("collector", &["127.0.0.1"]).read()).await;
    let over_tls = |authority: &Authority| {
        let mut traces = traces(front.address(), 1).unwrap();
        traces.endpoint.is_encrypted = true;
        Some(Traces { authorities: Some(authority.trusted().authorities), ..traces })
    };
    let gateway = Site::before(&origin).with(|settings| settings.traces = over_tls(&other)).start().await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    let is_dropped = || async { gateway.metric("tokengate_traces_dropped_total") == 1 };
    eventually(PATIENCE, "the trace is dropped", is_dropped).await;
    assert_eq!(collector.count(), 0, "nothing was sent to a server that could be another one");
    gateway.reload(|settings| settings.traces = over_tls(&ours)).await.unwrap();
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    wait_for(&collector, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_failures_and_second_attempts_are_spans_too_and_what_is_redacted_is_not_in_them() {
    // The first connection ends after its first response, so that the next request on it needs a second attempt.
    let origin = Origin::scripted(|request| match request.target.as_str() {
        "/public/broken" => vec![Step::Read, Step::Close],
        _ => vec![Step::Read, Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())],
    })
    .await;
    let collector = Origin::answering("{}").await;
    let site = Site::before(&origin).with(|settings| {
        settings.traces = traces(collector.address(), 1);
        settings.log.redact = vec![Redacted::Path, Redacted::Peer];
    });
    let gateway = site.start().await;
    assert_eq!(Ask::get("/api/x").to(&gateway).await.status, 401);
    let spans = wait_for(&collector, 1).await;
    assert_eq!(
        (attribute(&spans[0], "tokengate.outcome"), &spans[0]["status"]),
        ("no_credentials".into(), &serde_json::json!({}))
    );
    assert_eq!((attribute(&spans[0], "url.path"), attribute(&spans[0], "client.address")), (Value::Null, Value::Null));

    assert_eq!(Ask::get("/public/broken").to(&gateway).await.status, 502);
    let spans = wait_for(&collector, 3).await;
    assert_eq!(
        (attribute(&spans[1], "error.type"), attribute(&spans[2], "error.type")),
        ("origin_reset".into(), "no_response".into())
    );
    assert_eq!(spans[2]["status"], serde_json::json!({ "code": 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_recorded_passes_with_the_header_of_its_client() {
    let (origin, collector) = (Origin::answering("hello").await, Origin::answering("{}").await);
    let gateway =
        Site::before(&origin).with(|settings| settings.traces = traces(collector.address(), 10)).start().await;
    for count in 1..=9 {
        let sampled = PARENT.replace("-00", "-01");
        assert_eq!(Ask::get("/public/x").field("traceparent", &sampled).to(&gateway).await.status, 200);
        assert_eq!(traceparent(&origin), sampled, "request {count}");
    }
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    wait_for(&collector, 2).await;

    // A client that is trusted decides.
    let trusting = |traces: Option<Traces>| traces.map(|traces| Traces { trust_parent: true, ..traces });
    gateway.reload(|settings| settings.traces = trusting(traces(collector.address(), 1))).await.unwrap();
    Ask::get("/public/x").field("traceparent", PARENT).to(&gateway).await;
    assert_eq!(traceparent(&origin), PARENT);
    Ask::get("/public/x").field("traceparent", PARENT.replace("-00", "-01")).to(&gateway).await;
    wait_for(&collector, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_requests_are_served_and_lost_traces_are_counted() {
    let (origin, collector) = (Origin::answering("hello").await, Origin::answering("{}").await);
    let lost = |gateway: &Gateway| gateway.metric("tokengate_traces_dropped_total");
    let refusing =
        Origin::doing(vec![Step::Read, Step::Send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec())]).await;
    let gateway = Site::before(&origin).with(|settings| settings.traces = traces(nowhere(), 1)).start().await;
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    eventually(PATIENCE, "the lost trace is counted", || async { lost(&gateway) == 1 }).await;
    gateway.reload(|settings| settings.traces = traces(refusing.address(), 1)).await.unwrap();
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    eventually(PATIENCE, "the refused trace is counted", || async { lost(&gateway) == 2 }).await;
    gateway.reload(|settings| settings.traces = traces(collector.address(), 1)).await.unwrap();
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    wait_for(&collector, 2).await;
    gateway.reload(|settings| settings.traces = None).await.unwrap();
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    assert!(!origin.last().fields.has("traceparent"));
    assert_eq!(lost(&gateway), 2);
}
