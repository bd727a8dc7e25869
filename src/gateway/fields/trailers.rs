//! Changes of the trailers of responses. Those of requests do not reach an endpoint.
//!
//! Trailers arrive after all decisions, and some programs merge them into the headers. So only those pass that a
//! protocol needs and that affect no decision: the ones of gRPC. A gRPC client over HTTP/2 never merges them: it gets
//! the trailing metadata of the application as well (docs/decisions/0059-trailing-metadata-of-grpc.md).

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::FieldPolicy;
use super::policy::Kind;

const PASSED: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Names of headers that control how a response is handled (RFC 9110 §6.5.1), and of those that the gateway sets
/// itself.
const CONTROL: [&str; 28] = [
    "accept-ranges",
    "age",
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "proxy-status",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "via",
    "www-authenticate",
    "x-request-id",
];

/// Removes all trailers except those of gRPC. `metadata` are the rules for the response to a gRPC call over HTTP/2: it
/// keeps the trailing metadata, except for names of headers that clients or servers act on.
pub fn keep_known(trailers: &mut HeaderMap, metadata: Option<&FieldPolicy>) {
    let is_metadata = |name: &str| {
        metadata.is_some_and(|rules| rules.kind_of(name.as_bytes()) == Kind::Ordinary)
            && !CONTROL.contains(&name)
            && !name.starts_with("access-control-")
            && !name.starts_with("ratelimit")
    };
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    let passes = |name: &HeaderName| PASSED.contains(&name.as_str()) || is_metadata(name.as_str());
    doomed.extend(trailers.keys().filter(|name| !passes(name)).cloned());
    for name in doomed {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::settings::IdentityFields;

    fn left(rules: Option<&FieldPolicy>) -> Vec<String> {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "x-user-id",
            "x_user_id",
            "x-userid",
            "authorization",
            "content-length",
            "content-type",
            "transfer-encoding",
            "set-cookie",
            "www-authenticate",
            "x-forwarded-for",
            "x-request-id",
            "access-control-allow-origin",
            "connection",
            "host",
            "x-tokengate-anything",
            "x-checksum",
            "trace-proto-bin",
            "grpc-statuses",
        ] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("0"));
        }
        keep_known(&mut trailers, rules);
        let mut left: Vec<_> = trailers.keys().map(|name| name.as_str().to_owned()).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn only_trailers_of_grpc_pass() {
        assert_eq!(left(None), ["grpc-message", "grpc-status", "grpc-status-details-bin"]);
    }

    #[test]
    fn trailing_metadata_of_a_call_passes_unless_its_name_is_that_of_a_header() {
        let rules = FieldPolicy::compile(&IdentityFields::default());
        let status = ["grpc-message", "grpc-status", "grpc-status-details-bin"];
        let metadata = ["grpc-statuses", "trace-proto-bin", "x-checksum"];
        assert_eq!(left(Some(&rules)), [&status[..], &metadata].concat());
    }
}
