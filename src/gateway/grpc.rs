//! gRPC: refusals that its clients understand, and deadlines.
//!
//! A gRPC client reads the result of a call from `grpc-status`, and takes any HTTP status but 200 for a broken proxy.
//! So a refusal is a response without a body whose headers hold the result ("Trailers-Only" in the gRPC protocol).

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, request};

use super::Body;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The `Content-Type` of a gRPC call; `None`: the request is none.
pub(super) fn content_type(head: &request::Parts) -> Option<HeaderValue> {
    // All calls are POST requests.
    let kind = Some(&head.headers).filter(|_| head.method == Method::POST)?.get(CONTENT_TYPE)?;
    kind.as_bytes().get(..16).filter(|begin| begin.eq_ignore_ascii_case(b"application/grpc"))?;
    Some(kind.clone())
}

/// The `grpc-status` for a refusal with this HTTP status.
fn status_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "16",            // UNAUTHENTICATED
        403 => "7",             // PERMISSION_DENIED
        404 | 405 => "12",      // UNIMPLEMENTED: there is no such method
        408 | 504 => "4",       // DEADLINE_EXCEEDED
        413 | 429 | 431 => "8", // RESOURCE_EXHAUSTED
        502 | 503 => "14",      // UNAVAILABLE
        _ => "13",              // INTERNAL
    }
}

/// Gives a refusal the form that a gRPC client expects.
pub(super) fn refuse(response: &mut Response<Body>, detail: &str, content_type: HeaderValue) {
    let status = status_of(response.status());
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::empty();
    let fields = response.headers_mut();
    fields.remove(CONTENT_LENGTH);
    fields.insert(CONTENT_TYPE, content_type);
    fields.insert(STATUS, HeaderValue::from_static(status));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(detail)) {
        fields.insert(MESSAGE, message);
    }
}

/// The deadline that the client has set, if it has set a valid one: up to eight digits and a unit.
pub(super) fn timeout(fields: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = fields.get(TIMEOUT)?.as_bytes().split_last()?;
    let number = crate::http1::decimal(digits).filter(|_| digits.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A text as `grpc-message` contains it.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_the_status_that_its_clients_expect() {
        for (statuses, wanted) in [
            (&[401][..], "16"),
            (&[403], "7"),
            (&[404, 405], "12"),
            (&[413, 429, 431], "8"),
            (&[408, 504], "4"),
            (&[502, 503], "14"),
            (&[400, 421, 500], "13"),
        ] {
            for status in statuses {
                assert_eq!(status_of(StatusCode::from_u16(*status).unwrap()), wanted, "{status}");
            }
        }
    }

    #[test]
    fn deadlines_are_read_as_the_protocol_defines_them() {
        let read = |text: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(TIMEOUT, HeaderValue::from_static(text));
            timeout(&fields)
        };
        for (text, wanted) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("100000000n", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1s", None),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn calls_are_recognised_by_method_and_content_type() {
        let kind = |method: &str, kind: &str| {
            let request = http::Request::builder().method(method).header(CONTENT_TYPE, kind).body(()).unwrap();
            content_type(&request.into_parts().0).is_some()
        };
        for is_one in ["application/grpc", "application/grpc+proto", "application/grpc-web+proto", "Application/gRPC"] {
            assert!(kind("POST", is_one), "{is_one}");
        }
        assert!(!kind("GET", "application/grpc") && !kind("POST", "application/json") && !kind("POST", "a"));
        assert_eq!(percent_encoded("100 % é\n"), "100 %25 %C3%A9%0A");
    }
}
