//! A real collector (Rotel) takes the traces of the gateway and passes them on as protobuf, which the official messages of
//! OTLP read.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use base64ct::{Base64, Encoding};

use super::*;
use crate::support::python::COLLECTOR;
use crate::support::redis::{free_port, start};

/// The collector, killed at the end.
struct Rotel {
    http: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Rotel {
    /// Passes what it gets on to `next`.
    async fn before(next: &Origin) -> Rotel {
        let program = Path::new(COLLECTOR.command().await.get_program()).with_file_name("rotel").display().to_string();
        let folder = tempfile::tempdir().unwrap();
        let (http, grpc) = (SocketAddr::from(([127, 0, 0, 1], free_port())), free_port());
        let words = format!(
            "start --otlp-http-endpoint {http} --otlp-grpc-endpoint 127.0.0.1:{grpc} --exporter otlp \
             --otlp-exporter-endpoint http://{} --otlp-exporter-protocol http",
            next.address()
        );
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let child = start(&program, &words, &folder.path().join("log"));
        eventually(PATIENCE, "the collector listens", || async { TcpStream::connect(http).is_ok() }).await;
        Rotel { http, child, _folder: folder }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an OTLP request, read with the official messages.
async fn message(body: &[u8]) -> Value {
    let mut command = COLLECTOR.command().await;
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traces/messages.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let body = body.to_vec();
    let read = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&body).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(read).await.unwrap();
    assert!(output.status.success(), "not a message of OTLP");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The bodies that have arrived completely.
fn bodies(next: &Origin) -> Vec<Vec<u8>> {
    let whole = next.requests().into_iter().filter(|request| {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
        request.fields.get("content-length").unwrap() == request.body.len().to_string()
    });
    whole.map(|request| request.body).collect()
}

/// The first spans that `next` gets, at least until `requests` of them are of requests. Their ids are in base64, as in all
/// JSON of protobuf.
async fn passed_on(next: &Origin, requests: usize) -> Vec<Value> {
    let (mut spans, mut read) = (Vec::<Value>::new(), 0);
    while spans.iter().filter(|span| span["kind"] == "SPAN_KIND_SERVER").count() < requests {
        eventually(PATIENCE, "the collector passes traces on", || async { bodies(next).len() > read }).await;
        for body in bodies(next).split_off(read) {
            read += 1;
            let message = message(&body).await;
            let resource = &message["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "site");
            assert_eq!(resource["scopeSpans"][0]["scope"]["name"], "tokengate");
            spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
        }
    }
    spans
}

fn id(span: &Value, key: &str) -> String {
    let bytes = Base64::decode_vec(span[key].as_str().unwrap_or_default()).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_collector_takes_the_traces_and_passes_them_on() {
    let (origin, next) = (Origin::answering("hello").await, Origin::answering("").await);
    let collector = Rotel::before(&next).await;
    let gateway = Site::before(&origin).with(|settings| settings.traces = traces(collector.http, 1)).start().await;
    let key = gateway.issue("alice").await;
    let parent = PARENT.replace("-00", "-01");
    for http in BOTH {
        let ask = Ask::get("/api/x").token(&key).field("traceparent", &parent);
        assert_eq!(ask.over(http, &gateway).await.status, 200);
    }
    assert_eq!(Ask::get("/api/x").to(&gateway).await.status, 401);

    let spans = passed_on(&next, 3).await;
    let requests: Vec<_> = spans.iter().filter(|span| span["kind"] == "SPAN_KIND_SERVER").collect();
    let attempts: Vec<_> = spans.iter().filter(|span| span["kind"] == "SPAN_KIND_CLIENT").collect();
    assert_eq!((requests.len(), attempts.len()), (3, 2), "{spans:#?}");
    let (mut versions, mut statuses) = (Vec::new(), Vec::new());
    for request in &requests {
        assert_eq!(request["name"], "GET api");
        assert_eq!(attribute(request, "url.path"), "/api/x");
        let (start, end) = ("startTimeUnixNano", "endTimeUnixNano");
        let time = |key: &str| request[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time(start) > 1_700_000_000_000_000_000 && time(start) <= time(end), "{request:#?}");
        versions.push(attribute(request, "network.protocol.version").as_str().unwrap().to_owned());
        statuses.push(attribute(request, "http.response.status_code").as_str().unwrap().to_owned());
    }
    versions.sort();
    statuses.sort();
    assert_eq!(
        (versions, statuses),
        (["1.1", "1.1", "2"].map(str::to_owned).to_vec(), ["200", "200", "401"].map(str::to_owned).to_vec())
    );
    for attempt in attempts {
        assert_eq!(id(attempt, "traceId"), "0af7651916cd43dd8448eb211c80319c");
        let request = requests.iter().find(|request| id(request, "spanId") == id(attempt, "parentSpanId")).unwrap();
        assert_eq!(id(request, "parentSpanId"), "b7ad6b7169203331");
    }
    assert_eq!(gateway.metric("tokengate_traces_dropped_total"), 0);
}
