//! Finished traces as an `ExportTraceServiceRequest` of OTLP 1, in its JSON form: ids in hexadecimal digits, 64-bit
//! numbers as texts. Names of attributes are those of the semantic conventions for HTTP.
//!
//! The messages borrow from the traces and are written at once: building a tree of values first takes several times as
//! long.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{FinishedTrace, Span, SpanId, SpanKind, TraceId};
use crate::telemetry::Outcome;

/// The media type of the request.
pub const MEDIA_TYPE: &str = "application/json";

/// `SPAN_KIND_INTERNAL`, `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 3],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Message<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

/// A span.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    trace_id: Text<TraceId>,
    span_id: Text<SpanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Text<SpanId>>,
    name: Cow<'a, str>,
    kind: u8,
    start_time_unix_nano: Text<i64>,
    end_time_unix_nano: Text<i64>,
    attributes: Vec<Attribute<'a>>,
    status: Status,
}

#[derive(Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'a> {
    StringValue(Cow<'a, str>),
    IntValue(Text<i64>),
}

/// A value that is written as a text.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The body of a request with these traces.
pub fn request(service: &str, instance: &str, traces: &[Box<FinishedTrace>]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes =
        [text("service.name", service), text("service.version", version), text("service.instance.id", instance)];
    let mut spans = Vec::with_capacity(traces.iter().map(|trace| 1 + trace.spans.len()).sum());
    for trace in traces {
        add_spans(&mut spans, trace);
    }
    let scope_spans = [ScopeSpans { scope: Scope { name: "tokengate", version }, spans }];
    let request = Request { resource_spans: [ResourceSpans { resource: Resource { attributes }, scope_spans }] };
    // Writing to memory cannot fail, and all keys are texts.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// Adds the span of the request, then those of its parts.
fn add_spans<'a>(spans: &mut Vec<Message<'a>>, trace: &'a FinishedTrace) {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let end = trace.ended.as_micros().saturating_mul(1_000).max(0);
    let start = end.saturating_sub(nanos(trace.took));

    let facts = &trace.facts;
    let is_error = facts.status.is_none_or(|status| status >= 500) || facts.outcome.is_origin_failure();
    let name = match facts.route.as_deref() {
        Some(route) => format!("{} {route}", facts.method).into(),
        None => Cow::Borrowed(facts.method.as_str()),
    };
    spans.push(Message {
        trace_id: Text(trace.id),
        span_id: Text(trace.span),
        parent_span_id: trace.parent.map(Text),
        name,
        kind: SERVER,
        start_time_unix_nano: Text(start),
        end_time_unix_nano: Text(end),
        attributes: about_request(trace, is_error),
        status: Status::of(is_error),
    });
    let mut attempts = 0;
    for span in &trace.spans {
        let begins = start.saturating_add(nanos(span.after));
        let (name, kind, attributes) = about(span, &facts.method, attempts);
        attempts += i64::from(span.kind == SpanKind::Attempt);
        spans.push(Message {
            trace_id: Text(trace.id),
            span_id: Text(span.id),
            parent_span_id: Some(Text(trace.span)),
            name: Cow::Borrowed(name),
            kind,
            start_time_unix_nano: Text(begins),
            end_time_unix_nano: Text(begins.saturating_add(nanos(span.took))),
            attributes,
            status: Status::of(span.kind == SpanKind::Attempt && span.status.is_none_or(|status| status >= 400)),
        });
    }
}

/// The attributes of a request.
fn about_request(trace: &FinishedTrace, is_error: bool) -> Vec<Attribute<'_>> {
    let facts = &trace.facts;
    let mut attributes = Vec::with_capacity(10);
    attributes.extend([
        text("http.request.method", &facts.method),
        text("network.protocol.version", facts.version),
        text("tokengate.request_id", &facts.request_id),
        text("tokengate.outcome", facts.outcome.code()),
    ]);
    attributes.extend(facts.path.as_deref().map(|path| text("url.path", path)));
    attributes.extend(facts.peer.map(|peer| owned("client.address", peer.ip().to_canonical().to_string())));
    attributes.extend(facts.route.as_deref().map(|route| text("http.route", route)));
    attributes.extend(facts.user.map(|user| owned("user.id", user.to_string())));
    attributes.extend(facts.status.map(|status| number("http.response.status_code", status.into())));
    if is_error && facts.outcome != Outcome::ClientGone {
        attributes.push(text("error.type", facts.outcome.code()));
    }
    attributes
}

/// Name, kind and attributes of a part. `attempts` is the number of attempts before it.
fn about<'a>(span: &Span, method: &'a str, attempts: i64) -> (&'a str, u8, Vec<Attribute<'a>>) {
    match span.kind {
        SpanKind::Lookup => ("look up credentials", INTERNAL, Vec::new()),
        SpanKind::Attempt => {
            let mut attributes = vec![text("http.request.method", method)];
            attributes.extend(span.status.map(|status| number("http.response.status_code", status.into())));
            if span.status.is_none() {
                attributes.push(text("error.type", "no_response"));
            }
            if attempts > 0 {
                attributes.push(number("http.request.resend_count", attempts));
            }
            (method, CLIENT, attributes)
        }
    }
}

