//! Finished traces as an `ExportTraceServiceRequest` of OTLP 1, in its JSON form: ids in hexadecimal digits, 64-bit numbers
//! as texts. Names of attributes are those of the semantic conventions for HTTP.

use serde_json::{Value, json};

use super::{FinishedTrace, Span, SpanKind};
use crate::telemetry::Outcome;

/// The media type of the request.
pub const MEDIA_TYPE: &str = "application/json";

/// `SPAN_KIND_INTERNAL`, `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The body of a request with these traces.
pub fn request(service: &str, instance: &str, traces: &[Box<FinishedTrace>]) -> Vec<u8> {
    let spans: Vec<Value> = traces.iter().flat_map(|trace| spans_of(trace)).collect();
    let resource = [
        text("service.name", service),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    let scope = json!({ "name": "tokengate", "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }]})
    .to_string()
    .into_bytes()
}

fn spans_of(trace: &FinishedTrace) -> Vec<Value> {
    let nanos = |micros: i64| micros.saturating_mul(1_000).max(0);
    let took = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let end = nanos(trace.ended.as_micros());
    let start = end.saturating_sub(took(trace.took));
    let times = |start: i64, end: i64| (start.to_string(), end.to_string());

    let facts = &trace.facts;
    let route = facts.route.as_deref().unwrap_or_default();
    let mut attributes = vec![
        text("http.request.method", &facts.method),
        text("network.protocol.version", facts.version),
        text("tokengate.request_id", &facts.request_id),
        text("tokengate.outcome", facts.outcome.code()),
    ];
    attributes.extend(facts.path.as_deref().map(|path| text("url.path", path)));
    attributes.extend(facts.peer.map(|peer| text("client.address", &peer.ip().to_canonical().to_string())));
    attributes.extend(facts.route.as_deref().map(|route| text("http.route", route)));
    attributes.extend(facts.user.map(|user| text("user.id", &user.to_string())));
    attributes.extend(facts.status.map(|status| number("http.response.status_code", status.into())));
    let is_error = facts.status.is_none_or(|status| status >= 500) || facts.outcome.is_origin_failure();
    if is_error && facts.outcome != Outcome::ClientGone {
        attributes.push(text("error.type", facts.outcome.code()));
    }
    let (start_text, end_text) = times(start, end);
    let mut request = json!({
        "traceId": trace.id.to_string(),
        "spanId": trace.span.to_string(),
        "name": format!("{} {route}", facts.method).trim_end(),
        "kind": SERVER,
        "startTimeUnixNano": start_text,
        "endTimeUnixNano": end_text,
        "attributes": attributes,
        "status": if is_error { json!({ "code": ERROR }) } else { json!({}) },
    });
    if let (Some(parent), Some(object)) = (trace.parent, request.as_object_mut()) {
        object.insert("parentSpanId".to_owned(), parent.to_string().into());
    }
    let mut attempts = 0_u32;
    let parts = trace.spans.iter().map(|span| {
        let begins = start.saturating_add(took(span.after));
        let (begins, ends) = times(begins, begins.saturating_add(took(span.took)));
        let resends = attempts;
        if span.kind == SpanKind::Attempt {
            attempts += 1;
        }
        let (name, kind, attributes) = about(span, &facts.method, resends);
        let is_error = span.kind == SpanKind::Attempt && span.status.is_none_or(|status| status >= 400);
        json!({
            "traceId": trace.id.to_string(),
            "spanId": span.id.to_string(),
            "parentSpanId": trace.span.to_string(),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": begins,
            "endTimeUnixNano": ends,
            "attributes": attributes,
            "status": if is_error { json!({ "code": ERROR }) } else { json!({}) },
        })
    });
    let parts: Vec<Value> = parts.collect();
    [vec![request], parts].concat()
}

/// Name, kind and attributes of a part.
fn about(span: &Span, method: &str, resends: u32) -> (String, u8, Vec<Value>) {
    match span.kind {
        SpanKind::Lookup => ("look up credentials".to_owned(), INTERNAL, Vec::new()),
        SpanKind::Attempt => {
            let mut attributes = vec![text("http.request.method", method)];
            attributes.extend(span.status.map(|status| number("http.response.status_code", status.into())));
            if span.status.is_none() {
                attributes.push(text("error.type", "no_response"));
            }
            if resends > 0 {
                attributes.push(number("http.request.resend_count", resends.into()));
            }
            (method.to_owned(), CLIENT, attributes)
        }
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: i64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Facts, SpanId, TraceId};
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