impl Status {
    fn of(is_error: bool) -> Status {
        Status { code: is_error.then_some(ERROR) }
    }
}

fn text<'a>(key: &'static str, value: &'a str) -> Attribute<'a> {
    Attribute { key, value: AnyValue::StringValue(Cow::Borrowed(value)) }
}

fn owned(key: &'static str, value: String) -> Attribute<'static> {
    Attribute { key, value: AnyValue::StringValue(Cow::Owned(value)) }
}

fn number(key: &'static str, value: i64) -> Attribute<'static> {
    Attribute { key, value: AnyValue::IntValue(Text(value)) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Facts;
    use super::*;
    use crate::clock::Timestamp;

    fn facts() -> Facts {
        Facts {
            request_id: "0001".to_owned(),
            method: "GET".to_owned(),
            path: Some("/api/x".to_owned()),
            version: "2",
            peer: Some("[::ffff:192.0.2.7]:50123".parse().unwrap()),
            route: Some("api".into()),
            user: Some(7),
            status: Some(200),
            outcome: Outcome::Forwarded,
        }
    }

    fn finished(facts: Facts, spans: Vec<Span>) -> Box<FinishedTrace> {
        let (id, span, parent) = (TraceId(0xabc), SpanId(1), Some(SpanId(2)));
        let (ended, took) = (Timestamp::from_micros(1_000_000), Duration::from_millis(10));
        Box::new(FinishedTrace { id, span, parent, ended, took, facts, spans })
    }

    fn written(trace: Box<FinishedTrace>) -> Vec<Value> {
        let request: Value = serde_json::from_slice(&request("tokengate", "a", &[trace])).unwrap();
        request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }

    fn attribute<'s>(span: &'s Value, key: &str) -> Option<&'s Value> {
        let attributes = span["attributes"].as_array().unwrap();
        attributes.iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"])
    }

    #[test]
    fn a_request_and_its_parts_are_spans_with_the_names_of_the_conventions() {
        let part = |id, kind, after, status| Span {
            id: SpanId(id),
            kind,
            after: Duration::from_millis(after),
            took: Duration::from_millis(2),
            status,
        };
        let parts = vec![
            part(3, SpanKind::Lookup, 1, None),
            part(4, SpanKind::Attempt, 3, None),
            part(5, SpanKind::Attempt, 5, Some(200)),
        ];
        let spans = written(finished(facts(), parts));
        let [request, lookup, first, second] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((&request["name"], &request["kind"]), (&"GET api".into(), &2.into()));
        assert_eq!(request["traceId"], "00000000000000000000000000000abc");
        assert_eq!(
            (&request["spanId"], &request["parentSpanId"]),
            (&"0000000000000001".into(), &"0000000000000002".into())
        );
        assert_eq!(
            (&request["startTimeUnixNano"], &request["endTimeUnixNano"]),
            (&"990000000".into(), &"1000000000".into())
        );
        for (key, value) in [
            ("http.request.method", json!({ "stringValue": "GET" })),
            ("http.response.status_code", json!({ "intValue": "200" })),
            ("http.route", json!({ "stringValue": "api" })),
            ("url.path", json!({ "stringValue": "/api/x" })),
            ("client.address", json!({ "stringValue": "192.0.2.7" })),
            ("user.id", json!({ "stringValue": "7" })),
            ("tokengate.outcome", json!({ "stringValue": "forwarded" })),
        ] {
            assert_eq!(attribute(request, key), Some(&value), "{key}");
        }
        assert_eq!((&lookup["kind"], &lookup["startTimeUnixNano"]), (&1.into(), &"991000000".into()));
        assert!([lookup, first, second].iter().all(|span| span["parentSpanId"] == request["spanId"]));
        assert_eq!((&first["kind"], &first["status"]), (&3.into(), &json!({ "code": 2 })));
        assert_eq!(
            (&second["status"], attribute(second, "http.request.resend_count")),
            (&json!({}), Some(&json!({ "intValue": "1" })))
        );
    }

    #[test]
    fn failures_of_the_gateway_and_of_upstreams_are_errors_and_refusals_are_not() {
        for (outcome, status, is_error) in [
            (Outcome::Forwarded, Some(404), false),
            (Outcome::Forwarded, Some(500), true),
            (Outcome::NoCredentials, Some(401), false),
            (Outcome::StoreUnavailable, Some(503), true),
            (Outcome::OriginReset, Some(200), true),
        ] {
            let spans = written(finished(Facts { outcome, status, ..facts() }, Vec::new()));
            assert_eq!(spans[0]["status"] == json!({ "code": 2 }), is_error, "{outcome:?} {status:?}");
            assert_eq!(attribute(&spans[0], "error.type").is_some(), is_error, "{outcome:?} {status:?}");
        }
    }
}
